# SPDX-License-Identifier: LGPL-3.0-or-later
"""Terminal capabilities: live table or plain log, colours or none."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from pqrun.core.layout import wrap

DUMB_TERMINALS = ("", "dumb", "unknown")
CI_SERVICES = (
    "CI", "GITHUB_ACTIONS", "GITLAB_CI", "TF_BUILD", "BUILDKITE", "TEAMCITY_VERSION", "JENKINS_URL",
)  # fmt: skip
_CODES = {
    "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35",
    "cyan": "36", "underline": "4",
}  # fmt: skip
OUTCOME_STYLES = {
    "ok": "green", "failed": "bold red", "timeout": "bold magenta", "cancelled": "yellow",
    "skipped": "yellow", "interrupted": "yellow",
}  # fmt: skip
Piece = tuple[str, str]
"""A text and its style."""
NO_BREAK = "\u00a0"


def progress_kind(
    asked: str,
    *,
    terminal: bool,
    quiet: bool,
    json: bool,
    raw: bool,
    environment: Mapping[str, str],
) -> str:
    """Return how progress is shown: `live`, `plain` or `none`.

    A terminal that cannot move the cursor never gets the live table. With `raw`, jobs write to the
    terminal directly and would tear the table, so it is shown only on request (`asked`).
    """
    if asked in ("plain", "none"):
        return asked
    able = terminal and environment.get("TERM", "") not in DUMB_TERMINALS
    if asked == "live":
        return "live" if able else "plain"
    watched = not (quiet or json or raw or in_ci(environment))
    return "live" if able and watched else "plain"


def in_ci(environment: Mapping[str, str]) -> bool:
    """Return whether a CI service runs pqrun, where people read a log and watch no screen."""
    return any(environment.get(name, "").lower() not in ("", "0", "false") for name in CI_SERVICES)


def wants_colour(asked: str, *, terminal: bool, environment: Mapping[str, str]) -> bool:
    """Return whether to use colours.

    The option beats `NO_COLOR`, `NO_COLOR` beats `FORCE_COLOR`, and that beats the kind of terminal.
    """
    if asked != "auto":
        return asked == "always"
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR", "0") not in ("", "0", "false"):
        return True
    return terminal and environment.get("TERM", "") not in DUMB_TERMINALS


class Style:
    """A function that colours text, as in `paint("bold red", text)`; without `on` it returns the text."""

    def __init__(self, *, on: bool) -> None:
        self._on = on

    def __call__(self, style: str, text: str) -> str:
        if not self._on or not text or not style:
            return text
        codes = ";".join(_CODES[word] for word in style.split())
        return f"\x1b[{codes}m{text}\x1b[0m"


def lay_out(pieces: Iterable[Piece], paint: Style, width: int | None, indent: str = "") -> list[str]:
    """Return the pieces as painted lines of at most `width` cells, broken at blanks.

    `indent` begins each line but the first. None: one line, however long. A `NO_BREAK` is shown as a blank.
    """
    parts = [piece for piece in pieces if piece[0]]
    if width is None:
        return ["".join(paint(style, text) for text, style in parts)]
    text = "".join(text for text, _ in parts)
    lines, at = [], 0
    for number, line in enumerate(wrap(text, width, indent)):
        begins = indent if number else ""
        shown = line[len(begins) :]
        at = text.index(shown, at)
        lines.append(begins + _painted(parts, paint, at, at + len(shown)).replace(NO_BREAK, " "))
        at += len(shown)
    return lines


def _painted(parts: Iterable[Piece], paint: Style, begin: int, end: int) -> str:
    """Return the characters from `begin` to `end` of all parts, painted."""
    shown, at = "", 0
    for text, style in parts:
        shown += paint(style, text[max(0, begin - at) : max(0, end - at)])
        at += len(text)
    return shown
