# SPDX-License-Identifier: LGPL-3.0-or-later
"""What goes over the socket: one JSON object a line, each way. `docs/control.md` describes it.

Whoever may open the socket may run commands as its owner, so there is nothing to authorise; but
nothing that comes in is believed.
"""

from __future__ import annotations

import json
from collections.abc import Generator
from typing import Any

from pqrun.characters import is_printable
from pqrun.unicodejson import as_json

VERSION = 1
LONGEST = 1 << 20
LONGEST_BY = 100
USAGE, NONE, GONE, FULL = 2, 1, 6, 75

Request = dict[str, Any]
Answer = dict[str, Any]
Steps = Generator[None, float, Answer]
"""An answer that takes several turns; each is told what time it is."""


class Rejected(Exception):
    """A request that can't be carried out; `code` is the exit code that fits."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code


def encode(message: dict[str, Any]) -> bytes:
    """One line."""
    return json.dumps(message, ensure_ascii=True, separators=(",", ":")).encode() + b"\n"


def encode_answer(answer: Answer) -> bytes:
    """One line for a client, who may take valid Unicode alone. (A request's commands have to stay exact.)"""
    return as_json(answer, separators=(",", ":")).encode() + b"\n"


def decode(line: bytes | bytearray) -> Request:
    """A request; `Rejected` for what is none of ours."""
    try:
        message = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError):
        raise Rejected("not a line of JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("verb"), str):
        raise Rejected("not a request: an object with a `verb`")
    version = message.get("pqrun")
    if version != VERSION or isinstance(version, bool):
        raise Rejected(f'this run speaks version {VERSION} of the protocol: say `"pqrun": {VERSION}`')
    return message


def refusal(error: Rejected) -> Answer:
    """The answer to what can't be done."""
    return {"ok": False, "error": str(error), "code": error.code, "pqrun": VERSION}


def busy(why: str) -> Answer:
    """The answer to what was not even looked at: ask again a little later."""
    return {**refusal(Rejected(why, FULL)), "busy": True}


def by_of(request: Request) -> str:
    """Who asks, for the record."""
    by = request.get("by", "")
    return "".join(c for c in by[:LONGEST_BY] if is_printable(c)) if isinstance(by, str) else ""


def flag(request: Request, name: str) -> bool:
    """A yes or no; no if it isn't said."""
    value = request.get(name, False)
    if not isinstance(value, bool):
        raise Rejected(f"`{name}` is true or false")
    return value


def is_whole(value: Any, least: int, most: int = 1 << 53) -> bool:
    """Whether it is a number without a fraction within these."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _refuse(_text: str) -> float:
    raise ValueError
