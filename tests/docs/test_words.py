# SPDX-License-Identifier: LGPL-3.0-or-later
"""Help, messages, docstrings, comments, pages and examples use plain English: no phrase of `words_to_avoid.txt`."""

import ast
import re
from pathlib import Path

import pytest
import typer

from pqrun.cli.app import app
from pqrun.cli.commands import MODULES
from pqrun.core.job_fields import HOOK_FIELDS, JOB_FIELDS, LOOP_FIELDS, RETRY_FIELDS, TOP_LEVEL_FIELDS

from .pages import DOCS, EXAMPLES, PAGES, PROGRAMS, ROOT, messages, name_of, remarks

MAX_OPTION_HELP = 100
MAX_LINE = 100
MAX_MESSAGE = 150
LONG_TEXTS = ("job_fields.py", "each.py")
"""The texts of these modules are help texts and a page, which wrap."""
GENERATED = [DOCS / "pqrun.1", *sorted((ROOT / "completions").iterdir())]
WORDS = [
    line
    for line in Path(__file__).with_name("words_to_avoid.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
AVOIDED = re.compile(r"\b(" + "|".join(re.escape(word) for word in WORDS) + r")\b", re.IGNORECASE)


def avoided(text):
    """Return the phrases of the list that the text has."""
    return [found.lower() for found in AVOIDED.findall(" ".join(text.split()))]


def help_texts():
    """Yield the name and the help of each command, argument and option."""
    group = typer.main.get_command(app)
    context = group.make_context("pqrun", [], resilient_parsing=True)
    yield "pqrun", group.help
    for name in MODULES:
        command = group.get_command(context, name)
        yield name, command.help
        for parameter in command.params:
            if parameter.name != "help":
                yield f"{name} {parameter.opts[0]}", parameter.help


def options():
    """Yield the name and the help of each option."""
    return ((name, text) for name, text in help_texts() if " -" in name)


def field_texts():
    """Yield the name and the text of each key of a job file."""
    for table in (TOP_LEVEL_FIELDS, JOB_FIELDS, RETRY_FIELDS, LOOP_FIELDS, HOOK_FIELDS):
        for field in table:
            yield field.name, field.about


def test_the_scan_finds_a_phrase_across_lines():
    assert avoided("Leave out jobs of\nwhose id one is unfinished") == ["of whose"]
    assert avoided("Skip a job if a job with its id is unfinished") == []


def test_help_texts_have_no_avoided_phrases():
    texts = dict(help_texts())
    assert len(texts) > 100, "the scan finds the options"
    assert {name: avoided(text) for name, text in texts.items() if avoided(text)} == {}


def test_help_of_an_option_is_short_and_has_no_full_stop():
    assert {name: text for name, text in options() if len(text) > MAX_OPTION_HELP or text.endswith(".")} == {}


def test_help_has_no_square_brackets_which_rich_reads_as_markup():
    assert {name: text for name, text in help_texts() if "[" in text} == {}


def test_help_of_a_command_is_one_line_with_a_full_stop():
    wrong = {}
    for name, text in help_texts():
        if " " not in name and ("\n" in text.strip() or not text.strip().endswith(".") or len(text) > 110):
            wrong[name] = text
    assert wrong == {}


def test_help_begins_with_a_capital():
    assert {name: text for name, text in help_texts() if text[0].islower() and " -" in name} == {}


def test_texts_of_job_fields_are_sentences_without_avoided_phrases():
    found = {name: text for name, text in field_texts() if avoided(text) or not text.endswith(".")}
    assert found == {}


@pytest.mark.parametrize("path", PROGRAMS, ids=name_of)
def test_messages_and_remarks_of_programs_have_no_avoided_phrases(path):
    source = path.read_text(encoding="utf-8")
    texts = [*messages(ast.parse(source)), *remarks(source)]
    assert [(line, avoided(text)) for line, text in texts if avoided(text)] == []


def test_the_scan_of_a_program_finds_docstrings_comments_and_messages():
    source = 'def f():\n    """Somebody calls."""\n    # It is told\n    # so many times.\n    return f"{f} goes on"\n'
    texts = [text for _, text in (*messages(ast.parse(source)), *remarks(source))]
    assert sorted(phrase for text in texts for phrase in avoided(text)) == [
        "goes on",
        "is told",
        "so many",
        "somebody",
    ]


@pytest.mark.parametrize("path", [*PAGES, *GENERATED], ids=name_of)
def test_pages_have_no_avoided_phrases(path):
    assert avoided(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize("path", EXAMPLES, ids=name_of)
def test_comments_of_examples_are_short_and_have_no_avoided_phrases(path):
    text = path.read_text(encoding="utf-8")
    assert avoided(text) == []
    assert [line for line in text.splitlines() if line.startswith("#") and len(line) > MAX_LINE] == []


@pytest.mark.slow
def test_messages_are_short():
    """A message is one line, so a long one wraps twice on a terminal of 80 columns."""
    found = []
    for path in PROGRAMS:
        if path.name not in LONG_TEXTS:
            for line, text in messages(ast.parse(path.read_text(encoding="utf-8"))):
                if "\\x1b" not in text and max(map(len, text.split("\n"))) > MAX_MESSAGE:
                    found.append((name_of(path), line))
    assert found == []


def long_lines(text):
    """Return the numbers of the lines of prose that are too long.

    Blocks, rows of tables and pictures can't be broken; lines with many names in backticks are made by programs.
    """
    found, block = [], False
    for number, line in enumerate(text.splitlines(), 1):
        block = block != line.startswith("```")
        if (
            not (block or line.startswith(("|", "![", "**`")) or line.count("`") >= 12)
            and len(line) > MAX_LINE
        ):
            found.append(number)
    return found


@pytest.mark.parametrize("path", PAGES, ids=name_of)
def test_lines_of_pages_are_short(path):
    assert long_lines(path.read_text(encoding="utf-8")) == []


def test_the_scan_of_lines_leaves_out_what_can_not_be_broken():
    long = "word " * 21
    assert long_lines(f"{long}\n```sh\n{long}\n```\n| {long} |\n\n{long}") == [1, 7]
