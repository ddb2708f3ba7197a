# SPDX-License-Identifier: LGPL-3.0-or-later
"""The parser that turns a list of commands, one per line, into JobSpecs.

The parser does no I/O: the caller feeds bytes and decides how far to read ahead. A command may contain any
bytes; bytes that are not UTF-8 become surrogate escapes, so that the command runs as it was written.
"""

from __future__ import annotations

from collections import deque
from functools import cache
from typing import TYPE_CHECKING, Any, Final

from pqrun.core.errors import UserError
from pqrun.core.job import Command, JobSpec
from pqrun.core.job_fields import COMMENT_FIELDS, put
from pqrun.core.text import quoted
from pqrun.input.defaults import SpecBuilder, Values, stamp

if TYPE_CHECKING:
    import re

_KEYS = {spelling: key for name, key in COMMENT_FIELDS.items() for spelling in (name, *key.also)}


@cache
def _comment() -> re.Pattern[str]:
    """Return the pattern of what may begin a comment, and of what only looks so to a shell."""
    import re

    return re.compile(r"\\.|'[^']*(?:'|$)|\"(?:[^\"\\]|\\.)*+(?:\"|$)|(?P<here>[ \t\n]#)", re.DOTALL)


@cache
def _ours() -> re.Pattern[str]:
    """Return the pattern of the beginning of a comment for pqrun."""
    import re

    return re.compile(r"[ \t\n]#[ \t]*pqrun:")


def split(command: str) -> tuple[str, str | None]:
    """Split a line into the command and the text of its `# pqrun:` comment (None if there is no comment).

    Quotes are read as a shell reads them, so all of `echo "a # pqrun: b"` is the command.
    """
    if "#" not in command:
        return command, None
    for found in _comment().finditer(command):
        if found["here"]:
            ours = _ours().search(command, found.start())
            if not ours or "\n" in command[ours.end() :].rstrip("\n"):
                break
            return command[: ours.start()].rstrip(), command[ours.end() :].strip()
    return command, None


def settings(text: str) -> dict[str, Any]:
    """Parse `key=value …` into a layer of settings, which includes `id`.

    Raises ValueError with a message for the user.
    """
    import shlex

    try:
        pairs = shlex.split(text)
    except ValueError:
        raise ValueError("a quote that is not closed after `# pqrun:`") from None
    layer: dict[str, Any] = {}
    seen: set[str] = set()
    for pair in pairs:
        name, equals, value = pair.partition("=")
        key = _KEYS.get(name)
        if not equals or key is None:
            raise ValueError(_unknown(name, bool(equals)))
        if key.name in seen:
            raise ValueError(f"`{key.flat_name}` is given twice after `# pqrun:`")
        seen.add(key.name)
        try:
            put(layer, key, key.type.parse(value))
        except ValueError as wrong:
            raise ValueError(f"`{name}`: {wrong}") from None
    return layer


def _unknown(name: str, assigned: bool) -> str:
    from difflib import get_close_matches

    if not assigned:
        return f"{quoted(name)} after `# pqrun:` is not key=value"
    close = get_close_matches(name, _KEYS, 1)
    meant = f" (did you mean `{close[0]}`?)" if close else f" (known: {', '.join(_KEYS)})"
    return f"unknown key {quoted(name)} after `# pqrun:`{meant}"


MAX_LINE_BYTES: Final = 16 * 1024 * 1024
_BOM: Final = b"\xef\xbb\xbf"


class LineTooLong(Exception):
    """Error for a record that is longer than `MAX_LINE_BYTES`."""


class RecordSplitter:
    """Splitter of bytes into records: `feed` bytes, then call `next` until it returns None.

    Call `end` after the last bytes.
    """

    def __init__(self, separator: bytes) -> None:
        self._separator = separator
        self._waiting: deque[bytes] = deque()
        self._chunk = b""
        self._at = 0
        self._parts: list[bytes] = []  # the beginning of a record whose end has not been fed yet
        self._length = 0  # bytes in `_parts`
        self._bom: bytes | None = b""  # bytes that may begin a byte-order mark; None once that is decided
        self._ended = False

    def feed(self, data: bytes) -> None:
        """Take in bytes that were read."""
        if self._bom is not None:
            data = self._bom + data
            if len(data) < len(_BOM) and _BOM.startswith(data):
                self._bom = data
                return
            self._bom = None
            data = data.removeprefix(_BOM)
        if data:
            self._waiting.append(data)

    def end(self) -> None:
        """Mark the end of the bytes. The last record needs no separator."""
        if self._bom:
            self._waiting.append(self._bom)
        self._bom = None
        self._ended = True

    @property
    def finished(self) -> bool:
        """Whether `next` has returned every record."""
        return self._ended and not (self._waiting or self._chunk or self._parts)

    def holds(self, byte: bytes) -> bool:
        """Return whether `byte` is in the newest piece of the unfinished record."""
        return bool(self._parts) and byte in self._parts[-1]

    def next(self) -> bytes | None:
        """Return the next record without its separator, or None if its end has not been fed yet.

        Returns None after the last record too. Raises LineTooLong.
        """
        while True:
            end = self._chunk.find(self._separator, self._at)
            if end >= 0:
                record = self._chunk[self._at : end]
                self._at = end + len(self._separator)
                return self._whole(record) if self._parts or len(record) > MAX_LINE_BYTES else record
            more = bool(self._waiting) or not self._ended
            # Keep the last bytes back: they may begin a separator that ends in the next chunk.
            cut = max(self._at, len(self._chunk) - len(self._separator) + 1) if more else len(self._chunk)
            if self._at < cut:
                self._parts.append(self._chunk[self._at : cut])
                self._length += cut - self._at
            self._chunk, self._at = self._chunk[cut:], 0
            if self._length > MAX_LINE_BYTES:
                raise LineTooLong
            if not self._waiting:
                return self._whole(b"") if self._ended and self._parts else None
            self._chunk += self._waiting.popleft()

    def _whole(self, rest: bytes) -> bytes:
        record = b"".join((*self._parts, rest))
        self._parts.clear()
        self._length = 0
        return self._measured(record)

    def _measured(self, record: bytes) -> bytes:
        if len(record) > MAX_LINE_BYTES:
            raise LineTooLong
        return record


COUNTED: Final = JobSpec("counted", Command(""))
MARK: Final = b"pqrun:"
_BLANKS: Final = b"# \t\r\v\f"
_NUL: Final = "a NUL character (if the commands are NUL-separated, use -0)"


class LineError(UserError):
    """Error in a line of a list; the jobs before it are valid.

    `text` is the command in question, `column` the column of its comment. `ends`: the lines below can't be
    read either. `others`: the line is wrong only beside other jobs, for example because of a duplicate id.
    """

    def __init__(
        self,
        file: str,
        line: int,
        message: str,
        *,
        text: str = "",
        column: int = 1,
        ends: bool = False,
        others: bool = False,
    ) -> None:
        super().__init__(f"{file}:{line}: {message}")
        self.line, self.message, self.text, self.column = line, message, text, column
        self.ends, self.others = ends, others


class CommandList:
    """Parser of a list: `feed` bytes, then `take` jobs until None; call `end` after the last bytes.

    `given` is the command line's layer of settings, `after` the number of jobs before the list. With `null`,
    commands are separated by NUL bytes. A job without an id gets its number as its name, and the jobs below
    can need it by that number.
    """

    def __init__(self, given: Values, *, null: bool = False, file: str = "stdin", after: int = 0) -> None:
        self.number = after
        self._after = after
        self._null = null
        self._specs = SpecBuilder(given)
        self._wrong: LineError | None = None
        self._ids: set[str] = set()  # the ids that jobs have of their own
        self._named: set[int] = set()  # the numbers of the jobs with such an id
        self._begun: list[bytes] = []  # the lines of a command that continues on the next line
        self._length = 0  # bytes in `_begun`
        self._whole_text = ""  # the text of a command with its comment
        self.begin(file)

    def begin(self, file: str) -> None:
        """Continue with another file. Call this after `end` and a `take` that returned None."""
        self._file = file
        self._records = RecordSplitter(b"\0" if self._null else b"\n")
        self._line = 0
        self._first = 0  # the first line of a command of several lines
        plain = self._specs.make("", {}, id="", named=False, file=file, line=0)
        self._command = stamp(plain.work, "run")
        self._plain = stamp(plain, "id", "work", "line")

    def feed(self, data: bytes) -> None:
        """Take in bytes that were read."""
        self._records.feed(data)

    def end(self) -> None:
        """Mark the end of the file's bytes."""
        self._records.end()

    def take(self) -> JobSpec | None:
        """Return the next job, or None if more bytes are needed or the list is at its end.

        Raises LineError at a line that can't become a job, and raises it again at every later call.
        """
        if self._wrong:
            raise self._wrong
        try:
            while (line := self._records.next()) is not None:
                self._line += 1
                if self._null:
                    command = line
                elif line[-1:] in b"\\\r" or line[:1] in _BLANKS or self._begun or b"\0" in line:
                    command = self._joined(line)
                else:  # most lines take this short path, because a list may hold a million of them
                    command = line
                if command:
                    return self._job(command)
        except LineTooLong:
            self._line += 0 if self._begun else 1
            raise self._error(f"a line over {MAX_LINE_BYTES // 1024 // 1024} MiB", ends=True) from None
        if not self._null and self._records.holds(b"\0"):
            self._first = self._line + 1
            raise self._error(_NUL, ends=True)
        command = self._whole() if self._records.finished else b""
        return self._job(command) if command else None

    def _joined(self, line: bytes) -> bytes:
        """Return the command that this line completes, joined as a shell joins lines; empty if none."""
        if b"\0" in line:
            self._first = self._line
            raise self._error(_NUL, ends=True)
        line = line[:-1] if line[-1:] == b"\r" else line
        if not self._begun and line.lstrip()[:1] in b"#":  # a comment, or an empty line
            return b""
        goes_on = (len(line) - len(line.rstrip(b"\\"))) % 2 and MARK not in line
        self._first = self._first or self._line
        self._begun.append(line[:-1] if goes_on else line)
        self._length += len(line)
        if self._length > MAX_LINE_BYTES:
            raise LineTooLong
        return b"" if goes_on else self._whole()

    def _whole(self) -> bytes:
        command = b"".join(self._begun)
        self._begun.clear()
        self._length = 0
        if command.lstrip()[:1] in b"#":
            self._first = 0
            return b""
        return command

    def _job(self, command: bytes) -> JobSpec:
        number = self.number + 1
        text = command.decode("utf-8", "surrogateescape")
        if MARK in command:
            run, comment = split(text)
            if comment is not None:
                self._whole_text = text
                return self._set(run, comment, number)
        if self._ids and str(number) in self._ids:
            message = f"this job's number is {number}, which is the id of an earlier job"
            raise self._error(message, others=True)
        self.number = number
        job: JobSpec = self._plain(str(number), self._command(text), self._first or self._line)
        self._first = 0
        return job

    def _set(self, run: str, comment: str, number: int) -> JobSpec:
        """Return the job of a line that ends in a `# pqrun:` comment."""
        try:
            own = settings(comment)
        except ValueError as wrong:
            raise self._error(str(wrong), comment) from None
        if not run.strip():
            raise self._error("no command before `# pqrun:`", comment)
        named = "id" in own
        id = own.pop("id", str(number))
        if id in self._ids:
            raise self._error(f"duplicate id {quoted(id)}", comment, others=True)
        if named and self._called_by_number(id, number):
            raise self._error(
                f"the id {quoted(id)} is the number of a job without an id", comment, others=True
            )
        for need in own.get("needs", ()):
            if need.job not in self._ids and not self._called_by_number(need.job, number):
                message = f"unknown need {quoted(need.job)} (a line can only need jobs above it)"
                raise self._error(message, comment, others=True)
        if named:
            self._ids.add(id)
            self._named.add(number)
        self.number = number
        line, self._first = self._first or self._line, 0
        return self._specs.make(run, own, id=id, named=named, file=self._file, line=line)

    def _called_by_number(self, id: str, before: int) -> bool:
        """Return whether `id` is the number of an earlier job that has no id of its own."""
        if not (id.isascii() and id.isdigit()) or len(id) > 18 or str(int(id)) != id:
            return False
        return self._after < int(id) < before and int(id) not in self._named

    def counter(self) -> JobCounter:
        """Return a parser that only counts the jobs."""
        return JobCounter({}, null=self._null, file=self._file)

    @property
    def ended_early(self) -> bool:
        """Whether parsing has stopped at a line that can't become a job."""
        return self._wrong is not None

    def pass_over(self) -> bool:
        """Skip a line with a wrong comment, to find the errors below it too.

        Returns False if the lines below can't be read.
        """
        if self._wrong is None or self._wrong.ends:
            return False
        self._wrong = None
        self._first = 0
        self.number += 1
        return True

    def _error(
        self, message: str, comment: str | None = None, *, ends: bool = False, others: bool = False
    ) -> LineError:
        line = self._first or self._line
        text, column = "", 1
        if comment is not None:
            text = self._whole_text
            if line == self._line:  # a command of several lines is reported at its first line, column 1
                column = text.rfind("#", 0, len(text.rstrip()) - len(comment)) + 1
        self._wrong = LineError(self._file, line, message, text=text, column=column, ends=ends, others=others)
        return self._wrong


class JobCounter(CommandList):
    """Parser of a list that finds the same jobs but gives `COUNTED` for each of them, in less than half the time."""

    def _job(self, command: bytes) -> JobSpec:
        self._first = 0
        return COUNTED
