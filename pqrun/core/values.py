# SPDX-License-Identifier: LGPL-3.0-or-later
"""Parsers of text: durations, sizes, signals, lists of exit codes. Independent of file formats and options.

Every function takes the text as its author wrote it, and raises `InvalidValue`, which says what is
wrong and what would be accepted.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any, Final, TypeGuard

from pqrun.core.job import HaltRule, Priority, Shard, StartRate
from pqrun.core.text import is_printable, quoted

if TYPE_CHECKING:
    import re

MAX_SECONDS: Final = 100 * 365.25 * 86400
"""Seconds. A longer duration is a typing error, and would overflow timers."""

MAX_RETRIES: Final = 1_000_000
MAX_SLOTS: Final = 1_000_000
BACKOFFS: Final = ("exponential", "linear", "constant")
CODE_WORDS: Final = ("timeout", "signal", "any")
NULL_WORDS: Final = frozenset({"", "~", "null", "Null", "NULL"})
"""The words that mean "no value" in YAML if they stand without quotes."""

_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_NUMBER = r"\d+\.?\d*|\.\d+"
_DURATION = rf"(?:(?:{_NUMBER})(?:ms|[smhd]))+"
_PART = r"([\d.]+)(ms|[smhd])"
_SIZE = rf"({_NUMBER}) ?([kKMGT]?)(iB|B)?"
_POWERS = {"": 0, "k": 1, "K": 1, "M": 2, "G": 3, "T": 4}


class InvalidValue(ValueError):
    """A value that can't be accepted. `what`: what is wrong; `hint`: what to write instead, or empty."""

    def __init__(self, what: str, cure: str = "") -> None:
        super().__init__(f"{what} ({cure})" if cure else what)
        self.what = what
        self.hint = cure


@cache
def _pattern(text: str) -> re.Pattern[str]:
    """Return the compiled pattern. Most runs need none, and `re` takes 4 ms to load."""
    import re

    return re.compile(text, re.ASCII)


def duration(text: str) -> float:
    """Parse a duration. Return seconds."""
    if len(text) <= 64 and _pattern(_NUMBER).fullmatch(text):
        seconds = float(text)
    elif len(text) <= 64 and _pattern(_DURATION).fullmatch(text):
        seconds = sum(float(number) * _UNITS[unit] for number, unit in _pattern(_PART).findall(text))
    elif text.endswith("%"):
        raise InvalidValue(
            f"not a duration: {quoted(text)}", "a percentage of the median time is --median-timeout"
        )
    elif text[:1] == "-" and text[1:2].isdigit():
        raise InvalidValue(f"a negative duration: {quoted(text)}", "write 0 or more")
    else:
        raise InvalidValue(
            f"not a duration: {quoted(text)}", "write seconds, or a value such as 250ms, 90s, 10m, 1h30m"
        )
    if seconds > MAX_SECONDS:
        raise InvalidValue(f"too long a duration: {quoted(text)}", "at most a hundred years")
    return seconds


def size(text: str) -> int:
    """Parse a size. Return bytes; `K` and `KiB` count in units of 1024, `KB` in units of 1000."""
    found = _pattern(_SIZE).fullmatch(text) if len(text) <= 64 else None
    if not found or (found[3] == "iB" and not found[2]):
        raise InvalidValue(f"not a size: {quoted(text)}", "write bytes, or a value such as 64K, 10M, 1GiB")
    number, letter, rest = found.groups()
    amount = float(number) * (1000 if letter and rest == "B" else 1024) ** _POWERS[letter]
    if amount >= 2**63:
        raise InvalidValue(f"too large a size: {quoted(text)}", "at most 8388607T")
    return int(amount)


def priority(text: str) -> Priority:
    """Parse the name of a priority."""
    for level in Priority:
        if level.name.lower() == text:
            return level
    raise InvalidValue(f"not a priority: {quoted(text)}", "write critical, high, normal or low")


def signal_name(text: str) -> str:
    """Parse a signal. `TERM`, `SIGTERM`, `term` and `15` all return `SIGTERM`."""
    from signal import Signals

    try:
        if text.isascii() and text.isdigit():
            return Signals(int(text[:9])).name
        upper = text.upper()
        return Signals[upper if upper.startswith("SIG") else "SIG" + upper].name
    except (KeyError, ValueError):
        raise InvalidValue(f"not a signal: {quoted(text)}", "write a name such as TERM, INT, USR1") from None


def exit_code(text: str) -> int:
    """Parse an exit code from 0 to 255."""
    if text.isascii() and text.isdigit() and len(text) <= 9 and int(text) <= 255:
        return int(text)
    raise InvalidValue(f"not an exit code: {quoted(text)}", "write a number from 0 to 255")


def code(text: str) -> int | str:
    """Parse an exit code, a signal such as `SIGKILL`, or one of the words `timeout`, `signal`, `any`."""
    if text in CODE_WORDS:
        return text
    if text[:1].isdigit() or text[:1] == "-":
        return exit_code(text)
    try:
        return signal_name(text)
    except ValueError:
        accepted = "an exit code, a signal name, or one of timeout, signal, any"
        raise InvalidValue(f"not an exit code: {quoted(text)}", accepted) from None


def code_list(given: str | Iterable[str]) -> frozenset[int | str]:
    """Parse a list such as `5,6,TERM,timeout`, or an iterable of its words."""
    return frozenset(code(word) for word in (words(given) if isinstance(given, str) else given))


def exit_codes(given: str | Iterable[str]) -> tuple[int, ...]:
    """Parse a list of exit codes. Return them in ascending order."""
    return tuple(sorted({exit_code(word) for word in (words(given) if isinstance(given, str) else given)}))


def words(text: str) -> list[str]:
    """Split a list at commas, and strip each word. An empty word is an error."""
    found = [word.strip() for word in text.split(",")]
    if "" in found:
        raise InvalidValue(f"an empty word in the list {quoted(text)}", "separate words by single commas")
    return found


def variable(name: str) -> str:
    """Check the name of an environment variable."""
    if not name:
        raise InvalidValue("a variable without a name", "write `NAME: value`")
    if "=" in name:
        raise InvalidValue(f"a variable's name with `=` in it: {quoted(name)}", "write `NAME: value`")
    if "\0" in name:
        raise InvalidValue("a NUL character in a variable's name", "remove it")
    return name


def env_pair(text: str) -> tuple[str, str]:
    """Parse `NAME=VALUE`."""
    name, equals, value = text.partition("=")
    if not equals:
        raise InvalidValue(f"not a variable: {quoted(text)}", "write NAME=VALUE")
    if not name:
        raise InvalidValue(f"a variable without a name: {quoted(text)}", "write NAME=VALUE")
    if "\0" in value:
        raise InvalidValue("a NUL character in a variable's value", "remove it")
    return variable(name), value


def env_pairs(texts: Iterable[str]) -> dict[str, str]:
    """Parse each `NAME=VALUE`."""
    return dict(map(env_pair, texts))


def shell(text: str) -> tuple[str, ...]:
    """Parse a shell and its options, quoted as for a shell."""
    import shlex

    try:
        words = tuple(shlex.split(text))
    except ValueError:
        raise InvalidValue(f"a quote that is not closed: {quoted(text)}", "close it") from None
    if not words or not words[0]:
        raise InvalidValue("a shell without a program", "write `bash -eu -c`")
    return words


def job_id(text: str) -> str:
    """Check the id of a job: 1 to 200 printable characters."""
    if not text:
        raise InvalidValue("an empty id", "write 1 to 200 printable characters")
    if len(text) > 200:
        raise InvalidValue(f"an id of {len(text)} characters: {quoted(text)}", "write at most 200")
    if not is_printable(text):
        raise InvalidValue(f"an id with a character that can't be printed: {quoted(text)}", "remove it")
    return text


def whole_number(text: str, least: int = 0, most: int | None = None) -> int:
    """Parse a whole number from `least` to `most`."""
    digits = text.removeprefix("-")
    if not (digits.isascii() and digits.isdigit()):
        raise InvalidValue(f"not a whole number: {quoted(text)}", span(least, most))
    number = int(text) if len(text) <= 20 else least - 1
    if number < least or (most is not None and number > most):
        raise InvalidValue(f"out of range: {quoted(text)}", span(least, most))
    return number


def number(text: str, least: float, most: float) -> float:
    """Parse a number from `least` to `most`, with or without decimals; never NaN or infinite."""
    if len(text) > 64 or not _pattern(_NUMBER).fullmatch(text.removeprefix("-")):
        raise InvalidValue(f"not a number: {quoted(text)}", span(least, most))
    found = float(text)
    if not least <= found <= most:
        raise InvalidValue(f"out of range: {quoted(text)}", span(least, most))
    return found


def boolean(text: str) -> bool:
    """Parse `true` or `false`."""
    if text in ("true", "false"):
        return text == "true"
    likely = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}
    meant = likely.get(text.lower(), text.lower() if text.lower() in likely.values() else "true or false")
    raise InvalidValue(f"not true or false: {quoted(text)}", f"write {meant}")


def one_of(text: str, *accepted: str) -> str:
    """Return the text if it is one of the accepted words."""
    if text in accepted:
        return text
    raise InvalidValue(f"unknown value: {quoted(text)}", f"write {' or '.join(accepted)}")


def span(least: float, most: float | None) -> str:
    """Return the hint that names the accepted range."""
    limits = f"at least {least:,}" if most is None else f"from {least:,} to {most:,}"
    return f"write a number {limits}"


def count(text: str) -> int:
    """Parse a number of slots, or of units of a pool."""
    return whole_number(text, 1, MAX_SLOTS)


def path(text: str) -> str:
    """Check the name of a file, without a look at the disk."""
    if not text:
        raise InvalidValue("an empty path", "leave the key out instead")
    if "\0" in text:
        raise InvalidValue("a NUL character in a path", "remove it")
    return text


def directory(text: str) -> str:
    """Check the name of a directory that an option gives."""
    if not text:
        raise InvalidValue("no name of a directory", "write `.` for the current one")
    return text


def tag(text: str) -> str:
    """Check a tag."""
    if not text or not is_printable(text) or "," in text:
        raise InvalidValue(f"not a tag: {quoted(text)}", "write printable text without commas")
    return text


def tags(text: str) -> tuple[str, ...]:
    """Parse a list of tags. Return each tag once."""
    return tuple(dict.fromkeys(map(tag, words(text))))


def pool_name(text: str) -> str:
    """Check the name of a pool. It must be able to end the name of the variable `PQRUN_POOL_<NAME>`."""
    if not (text.isascii() and text.replace("-", "_").isidentifier()):
        raise InvalidValue(f"not a pool's name: {quoted(text)}", "write letters, digits, `_` and `-`")
    return text


def pool_demand(text: str) -> tuple[tuple[str, int], ...]:
    """Parse the pools that a job needs: `net`, `net:2` or `net:2,gpu`."""
    found: dict[str, int] = {}
    for word in words(text):
        name, colon, amount = word.replace("=", ":", 1).partition(":")
        if name in found:
            raise InvalidValue(f"the pool {quoted(name)} twice", "name the pool once: `net:2`")
        found[pool_name(name)] = count(amount) if colon else 1
    return tuple(found.items())


def workers(text: str) -> str:
    """Check a number of workers: `4`, `50%`, `+1`, `-1` or `auto`. Return the text itself."""
    sign = text[:1] if text[:1] in ("+", "-") else ""
    digits = text.removeprefix(sign) if sign else text.removesuffix("%")
    if text != "auto" and not (digits.isascii() and digits.isdigit() and len(digits) <= 6):
        raise InvalidValue(f"not a number of workers: {quoted(text)}", "write 4, 50%, +1, -1 or auto")
    if not sign and digits.strip("0") == "":
        raise InvalidValue(f"out of range: {quoted(text)}", "write at least 1")
    return text


def rate(text: str) -> StartRate:
    """Parse a rate of starts: `50/1m`, `50/m`, or `50` for 50 per second."""
    number, slash, span = text.partition("/")
    found = StartRate(whole_number(number, 1, MAX_SLOTS), _span(span) if slash else 1.0)
    if not found.seconds:
        raise InvalidValue(f"a period of zero: {quoted(text)}", "write a value such as 50/1m")
    return found


def _span(text: str) -> float:
    return duration(f"1{text}" if text[:1].isalpha() else text)


def percentage(text: str) -> float:
    """Parse `200%`."""
    if not text.endswith("%"):
        raise InvalidValue(f"not a percentage: {quoted(text)}", "write a value such as 200%")
    return number(text.removesuffix("%"), 1, 1_000_000)


def load(text: str) -> str:
    """Check a limit of load: `8`, `1.5`, or `80%` of the CPUs. Return the text itself."""
    number(text.removesuffix("%"), 0, 1_000_000)
    return text


def halt(text: str) -> HaltRule:
    """Parse a halt rule, `now|soon,fail|success|done=N|N%`, the same as that of GNU parallel."""
    when, comma, rest = text.partition(",")
    what, equals, number = rest.partition("=")
    percent = number.endswith("%")
    if when not in ("now", "soon") or what not in ("fail", "success", "done") or not comma or not equals:
        raise InvalidValue(
            f"unknown value: {quoted(text)}",
            "write now or soon, then fail, success or done, as in now,fail=1 or soon,done=10%",
        )
    most = 100 if percent else 10**9
    return HaltRule(when, what, whole_number(number.removesuffix("%"), 1, most), percent)


def place(text: str) -> str:
    """Check the value of `--on`: this machine, or the address of a cluster."""
    if text == "local":
        return text
    from urllib.parse import urlsplit

    try:
        parts = urlsplit(text)
        whole = parts.scheme in ("dask", "tls") and parts.hostname and parts.port
    except ValueError:
        whole = None
    if not whole or parts.path.strip("/") or parts.query or parts.username:
        raise ValueError(f"jobs can't run at `{text}` (accepted: local, dask://HOST:PORT, tls://HOST:PORT)")
    return text


def listen_address(text: str) -> tuple[str, int]:
    """Parse `HOST:PORT` or `[HOST]:PORT`, or a port alone, of this machine only. Port 0 is a free port."""
    host, colon, port = text.rpartition(":")
    name = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    if (colon and not name) or (":" in host and name == host) or not is_printable(text):
        raise InvalidValue(
            f"not an address: {quoted(text)}", "write HOST:PORT, as in 127.0.0.1:8765 or [::1]:8765"
        )
    return name or "127.0.0.1", whole_number(port, 0, 65535)


def shard(text: str) -> Shard:
    """Parse a shard: `2/4` is the second of four parts."""
    index, slash, count_ = text.partition("/")
    if not slash:
        raise InvalidValue(f"not a shard: {quoted(text)}", "write a value such as 1/4")
    parts = whole_number(count_, 1, MAX_SLOTS)
    return Shard(whole_number(index, 1, parts), parts)


def is_whole(value: Any, least: int, most: int = 1 << 53) -> TypeGuard[int]:
    """Return whether a value is an integer from `least` to `most`; a boolean is not one."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def is_number(value: Any, least: float, most: float) -> bool:
    """Return whether a value is a number from `least` to `most`; a boolean, NaN and infinity are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def is_text(value: Any) -> bool:
    """Return whether a value is a string that can be passed to a process."""
    if not isinstance(value, str) or "\0" in value:
        return False
    if not value.isascii():
        try:
            value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:
            return False
    return True
