# SPDX-License-Identifier: LGPL-3.0-or-later
"""The comment ` # pqrun: key=value …` at the end of a command line, to a layer of settings."""

from __future__ import annotations

import re
from typing import Any

from pqrun.jobfile.keys import IN_COMMENT, by_spelling
from pqrun.jobfile.kinds import FROM_WORD
from pqrun.jobfile.specs import STORED, nested
from pqrun.jobfile.values import quoted

_KEYS = by_spelling(IN_COMMENT)
_COMMENT = re.compile(r"\\.|'[^']*(?:'|$)|\"(?:[^\"\\]|\\.)*+(?:\"|$)|(?P<here>[ \t\n]#)", re.DOTALL)
_OURS = re.compile(r"[ \t\n]#[ \t]*pqrun:")


def split(command: str) -> tuple[str, str | None]:
    """The command without our comment, and what that says; `None` if there is none.

    Looks at quotes as a shell does, so that `echo "a # pqrun: b"` is all command.
    """
    for found in _COMMENT.finditer(command):
        if found["here"]:
            ours = _OURS.search(command, found.start())
            if not ours or "\n" in command[ours.end() :].rstrip("\n"):
                break
            return command[: ours.start()].rstrip(), command[ours.end() :].strip()
    return command, None


def settings(text: str) -> dict[str, Any]:
    """The layer that `key=value …` stands for; `id` is among them. Raises ValueError."""
    import shlex

    try:
        pairs = shlex.split(text)
    except ValueError:
        raise ValueError("a quote that is not closed after `# pqrun:`") from None
    flat: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        key = _KEYS.get(name)
        if not equals or key is None:
            raise ValueError(_unknown(name, bool(equals)))
        into = "on" if key.name == "retry_on" else key.name
        if into in flat:
            raise ValueError(f"`{key.name}` is given twice after `# pqrun:`")
        try:
            flat[into] = FROM_WORD[key.kind](value)
        except ValueError as wrong:
            raise ValueError(f"`{name}`: {wrong}") from None
    return {STORED.get(key, key): value for key, value in nested(flat).items()}


def _unknown(name: str, assigned: bool) -> str:
    from difflib import get_close_matches

    if not assigned:
        return f"{quoted(name)} after `# pqrun:` is not key=value"
    close = get_close_matches(name, _KEYS, 1)
    meant = f" (did you mean `{close[0]}`?)" if close else f" (known: {', '.join(_KEYS)})"
    return f"unknown key {quoted(name)} after `# pqrun:`{meant}"
