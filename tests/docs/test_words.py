# SPDX-License-Identifier: LGPL-3.0-or-later
"""Help texts, field texts, messages and pages use plain English: none of `words_to_avoid.txt`, and short help."""

import ast
import re
from pathlib import Path

import pytest
import typer

from pqrun.cli.app import app
from pqrun.cli.commands import MODULES
from pqrun.core.job_fields import HOOK_FIELDS, JOB_FIELDS, LOOP_FIELDS, RETRY_FIELDS, TOP_LEVEL_FIELDS

from .pages import DOCS, ROOT

MAX_OPTION_HELP = 100
WORDS = [
    line
    for line in Path(__file__).with_name("words_to_avoid.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
AVOIDED = re.compile(r"\b(" + "|".join(re.escape(word) for word in WORDS) + r")\b", re.IGNORECASE)
REWRITTEN_LATER = {
    "CHANGELOG.md", "CONTRIBUTING.md", "README.md", "architecture.md", "ci.md", "cluster.md", "compared.md", "contributing.md", "control.md",
    "events.md", "glossary.md", "from-gnu-parallel.md", "journal.md", "library.md", "metrics.md", "performance.md", "queue.md",
    "reliability.md", "troubleshooting.md", "tutorial.md",
}  # fmt: skip
"""Pages that may still have such phrases. Remove a page from the list once the page is rewritten."""
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
STRINGS_OF_PROGRAMS = sorted((ROOT / "pqrun").rglob("*.py"))


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


def messages(tree):
    """Yield the line and the text of each string of a module, without docstrings. `{}` marks a value."""
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            skipped.update(id(part) for part in node.values)
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield node.lineno, "".join(parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.lineno, node.value


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


@pytest.mark.parametrize("path", STRINGS_OF_PROGRAMS, ids=lambda path: str(path.relative_to(ROOT)))
def test_messages_have_no_avoided_phrases(path):
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [(line, text) for line, text in messages(tree) if avoided(text)] == []


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_pages_have_no_avoided_phrases(path):
    found = avoided(path.read_text(encoding="utf-8"))
    if found and (path.name in REWRITTEN_LATER or path.parent.name == "design"):
        pytest.skip(f"to be rewritten: {', '.join(sorted(set(found)))}")
    assert found == []
