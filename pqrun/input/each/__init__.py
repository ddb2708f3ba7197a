# SPDX-License-Identifier: LGPL-3.0-or-later
"""The jobs of `pqrun each`: its words are split, its sources opened, and wrong combinations rejected.

From outside, call `open_arguments`.

  arguments      combines the sources' values into jobs
  block_files    keeps the blocks of a stream until their jobs are ok
  blocks         makes jobs of the blocks of an input (`--pipe`, `--pipe-part`)
  csv_rows       reads sources in CSV (`--csv`)
  dealing        deals the blocks of a stream out to jobs that stay (`--round-robin`)
  packing        puts many arguments into a command (`-n`, `-X` and others)
  pipe           cuts bytes into blocks of whole records
  replacements   more placeholders (`--plus`, `--rpl`, `-I`)
  split_rules    splits a source into values, and a value into columns
  shell_context  tells where in a shell command a quoted value is safe
  template       replaces the placeholders of a command by quoted values
  words          splits sources at blanks and quotes (`--words`)
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

from pqrun.core.errors import UserError
from pqrun.core.settings import Each, InputSettings
from pqrun.input.command_list import RecordSplitter
from pqrun.input.each.arguments import Arguments, SourceRows, linked, shuffled, side_by_side
from pqrun.input.each.split_rules import Columns, SplitRules, next_of, split_rules, values_of
from pqrun.input.each.template import USUAL_NOTATION, Notation, Template
from pqrun.input.sources import (
    READ_CHUNK_BYTES,
    STDIN_NAMED_TWICE,
    OpenedFile,
    open_source,
    read_some_of,
    refuse_twice,
    shown_name,
)


class ArgumentSyntax(NamedTuple):
    """One source of arguments: literal `values`, or the lines of the file `path` (`-` is stdin).

    The values of a `linked` source are paired with those of the source before, one with one; otherwise every
    combination is made.

    """

    values: tuple[str, ...] = ()
    path: str | None = None
    linked: bool = False


def split_sources(
    words: Sequence[str], files: Sequence[str] = (), *, arg_sep: str = ":::", arg_file_sep: str = "::::"
) -> tuple[str, list[ArgumentSyntax]]:
    """Split words into the command (maybe empty) and the sources: `files` first, then those in the words.

    Raises UserError for a mark without a file, or a link without a source before.
    """
    in_files = (arg_file_sep, f"{arg_file_sep}+")
    known = (arg_sep, f"{arg_sep}+", *in_files)
    marks = [place for place, word in enumerate(words) if word in known]
    command = " ".join(words[: marks[0]] if marks else words)
    sources = [ArgumentSyntax(path=path) for path in files]
    for begin, end in zip(marks, [*marks[1:], len(words)], strict=False):
        mark, found = words[begin], tuple(words[begin + 1 : end])
        linked = mark.endswith("+")
        if linked and not sources:
            raise UserError(f"`{mark}` pairs its arguments with the ones before, but there are none")
        if mark in in_files:
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


class FirstSource(NamedTuple):
    """The first source: `known` to its end, or open as `fd`, of which `head` was read already."""

    name: str
    records: RecordSplitter
    names: Columns
    known: ArgumentSource | None
    fd: int = -1
    head: bytes = b""


def open_arguments(settings: InputSettings, each: Each) -> tuple[Arguments, list[OpenedFile]]:
    """Return the producer of the jobs, and the descriptor to feed it from if the first source is a file."""
    command, sources = split_sources(
        each.words, each.files, arg_sep=each.arg_sep, arg_file_sep=each.arg_file_sep
    )
    sources = sources or [ArgumentSyntax(path="-")]
    _check_stdin(sources, given=bool(each.words or each.files))
    rules = split_rules(settings.null, each)
    # xargs would split lines at blanks: the beginning of the source tells whether to warn of that.
    first = _open_first(sources[0], rules, each, looks_ahead=bool(each.max_args and command))
    others = [_read(source, rules) for source in sources[1:]]
    names = sum((other.names for other in others), first.names)
    arguments = _producer(settings, each, command, names)(
        rules,
        settings.given,
        name=first.name,
        records=first.records,
        rows=_combined(each, first.known, sources[1:], others),
    )
    arguments.files = [source.path for source in sources if source.path is not None]
    arguments.skips_blank = each.no_run_if_empty
    arguments.warnings = _blanks_warning(first.head, first.name, rules, arguments.template)
    if arguments.needs_total:
        if first.known is None:
            arguments.feed(first.head)
            _feed_all(arguments, first.fd, first.name)
        arguments.count_jobs()
        return arguments, []
    return arguments, [OpenedFile(first.name, first.fd, first.head)] if first.known is None else []


def _open_first(source: ArgumentSyntax, rules: SplitRules, each: Each, *, looks_ahead: bool) -> FirstSource:
    """Open the first source, and read as much of it as is needed now. `looks_ahead`: also some of its lines."""
    name = ":::" if source.path is None else shown_name(source.path)
    records = rules.records(name)
    if source.path is None or each.link or each.shuf or each.csv:
        known = _read(source, rules)
        return FirstSource(name, records, known.names, known)
    fd = open_source(source.path)
    names = _header(fd, records, rules, name) if rules.header else ()
    head = read_some_of(fd, READ_CHUNK_BYTES, name) if looks_ahead and not rules.words else b""
    return FirstSource(name, records, names, None, fd, head)


def notation_of_each(each: Each) -> Notation:
    """Return the placeholders that the options ask for."""
    if not (each.plus or each.replace is not None or each.rpl):
        return USUAL_NOTATION
    from pqrun.input.each.replacements import notation_of

    return notation_of(plus=each.plus, replace=each.replace, rules=each.rpl)


def _producer(settings: InputSettings, each: Each, command: str, names: Columns) -> Callable[..., Arguments]:
    """Return the class of the producer of jobs, with the templates that the options ask for."""
    notation, tag = notation_of_each(each), None
    if each.tagstring is not None:
        tag = Template(each.tagstring, names, notation=notation, bare=True)
    template = partial(Template, command, names, settings.given.get("shell"), notation=notation)
    if each.multiple is None and (each.max_args, each.max_lines, each.max_chars) == (None,) * 3:
        return partial(Arguments, template() if command else None, tag=tag, names=names)
    if not command:
        raise UserError("many arguments need a command that gets them, such as `pqrun each -X rm`")
    from pqrun.input.each.packing import PackedArguments, pack_rules, repeated_words

    rewrite = repeated_words if each.multiple in ("X", "N") else None
    return partial(PackedArguments, pack_rules(each), template(rewrite=rewrite), tag=tag, names=names)


def _combined(
    each: Each, known: ArgumentSource | None, rest: Sequence[ArgumentSyntax], others: Sequence[ArgumentSource]
) -> SourceRows:
    """Return how the rows of all sources make the rows of jobs."""
    first = None if known is None else known.rows
    if each.link and first is not None:
        return SourceRows(linked([first, *(other.rows for other in others)]))
    groups: list[list[list[Columns]]] = [[]]
    for source, other in zip(rest, others, strict=True):
        if source.linked:
            groups[-1].append(other.rows)
        else:
            groups.append([other.rows])
    beside = side_by_side(groups[0]) if groups[0] else None
    more = [side_by_side(group) for group in groups[1:]]
    if each.shuf and first is not None:
        rows = first if beside is None else side_by_side([first, beside])
        return SourceRows(shuffled([rows, *more]))
    return SourceRows(first, beside, more)


def _feed_all(arguments: Arguments, fd: int, name: str) -> None:
    """Feed the whole first source."""
    while data := read_some_of(fd, READ_CHUNK_BYTES, name):
        arguments.feed(data)
    arguments.end()


def _blanks_warning(head: bytes, name: str, rules: SplitRules, template: Template | None) -> tuple[str, ...]:
    """Return a warning if xargs would split the lines at the beginning of the source, but `each` does not."""
    if not rules.lines or template is None or not template.takes_one:
        return ()
    for number, line in enumerate(head.splitlines(), 1):
        if b" " in line.strip() or b"\t" in line.strip():
            return (
                f"pqrun: {name}:{number}: a line with blanks is one argument; --words splits lines as xargs does",
            )
    return ()


def _check_stdin(sources: Sequence[ArgumentSyntax], *, given: bool) -> None:
    readers = sum(source.path == "-" for source in sources)
    if readers > 1:
        raise UserError(STDIN_NAMED_TWICE)
    refuse_twice([source.path for source in sources if source.path is not None])
    if readers and not given and _is_terminal():
        raise UserError("nothing to run: give a command, and arguments after ::: or on stdin")
    if readers and len(sources) == 1 and _is_terminal():
        raise UserError("no arguments: give them after :::, in a file (-a FILE), or on stdin")


def _read(source: ArgumentSyntax, rules: SplitRules) -> ArgumentSource:
    if rules.csv:
        from pqrun.input.each.csv_rows import rows_of

        rows = rows_of(source.values, source.path, rules)
    else:
        values = source.values if source.path is None else values_of(source.path, rules)
        if rules.end in values:
            values = values[: values.index(str(rules.end))]
        rows = [rules.split(value) for value in values]
    if not rules.header:
        return ArgumentSource(rows, ())
    return ArgumentSource(rows[1:], rows[0] if rows else ())


def _header(fd: int, records: RecordSplitter, rules: SplitRules, name: str) -> Columns:
    """Return the names of the columns. No job can be built before they are read."""
    while (record := next_of(records, name, 1)) is None:
        if data := read_some_of(fd, READ_CHUNK_BYTES, name):
            records.feed(data)
        elif records.finished:
            return ()
        else:
            records.end()
    return rules.split(rules.text(record, f"{name}:1"))


def _is_terminal() -> bool:
    try:
        return os.isatty(0)
    except OSError:
        return False
