# SPDX-License-Identifier: LGPL-3.0-or-later
"""The jobs of `pqrun each`: its words are split, its sources opened, and wrong combinations rejected.

From outside, call `open_arguments`.

  arguments      combines the sources' values into jobs
  template       replaces the placeholders of a command by quoted values
  shell_context  tells where in a shell command a quoted value is safe
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Final, NamedTuple

from pqrun.core.errors import UserError
from pqrun.core.settings import Each, InputSettings
from pqrun.input.command_list import RecordSplitter
from pqrun.input.each.arguments import (
    Arguments,
    Columns,
    SplitRules,
    called,
    next_of,
    opened,
    side_by_side,
    split_rules,
    values_of,
)
from pqrun.input.each.template import Template
from pqrun.input.sources import READ_CHUNK_BYTES, STDIN_NAMED_TWICE, OpenedFile, read_some, refuse_twice

_MARKS: Final = (":::", ":::+", "::::", "::::+")


class ArgumentSyntax(NamedTuple):
    """One source of arguments: literal `values`, or the lines of the file `path` (`-` is stdin).

    The values of a `linked` source are paired with those of the source before, one with one; otherwise every
    combination is made.

    """

    values: tuple[str, ...] = ()
    path: str | None = None
    linked: bool = False


def split_sources(words: Sequence[str], files: Sequence[str] = ()) -> tuple[str, list[ArgumentSyntax]]:
    """Split words into the command (maybe empty) and the sources: `files` first, then those in the words.

    Raises UserError for a mark without a file, or a link without a source before.
    """
    marks = [place for place, word in enumerate(words) if word in _MARKS]
    command = " ".join(words[: marks[0]] if marks else words)
    sources = [ArgumentSyntax(path=path) for path in files]
    for begin, end in zip(marks, [*marks[1:], len(words)], strict=False):
        mark, found = words[begin], tuple(words[begin + 1 : end])
        linked = mark.endswith("+")
        if linked and not sources:
            raise UserError(f"`{mark}` pairs its arguments with the ones before, but there are none")
        if mark.startswith("::::"):
            if not found:
                raise UserError(f"`{mark}` needs a file")
            sources += [ArgumentSyntax(path=path, linked=linked) for path in found]
        else:
            sources.append(ArgumentSyntax(found, linked=linked))
    return command, sources


class ArgumentSource(NamedTuple):
    """A source that was read to its end: its rows, and the names of its columns."""

    rows: list[Columns]
    names: Columns


def open_arguments(settings: InputSettings, each: Each) -> tuple[Arguments, list[OpenedFile]]:
    """Return the producer of the jobs, and the descriptor to feed it from if the first source is a file."""
    command, sources = split_sources(each.words, each.files)
    sources = sources or [ArgumentSyntax(path="-")]
    _check_stdin(sources, given=bool(each.words or each.files))
    written = split_rules(
        null=settings.null, delimiter=each.delimiter, colsep=each.colsep, header=each.header
    )
    first, rest = sources[0], sources[1:]
    fd, records = -1, RecordSplitter(written.separator)
    names: Columns = ()
    known: ArgumentSource | None = None
    if first.path is None:
        known = _read(first, written)
        names = known.names
    else:
        fd = opened(first.path)
        if written.header:
            names = _header(fd, records, written, called(first.path))
    others = [_read(source, written) for source in rest]
    names = sum((other.names for other in others), names)
    groups: list[list[list[Columns]]] = [[]]
    for source, other in zip(rest, others, strict=True):
        if source.linked:
            groups[-1].append(other.rows)
        else:
            groups.append([other.rows])
    arguments = Arguments(
        Template(command, names, settings.given.get("shell")) if command else None,
        written,
        settings.given,
        name=":::" if first.path is None else called(first.path),
        records=records,
        first=None if known is None else known.rows,
        beside=side_by_side(groups[0]) if groups[0] else None,
        others=[side_by_side(group) for group in groups[1:]],
    )
    arguments.files = [source.path for source in sources if source.path is not None]
    return arguments, [] if first.path is None else [OpenedFile(called(first.path), fd)]


def _check_stdin(sources: Sequence[ArgumentSyntax], *, given: bool) -> None:
    readers = sum(source.path == "-" for source in sources)
    if readers > 1:
        raise UserError(STDIN_NAMED_TWICE)
    refuse_twice([source.path for source in sources if source.path is not None])
    if readers and not given and _is_terminal():
        raise UserError("nothing to run: give a command, and arguments after ::: or on stdin")
    if readers and len(sources) == 1 and _is_terminal():
        raise UserError("no arguments: give them after :::, in a file (-a FILE), or on stdin")


def _read(source: ArgumentSyntax, written: SplitRules) -> ArgumentSource:
    values = list(source.values) if source.path is None else values_of(source.path, written)
    rows = [written.split(value) for value in values]
    if not written.header:
        return ArgumentSource(rows, ())
    return ArgumentSource(rows[1:], rows[0] if rows else ())


def _header(fd: int, records: RecordSplitter, written: SplitRules, name: str) -> Columns:
    """Return the names of the columns. No job can be built before they are read."""
    while (record := next_of(records, name, 1)) is None:
        try:
            data = read_some(fd, READ_CHUNK_BYTES)
        except OSError as error:
            raise UserError(f"cannot read {name}: {error.strerror}") from None
        if data:
            records.feed(data)
        elif records.finished:
            return ()
        else:
            records.end()
    return written.split(written.text(record, f"{name}:1"))


def _is_terminal() -> bool:
    try:
        return os.isatty(0)
    except OSError:
        return False
