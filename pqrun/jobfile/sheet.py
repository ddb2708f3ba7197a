# SPDX-License-Identifier: LGPL-3.0-or-later
"""One job file: its settings, and its jobs as drafts, in which other jobs and files have no say yet."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from pqrun.jobfile import keys, values
from pqrun.jobfile.fields import Fields
from pqrun.jobfile.keys import Key
from pqrun.jobfile.matrix import Combination, Matrices
from pqrun.jobfile.needs import Asked, asked
from pqrun.jobfile.node import Node
from pqrun.jobfile.nodes import Tree
from pqrun.jobfile.problems import Problem, Problems
from pqrun.jobfile.reader import key_of
from pqrun.jobfile.text import Text

MOST_JOBS: Final = 1_000_000
_TOP: Final = keys.by_spelling(keys.TOP)
_JOB: Final = keys.by_spelling(keys.JOB)
_DEFAULTS: Final = {name: key for name, key in _JOB.items() if key.name != "id"}
_EXAMPLE: Final = "a job is a line such as `- echo hello`"
_ID: Final = keys.JOB[0]
_RUN: Final = _JOB["run"]


class Place(NamedTuple):
    """A line and a column, counted from 1."""

    line: int
    column: int


class Draft(NamedTuple):
    """A job as its file has it. `own` is its layer of settings, `at` its place or its id's."""

    id: str | None
    run: str | tuple[str, ...] | None
    own: dict[str, Any]
    at: Place
    line: int
    needs: tuple[Asked, ...] | None = None
    matrix: tuple[Combination, ...] | None = None
    pools_at: Place | None = None


class Sheet:
    """Reads a file; `sound` says whether it could be read to its end."""

    def __init__(self, file: Text, problems: Problems) -> None:
        self.file = file
        self.drafts: list[Draft] = []
        self.settings: dict[str, tuple[Any, Place]] = {}
        self._problems = problems
        self._fields = Fields(file, problems)
        self._matrices = Matrices(self._fields)
        self._fields.kinds["matrix"] = self._matrices.combinations
        self._fields.kinds["needs"] = lambda key, node: asked(self._fields, key, node)
        self.spoilt = 0
        tree = Tree(file, problems, self._entry)
        top = tree.read()
        self.sound = top is not None
        if top is not None:
            self._top(top, tree.jobs)

    @property
    def defaults(self) -> dict[str, Any]:
        """What its jobs have that don't say otherwise."""
        return self.settings["defaults"][0] if "defaults" in self.settings else {}

    def default(self, name: str) -> Any:
        """One of those; None if there is none."""
        return self.defaults.get(name)

    def say(self, at: Place | Asked, message: str, hint: str = "") -> None:
        """Adds a problem with a place in this file."""
        self._problems.add(Problem(self.file.rank, at.line, at.column, message, hint))

    def _top(self, top: Node, streamed: Node | None) -> None:
        """The file as a whole; its jobs have been read if they were `streamed`."""
        if not isinstance(top.value, dict):
            if top.value == "" and top.plain:
                self.say(Place(0, 0), "no jobs: the file is empty", "list them under `jobs:`")
            else:
                hint = (
                    "begin with `jobs:` and indent the rest"
                    if isinstance(top.value, list)
                    else "write `jobs:`"
                )
                self._fields.say(top, f"expected the key `jobs`, found {top.what}", hint)
            return
        for key, node in self._fields.entries(top, _TOP):
            if key.kind == "jobs":
                if node is not streamed and not (node.plain and node.value in values.NULLS):
                    self._jobs(node)
                if not self.drafts and not self.spoilt:
                    self._fields.say(node, "no jobs", _EXAMPLE)
            elif key.kind == "defaults":
                self._defaults(key, node)
            else:
                read = self._fields.kinds.get(key.kind, self._fields.word)(key, node)
                if read is not None:
                    self.settings[key.name] = read, Place(node.line, node.column)
        if "jobs" not in top.value and "jobs" not in (top.merged or ()):
            self._fields.say(top, "no jobs", "list them under `jobs:`")

    def _jobs(self, node: Node) -> None:
        if isinstance(node.value, list):
            for item in node.value:
                self._entry(None, item)
        elif isinstance(node.value, dict):
            for value in {**(node.merged or {}), **node.value}.values():
                self._entry(value.key, value)
        else:
            self.spoilt += 1
            self._fields.say_of(node, f"expected a list of jobs, found {node.what}", _EXAMPLE)

    def _defaults(self, key: Key, node: Node) -> None:
        if not isinstance(node.value, dict):
            self._fields.unexpected(key, node)
            return
        self.settings["defaults"] = self._fields.layer(node, _DEFAULTS), Place(node.line, node.column)

    def _entry(self, key: Node | None, node: Node) -> None:
        """One entry of `jobs`."""
        draft = self._draft(key, node)
        if draft is None:
            self.spoilt += 1
            return
        if len(self.drafts) == MOST_JOBS:
            self.say(
                draft.at,
                f"more than {MOST_JOBS:,} jobs",
                "a list of commands, one a line, may be of any length",
            )
        if len(self.drafts) <= MOST_JOBS:
            self.drafts.append(draft)

    def _draft(self, key: Node | None, node: Node) -> Draft | None:
        fields = self._fields
        if isinstance(node.value, dict) and not self._cut_by_colon(node):
            found = fields.layer(node, _JOB)
        elif isinstance(node.value, str):
            run = (
                fields.kinds["run"](_RUN, node)
                if key or not (node.plain and node.value in values.NULLS)
                else None
            )
            if run is None:
                if key is None:
                    fields.say(node, "an empty job", "write a command, such as `- echo hello`")
                return None
            found = {"run": run}
        else:
            if isinstance(node.value, list):
                fields.say_of(node, "expected a job, found a list", "write `run: [program, argument]`")
            return None
        at = Place(node.line, node.column)
        if key is not None:
            at = Place(key.line, key.column)
            if "id" in found:
                fields.say(node, "an id in a job that is named by its key already", "keep one of them")
            found["id"] = fields.converted(key, values.job_id, str(key.value))
        elif "id" in found:
            at = self._place(node, _ID)
        pools_at = self._place(node, _JOB["pools"]) if "pools" in found else None
        id, run = found.pop("id", None), found.pop("run", None)
        needs, matrix = found.pop("needs", None), found.pop("matrix", None)
        return Draft(id, run, found, at, at.line if key else node.line, needs, matrix, pools_at)

    def _place(self, node: Node, key: Key) -> Place:
        assert isinstance(node.value, dict)
        for entries in (node.value, node.merged or {}):
            for name in (key.name, *key.also):
                if name in entries:
                    return Place(entries[name].line, entries[name].column)
        return Place(node.line, node.column)

    def _cut_by_colon(self, node: Node) -> bool:
        """Whether a map is a command that YAML took for one, because of a `: ` in it."""
        assert isinstance(node.value, dict)
        first = next(iter(node.value.values()), None)
        if len(node.value) != 1 or first is None or not key_of(first).plain:
            return False
        name = str(key_of(first).value)
        if name in _JOB or not any(sign in name for sign in " \"'$/"):
            return False
        text = self.file.line(node.line)[node.column - 1 :].strip()
        what = "a text that begins with `{`" if text.startswith("{") else "a `: ` in a text without quotes"
        self._fields.say(node, what, "put the text in quotes: `- '" + text.replace("'", "''") + "'`")
        return True
