# SPDX-License-Identifier: LGPL-3.0-or-later
"""The bytes of a job file: read within a limit, checked to be text, and cut into lines to show."""

from __future__ import annotations

import re
from array import array
from functools import cached_property
from typing import Any, Final

from pqrun.input.jobfile.problems import Problem, Problems
from pqrun.input.sources import read_all

MAX_FILE_BYTES: Final = 64 * 1024 * 1024
_CONTROLS: Final = bytes(set(range(32)) - set(b"\t\n\r")) + b"\x7f"
_REFUSED: Final = r"[^\t\n\r\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
_BREAK = re.compile(rb"\r\n?|\n")
_CUT = re.compile(rb"[^ \t\r\n][ \t]+#[^ \t\r\n]")
_PAIR = re.compile(rb"\\u[dD]([89abAB][0-9a-fA-F]{2})\\u[dD]([c-fC-F][0-9a-fA-F]{2})")
_STRING = re.compile(rb'"(?:[^"\\]|\\.)*+"', re.DOTALL)


class SourceText:
    """The bytes of one file, without a byte-order mark; `rank` is its place among the files given.

    `is_there` says whether the file could be opened.
    """

    def __init__(self, name: str, data: bytes, rank: int = 0, *, is_there: bool = True) -> None:
        self.name = name
        self.rank = rank
        self.is_there = is_there
        self.data = data.removeprefix(b"\xef\xbb\xbf")
        self._begins: array[int] | None = None  # the offsets of the lines, once they are needed

    def line(self, number: int) -> str:
        """Return the text of a line, counted from 1; empty if there is no such line."""
        if self._begins is None:
            self._begins = array("Q", [0])
            self._begins.extend(found.end() for found in _BREAK.finditer(self.data))
        if not 0 < number <= len(self._begins):
            return ""
        end = self._begins[number] if number < len(self._begins) else len(self.data)
        return self.data[self._begins[number - 1] : end].decode("utf-8", "replace").rstrip("\r\n")

    @cached_property
    def may_cut_texts(self) -> bool:
        """Whether the file may hold a text such as `echo a #b`, whose end YAML takes for a comment."""
        return b" #" in self.data and bool(_CUT.search(self.data))

    @property
    def is_json(self) -> bool:
        """Whether the file may be JSON, because it begins with `{`."""
        return self.data[:1000].lstrip()[:1] == b"{"

    def is_sound(self, problems: Problems) -> bool:
        """Return whether the bytes are UTF-8 without control characters; if not, add the problem."""
        if len(self.data) > MAX_FILE_BYTES:
            hint = "use a list of commands (one per line), which may be of any size"
            problems.add(Problem(self.rank, 0, 0, f"larger than {MAX_FILE_BYTES // 1024 // 1024} MiB", hint))
            return False
        if self.data.isascii() and len(self.data.translate(None, _CONTROLS)) == len(self.data):
            return True
        try:
            text = self.data.decode()
        except UnicodeDecodeError as wrong:
            byte = self.data[wrong.start]
            self._refuse(
                problems, wrong.start, f"not UTF-8 text: the byte 0x{byte:02x}", "save the file as UTF-8"
            )
            return False
        found = re.search(_REFUSED, text)
        if found is None:
            return True
        code = ord(found.group())
        if code == 0:
            what, hint = "a NUL character", "remove it: a job file is a text file"
        else:
            what = f"the {'' if code >= 0x2000 else 'control '}character U+{code:04X}"
            hint = f'remove it, or write it in double quotes as `"\\u{code:04x}"`'
        self._refuse(problems, len(text[: found.start()].encode()), what, hint)
        return False

    def _refuse(self, problems: Problems, offset: int, message: str, hint: str) -> None:
        before = (self.data[:offset] + b".").splitlines()  # the dot makes a line just begun count too
        column = len(before[-1].decode("utf-8", "replace"))
        problems.add(Problem(self.rank, len(before), column, message, hint))

    def readable(self) -> bytes:
        """Return the bytes for libyaml, with JSON's surrogate pairs, which libyaml rejects, replaced."""
        if self.is_json and _PAIR.search(self.data):
            return _STRING.sub(lambda found: _PAIR.sub(_joined, found.group()), self.data)
        return self.data


def _joined(pair: re.Match[bytes]) -> bytes:
    before = pair.string[: pair.start()]
    if (len(before) - len(before.rstrip(b"\\"))) % 2:  # the pair's backslash is itself escaped
        return pair.group()
    high, low = (int(half, 16) for half in pair.groups())
    return b"\\U%08x" % (0x10000 + ((high & 0x3FF) << 10) + (low & 0x3FF))


def read(path: str) -> bytes:
    """Read a file, or stdin for `-`, but no more than is needed to see that it is too large."""
    if path == "-":
        return read_all(0, MAX_FILE_BYTES + 4)
    with open(path, "rb") as file:
        return file.read(MAX_FILE_BYTES + 4)


Mark = Any
"""libyaml's form of a place: a line and a column, counted from 0. None is the file as a whole."""


class Node:
    """A text, a list or a map, with its place, and with the key before it if it is a map's value.

    `plain` marks a string without quotes. `merged` holds the entries that `<<` brought into a map; the map's
    own entries override them. `mark` and `named` (the event of the key) stay libyaml's objects, because the
    place of most nodes is never needed.
    """

    __slots__ = ("mark", "merged", "named", "plain", "value")

    def __init__(self, value: str | list[Node] | dict[str, Node], plain: bool, mark: Mark) -> None:
        self.value = value
        self.plain = plain
        self.mark = mark
        self.named: Any = None
        self.merged: dict[str, Node] | None = None

    @property
    def line(self) -> int:
        """The line, counted from 1; 0 for the file as a whole."""
        return int(self.mark.line) + 1 if self.mark else 0

    @property
    def column(self) -> int:
        """The column, counted from 1; 0 for the file as a whole."""
        return int(self.mark.column) + 1 if self.mark else 0

    @property
    def key(self) -> Node | None:
        """The key before the colon, if the node is the value of an entry."""
        named = self.named
        return None if named is None else Node(named.value, not named.style, named.start_mark)

    @property
    def place_of_key(self) -> Node:
        """The node's key, or the node itself if it has no key."""
        return self.key or self

    @property
    def what(self) -> str:
        """The kind of the node, for a message."""
        return {str: "a string", list: "a list"}.get(type(self.value), "a map")
