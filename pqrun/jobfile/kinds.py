# SPDX-License-Identifier: LGPL-3.0-or-later
"""One word to a value, for every kind of key that one word can hold."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from pqrun.characters import is_printable
from pqrun.jobfile import values
from pqrun.jobfile.values import Unfit
from pqrun.model import Halt, Need, Rate, Shard

MOST_RETRIES: Final = 1_000_000
MOST_SLOTS: Final = 1_000_000
BACKOFFS: Final = ("exponential", "linear", "constant")
ON_LOST: Final = ("rerun", "fail")


def retries(text: str) -> int:
    """How many extra attempts."""
    return values.whole_number(text, 0, MOST_RETRIES)


def count(text: str) -> int:
    """A number of slots, or of a pool."""
    return values.whole_number(text, 1, MOST_SLOTS)


def path(text: str) -> str:
    """A file's name; it is not looked at."""
    if not text:
        raise Unfit("an empty path", "leave the key out instead")
    if "\0" in text:
        raise Unfit("a NUL character in a path", "take it out")
    return text


def tag(text: str) -> str:
    """A word to select jobs by."""
    if not text or not is_printable(text) or "," in text:
        raise Unfit(f"not a tag: {values.quoted(text)}", "write printable text without commas")
    return text


def pool_name(text: str) -> str:
    """A name that can be the end of a variable's: jobs find theirs in `PQRUN_POOL_<NAME>`."""
    if not (text.isascii() and text.replace("-", "_").isidentifier()):
        raise Unfit(f"not a pool's name: {values.quoted(text)}", "write letters, digits, `_` and `-`")
    return text


def wants(text: str) -> tuple[tuple[str, int], ...]:
    """`net`, `net:2` or `net:2,gpu`."""
    found: dict[str, int] = {}
    for word in values.words(text):
        name, colon, amount = word.partition(":")
        if name in found:
            raise Unfit(f"the pool {values.quoted(name)} twice", "name it once: `net:2`")
        found[pool_name(name)] = count(amount) if colon else 1
    return tuple(found.items())


def workers(text: str) -> str:
    """The text itself if it says how many workers: `4`, `50%`, `+1`, `-1`, `auto`."""
    sign = text[:1] if text[:1] in ("+", "-") else ""
    digits = text.removeprefix(sign) if sign else text.removesuffix("%")
    if text != "auto" and not (digits.isascii() and digits.isdigit() and len(digits) <= 6):
        raise Unfit(f"not a number of workers: {values.quoted(text)}", "write 4, 50%, +1, -1 or auto")
    if not sign and digits.strip("0") == "":
        raise Unfit(f"out of range: {values.quoted(text)}", "write at least 1")
    return text


def rate(text: str) -> Rate:
    """`50/1m`, `50/m` or `50` (a second)."""
    number, slash, span = text.partition("/")
    found = Rate(values.whole_number(number, 1, MOST_SLOTS), _span(span) if slash else 1.0)
    if not found.seconds:
        raise Unfit(f"no time at all: {values.quoted(text)}", "write such as 50/1m")
    return found


def _span(text: str) -> float:
    return values.duration(f"1{text}" if text[:1].isalpha() else text)


def load(text: str) -> str:
    """The text itself if it says how much load is enough: `8`, `1.5`, `80%` of the CPUs."""
    values.number(text.removesuffix("%"), 0, 1_000_000)
    return text


def halt(text: str) -> Halt:
    """`now|soon,fail|success|done=N|N%`, as GNU parallel has it."""
    when, comma, rest = text.partition(",")
    what, equals, number = rest.partition("=")
    percent = number.endswith("%")
    if when not in ("now", "soon") or what not in ("fail", "success", "done") or not comma or not equals:
        raise Unfit(
            f"not known here: {values.quoted(text)}",
            "write now or soon, then fail, success or done, as in now,fail=1 or soon,done=10%",
        )
    most = 100 if percent else 10**9
    return Halt(when, what, values.whole_number(number.removesuffix("%"), 1, most), percent)


def shard(text: str) -> Shard:
    """`2/4`: the second of four parts."""
    index, slash, count_ = text.partition("/")
    if not slash:
        raise Unfit(f"not a part of a whole: {values.quoted(text)}", "write such as 1/4")
    parts = values.whole_number(count_, 1, MOST_SLOTS)
    return Shard(values.whole_number(index, 1, parts), parts)


FROM_WORD: Final[dict[str, Callable[[str], Any]]] = {
    "id": values.job_id,
    "path": path,
    "priority": values.priority,
    "duration": values.duration,
    "signal": values.signal_name,
    "policy": retries,
    "retries": retries,
    "slots": count,
    "truth": values.truth,
    "tags": lambda text: tuple(dict.fromkeys(tag(word) for word in values.words(text))),
    "needs": lambda text: tuple(Need(name) for name in dict.fromkeys(values.words(text))),
    "exits": values.exit_codes,
    "codes": values.code_list,
    "wants": wants,
    "rerun": lambda text: values.one_of(text, "always", "never") == "always",
    "on_lost": lambda text: values.one_of(text, *ON_LOST),
    "leftovers": lambda text: values.one_of(text, "end", "keep") == "keep",
    "backoff": lambda text: values.one_of(text, *BACKOFFS),
    "factor": lambda text: values.number(text, 0, 1000),
    "rate": rate,
    "load": load,
    "size": values.size,
    "halt": halt,
    "variable": values.variable,
    "fraction": lambda text: values.number(text, 0, 1),
    "workers": workers,
    "max_queue": lambda text: values.whole_number(text, 1, 100_000_000),
}
