# SPDX-License-Identifier: LGPL-3.0-or-later
"""The division of jobs among machines: each job belongs to one shard, whatever else is in the list.

The shard of a job follows from the SHA-256 of its id: the first eight bytes, modulo the number of shards. For
a job without an id, the command is hashed instead, and from its second occurrence on the command together
with the number of the occurrence.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import TYPE_CHECKING

from pqrun.core.errors import UserError
from pqrun.core.job import Command, JobSpec, Shard

if TYPE_CHECKING:
    from pqrun.core.past import KnownDurations


class ShardFilter:
    """Filter that accepts the jobs of one shard."""

    def __init__(self, shard: Shard) -> None:
        self._shard = shard
        self._seen: dict[int, int] = {}

    def takes(self, spec: JobSpec) -> bool:
        """Return whether the job belongs to the shard. Ask about all jobs, in their order."""
        return self._number(spec) % self._shard.parts == self._shard.number - 1

    def takes_line(self, spec: JobSpec) -> bool:
        """Return whether a job of a list of commands belongs to the shard.

        Raises UserError if the job has needs: a needed job of another shard may already have been skipped.
        """
        if spec.needs:
            where = f"{spec.file}:{spec.line}: "
            raise UserError(f"{where}with --shard, only jobs of a job file can have needs")
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


def assign_shard(jobs: Sequence[JobSpec], shard: Shard, past: KnownDurations | None = None) -> list[JobSpec]:
    """Return the shard's jobs in order: its share of the jobs that no job needs, and all jobs they need.

    With the `past`, the shares take equal times.
    """
    needed = {need.job for job in jobs for need in job.needs}
    takes = _shares(jobs, shard, needed, past)
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


def _shares(
    jobs: Sequence[JobSpec], shard: Shard, needed: set[str], past: KnownDurations | None
) -> Mapping[str, bool]:
    """Return whether each job is in the shard's share, by id."""
    if past is None:
        dealer = ShardFilter(shard)
        return {job.id: dealer.takes(job) for job in jobs}
    from pqrun.core.past import parts_by_time

    ends = [job for job in jobs if job.id not in needed]
    parts = parts_by_time(ends, past, shard.parts)
    return {job_id: part == shard.number - 1 for job_id, part in parts.items()}


def describe_shard(part: Sequence[JobSpec], jobs: Sequence[JobSpec], shard: Shard) -> tuple[str, ...]:
    """Return a warning if the shard has none of the jobs."""
    if part or not jobs:
        return ()
    some = f"the {len(jobs)} jobs" if len(jobs) != 1 else "the one job"
    return (f"pqrun: part {shard.number}/{shard.parts} contains none of {some}",)
