# SPDX-License-Identifier: LGPL-3.0-or-later
"""Facts in few words, for people."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from typing import Final

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


def describe_exit(exit: Exit | None, asked: StopReason | None, timeout: float | None = None) -> str:
    """In two words, for people: `exit 3`, `SIGKILL`, `timeout 60s`."""
    match asked:
        case StopReason.TIMEOUT:
            return "timeout" if timeout is None else f"timeout {format_duration(timeout)}"
        case StopReason.IDLE:
            return "silent too long"
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


def format_duration(seconds: float) -> str:
    """As people write it: `0.4s`, `12.6s`, `3m04s`, `2h05m`."""
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
    """The machine of a place as executors name it; empty for a slot of this one."""
    return "" if where == "slot" or where.startswith("slot ") else where


_PLAIN = re.compile(r"[ -~]*")
_SEQUENCE = re.compile(
    r"(?P<colour>\x1b\[[0-9;:]{0,64}m)"
    r"|\x1b\[[0-?]{0,64}(?:[A-Za-z@`~]|[ !\"$'*][A-Za-z~])"  # cursor movements, modes, erasing
    r"|\x1b[\]PX^_][^\x07\x1b]{0,4096}(?:\x07|\x1b\\)"  # titles, links, other strings
    r"|\x1b[ -/]{1,4}[0-~]"  # character sets
    r"|\x1b[78=>NOM]"
)


def escape_controls(text: str, *, keep: str = "") -> str:
    """The text with what a terminal would obey (control, format, surrogate) written out.

    `keep` names characters that may stay as they are, such as a TAB.
    """
    if _PLAIN.fullmatch(text):
        return text
    shown = "".join(c if c in keep else _shown(c) for c in text)
    if unicodedata.category(shown[0])[0] == "M":  # it would sit on what stands before this text
        shown = _code(shown[0]) + shown[1:]
    return shown


def escape_line(text: str) -> str:
    """One line of a job's output for a terminal: colours survive, nothing else steers."""
    if "\x1b" not in text:
        return escape_controls(text, keep="\t")
    parts = []
    at = 0
    coloured = False
    for sequence in _SEQUENCE.finditer(text):
        parts.append(escape_controls(text[at : sequence.start()], keep="\t"))
        if colour := sequence["colour"]:
            parts.append(colour)
            coloured = True
        at = sequence.end()
    parts.append(escape_controls(text[at:], keep="\t"))
    return "".join(parts) + ("\x1b[0m" if coloured else "")


def last_line(data: bytes, limit: int = 300) -> str:
    """The last line that is not blank, without colours, safe."""
    for line in reversed(data[-8192:].replace(b"\r", b"\n").split(b"\n")):
        if line.strip() and (text := strip_ansi(line.decode("utf-8", "replace"))):
            return text[:limit]
    return ""


def strip_ansi(text: str) -> str:
    """Safe and without colours."""
    if _PLAIN.fullmatch(text):
        return text.strip()
    return escape_controls(_SEQUENCE.sub("", text).replace("\t", " ").strip())


def _shown(c: str) -> str:
    if unicodedata.category(c) not in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp"):
        return c
    return _code(c)


def _code(c: str) -> str:
    code = ord(c)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


MAX_LABEL_LENGTH = 60


def job_label(spec: JobSpec) -> str:
    """Its id, or its command if it has none of its own; on one line, safe."""
    name = spec.id if spec.named else format_command(spec.work)
    if len(name) > 4 * MAX_LABEL_LENGTH:
        name = name[: 4 * MAX_LABEL_LENGTH]
    return escape_controls(" ".join(name.split())) or "?"


def shorten(text: str, longest: int = MAX_LABEL_LENGTH) -> str:
    """Cut to so many characters."""
    return text if len(text) <= longest else text[: longest - 1] + "…"


def last_output(event: ev.AttemptEnded) -> str:
    """What tells best why it failed: its own message, ours, or the last line that it printed."""
    if event.said.message and event.said.message != event.said.moved:  # that is no reason
        return strip_ansi(event.said.message)
    if why := getattr(event.exit, "why", ""):
        return strip_ansi(str(why))
    if event.output is None:
        return ""
    try:
        return last_line(event.output.err.tail()) or last_line(event.output.out.tail())
    except OSError:
        return ""  # its file is gone already


_FORMAT: Final = frozenset(
    # Joiners, breaks of words and direction marks, without which some languages can't be written; but not
    # what turns the order of other text around (U+202A to U+202E, U+2066 to U+2069), nor hidden tags.
    "\u00ad\u061c\u180e\u200b\u200c\u200d\u200e\u200f\u2060"
    "\u0600\u0601\u0602\u0603\u0604\u0605\u06dd\u070f\u0890\u0891\u08e2\U000110bd\U000110cd"
)
_LONE: Final = re.compile("[\ud800-\udfff]")


def is_printable(text: str) -> bool:
    """Whether it is text on one line, of any language: no control characters, no broken Unicode."""
    return text.isprintable() or all(map(_is_printable, text))


def _is_printable(character: str) -> bool:
    if character.isprintable() or character in _FORMAT:
        return True
    category = unicodedata.category(character)
    if category == "Cn":  # newer than this Python, unless it never will be a character
        code = ord(character)
        return code & 0xFFFE != 0xFFFE and not 0xFDD0 <= code <= 0xFDEF
    return category == "Zs"


def escape_unprintable(text: str) -> str:
    """The text with what can't be in an id written as an escape."""
    if text.isprintable():
        return text
    return "".join(c if _is_printable(c) else c.encode("unicode_escape").decode() for c in text)


def replace_surrogates(text: str) -> str:
    """The text as any reader of Unicode takes it: U+FFFD for each byte that was no text."""
    return text if text.isascii() else _LONE.sub("\ufffd", text)


def has_no_surrogates(text: str) -> bool:
    """Whether nothing has to be replaced for that."""
    return text.isascii() or not _LONE.search(text)


def original_bytes(text: str) -> bytes:
    """The bytes that the text was made of."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a pair that stands for no byte
        return text.encode("utf-8", "surrogatepass")


def quoted_word(text: str) -> str:
    """One word for a shell. What can't be printed, bytes that are no text among it, stands in `$'…'`."""
    if text.isprintable():
        import shlex

        return shlex.quote(text)
    return "$'" + "".join(map(_in_dollar_quotes, text)) + "'"


def _in_dollar_quotes(character: str) -> str:
    if character in "'\\":
        return "\\" + character
    # Three octal digits: after `\x` some shells take all hexadecimal digits that follow.
    return (
        character
        if character.isprintable()
        else "".join(f"\\{byte:03o}" for byte in original_bytes(character))
    )


def command_words(verb: str, *arguments: str, options: str = "") -> list[str]:
    """`pqrun VERB ARGUMENTS OPTIONS`; behind `--` if one of the arguments would be taken for an option."""
    if any(one.startswith("-") for one in arguments):
        return ["pqrun", verb, *options.split(), "--", *arguments]
    return ["pqrun", verb, *arguments, *options.split()]


def line_of(words: Iterable[str]) -> str:
    """The words as one command line."""
    return " ".join(map(quoted_word, words))


def command(verb: str, *arguments: str, options: str = "") -> str:
    """Such a command as it is typed."""
    return line_of(command_words(verb, *arguments, options=options))
