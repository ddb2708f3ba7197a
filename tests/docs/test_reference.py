# SPDX-License-Identifier: LGPL-3.0-or-later
"""The generated reference is current, and readers of manual pages like theirs."""

import shutil
import subprocess

import pytest

from .pages import DOCS, page, script


@pytest.mark.parametrize(
    ("name", "make", "document"),
    [
        ("cli", "markdown", "cli.md"),
        ("cli", "queue_page", "queue.md"),
        ("manpage", "roff", "pqrun.1"),
        ("from_gnu_parallel", "markdown", "from-gnu-parallel.md"),
    ],
)
def test_what_is_generated_is_current(name, make, document):
    assert getattr(script(name), make)() == page(document), f"run `python docs/{name}.py`"


@pytest.mark.parametrize(
    "words",
    [["groff", "-man", "-ww", "-Tutf8"], ["man", "--warnings", "-l"], ["mandoc", "-Tutf8", "-Wwarning"]],
)
def test_the_manual_page_gives_no_cause_for_warnings(words):
    if shutil.which(words[0]) is None:
        pytest.skip(f"no {words[0]} here")
    done = subprocess.run([*words, DOCS / "pqrun.1"], capture_output=True, text=True, timeout=60)
    said = [line for line in done.stderr.splitlines() if "WARNING" in line or "warning" in line]
    assert [line for line in said if "missing date" not in line and "see above" not in line] == []
    assert done.returncode in (0, 2) and len(done.stdout) > 10_000, (
        "it has no date, which mandoc calls worth 2"
    )


def test_each_option_has_a_line_of_its_own_in_the_manual_page():
    text = page("pqrun.1")
    found = script("cli").program()
    for option in [*found.options, *found.of_a_run, *(o for command in found.commands for o in command.own)]:
        for name in option.names:
            assert "\\fB" + name.replace("-", "\\-") + "\\fP" in text
