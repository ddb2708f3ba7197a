# SPDX-License-Identifier: LGPL-3.0-or-later
"""The loading of job files, from their paths to the jobs of a run.

Several files become one: ids and numbers over all files, needs, pools, and layers of settings.
"""

from __future__ import annotations

import gc
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from difflib import get_close_matches
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from pqrun.core.expansion import EnvTemplate, pool_variable, unset
from pqrun.core.job import JobSpec, Need, Pool
from pqrun.core.text import quoted
from pqrun.input.defaults import SpecBuilder, Values, overlay
from pqrun.input.jobfile.document import Document, JobEntry
from pqrun.input.jobfile.expand import (
    MAX_COMBINATIONS_IN_FILE,
    Combination,
    LoopExpander,
    derived_id,
    with_paths,
)
from pqrun.input.jobfile.needs import MAX_MATCHES, NeedResolver, cycles, format_cycle
from pqrun.input.jobfile.problems import Problem, Problems
from pqrun.input.jobfile.source_text import Mark, SourceText

_SETTINGS: Final = ("delay", "rate", "load", "memfree", "halt", "deadline", "hooks")
_OWN = ("run", "needs", "matrix", "for")  # defaults that don't belong to a layer of settings


class JobFile(NamedTuple):
    """The content of one or more job files.

    `workers` is the text in the file (`4`, `50%`, `auto`), or None. `settings` holds `delay`, `rate` and
    other values for which there is an option too, as far as the files give them. `reads` names the files that
    were read beside the job files.
    """

    jobs: list[JobSpec]
    workers: str | None = None
    max_queue: int | None = None
    pools: tuple[Pool, ...] = ()
    warnings: tuple[str, ...] = ()
    settings: Mapping[str, Any] = MappingProxyType({})
    reads: tuple[str, ...] = ()


def load(
    paths: Sequence[str],
    given: Values,
    read: Callable[[str], bytes],
    pools: Sequence[Pool],
    environment: Container[str] | None = None,
) -> JobFile:
    """Load files like `pqrun.input.jobfile.load`, with the garbage collector switched off.

    A growing tree produces no garbage. Searching it again and again doubles the time for 100,000 jobs.
    """
    enabled = gc.isenabled()
    gc.disable()
    try:
        return _load(paths, given, read, pools, environment)
    finally:
        if enabled:
            gc.enable()


def _load(
    paths: Sequence[str],
    given: Values,
    read: Callable[[str], bytes],
    pools: Sequence[Pool],
    environment: Container[str] | None,
) -> JobFile:
    """Read and join the files. Raises JobFileError with every problem in any of them."""
    problems = Problems()
    texts = [_text(rank, path, read, problems) for rank, path in enumerate(paths)]
    joined = _joined(texts, problems, pools)
    if problems.count:
        raise problems.error(dict(enumerate(texts)))
    jobs = joined.specs(given, environment)
    return _made(joined, jobs, problems.warnings(dict(enumerate(texts))))


def _joined(texts: Sequence[SourceText], problems: Problems, pools: Sequence[Pool]) -> MergedFiles:
    """Return the files joined; problems are added."""
    sheets = [Document(text, problems) for text in texts if text.is_there and text.is_sound(problems)]
    joined = MergedFiles(sheets, problems)
    joined.settle(pools)
    if len(sheets) == len(texts) and all(sheet.sound for sheet in sheets):
        joined.check_pools()
        if joined.name():
            joined.connect()
    return joined


def _made(joined: MergedFiles, jobs: list[JobSpec], warnings: tuple[str, ...] = ()) -> JobFile:
    settings = joined.settings
    pools = tuple(joined.pools.values())
    said: dict[str, Any] = {str(name): settings[name] for name in _SETTINGS if name in settings}
    return JobFile(
        jobs,
        settings.get("workers"),
        settings.get("max_queue"),
        pools,
        warnings,
        said,
        joined.reads,
    )


def _text(rank: int, path: str, read: Callable[[str], bytes], problems: Problems) -> SourceText:
    name = "stdin" if path == "-" else path
    try:
        return SourceText(name, read(path), rank)
    except OSError as wrong:
        problems.add(Problem(rank, 0, 0, (wrong.strerror or str(wrong)).lower()))
    except ValueError:
        problems.add(Problem(rank, 0, 0, "not a path"))
    return SourceText(name, b"", rank, is_there=False)


class MergedFiles:
    """The files of a run, joined step by step: `settle`, `check_pools`, `name`, `connect`, then `specs`."""

    def __init__(self, sheets: Sequence[Document], problems: Problems) -> None:
        self.settings: dict[str, Any] = {}
        self.pools: dict[str, Pool] = {}
        self._sheets = sheets
        self._problems = problems
        self._ids: list[str] = []  # the ids of all jobs, in order
        self._needs: dict[str, tuple[Need, ...]] = {}
        self._fan_out = LoopExpander(problems)

    def settle(self, pools: Sequence[Pool]) -> None:
        """Join the settings at the top of the files; add a problem where files differ."""
        where: dict[str, str] = {}
        for sheet in self._sheets:
            for name, (value, at) in sheet.settings.items():
                if name == "pools":
                    for pool in value:
                        self._agree(
                            sheet, at, f"the pool {quoted(pool.name)}", pool, where, self.pools, pool.name
                        )
                else:
                    self._agree(sheet, at, quoted(name), value, where, self.settings, name)
        self.pools |= {pool.name: pool for pool in pools}

    def _agree(
        self,
        sheet: Document,
        at: Mark,
        what: str,
        value: Any,
        where: dict[str, str],
        into: dict[str, Any],
        name: str,
    ) -> None:
        place = f"{sheet.file.name}:{at.line + 1}"
        if into.setdefault(name, value) != value:
            sheet.report(at, f"{what} differs from {where[what]}", "use the same value in all files")
        where.setdefault(what, place)

    def _rows(self) -> Iterator[tuple[Document, JobEntry, Combination | None]]:
        """Yield the jobs in order, a job with a matrix or loop once for each combination."""
        for sheet in self._sheets:
            alone = sheet.default("matrix") is None and sheet.default("for") is None
            for draft in sheet.entries:
                if alone and draft.matrix is None and draft.loop is None:  # most jobs
                    yield sheet, draft, None
                else:
                    for combination in self._combinations(sheet, draft):
                        yield sheet, draft, combination

    def _combinations(self, sheet: Document, draft: JobEntry) -> Sequence[Combination | None]:
        matrix = sheet.default("matrix") if draft.matrix is None else draft.matrix
        loop = sheet.default("for") if draft.loop is None else draft.loop
        directory = (draft.own.get("cwd") or sheet.default("cwd") or "") if loop else ""
        return self._fan_out.combinations(matrix, loop, directory, sheet.file)

    @property
    def reads(self) -> tuple[str, ...]:
        """The files that were read beside the job files."""
        return self._fan_out.reads

    def name(self) -> bool:
        """Give every job its id; add a problem for a duplicate id, and for a job without a command.

        Returns False if there are too many combinations: `defaults` may hold a matrix.
        """
        expanded = 0
        named: dict[str, tuple[Document, JobEntry]] = {}
        unnamed: dict[str, int] = {}
        for sheet, draft, combination in self._rows():
            number = str(len(self._ids) + 1)
            expanded += bool(combination)
            if expanded > MAX_COMBINATIONS_IN_FILE:
                sheet.report(
                    draft.at,
                    f"more than {MAX_COMBINATIONS_IN_FILE:,} combinations in all",
                    "split the run",
                )
                return False
            if draft.run is None and sheet.default("run") is None:
                sheet.report(draft.at, "a job without a command", "add a command: `run: make test`")
            if draft.id is None:
                unnamed[number] = draft.at.line + 1
                self._ids.append(number)
                continue
            id = derived_id(draft.id, combination, named) if combination else draft.id
            if id in named:
                _report_duplicate(id, sheet, draft, *named[id])
            named[id] = sheet, draft
            self._ids.append(id)
        for id in named.keys() & unnamed.keys():
            sheet, draft = named[id]
            message = f"the id {quoted(id)} is the number of a job without an id"
            sheet.report(
                draft.at, message, f"use another id; the job with this number is on line {unnamed[id]}"
            )
        return True

    def check_pools(self) -> None:
        """Add a problem for each pool that is unknown, or too small for a job."""
        for sheet in self._sheets:
            _, defaults_at = sheet.settings.get("defaults", ({}, None))
            self._check_wants(sheet, sheet.default("pools"), defaults_at)
            for draft in sheet.entries:
                if draft.pools_at:
                    self._check_wants(sheet, draft.own["pools"], draft.pools_at)

    def _check_wants(self, sheet: Document, wants: tuple[tuple[str, int], ...] | None, at: Mark) -> None:
        for name, amount in wants or ():
            pool = self.pools.get(name)
            if pool is None:
                close = get_close_matches(name, self.pools, 1)
                declare = f"add it at the top level: `pools: {{{name}: 4}}`"
                hint = f"did you mean {quoted(close[0])}?" if close else declare
                sheet.report(at, f"unknown pool {quoted(name)}", hint)
            elif amount > pool.size:
                sheet.report(
                    at,
                    f"{amount} of the pool {quoted(name)}, which has {pool.size}",
                    "use at most the size of the pool",
                )

    def connect(self) -> None:
        """Resolve the needs of all jobs; add a problem for unknown needs and for cycles."""
        if not any(
            sheet.default("needs") or any(draft.needs for draft in sheet.entries) for sheet in self._sheets
        ):
            return
        bases: dict[str, list[str]] = {}
        for id, (_, draft, combination) in zip(self._ids, self._rows(), strict=True):
            if combination and draft.id is not None:
                bases.setdefault(draft.id, []).append(id)
        for draft in (draft for sheet in self._sheets for draft in sheet.entries):
            if draft.loop and draft.id is not None:
                bases.setdefault(draft.id, [])  # a loop over nothing has no jobs, but its id may be needed

        needs = NeedResolver(self._ids, bases)
        defaults = {sheet: self._default_needs(sheet, needs) for sheet in self._sheets}
        needed = {sheet: {need.job for need in found} for sheet, found in defaults.items()}
        places: dict[str, tuple[Document, Mark]] = {}
        before: set[str] = set()
        upward = True  # all needs so far name earlier jobs, so there can be no cycle
        for id, (sheet, draft, _) in zip(self._ids, self._rows(), strict=True):
            if draft.needs is not None:
                found = needs.found(draft.needs, id, sheet.report)
            else:
                found = () if id in needed[sheet] else defaults[sheet]
            if found:
                self._needs[id] = found
                places[id] = sheet, draft.needs[0].at if draft.needs else draft.at
                upward = upward and all(need.job in before for need in found)
            before.add(id)
        for cycle in () if upward else cycles(self._needs):
            sheet, at = places[cycle[0]]
            sheet.report(at, f"cyclic needs: {format_cycle(cycle)}", "remove one of these needs")

    def _warn_of_unset(
        self, sheet: Document, job: JobSpec, environment: Container[str], layers: Sequence[Values]
    ) -> None:
        pools = {pool_variable(name) for name, _ in job.pools}
        for name, missing in unset(job.work.env, job.work.expand, environment, pools):
            written = next((layer[name] for layer in reversed(layers) if name in layer), None)
            place = written.place if isinstance(written, EnvTemplate) else None
            hint = f"`$${missing}` is a literal dollar sign" if missing.isidentifier() else ""
            sheet.warn(place, f"`${missing}` is not set, so it is empty in `{name}`", hint)

    def _default_needs(self, sheet: Document, needs: NeedResolver) -> tuple[Need, ...]:
        found = needs.found(sheet.default("needs") or (), "", sheet.report)
        if len(found) * len(sheet.entries) > MAX_MATCHES:
            _, at = sheet.settings["defaults"]
            sheet.report(at, f"more than {MAX_MATCHES:,} needs in total", "put a job in between")
            return ()
        return found

    def specs(self, given: Values, environment: Container[str] | None = None) -> list[JobSpec]:
        """Return the jobs, and discard the entries on the way, so that each job exists in one form at a time.

        `environment` names the variables that jobs inherit: with it, a warning is added for every other
        variable that a value of `env` refers to.
        """
        found: list[JobSpec] = []
        for sheet in self._sheets:
            layer = {key: value for key, value in sheet.defaults.items() if key not in _OWN}
            env, _ = sheet.settings.get("env", ({}, None))
            specs = SpecBuilder(given, overlay(layer, {"env": env} if env else {}))
            sheet.entries.reverse()
            while sheet.entries:
                draft = sheet.entries.pop()
                for combination in self._combinations(sheet, draft):
                    id = self._ids[len(found)]
                    own = draft.own
                    if combination:
                        own = with_paths(overlay({"env": dict(combination)}, own), layer, combination)
                    if id in self._needs:
                        own = {**own, "needs": self._needs[id]}
                    run = sheet.default("run") if draft.run is None else draft.run
                    named = draft.id is not None
                    job = specs.make(run, own, id=id, named=named, file=sheet.file.name, line=draft.line)
                    if combination:
                        pairs = dict(combination)
                        job = job._replace(arg_names=specs.one(tuple(pairs)), args=tuple(pairs.values()))
                    found.append(job)
                    if environment is not None and job.work.expand:
                        self._warn_of_unset(
                            sheet, job, environment, (env, layer.get("env", {}), own.get("env", {}))
                        )
        return found


def _report_duplicate(id: str, sheet: Document, draft: JobEntry, first: Document, other: JobEntry) -> None:
    """Add a problem for a job with the id of the job `other` in the file `first`."""
    line = other.at.line + 1
    place = f"line {line}" if first is sheet else f"{first.file.name}:{line}"
    sheet.report(draft.at, f"duplicate id {quoted(id)}", f"the other one is on {place}")
