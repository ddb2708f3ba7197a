# SPDX-License-Identifier: LGPL-3.0-or-later
"""What to show where: a live table or plain lines, colours or none, fences for a CI service or none."""

from __future__ import annotations

from collections.abc import Mapping

DUMB_TERMINALS = ("", "dumb", "unknown")
CI_SERVICES = (
    "CI", "GITHUB_ACTIONS", "GITLAB_CI", "TF_BUILD", "BUILDKITE", "TEAMCITY_VERSION", "JENKINS_URL",
)  # fmt: skip


def progress_kind(
    asked: str,
    *,
    terminal: bool,
    quiet: bool,
    json: bool,
    raw: bool,
    environment: Mapping[str, str],
) -> str:
    """`live`, `plain` or `none`. Where the cursor can't be moved it never is, whoever asks for it.

    Output that goes past us (`raw`) would tear the table, so only an explicit wish brings it then.
    """
    if asked in ("plain", "none"):
        return asked
    able = terminal and environment.get("TERM", "") not in DUMB_TERMINALS
    if asked == "live":
        return "live" if able else "plain"
    watched = not (quiet or json or raw or in_ci(environment))
    return "live" if able and watched else "plain"


def in_ci(environment: Mapping[str, str]) -> bool:
    """Whether a CI service runs us: people will read a log, not watch a screen."""
    return any(environment.get(name, "").lower() not in ("", "0", "false") for name in CI_SERVICES)


def wants_colour(asked: str, *, terminal: bool, environment: Mapping[str, str]) -> bool:
    """An option beats `NO_COLOR`, which beats `FORCE_COLOR`, which beats a look at the terminal."""
    if asked != "auto":
        return asked == "always"
    if environment.get("NO_COLOR"):
        return False
    if environment.get("FORCE_COLOR", "0") not in ("", "0", "false"):
        return True
    return terminal and environment.get("TERM", "") not in DUMB_TERMINALS


_CODES = {
    "bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "blue": "34", "magenta": "35",
    "cyan": "36",
}  # fmt: skip
OUTCOME_STYLES = {
    "ok": "green", "failed": "bold red", "timeout": "bold magenta", "cancelled": "yellow",
    "skipped": "yellow", "interrupted": "yellow",
}  # fmt: skip


class Style:
    """`paint("bold red", text)`: the text in that style, or as it is."""

    def __init__(self, *, on: bool) -> None:
        self._on = on

    def __call__(self, style: str, text: str) -> str:
        if not self._on or not text or not style:
            return text
        codes = ";".join(_CODES[word] for word in style.split())
        return f"\x1b[{codes}m{text}\x1b[0m"
