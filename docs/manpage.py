# SPDX-License-Identifier: LGPL-3.0-or-later
"""The manual page: `python docs/manpage.py` writes docs/pqrun.1, of what docs/cli.py knows.

Written by hand, in some eighty lines: click-man does not see commands of typer, which has a copy of click
of its own, and help2man would read the boxes of the help. A test compares the page, and has groff read it.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pqrun import __version__


def beside(name: str) -> Any:
    """The script of that name in this directory."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", Path(__file__).with_name(f"{name}.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


cli = beside("cli")
DOCUMENT = Path(__file__).with_name("pqrun.1")
FILES = {
    "~/.local/state/pqrun/runs/RUN/": "the journal of a run and the output of its jobs; see `PQRUN_STATE_DIR`",
    "jobs.yaml": "a job file, as written by `pqrun init`",
}
EXAMPLES = {
    "printf 'make a\\nmake b\\n' | pqrun run -j4": "Run commands, one per line, four at a time.",
    "pqrun run jobs.yaml --retries 2 --timeout 10m": "Run the jobs of a job file, with retries and a time limit.",
    "pqrun each 'gzip -9 {}' ::: *.log": "Run one command for many files.",
    "pqrun resume latest --failed": "Continue the last run, and run its failed jobs again.",
}


def text(words: str) -> str:
    """Plain text with `code` in it, as roff."""
    safe = words.replace("\\", "\\e").replace("-", "\\-").replace("…", "...").replace("−", "\\-")
    safe = re.sub(r"`([^`]*)`", r"\\fB\1\\fP", safe)
    safe = re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", safe)
    return "\\&" + safe if safe[:1] in (".", "'") else safe


def terms(rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    """A list of terms, each with what it means."""
    for term, about in rows:
        yield from (".TP", text(term), text(about))


def options(found: Iterable[cli.Option]) -> Iterator[str]:
    """A list of options."""
    for option in found:
        names = ", ".join(f"`{name}`" for name in option.names)
        value = f" \\fI{text(option.value)}\\fP" if option.value else ""
        yield from (".TP", text(names) + value, text(option.about))


def command(found: cli.Command) -> Iterator[str]:
    """One command."""
    yield from (f'.SS "{text(found.name)}"', f"\\fB{text(found.usage)}\\fP", ".PP", text(found.about))
    yield from terms(found.arguments)
    yield from options(found.own)
    if found.name in cli.SHARING:
        yield from (".PP", "Also all options of a run.")
    elif found.shared:
        names = ", ".join(f"`{option.names[-1]}`" for option in found.shared)
        yield from (".PP", text(f"Of the options of a run also {names}."))


def page(program: cli.Program) -> Iterator[str]:
    """Its lines."""
    yield '.\\" Made by docs/manpage.py: change it there.'
    yield f'.TH PQRUN 1 "" "pqrun {__version__}" "User Commands"'
    yield from (
        ".SH NAME",
        "pqrun \\- run shell commands in parallel, with priorities, retries and a journal",
    )
    yield from (".SH SYNOPSIS", "\\fBpqrun\\fP \\fICOMMAND\\fP [\\fIOPTIONS\\fP] [\\fIARGUMENTS\\fP]")
    yield from (".SH DESCRIPTION", text(cli.OPENING))
    yield from (".PP", text("Options of the program itself:"), *options(program.options))
    yield ".SH COMMANDS"
    for found in program.commands:
        yield from command(found)
    yield '.SH "OPTIONS OF A RUN"'
    for panel, found_options in cli.panels(program.of_a_run):
        yield from (f'.SS "{panel}"', *options(found_options))
    yield from (".SH VALUES", *terms(cli.VALUES.items()))
    yield from ('.SH "EXIT STATUS"', *terms(cli.EXIT_CODES.items()))
    exceptions = cli.not_by_variable(program)
    yield from (".SH ENVIRONMENT", text(cli.BY_VARIABLE.format(exceptions=exceptions)))
    yield from ('.SS "Read by pqrun"', *terms(cli.READ.items()))
    yield from ('.SS "Given to jobs"', *terms(cli.GIVEN.items()))
    yield from ('.SS "Lines that a job may append to $PQRUN_REPORT"', *terms(cli.SAID.items()))
    yield from (".SH FILES", *terms(FILES.items()))
    yield ".SH EXAMPLES"
    for example, about in EXAMPLES.items():
        yield from (".TP", text(about), f"\\fB{text(example)}\\fP")
    yield from (".SH SEE ALSO", "\\fBparallel\\fP(1), \\fBxargs\\fP(1), \\fBmake\\fP(1)")


def roff() -> str:
    """The page."""
    return "\n".join(page(cli.program())) + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(roff(), encoding="utf-8")
