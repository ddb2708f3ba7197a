# SPDX-License-Identifier: LGPL-3.0-or-later
"""Many arguments a command: `-n`, `-N`, `-L`, `-s`, `-X`, `-m` and `--xargs`.

Loaded only if one of these options is given.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

from pqrun.core.errors import UserError
from pqrun.core.settings import Each
from pqrun.engine.machine_load import count_workers
from pqrun.input.each.arguments import Arguments
from pqrun.input.each.split_rules import Columns
from pqrun.input.each.template import Argument, CommandSize, Part, RepeatedWord, Template

MAX_COMMAND_BYTES: Final = 128 * 1024 - 1024
"""The longest command by default: Linux starts no program with a longer argument, and the shell gets the command
as one argument. The rest is for what pqrun puts before a command."""
_DELIMITERS = re.compile(r"([\s;&|()<>]+)")
_NO_WORD_AFTER: Final = (")", "<", ">")
_QUOTES = re.compile(r"[\"'\\\\$`]")


class PackRules(NamedTuple):
    """How many arguments a command gets.

    At most `limit` rows, and as many as fit into `size` bytes. `spread`: the number of workers over which the last
    rows are spread; 1 for none.
    `joins`: an argument that ends in a blank is continued by the next one.
    """

    limit: int | None = None
    size: int = MAX_COMMAND_BYTES
    spread: int = 1
    joins: bool = False


def pack_rules(each: Each) -> PackRules:
    """Return the rules of these options."""
    count = each.max_args if each.max_lines is None else each.max_lines
    fills = each.multiple in ("m", "X")
    return PackRules(
        count,
        min(each.max_chars or MAX_COMMAND_BYTES, MAX_COMMAND_BYTES),
        count_workers(each.workers) if fills else 1,
        each.max_lines is not None,
    )


class Packer:
    """Collects arguments into commands: `add` each, then take the `rest`."""

    def __init__(self, rules: PackRules, size: CommandSize) -> None:
        self._rules = rules
        self._size = size
        self._held: list[Columns] = []
        self._length = size.fixed
        self._joined = ""

    def add(self, row: Columns) -> list[Columns]:
        """Take a row of arguments in; return the arguments of the commands that are complete."""
        if self._rules.limit == 0:
            return [()]
        if self._rules.joins:
            if row[-1][-1:] in (" ", "\t"):
                self._joined += " ".join(row)
                return []
            row, self._joined = (self._joined + row[0], *row[1:]), ""
        found: list[Columns] = []
        length = sum(map(self._size.of, row))
        if self._held and self._length + length > self._rules.size:
            found.append(self._take())
        if self._length + length > self._rules.size:
            size = self._length + length
            raise UserError(
                f"one argument makes a command of {size} bytes; the limit (-s) is {self._rules.size}"
            )
        self._held.append(row)
        self._length += length
        if len(self._held) == self._rules.limit:
            found.append(self._take())
        return found

    def rest(self) -> list[Columns]:
        """Return the arguments of the last commands."""
        if self._joined:
            self._held.append((self._joined.rstrip(" \t"),))
        rows, share = self._held, -(-len(self._held) // max(1, self._rules.spread)) or 1
        return [tuple(chain(*rows[place : place + share])) for place in range(0, len(rows), share)]

    def _take(self) -> Columns:
        values, self._held, self._length = tuple(chain(*self._held)), [], self._size.fixed
        return values


class PackedArguments(Arguments):
    """Producer of jobs, each with many arguments."""

    def __init__(self, pack: PackRules, template: Template, *words: Any, **options: Any) -> None:
        super().__init__(template, *words, **options)
        self._packer = Packer(pack, template.sizes())
        self._ready: deque[Columns] = deque()
        self._done = False

    def counter(self) -> None:
        """Return None: the number of commands depends on the lengths of their arguments."""

    def next_values(self) -> Columns | None:
        """Return the arguments of the next command, or None if more bytes are needed or no job is left."""
        while not self._ready:
            if self._done:
                return None
            values = super().next_values()
            if values is not None:
                self._ready += self._packer.add(values)
            elif not self.at_end:
                return None
            else:
                self._done = True
                self._ready += self._packer.rest()
        return self._ready.popleft()


def repeated_words(parts: Sequence[Part]) -> list[Part]:
    """Return the parts of a command in which each word with a placeholder for all values is repeated.

    Raises UserError for a word that means something else if it is repeated.
    """
    words: list[list[Part]] = [[]]
    for part in parts:
        if not isinstance(part, str):
            words[-1].append(part)
            continue
        for place, piece in enumerate(_DELIMITERS.split(part)):
            if place % 2:
                words += [[piece], []]
            elif piece:
                words[-1].append(piece)
    found: list[Part] = []
    for place, word in enumerate(words):
        before = words[place - 1] if place else [""]
        escaped = place > 1 and words[place - 2] != [] and str(words[place - 2][-1]).endswith("\\")
        if not _has_values(word):
            found += word
        elif escaped or str(before[0]).rstrip(" \t")[-1:] in _NO_WORD_AFTER or not _may_repeat(word):
            raise UserError(
                "a repeated word can't hold quotes, `$`, {#} or a redirection: use -m, or a variable at the beginning"
            )
        else:
            found.append(RepeatedWord(tuple(part for part in word if isinstance(part, str | Argument))))
    return found


def _has_values(word: Sequence[Part]) -> bool:
    return any(isinstance(part, Argument) and not part.number for part in word)


def _may_repeat(word: Sequence[Part]) -> bool:
    return all(
        isinstance(part, Argument) or (isinstance(part, str) and not _QUOTES.search(part)) for part in word
    )
