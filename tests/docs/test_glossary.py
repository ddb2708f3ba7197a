# SPDX-License-Identifier: LGPL-3.0-or-later
"""The glossary's words are the words for its things: no synonym of `synonyms.txt` is used, and no word is unused."""

import ast
import re
from pathlib import Path

import pytest

from pqrun.core.job_fields import HOOK_FIELDS, JOB_FIELDS, LOOP_FIELDS, RETRY_FIELDS, TOP_LEVEL_FIELDS

from .pages import EXAMPLES, PAGES, PROGRAMS, ROOT, messages, name_of, page, prose, remarks

SYNONYMS = dict(
    line.split(": ")
    for line in Path(__file__).with_name("synonyms.txt").read_text(encoding="utf-8").splitlines()
    if not line.startswith("#")
)
FOUND = re.compile(r"(?<![\w-])(" + "|".join(map(re.escape, SYNONYMS)) + r")(?![\w-]|\.\w)", re.IGNORECASE)
GLOSSARY = re.findall(r"^\| (\w[\w -]*) \|", page("glossary.md"), re.MULTILINE)[1:]
GLOSSARY_PAGE = ROOT / "docs" / "glossary.md"
IDENTIFIER = re.compile(r"[\w.-]+")


def synonyms(text):
    """Return the words of the list that the text has outside of code, each with the word to use."""
    words = (word.lower() for word in FOUND.findall(" ".join(prose(text).split())))
    return [f"{word}: {SYNONYMS[word]}" for word in words]


def texts_of(path):
    """Yield the line and the text of each docstring, comment and message of a program.

    A string without a space is a name: of a thread, or of a process.
    """
    source = path.read_text(encoding="utf-8")
    yield from remarks(source)
    for line, text in messages(ast.parse(source)):
        if not IDENTIFIER.fullmatch(text):
            yield line, text


@pytest.mark.parametrize("path", PROGRAMS, ids=name_of)
def test_programs_use_the_words_of_the_glossary(path):
    assert [(line, synonyms(text)) for line, text in texts_of(path) if synonyms(text)] == []


@pytest.mark.parametrize("path", [*PAGES, *EXAMPLES, ROOT / "docs" / "pqrun.1"], ids=name_of)
def test_pages_use_the_words_of_the_glossary(path):
    assert synonyms(path.read_text(encoding="utf-8")) == []


def test_texts_of_job_fields_use_the_words_of_the_glossary():
    tables = (TOP_LEVEL_FIELDS, JOB_FIELDS, RETRY_FIELDS, LOOP_FIELDS, HOOK_FIELDS)
    assert {
        field.name: synonyms(field.about) for table in tables for field in table if synonyms(field.about)
    } == {}


def test_a_planted_synonym_is_found(tmp_path):
    program = tmp_path / "planted.py"
    program.write_text(
        '"""The warden of a run."""\n# The slot\n# thread waits.\nprint(f"{1} survivors")\n', encoding="utf-8"
    )
    assert [synonyms(text) for _, text in texts_of(program)] == [
        ["warden: watchdog"], ["slot thread: worker"], ["survivors: leftover"],
    ]  # fmt: skip
    assert synonyms("the `pq-warden`, a [page](warden.md), wardenship and desk.yaml: a bell") == [
        "bell: reactor"
    ]


def test_each_synonym_stands_for_a_word_of_the_glossary():
    assert len(GLOSSARY) > 40, "the table is found"
    assert set(SYNONYMS.values()) - set(GLOSSARY) == set()
    assert set(SYNONYMS) & set(GLOSSARY) == set()


@pytest.mark.slow
def test_each_word_of_the_glossary_is_used():
    """A word that nobody uses any more is deleted from the glossary."""
    text = " ".join(path.read_text(encoding="utf-8") for path in (*PAGES, *PROGRAMS) if path != GLOSSARY_PAGE)
    used = {word.lower() for word in re.findall(r"\w+", text)}
    stems = used | {re.sub("ies$", "y", word).removesuffix("s") for word in used}
    unused = [word for word in GLOSSARY if not set(word.lower().split()) <= stems]
    assert unused == []
