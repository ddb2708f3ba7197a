# SPDX-License-Identifier: LGPL-3.0-or-later
"""The conversion of nodes to values, by the kind of their key."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from pqrun.core import values
from pqrun.core.expansion import EnvTemplate
from pqrun.core.job import Pool
from pqrun.core.job_fields import HOOK_FIELDS, RETRY_FIELDS, FieldSpec, by_spelling
from pqrun.core.text import quoted
from pqrun.core.values import InvalidValue
from pqrun.input.defaults import settled_shell
from pqrun.input.jobfile.node_reader import NodeReader
from pqrun.input.jobfile.problems import Problems
from pqrun.input.jobfile.source_text import Node, SourceText

_RETRIES: Final = by_spelling(RETRY_FIELDS)
_HOOKS: Final = by_spelling(HOOK_FIELDS)
_ITEMS: Final[dict[str, tuple[Callable[[str], Any], Callable[[Iterable[Any]], Any]]]] = {
    "tags": (values.tag, lambda found: tuple(dict.fromkeys(found))),
    "codes": (values.code, frozenset),
    "exits": (values.exit_code, lambda found: tuple(sorted(set(found)))),
}
_MAX_CACHED: Final = 10_000


class FieldReader(NodeReader):
    """Reader of the values of one file's keys. A wrong value becomes None, and the problem is added."""

    def __init__(self, file: SourceText, problems: Problems) -> None:
        super().__init__(file, problems)
        self._words: dict[
            tuple[Callable[[str], Any], str, bool], Any
        ] = {}  # values that were converted before
        self._maps: dict[Any, dict[str, Any]] = {}
        self._layers: dict[Any, dict[str, Any]] = {}
        self._ways: dict[int, dict[str, tuple[str, Callable[[FieldSpec, Node], Any], FieldSpec]]] = {}
        self.converters: dict[str, Callable[[FieldSpec, Node], Any]] = {
            "run": self._run,
            "env": self._env,
            "tags": self._list,
            "codes": self._list,
            "exits": self._list,
            "policy": self._policy,
            "wants": self._wants,
            "shell": self._shell,
            "pools": self._pools,
            "hooks": self._hooks,
            "values": self._values,
        }

    def layer(self, node: Node, known: Mapping[str, FieldSpec]) -> dict[str, Any]:
        """Return the values of a map's keys as a layer of settings."""
        found: dict[str, Any] = {}
        ways = self._ways.get(id(known)) or self._find_ways(known)
        entries = node.value
        assert isinstance(entries, dict)
        if node.merged is None and entries.keys() <= ways.keys():  # nearly all maps, so it must be fast
            for name, value in entries.items():
                stored, read, key = ways[name]
                if (got := read(key, value)) is not None:
                    found[stored] = got
            return found
        for key, value in self.entries(node, known):
            stored, read, _ = ways[key.name]
            if (got := read(key, value)) is not None:
                found[stored] = got
        return found

    def _find_ways(
        self, known: Mapping[str, FieldSpec]
    ) -> dict[str, tuple[str, Callable[[FieldSpec, Node], Any], FieldSpec]]:
        """Return, by the keys' own names, how the keys of a table are read and stored."""
        self._ways[id(known)] = ways = {
            key.name: (key.attribute, self.converters.get(key.type.name, self.word), key)
            for key in known.values()
        }
        return ways

    def word(self, key: FieldSpec, node: Node) -> Any:
        """Return the value of a key that takes one word."""
        value, parse = node.value, key.type.parse
        if type(value) is str and (known := self._words.get((parse, value, node.plain))) is not None:
            return known
        text = self.text(key, node)
        if text is None:
            return None
        found = self.converted(node, parse, text)
        if found is not None and not node.plain and key.type.bare:
            self.report_of(node, f"a string in quotes: {quoted(text)}", "remove the quotes")
            return None
        if found is not None and len(self._words) < _MAX_CACHED:
            self._words[parse, text, node.plain] = found
        return found

    def _run(self, key: FieldSpec, node: Node) -> str | tuple[str, ...] | None:
        if not isinstance(node.value, list):
            text = self.text(key, node)
            if text is None:
                return None
            if text.strip():
                if node.plain and self.file.may_cut_texts:
                    self._warn_if_cut(node, text)
                return text
            self.report_of(node, "an empty command", "give a command")
            return None
        found = tuple(text for _, text in self.texts(node))
        if len(found) == len(node.value):
            if found and found[0]:
                return found
            self.report_of(node, "a command without a program", "write `[program, argument]`")
        return None

    def _warn_if_cut(self, node: Node, text: str) -> None:
        line = self.file.line(node.line)[node.column - 1 :]
        rest = line[len(text) :].lstrip() if line.startswith(text) else ""
        if rest.startswith("#") and rest[1:2].strip():
            hint = "quote it if it does; if it is a comment, put a blank after `#`"
            self.warn(node, f"{quoted(rest)} is a comment and does not belong to the command", hint)

    def _env(self, key: FieldSpec, node: Node) -> dict[str, str] | None:
        if not isinstance(node.value, dict):
            self.unexpected(key, node)
            return None
        found: dict[str, str] = {}
        entries = {**node.merged, **node.value} if node.merged else node.value
        for name, value in entries.items():
            text = self.text(None, value)
            try:
                if text is not None:
                    found[values.variable(name)] = _template(text, value) if "$" in text else text
            except InvalidValue as wrong:
                self.report(value.place_of_key, wrong.what, wrong.hint)
        return self._shared(found)

    def _list(self, key: FieldSpec, node: Node) -> Any:
        convert, collect = _ITEMS[key.type.name]
        if isinstance(node.value, dict):
            self.unexpected(key, node)
            return None
        found = [self.converted(item, convert, text) for item, text in self.texts(node)]
        if key.type.name == "exits" and not found:
            self.report_of(node, "no exit code", "write `[0]`")
        return collect(item for item in found if item is not None)

    def _values(self, key: FieldSpec, node: Node) -> tuple[str, ...] | None:
        if isinstance(node.value, dict):
            self.unexpected(key, node)
            return None
        found: dict[str, None] = {}
        for item, text in self.texts(node):
            if text in found:
                self.report(item, f"the value {quoted(text)} again", "list each value once")
            found[text] = None
        if not found and not node.value:
            self.report_of(node, "no values", "write `[a, b]`")
        return tuple(found)

    def _policy(self, key: FieldSpec, node: Node) -> dict[str, Any] | None:
        if isinstance(node.value, dict):
            return self._shared(self.layer(node, _RETRIES))
        most = self.word(key, node)
        return None if most is None else self._shared({"max": most})

    def _wants(self, key: FieldSpec, node: Node) -> tuple[tuple[str, int], ...]:
        found: dict[str, int | None] = {}
        if isinstance(node.value, dict):
            for name, amount in ((node.merged or {}) | node.value).items():
                text = self.text(None, amount)
                if self.converted(amount.place_of_key, values.pool_name, name) and text is not None:
                    found[name] = self.converted(amount, values.count, text)
        else:
            for item, text in self.texts(node):
                if self.converted(item, values.pool_name, text):
                    found[text] = 1
        return tuple((name, amount) for name, amount in found.items() if amount)

    def _shell(self, key: FieldSpec, node: Node) -> tuple[str, ...] | None:
        if isinstance(node.value, list):
            found = tuple(text for _, text in self.texts(node))
        else:
            text = self.text(key, node)
            if text is None:
                return None
            return self.converted(node, lambda words: settled_shell(values.shell(words)), text)
        if not found or not found[0]:
            self.report_of(node, "a shell without a program", "write `bash -eu -c`")
            return None
        return found

    def _pools(self, key: FieldSpec, node: Node) -> tuple[Pool, ...]:
        if not isinstance(node.value, dict):
            self.unexpected(key, node)
            return ()
        found = []
        for name, value in ((node.merged or {}) | node.value).items():
            if self.converted(value.place_of_key, values.pool_name, name) is None:
                continue
            if isinstance(value.value, list):
                items = tuple(text for _, text in self.texts(value))
                found.append(Pool(name, len(items), items))
                if not items:
                    self.report_of(
                        value, "a pool of size zero", "write the number of units, or a list of their names"
                    )
                elif len(set(items)) < len(items):
                    self.report_of(value, "a name twice", "give each unit its own name")
            elif isinstance(value.value, dict):
                self.report_of(
                    value, "expected a number or a list, found a map", "write `net: 4` or `gpu: [0, 1]`"
                )
            elif (text := self.text(None, value)) is not None:
                size = self.converted(value, values.count, text)
                if size:
                    found.append(Pool(name, size))
        return tuple(found)

    def _hooks(self, key: FieldSpec, node: Node) -> dict[str, Any] | None:
        if isinstance(node.value, dict):
            return self.layer(node, _HOOKS)
        self.unexpected(key, node)
        return None

    def shared_layer(self, found: dict[str, Any]) -> dict[str, Any]:
        """Return the first layer that has the same keys with the same objects, so that jobs alike share one dictionary.

        Objects are compared, not values: 2 and 2.0 are equal, but a record shows which of them was written.
        """
        alike = (*found, *map(id, found.values()))
        if len(self._layers) < _MAX_CACHED:
            return self._layers.setdefault(alike, found)
        return self._layers.get(alike, found)

    def _shared(self, found: dict[str, Any]) -> dict[str, Any]:
        """Return the first map that equals `found`, so that equal maps share one object."""
        if len(self._maps) < _MAX_CACHED:
            return self._maps.setdefault(tuple(found.items()), found)
        return self._maps.get(tuple(found.items()), found)


def _template(text: str, node: Node) -> EnvTemplate:
    template = EnvTemplate(text)
    template.place = node.mark
    return template
