# SPDX-License-Identifier: LGPL-3.0-or-later
"""Axes to combinations of environment variables: the product, less `exclude`, plus `include`."""

from __future__ import annotations

from collections.abc import ItemsView, Sequence
from itertools import product
from math import prod
from typing import Final

from pqrun.jobfile import values
from pqrun.jobfile.keys import Key
from pqrun.jobfile.node import Node
from pqrun.jobfile.reader import Reader
from pqrun.jobfile.values import quoted

MOST: Final = 10_000
MOST_IN_FILE: Final = 100_000
MOST_EXCLUDED: Final = 1_000

Combination = tuple[tuple[str, str], ...]


def label(combination: Combination) -> str:
    """What is put behind the id of a job for one combination."""
    return "[" + ",".join(f"{name}={value}" for name, value in combination) + "]"


class Matrices:
    """Reads the matrices of one file, and keeps count of what they come to."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._count = 0

    def combinations(self, key: Key, node: Node) -> tuple[Combination, ...] | None:
        """All combinations that a matrix stands for, each once; None if there are none."""
        say = self._reader.say_of
        if not isinstance(node.value, dict):
            self._reader.unexpected(key, node)
            return None
        parts = (node.merged or {}) | node.value
        axes = {
            name: self._values(axis) for name, axis in parts.items() if name not in ("include", "exclude")
        }
        exclude = self._maps(parts.get("exclude"))
        include = self._maps(parts.get("include"))
        for where, pairs in exclude:
            for name in pairs:
                if name not in axes:
                    say(where, f"unknown axis {quoted(name)}", f"axes are: {', '.join(axes) or 'none'}")
        size = (prod(map(len, axes.values())) if axes else 0) + len(include)
        if len(exclude) > MOST_EXCLUDED:
            say(node, f"more than {MOST_EXCLUDED:,} maps under `exclude`", "name fewer axes in each")
            return None
        if size > MOST:
            say(node, f"{size:,} combinations", f"at most {MOST:,}: take out values, or make it several jobs")
            return None
        self._count += size
        if self._count > MOST_IN_FILE:
            say(node, f"more than {MOST_IN_FILE:,} combinations in the file", "make it several files")
            return None
        found = [tuple(zip(axes, chosen, strict=True)) for chosen in product(*axes.values())] if axes else []
        unwanted = [pairs.items() for _, pairs in exclude]
        kept = [one for one in found if not _holds_any(dict(one), unwanted)]
        kept += [tuple(extra.items()) for _, extra in include]
        if not kept and not all(axes.values()):
            return None  # told above
        if not kept:
            say(node, "no combination", 'write `{PY: ["3.11", "3.12"]}`')
            return None
        return tuple(dict.fromkeys(kept))

    def _values(self, axis: Node) -> list[str]:
        self._name(axis)
        if isinstance(axis.value, dict):
            self._reader.say_of(axis, "expected a list of values, found a map", "write `[a, b]`")
            return []
        found: dict[str, None] = {}
        for item, text in self._reader.texts(axis):
            if text in found:
                self._reader.say(
                    item, f"the value {quoted(text)} again", "each value of an axis is there once"
                )
            found[text] = None
        if not found and not axis.value:
            self._reader.say_of(axis, "an axis without values", "write `[a, b]`")
        return list(found)

    def _maps(self, node: Node | None) -> list[tuple[Node, dict[str, str]]]:
        """The list of maps under `include` or `exclude`."""
        if node is None:
            return []
        found = []
        for item in node.value if isinstance(node.value, list) else [node]:
            if not isinstance(item.value, dict) or not item.value:
                self._reader.say_of(item, "expected a list of maps", 'write `[{PY: "3.11"}]`')
                continue
            pairs: dict[str, str] = {}
            for name, value in ((item.merged or {}) | item.value).items():
                self._name(value)
                text = self._reader.text(None, value)
                if text is not None:
                    pairs[name] = text
            found.append((item, pairs))
        return found

    def _name(self, value: Node) -> None:
        key = value.place_of_key
        self._reader.converted(key, values.variable, str(key.value))


def _holds_any(combination: dict[str, str], unwanted: Sequence[ItemsView[str, str]]) -> bool:
    pairs = combination.items()
    return any(one <= pairs for one in unwanted)
