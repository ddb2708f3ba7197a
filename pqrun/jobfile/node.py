# SPDX-License-Identifier: LGPL-3.0-or-later
"""A piece of a job file that knows its place."""

from __future__ import annotations


class Node:
    """A text, a list or a map (by name), where it stands, and the key before it if there is one.

    `plain`: a text without quotes. `merged`: what `<<` brought into a map, below its own entries.
    """

    __slots__ = ("column", "key", "line", "merged", "plain", "value")

    def __init__(
        self, value: str | list[Node] | dict[str, Node], plain: bool, line: int, column: int
    ) -> None:
        self.value = value
        self.plain = plain
        self.line = line
        self.column = column
        self.key: Node | None = None
        self.merged: dict[str, Node] | None = None

    @property
    def what(self) -> str:
        """What it is, for a message."""
        return {str: "a text", list: "a list"}.get(type(self.value), "a map")
