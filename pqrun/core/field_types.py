# SPDX-License-Identifier: LGPL-3.0-or-later
"""The types of a job's fields: how a text becomes a value, and which values are allowed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from pqrun.core import values
from pqrun.core.job import Need, Priority, RetryPolicy
from pqrun.core.text import quoted
from pqrun.core.values import MAX_RETRIES, MAX_SECONDS, MAX_SLOTS, is_number, is_text, is_whole


class FieldType(NamedTuple):
    """The type of a field.

    `parse` turns a text into a value, or raises `InvalidValue`. `check` tells whether a JobSpec may hold a value;
    clients of the socket may send any. `expected` describes the type in messages. `bare`: quotes around the value are
    an error in a job file. `bounds` and `words` are the accepted values of the types that have such limits.
    """

    name: str
    parse: Callable[[str], Any]
    expected: str = "a string"
    check: Callable[[Any], bool] = is_text
    bare: bool = False
    bounds: tuple[int, int] = (0, 0)
    words: tuple[str, ...] = ()


def integer(least: int, most: int) -> FieldType:
    """Return the type of whole numbers from `least` to `most`."""
    return _numeric("integer", values.whole_number, is_whole, (least, most))


def number(least: int, most: int) -> FieldType:
    """Return the type of numbers from `least` to `most`, with or without decimals."""
    return _numeric("number", values.number, is_number, (least, most))


def _numeric(
    name: str, parse: Callable[..., float], check: Callable[..., bool], bounds: tuple[int, int]
) -> FieldType:
    return FieldType(
        name, lambda text: parse(text, *bounds), "a number", lambda value: check(value, *bounds), True, bounds
    )


def choice(*words: str) -> FieldType:
    """Return the type of values that are one of these words."""
    return FieldType(
        "choice", lambda text: values.one_of(text, *words), check=words.__contains__, words=words
    )


def either(*words: str, true: str) -> FieldType:
    """Return the type of truth values that are written as one of two words; `true` is one of them."""
    return choice(*words)._replace(parse=lambda text: values.one_of(text, *words) == true, check=_is_truth)


def optional(type: FieldType) -> FieldType:
    """Return the same type for a field whose default is None."""
    return type._replace(check=lambda value: value is None or type.check(value))


def structure(name: str, expected: str) -> FieldType:
    """Return a type that only a job file can express, with a reader of its own in `input/jobfile`."""
    return FieldType(name, str, expected)


def _is_shell(words: Any) -> bool:
    return _each(is_text, 1)(words) and words[0] != ""


def _is_truth(value: object) -> bool:
    return isinstance(value, bool)


def _is_code(value: Any) -> bool:
    return is_whole(value, 0, 255) or (isinstance(value, str) and values.code(value) == value)


def _each(check: Callable[[Any], bool], least: int = 0) -> Callable[[Any], bool]:
    """Return a check for tuples of at least `least` items."""
    return lambda found: isinstance(found, tuple) and len(found) >= least and all(map(check, found))


def _are_variables(env: Any) -> bool:
    return isinstance(env, tuple) and all(
        is_text(name) and is_text(value) and name != "" and "=" not in name for name, value in env
    )


def _are_demands(pools: Any) -> bool:
    return (
        isinstance(pools, tuple)
        and len(dict(pools)) == len(pools)
        and all(isinstance(name, str) and is_whole(units, 1, MAX_SLOTS) for name, units in pools)
    )


def _is_need(need: Any) -> bool:
    return isinstance(need, Need) and is_text(need.job) and need.when in NEEDED


def needed(text: str) -> tuple[Need, ...]:
    """Parse `a`, `a,ended:b` or `failed:c`; the empty text means no needs."""
    found = []
    for word in values.words(text) if text.strip() else ():
        when, colon, job = word.partition(":")
        found.append(Need(job, when) if colon and when in NEEDED else Need(word))
    return tuple(dict.fromkeys(found))


_DAYS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_TIME = r"(?:(\d{4})-(\d\d)-(\d\d)(?:$|[ T](?=\d)))?(?:(\d\d?):(\d\d)(?::(\d\d))?)?(Z|[+-]\d\d:?\d\d)?"
_WRITE_A_TIME = "write a time such as 22:00 or 2027-01-31 22:00, or +2h"


def start_time(text: str) -> str:
    """Check the text of a time: `22:00`, `2027-01-31 22:00`, `+2h`, `@1800000000` or `now`. Return the text.

    The caller turns the text into a time, for which it needs a clock and the time zone.
    """
    if text == "now":
        return text
    if text[:1] == "+":
        values.duration(text[1:].strip())
        return text
    if text[:1] == "@":
        values.whole_number(text[1:], 0, MAX_EPOCH_SECONDS)
        return text
    import re

    match = re.fullmatch(_TIME, text, re.ASCII) if len(text) <= 40 else None
    if match is None or not (match[1] or match[4]) or (match[7] and not match[4]):
        raise values.InvalidValue(f"not a time: {quoted(text)}", _WRITE_A_TIME)
    year, month, day, hour, minute, second = (int(match[n] or 0) for n in range(1, 7))
    if match[1] and not (year >= 1971 and 1 <= month <= 12 and 1 <= day <= _days(year, month)):
        raise values.InvalidValue(f"no such day: {quoted(text)}", _WRITE_A_TIME)
    zone = (match[7] or "Z").replace(":", "")
    if hour > 23 or minute > 59 or second > 59 or (zone != "Z" and (zone[1:3] > "23" or zone[3:] > "59")):
        raise values.InvalidValue(f"no such time of day: {quoted(text)}", _WRITE_A_TIME)
    return text


def time_from_now(text: str) -> str:
    """Check a duration. Return the time that lies so far ahead, as a text."""
    values.duration(text)
    return f"+{text}"


def _days(year: int, month: int) -> int:
    """Return the number of days of a month."""
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 28 if month == 2 and not leap else _DAYS[month - 1]


NEEDED: Final = ("ok", "ended", "failed")
"""The ends of a needed job that meet a need."""

DURATION: Final = FieldType(
    "duration", values.duration, "a duration", lambda value: is_number(value, 0, MAX_SECONDS)
)
LIMIT: Final = optional(DURATION)
"""The type of durations of which zero means no limit."""
MAX_EPOCH_SECONDS: Final = 253_402_300_799
"""The last second of the year 9999."""
START_TIME: Final = optional(
    FieldType("time", start_time, "a time", lambda value: is_number(value, 0, 2 * MAX_EPOCH_SECONDS))
)
"""The type of the time before which a job does not start. Zero means at once."""
PATH: Final = FieldType("path", values.path)
FILE: Final = optional(PATH)
COUNT: Final = integer(0, MAX_RETRIES)
SLOTS: Final = integer(1, MAX_SLOTS)
CODES: Final = FieldType(
    "codes", values.code_list, "a list of codes", lambda value: all(map(_is_code, value))
)
RUN: Final = FieldType("run", str, "a string or a list of strings")
ENV: Final = FieldType("env", str, "a map of variables", _are_variables)
ID: Final = FieldType("id", values.job_id)
VALUES: Final = structure("values", "a list of values")
VARIABLE: Final = FieldType("variable", values.variable, "a name")
PRIORITY: Final = FieldType(
    "priority", values.priority, "a priority", lambda value: isinstance(value, Priority)
)
NEEDS: Final = FieldType(
    "needs",
    lambda text: tuple(Need(name) for name in dict.fromkeys(values.words(text))),
    "ids",
    _each(_is_need),
)
MATRIX: Final = structure("matrix", "a map of axes")
LOOP: Final = structure("loop", "a map with `glob`, `lines` or `values`")
SIGNAL: Final = FieldType(
    "signal",
    values.signal_name,
    "a signal",
    lambda value: isinstance(value, str) and values.signal_name(value) == value,
)
POLICY: Final = FieldType(
    "policy", COUNT.parse, "a number or a map", lambda value: isinstance(value, RetryPolicy), True
)
DEMAND: Final = FieldType("wants", values.pool_demand, "pools", _are_demands)
TAGS: Final = FieldType("tags", values.tags, "a list of strings", _each(is_text))
EXIT_CODES: Final = FieldType(
    "exits", values.exit_codes, "a list of exit codes", _each(lambda code: is_whole(code, 0, 255))
)
TRUTH: Final = FieldType("truth", values.boolean, "true or false", _is_truth, True)
SHELL: Final = optional(FieldType("shell", values.shell, "a string or a list of strings", _is_shell))
WORKERS: Final = FieldType("workers", values.workers, "a number of workers")
RATE: Final = FieldType("rate", values.rate, "a rate")
LOAD: Final = FieldType("load", values.load, "a number or a percentage")
SIZE: Final = FieldType("size", values.size, "a size")
HALT: Final = FieldType("halt", values.halt, "a policy")
DEFAULTS: Final = structure("defaults", "a map")
POOLS: Final = structure("pools", "a map of pools")
HOOKS: Final = structure("hooks", "a map")
JOBS: Final = structure("jobs", "a list of jobs")
