# SPDX-License-Identifier: LGPL-3.0-or-later
"""Commands, one a line, to JobSpecs, as they come.

Reads nothing itself: whoever feeds it decides how far ahead to read. Commands may be any bytes:
what is not UTF-8 is kept by surrogates, so that it runs as it was written.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Any, Final

from pqrun.core.errors import UserError
from pqrun.core.job import JobSpec
from pqrun.core.job_fields import COMMENT_FIELDS, by_spelling
from pqrun.core.values import CONVERTERS, quoted
from pqrun.input.defaults import STORED, SpecBuilder, Values, nested, stamp

_KEYS = by_spelling(COMMENT_FIELDS)
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
            flat[into] = CONVERTERS[key.kind](value)
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


MAX_LINE_BYTES: Final = 16 * 1024 * 1024
_BOM: Final = b"\xef\xbb\xbf"


class LineTooLong(Exception):
    """The record that `next` would give is longer than LONGEST."""


class RecordSplitter:
    """`feed` bytes, then ask for the `next` record until there is none; `end` after the last bytes."""

    def __init__(self, separator: bytes) -> None:
        self._separator = separator
        self._waiting: deque[bytes] = deque()
        self._chunk = b""
        self._at = 0
        self._parts: list[bytes] = []  # the beginning of a record whose end has not come
        self._length = 0  # of those
        self._bom: bytes | None = b""  # what may be the beginning of one
        self._ended = False

    def feed(self, data: bytes) -> None:
        """Takes in what was read."""
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
        """Says that nothing more will be fed: a last record needs no separator."""
        if self._bom:
            self._waiting.append(self._bom)
        self._bom = None
        self._ended = True

    @property
    def finished(self) -> bool:
        """Whether every record has been given."""
        return self._ended and not (self._waiting or self._chunk or self._parts)

    def holds(self, byte: bytes) -> bool:
        """Whether it is in the newest piece of a record whose end has not come."""
        return bool(self._parts) and byte in self._parts[-1]

    def next(self) -> bytes | None:
        """The next record without its separator; `None` if its end has not come."""
        while True:
            end = self._chunk.find(self._separator, self._at)
            if end >= 0:
                record = self._chunk[self._at : end]
                self._at = end + len(self._separator)
                return self._whole(record) if self._parts else self._measured(record)
            more = bool(self._waiting) or not self._ended
            # The last bytes may be the beginning of a separator.
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


MARK: Final = b"pqrun:"
_BLANKS: Final = b"# \t\r\v\f"
_NUL: Final = "a NUL character (if the commands are NUL-separated, use -0)"


class LineError(UserError):
    """Where reading has to end; the jobs before it are good.

    `text` is the command in question, `column` that of its comment. It `ends` if the lines behind it can't
    be read at all; `others`: it is wrong only beside the other jobs.
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
    """`feed` bytes, then `take` jobs until `None`; `end` when there are no more bytes.

    `given` is the command line's layer of settings. A job without an id is called by its number,
    and can be needed by the jobs below it. `after` is how many jobs there are before the first.
    """

    def __init__(self, given: Values, *, null: bool = False, file: str = "stdin", after: int = 0) -> None:
        self.number = after
        self._after = after
        self._null = null
        self._specs = SpecBuilder(given)
        self._wrong: LineError | None = None
        self._ids: set[str] = set()  # of the jobs that have one
        self._named: set[int] = set()  # the numbers of those jobs
        self._begun: list[bytes] = []  # the lines of a command that goes on in the next
        self._length = 0  # of those
        self._whole_text = ""  # of a command with a comment
        self.begin(file)

    def begin(self, file: str) -> None:
        """Goes on with another file, after `end` and a `take` that gave None."""
        self._file = file
        self._records = RecordSplitter(b"\0" if self._null else b"\n")
        self._line = 0
        self._first = 0  # the line on which a command of several began
        plain = self._specs.make("", {}, id="", named=False, file=file, line=0)
        self._command = stamp(plain.work, "run")
        self._plain = stamp(plain, "id", "work", "line")

    def feed(self, data: bytes) -> None:
        """Takes in what was read."""
        self._records.feed(data)

    def end(self) -> None:
        """Says that nothing more will be fed."""
        self._records.end()

    def take(self) -> JobSpec | None:
        """The next job; `None` when more has to be fed, or after the last one.

        Raises LineError where reading has to end, and again when asked again.
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
                else:  # as most are, and a million of them add up
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
        """The command that ends with this line, as a shell would join it; empty if none does."""
        if b"\0" in line:
            self._first = self._line
            raise self._error(_NUL, ends=True)
        line = line[:-1] if line[-1:] == b"\r" else line
        if not self._begun and line.lstrip()[:1] in b"#":  # a comment, or nothing
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
            message = f"this job's number is {number}, and an earlier job has that as its id"
            raise self._error(message, others=True)
        self.number = number
        job: JobSpec = self._plain(str(number), self._command(text), self._first or self._line)
        self._first = 0
        return job

    def _set(self, run: str, comment: str, number: int) -> JobSpec:
        """The job of a line that ends in our comment."""
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
            raise self._error(f"the id {quoted(id)} is the number of a job without one", comment, others=True)
        for need in own.get("needs", ()):
            if need.job not in self._ids and not self._called_by_number(need.job, number):
                message = f"unknown need {quoted(need.job)} (a line can need the jobs above it)"
                raise self._error(message, comment, others=True)
        if named:
            self._ids.add(id)
            self._named.add(number)
        self.number = number
        line, self._first = self._first or self._line, 0
        return self._specs.make(run, own, id=id, named=named, file=self._file, line=line)

    def _called_by_number(self, id: str, before: int) -> bool:
        """Whether it is the number of a job before this one that has no id."""
        if not (id.isascii() and id.isdigit()) or len(id) > 18 or str(int(id)) != id:
            return False
        return self._after < int(id) < before and int(id) not in self._named

    @property
    def ended_early(self) -> bool:
        """Whether it stopped at a line behind which nothing can be read."""
        return self._wrong is not None

    def pass_over(self) -> bool:
        """Goes on behind a wrong comment, to find what else is wrong; False where nothing can be read."""
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
            if line == self._line:  # else it goes over several, of which the first is named
                column = text.rfind("#", 0, len(text.rstrip()) - len(comment)) + 1
        self._wrong = LineError(self._file, line, message, text=text, column=column, ends=ends, others=others)
        return self._wrong
