# SPDX-License-Identifier: LGPL-3.0-or-later
"""One job file: its settings, and its jobs as entries that no other file has influenced yet."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from pqrun.core import job_fields as keys
from pqrun.core import values
from pqrun.core.job_fields import FieldSpec
from pqrun.input.jobfile.expand import Combination, LoopSpec, MatrixExpander, loop
from pqrun.input.jobfile.fields import FieldReader
from pqrun.input.jobfile.needs import NeedExpr, need_expr
from pqrun.input.jobfile.node_reader import is_null
from pqrun.input.jobfile.problems import Problems, in_quotes
from pqrun.input.jobfile.source_text import Mark, Node, SourceText
from pqrun.input.jobfile.yaml_tree import YamlTree

MAX_JOBS: Final = 1_000_000
_TOP: Final = keys.by_spelling(keys.TOP_LEVEL_FIELDS)
_JOB: Final = keys.by_spelling(keys.JOB_FIELDS)
_DEFAULTS: Final = {name: key for name, key in _JOB.items() if key.name != "id"}
_EXAMPLE: Final = "write each job as a line such as `- echo hello`"
_RUN: Final = _JOB["run"]


class JobEntry(NamedTuple):
    """A job as its file describes it.

    `own` is the job's layer of settings, `at` the place of its id, or of the job. `run` is empty where it
    could not be read; that problem has been added already.
    """

    id: str | None
    run: str | tuple[str, ...] | None
    own: dict[str, Any]
    at: Mark
    needs: tuple[NeedExpr, ...] | None = None
    matrix: tuple[Combination, ...] | None = None
    loop: LoopSpec | None = None
    pools_at: Mark | None = None
    line: int = 0


class Document:
    """One job file that was read. `sound` says whether it could be read to the end."""

    def __init__(self, file: SourceText, problems: Problems) -> None:
        self.file = file
        self.entries: list[JobEntry] = []
        self.settings: dict[str, tuple[Any, Mark]] = {}
        self._problems = problems
        self._fields = FieldReader(file, problems)
        self._fields.converters["matrix"] = MatrixExpander(self._fields).combinations
        self._fields.converters["loop"] = lambda key, node: loop(self._fields, key, node)
        self._fields.converters["needs"] = lambda key, node: need_expr(self._fields, key, node)
        self._fields.converters["id"] = self._id
        self._id_at: Mark = None
        tree = YamlTree(file, problems, self._entry)
        top = tree.read()
        self.sound = top is not None
        if top is not None:
            self._top(top, tree.jobs)

    @property
    def defaults(self) -> dict[str, Any]:
        """The settings of jobs that don't set their own."""
        return self.settings["defaults"][0] if "defaults" in self.settings else {}

    def default(self, name: str) -> Any:
        """Return one of the file's defaults, or None."""
        return self.defaults.get(name)

    def report(self, at: Mark, message: str, hint: str = "") -> None:
        """Add a problem with a place in the file."""
        self._fields.report(Node("", True, at), message, hint)

    def warn(self, at: Mark, message: str, hint: str) -> None:
        """Add a warning with a place in the file."""
        self._fields.warn(Node("", True, at), message, hint)

    def _top(self, top: Node, streamed: Node | None) -> None:
        """Read the file's top-level map. Jobs that were `streamed` have been read already."""
        if not isinstance(top.value, dict):
            if top.value == "" and top.plain:
                self.report(None, "no jobs: the file is empty", "list them under `jobs:`")
            else:
                cure = (
                    "begin with `jobs:` and indent the rest"
                    if isinstance(top.value, list)
                    else "write `jobs:`"
                )
                self._fields.report(top, f"expected the key `jobs`, found {top.what}", cure)
            return
        for key, node in self._fields.entries(top, _TOP):
            if key.name == "jobs":
                empty = (
                    not node.value if node is streamed or not isinstance(node.value, str) else is_null(node)
                )
                if empty:
                    self._fields.report(node, "no jobs", _EXAMPLE)
                elif node is not streamed:
                    self._jobs(node)
            elif key.name == "defaults":
                self._defaults(key, node)
            else:
                read = self._fields.converters.get(key.type.name, self._fields.word)(key, node)
                if read is not None:
                    self.settings[key.name] = read, node.mark
        if "jobs" not in top.value and "jobs" not in (top.merged or ()):
            self._fields.report(top, "no jobs", "list them under `jobs:`")

    def _jobs(self, node: Node) -> None:
        if isinstance(node.value, list):
            for item in node.value:
                self._entry(None, item)
        elif isinstance(node.value, dict):
            for value in {**(node.merged or {}), **node.value}.values():
                self._entry(value.key, value)
        else:
            self._fields.report_of(node, f"expected a list of jobs, found {node.what}", _EXAMPLE)

    def _defaults(self, key: FieldSpec, node: Node) -> None:
        if not isinstance(node.value, dict):
            self._fields.unexpected(key, node)
            return
        self.settings["defaults"] = self._fields.layer(node, _DEFAULTS), node.mark

    def _entry(self, key: Node | None, node: Node) -> None:
        """Read one entry of `jobs`."""
        if len(self.entries) < MAX_JOBS:
            self.entries.append(self._draft(key, node))
        else:
            hint = "use a list of commands (one per line), which may be of any length"
            self.report(self.entries[-1].at, f"more than {MAX_JOBS:,} jobs", hint)

    def _draft(self, key: Node | None, node: Node) -> JobEntry:
        self._id_at = node.mark
        found = self._found(key, node)
        id, run = found.pop("id", None), found.pop("run", None)
        if key is not None:
            if id is not None:
                self.report(self._id_at, "an id in a job that has its key as id already", "keep one of them")
            id = self._id(None, key)
        pools_at = _entry_of(node, _JOB["pools"]).mark if "pools" in found else None
        needs, matrix, loop = found.pop("needs", None), found.pop("matrix", None), found.pop("for", None)
        line = (node if key is None else key).line
        own = self._fields.shared_layer(found)
        return JobEntry(id, run, own, self._id_at, needs, matrix, loop, pools_at, line)

    def _found(self, key: Node | None, node: Node) -> dict[str, Any]:
        """Return the settings in a job's node."""
        fields = self._fields
        if isinstance(node.value, dict):
            if len(node.value) == 1 and self._cut_by_colon(node):
                return {"run": ""}
            found = fields.layer(node, _JOB)
            if "run" not in found and (
                _entry_of(node, _RUN) is not node or not node.value.keys() <= _JOB.keys()
            ):
                found["run"] = ""  # reported already: `run` is wrong, or misspelled as the unknown key
            return found
        if isinstance(node.value, list):
            fields.report_of(node, "expected a job, found a list", "write `run: [program, argument]`")
        elif is_null(node):
            fields.report_of(node, "an empty job", "give a command, as in `- echo hello`")
        else:
            return {"run": fields.converters["run"](_RUN, node) or ""}
        return {"run": ""}

    def _id(self, key: FieldSpec | None, node: Node) -> str | None:
        self._id_at = node.mark
        text = self._fields.text(key, node)
        return None if text is None else self._fields.converted(node, values.job_id, text)

    def _cut_by_colon(self, node: Node) -> bool:
        """Return whether a map is a command that YAML misread because of a `: `; if so, add the problem."""
        assert isinstance(node.value, dict)
        ((name, value),) = node.value.items()
        text = self._fields.text_at(node).strip()
        braces = text.startswith("{") and value.value == ""
        if (
            name in _JOB
            or not value.place_of_key.plain
            or not (braces or any(sign in name for sign in " \"'$/"))
        ):
            return False
        what = "a string that begins with `{`" if braces else "a `: ` in a string without quotes"
        self._fields.report(node, what, in_quotes("- ", text))
        return True


def _entry_of(node: Node, key: FieldSpec) -> Node:
    """Return the value of a map's key, or the map itself if it lacks the key."""
    assert isinstance(node.value, dict)
    for entries in (node.value, node.merged or {}):
        for name in (key.name, *key.also):
            if name in entries:
                return entries[name]
    return node
