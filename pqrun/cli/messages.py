# SPDX-License-Identifier: LGPL-3.0-or-later
"""Error messages on stderr: laid out and coloured for a terminal, else unchanged.

On a terminal `error:` follows the program's name, so that an error stands out from a note. Off a terminal the
texts have no such word, because programs compare them.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

from pqrun.cli.declarations import options_of
from pqrun.core.errors import UserError
from pqrun.core.layout import Layout, cells, cut_around, wrap
from pqrun.core.settings import OutputSettings
from pqrun.core.text import escape_controls
from pqrun.ui.terminal import Style, wants_colour

UNLIMITED_CELLS = 1_000_000
"""The width of a layout for a reader that only gets colours."""
_HINT = "  hint: "
_INDENT = " " * len(_HINT)


def stderr_layout() -> Layout | None:
    """Return the layout of stderr; None if it is no terminal and gets no colours."""
    try:
        terminal, width = os.isatty(2), os.get_terminal_size(2).columns or 80
    except OSError:
        terminal, width = False, UNLIMITED_CELLS
    coloured = wants_colour(_colour_option(sys.argv[1:]), terminal=terminal, environment=os.environ)
    return Layout(width, Style(on=coloured)) if terminal or coloured else None


def _colour_option(words: Sequence[str]) -> str:
    """Return the value of `--color` on a command line that may be wrong in another place."""
    asked = os.environ.get(options_of(OutputSettings)["color"].flag.variable or "", "auto")
    for at, word in enumerate(words):
        if word in ("--", ":::"):
            break
        if word.startswith("--color="):
            asked = word.partition("=")[2]
        elif word == "--color":
            asked = words[at + 1] if at + 1 < len(words) else asked
    return asked if asked in ("always", "never") else "auto"


def print_error(error: UserError | str) -> None:
    """Print an error. Its text may have more lines: lines of source with carets below, and a hint."""
    layout = stderr_layout()
    if "pqrun.input.jobfile.problems" in sys.modules:  # else no job file was read
        from pqrun.input.jobfile.problems import JobFileError, closing

        if isinstance(error, JobFileError):
            write_lines([*error.shown(layout), *closing([error], layout)], escape=layout is None)
            return
    text = str(error)
    if layout is None:
        shown = text if text.startswith("pqrun: ") else f"pqrun: {text}"
        write_lines(shown.split("\n"), escape=True)
    else:
        write_lines(_laid_out(text.removeprefix("pqrun: "), layout), escape=False)


def _laid_out(text: str, layout: Layout) -> list[str]:
    width, paint = layout
    head, *rest = [escape_controls(line, keep="\t").expandtabs(4) for line in text.split("\n")]
    first, *more = wrap(f"pqrun: error: {head}", width, "  ")
    begin = "pqrun: error:"
    if first.startswith(begin):
        first = paint("bold", "pqrun:") + " " + paint("bold red", "error:") + first[len(begin) :]
    lines = [first, *more]
    shown, begins, ends = "", 0, 0  # the last line of source, and the place of its wrong word
    for at, line in enumerate(rest):
        if line.startswith(_HINT):
            lines += [paint("green", part) for part in wrap(line, width, _INDENT)]
        elif _is_mark(line):
            lines.append(
                " " * cells(shown[:begins]) + paint("bold red", "^" * max(1, cells(shown[begins:ends])))
            )
        elif at + 1 < len(rest) and _is_mark(mark := rest[at + 1]):
            begins = len(mark) - len(mark.lstrip())
            shown, begins, ends = cut_around(line, begins, begins + len(mark.strip()), width)
            lines.append(shown[:begins] + paint("bold red", shown[begins:ends]) + shown[ends:])
        else:
            lines += wrap(line, width, "  ")
    return lines


def _is_mark(line: str) -> bool:
    """Return whether the line has only carets, below a word of the line before."""
    return bool(line.strip()) and not line.strip().strip("^")


def write_lines(lines: Sequence[str], *, escape: bool) -> None:
    """Write lines to stderr; with `escape`, without control characters: names in them may come from anywhere."""
    if escape:
        lines = [escape_controls(part, keep="\t") for line in lines for part in line.split("\n")]
    try:
        os.write(2, "".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace"))
    except OSError:
        pass  # stderr is broken as well; the exit code still tells of the failure
