# SPDX-License-Identifier: LGPL-3.0-or-later
"""Texts for people: exits, durations, labels, safe output for terminals, command lines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from pqrun.core import events as ev
from pqrun.core.job import (
    Exit,
    ExitedWith,
    JobSpec,
    KilledBySignal,
    LostExit,
    NotStarted,
    StopReason,
    format_command,
)

if TYPE_CHECKING:
    import re


def describe_exit(exit: Exit | None, asked: StopReason | None, timeout: float | None = None) -> str:
    """Return how an attempt ended in about two words: `exit 3`, `SIGKILL`, `timeout 60s`."""
    match asked:
        case StopReason.TIMEOUT:
            return "timeout" if timeout is None else f"timeout {format_duration(timeout)}"
        case StopReason.IDLE:
            return "no output for too long"
        case StopReason.CANCELLED | StopReason.INTERRUPTED:
            return str(asked)
    match exit:
        case ExitedWith(code):
            return f"exit {code}"
        case KilledBySignal(name):
            return name
        case NotStarted(code):
            return f"exit {code}"
        case LostExit():
            return "lost"
    return ""


def describe_stop(cause: str) -> str:
    """Return what stopped a run as people call it. `cause` is that of the event."""
    match cause:
        case "signal SIGINT":
            return "Ctrl-C (SIGINT)"
        case "stop":
            return "`pqrun stop`"
        case "halt" | "deadline":
            return f"--{cause}"
    return cause.removeprefix("signal ").removeprefix("key ")


def count_of(number: int, noun: str) -> str:
    """Return a number with its noun: `1 job`, `2 jobs`."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def try_of(attempt: int, spec: JobSpec) -> str:
    """Return an attempt and the number of attempts that the job may have: `try 2/3`."""
    return f"try {attempt}/{max(attempt, spec.retry.max + 1)}"


def format_duration(seconds: float) -> str:
    """Return seconds as people write them: `<1ms`, `400ms`, `12.6s`, `3m04s`, `2h05m`."""
    if seconds < 0.0005:
        return "<1ms"
    if seconds < 0.9995:
        return f"{seconds * 1000:.0f}ms"
    if seconds < 59.95:
        return f"{seconds:.1f}".removesuffix(".0") + "s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    if whole < 86400:
        return f"{whole // 3600}h{whole % 3600 // 60:02d}m"
    return f"{whole // 86400}d{whole % 86400 // 3600:02d}h"


def host_name(where: str) -> str:
    """Return the host in the place that an executor reports; empty for a slot of this machine."""
    return "" if where == "slot" or where.startswith("slot ") else where


@cache
def _sequence() -> re.Pattern[str]:
    """Return the pattern of what a terminal takes for a command."""
    import re

    return re.compile(
        r"(?P<colour>\x1b\[[0-9;:]{0,64}m)"
        r"|\x1b\[[0-?]{0,64}(?:[A-Za-z@`~]|[ !\"$'*][A-Za-z~])"  # cursor movements, modes, erasing
        r"|\x1b[\]PX^_][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)"  # titles, links, other strings
        r"|\x1b[ -/]{1,4}[0-~]"  # character sets
        r"|\x1b[78=>NOM]"
    )


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


def escape_controls(text: str, *, keep: str = "") -> str:
    """Return the text with characters that could steer a terminal (control, format, surrogate) escaped.

    The characters in `keep`, such as a TAB, are left as they are.
    """
    if _is_plain(text):
        return text
    import unicodedata

    shown = "".join(c if c in keep else _shown(c) for c in text)
    if unicodedata.category(shown[0])[0] == "M":  # a combining mark would change the character before
        shown = _code(shown[0]) + shown[1:]
    return shown


def escape_line(text: str) -> str:
    """Return one line of a job's output for a terminal: colours are kept, other controls are escaped."""
    if "\x1b" not in text:
        return escape_controls(text, keep="\t")
    parts = []
    at = 0
    coloured = False
    for sequence in _sequence().finditer(text):
        parts.append(escape_controls(text[at : sequence.start()], keep="\t"))
        if colour := sequence["colour"]:
            parts.append(colour)
            coloured = True
        at = sequence.end()
    parts.append(escape_controls(text[at:], keep="\t"))
    return "".join(parts) + ("\x1b[0m" if coloured and not text.endswith(("\x1b[0m", "\x1b[m")) else "")


def last_line(data: bytes, limit: int = 300) -> str:
    """Return the last line that is not blank, without colours, safe for a terminal."""
    for line in reversed(data[-8192:].replace(b"\r", b"\n").split(b"\n")):
        if line.strip() and (text := strip_ansi(line.decode("utf-8", "replace"))):
            return text[:limit]
    return ""


def strip_ansi(text: str) -> str:
    """Return the text without colours and escape sequences, safe for a terminal."""
    if _is_plain(text):
        return text.strip()
    return escape_controls(_sequence().sub("", text).replace("\t", " ").strip())


def plain_line(text: str) -> str:
    """Return one line as `strip_ansi` does, but with its indentation; tabs become blanks."""
    return escape_controls(_sequence().sub("", text).expandtabs().rstrip())


def _shown(c: str) -> str:
    import unicodedata

    if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
        return c
    return _code(c)


def _code(c: str) -> str:
    code = ord(c)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


MAX_LABEL_LENGTH = 60


def job_label(spec: JobSpec) -> str:
    """Return the job's id, or its command if it has no id of its own, on one line, safe for a terminal."""
    name = spec.id if spec.named else format_command(spec.work)
    if len(name) > 4 * MAX_LABEL_LENGTH:
        name = name[: 4 * MAX_LABEL_LENGTH]
    return escape_controls(" ".join(name.split())) or "?"


def place_of(spec: JobSpec) -> str:
    """Return the place and the name of a job, for the beginning of an error."""
    where = f"{spec.file}:{spec.line}: " if spec.file and spec.line else ""
    return f"{where}job `{spec.id}`" if spec.id else f"{where}a job"


def arguments_by_name(spec: JobSpec) -> dict[str, str]:
    """Return the arguments of a job by name.

    The key is the place ("1", "2", …) for an argument without a name, and for a name that could be taken for another
    key: a number, the name of an earlier argument, or no Unicode.
    """
    names = spec.arg_names
    found: dict[str, str] = {}
    for place, value in enumerate(spec.args, 1):
        name = names[place - 1] if place <= len(names) else ""
        is_number = name.isascii() and name.isdecimal()
        if not name or is_number or name in found or not has_no_surrogates(name):
            name = str(place)
        found[name] = value
    return found


def shorten(text: str, longest: int = MAX_LABEL_LENGTH) -> str:
    """Cut the text to at most `longest` characters."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def last_output(event: ev.AttemptEnded) -> str:
    """Return the best reason for a failure: the attempt's own message, pqrun's, or the last line printed."""
    if event.said.message and event.said.message != event.said.moved:  # a moved file is not the reason
        return strip_ansi(event.said.message)
    if why := getattr(event.exit, "why", ""):
        return strip_ansi(str(why))
    if event.output is None:
        return ""
    try:
        return last_line(event.output.err.tail()) or last_line(event.output.out.tail())
    except OSError:
        return ""  # the file with the output has been deleted


_FORMAT: Final = frozenset(
    # Joiners, word breaks and direction marks, without which some languages can't be written. Left out:
    # overrides of the direction (U+202A to U+202E, U+2066 to U+2069) and hidden tags, because with them
    # a text can look like another.
    "\u00ad\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u2060"
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)


@cache
def _lone() -> re.Pattern[str]:
    """Return the pattern of a surrogate."""
    import re

    return re.compile("[\ud800-\udfff]")


def is_printable(text: str) -> bool:
    """Return whether the text can be shown on one line: no control characters, no broken Unicode."""
    return text.isprintable() or all(map(_is_printable, text))


def _is_printable(character: str) -> bool:
    if character.isprintable() or character in _FORMAT:
        return True
    import unicodedata

    category = unicodedata.category(character)
    if category == "Cn":  # a character newer than this Python, unless the code is reserved for good
        code = ord(character)
        return code & 0xFFFE != 0xFFFE and not 0xFDD0 <= code <= 0xFDEF
    return category == "Zs"


def quoted(text: str, limit: int = MAX_LABEL_LENGTH) -> str:
    """Return the text between backquotes for a message: shortened, on one line, safe for a terminal."""
    return f"`{printable(shorten(text, limit))}`"


def printable(text: str) -> str:
    """Return the text with characters that can't be printed written as escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def escape_unprintable(text: str) -> str:
    """Return the text with characters that an id may not contain written as escapes."""
    if text.isprintable():
        return text
    return "".join(c if _is_printable(c) else c.encode("unicode_escape").decode() for c in text)


def replace_surrogates(text: str) -> str:
    """Return valid Unicode: each byte that was not text is replaced by U+FFFD."""
    return text if text.isascii() else _lone().sub("\ufffd", text)


def has_no_surrogates(text: str) -> bool:
    """Return whether the text is valid Unicode."""
    return text.isascii() or not _lone().search(text)


def original_bytes(text: str) -> bytes:
    """Return the bytes that the text was decoded from."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a lone surrogate that stands for no byte
        return text.encode("utf-8", "surrogatepass")


UNQUOTED: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_@%+=:,./-"
"""The characters that mean nothing to a shell, but for `=` at the beginning: zsh reads `=ls` as the path of `ls`."""


def quoted_word(text: str) -> str:
    """Return the text quoted as one word for a shell.

    Characters that can't be printed, and bytes that are not text, are written in `$'…'`.
    """
    if text and not text.strip(UNQUOTED) and text[0] != "=":
        return text
    if text.isprintable():
        return "'" + text.replace("'", "'\"'\"'") + "'"
    return "$'" + "".join(map(_in_dollar_quotes, text)) + "'"


def _in_dollar_quotes(character: str) -> str:
    if character in "'\\":
        return "\\" + character
    # Three octal digits, because after `\x` some shells read all hexadecimal digits that follow.
    return (
        character
        if character.isprintable()
        else "".join(f"\\{byte:03o}" for byte in original_bytes(character))
    )


def run_source(header: Mapping[str, Any]) -> str:
    """Return what a run was made from, by the first line of its journal: files, `queue`, `each ::: 3 arguments`."""
    if "serve" in header:
        return "queue"
    return (
        header.get("each")
        or " ".join(quoted_word(file) for file in header.get("files", ()) if file != "-")
        or "stdin"
    )


def command_words(verb: str, *arguments: str, options: str = "") -> list[str]:
    """Return `pqrun VERB ARGUMENTS OPTIONS` as words, with `--` if an argument starts with a dash."""
    if any(one.startswith("-") for one in arguments):
        return ["pqrun", verb, *options.split(), "--", *arguments]
    return ["pqrun", verb, *arguments, *options.split()]


def serve_command(address: str) -> str:
    """Return the command that starts a queue again. `address`: its name, or its directory."""
    return line_of(["pqrun", "serve", "--run-dir" if "/" in address else "--run", address])


EMPTY_NAME = "a file with an empty name"
"""The words for a file whose name is empty, in messages."""


def line_of(words: Iterable[str]) -> str:
    """Return the words as one command line."""
    return " ".join(map(quoted_word, words))


def command(verb: str, *arguments: str, options: str = "") -> str:
    """Return a command of pqrun as it is typed."""
    return line_of(command_words(verb, *arguments, options=options))
