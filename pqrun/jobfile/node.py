# SPDX-License-Identifier: LGPL-3.0-or-later
"""A piece of a job file that knows its place."""

from __future__ import annotations

from typing import Any

Mark = Any
"""libyaml's place of something: a line and a column, counted from 0. None: the file as a whole."""


class Node:
    """A text, a list or a map (by name), where it stands, and the key before it if there is one.

    `plain`: a text without quotes. `merged`: what `<<` brought into a map, below its own entries.
    `mark` and `named` (the event of its key) are libyaml's: most are never asked for their place.
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
        """Counted from 1; 0 for the file as a whole."""
        return int(self.mark.line) + 1 if self.mark else 0

    @property
    def column(self) -> int:
        """Counted from 1."""
        return int(self.mark.column) + 1 if self.mark else 0

    @property
    def key(self) -> Node | None:
        """What stands before the colon, if it is an entry's value."""
        named = self.named
        return None if named is None else Node(named.value, not named.style, named.start_mark)

    @property
    def place_of_key(self) -> Node:
        """Its key, or where there is none, itself."""
        return self.key or self

    @property
    def what(self) -> str:
        """What it is, for a message."""
        return {str: "a text", list: "a list"}.get(type(self.value), "a map")
