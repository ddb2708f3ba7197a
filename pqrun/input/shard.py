# SPDX-License-Identifier: LGPL-3.0-or-later
"""Deals jobs out to several machines: each job to one of them, the same whatever else is in the list.

What decides is the SHA-256 of a job's id (its first eight bytes, modulo the number of parts); of a
job without one, that of what it runs and, from its second occurrence on, which occurrence it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256

from pqrun.core.errors import UserError
from pqrun.core.job import Command, JobSpec, Shard


class ShardFilter:
    """Says of one job after the other whether it belongs to this part."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._seen: dict[int, int] = {}

    def takes(self, spec: JobSpec) -> bool:
        """Whether it does; jobs have to be asked for in their order, all of them."""
        return self._number(spec) % self._shard.parts == self._shard.number - 1

    def takes_line(self, spec: JobSpec) -> bool:
        """The same for a list of commands, where what a job needs can't be found before it is too late."""
        if spec.needs:
            where = f"{spec.file}:{spec.line}: "
            raise UserError(f"{where}with --shard only jobs of a job file can need others")
        return self.takes(spec)

    def _number(self, spec: JobSpec) -> int:
        if spec.named:
            return _digest(spec.id)
        run = spec.work.run if isinstance(spec.work, Command) else str(spec.work)
        text = run if isinstance(run, str) else "\0".join(run)
        number = _digest(text)
        occurrence = self._seen[number] = self._seen.get(number, 0) + 1
        return number if occurrence == 1 else _digest(f"{text}\0{occurrence}")


def _digest(text: str) -> int:
    return int.from_bytes(sha256(text.encode("utf-8", "surrogateescape")).digest()[:8], "big")


def assign_shard(jobs: Sequence[JobSpec], shard: Shard) -> list[JobSpec]:
    """The part of the jobs, in their order: those that no other needs are dealt out, needs come along."""
    dealer = ShardFilter(shard)
    takes = {job.id: dealer.takes(job) for job in jobs}
    needed = {need.job for job in jobs for need in job.needs}
    needs = {job.id: [need.job for need in job.needs] for job in jobs if job.needs}
    kept = {job.id for job in jobs if job.id not in needed and takes[job.id]}
    todo = [id for id in kept if id in needs]
    while todo:
        for id in needs[todo.pop()]:
            if id not in kept:
                kept.add(id)
                if id in needs:
                    todo.append(id)
    return [job for job in jobs if job.id in kept]


def describe_shard(part: Sequence[JobSpec], jobs: Sequence[JobSpec], shard: Shard) -> tuple[str, ...]:
    """What people should know of a part: that it is none."""
    if part or not jobs:
        return ()
    some = f"the {len(jobs)} jobs" if len(jobs) != 1 else "the one job"
    return (f"pqrun: part {shard.number}/{shard.parts} has none of {some}",)
