# SPDX-License-Identifier: LGPL-3.0-or-later
"""The verbs `ps` and `info`: the unfinished jobs, why each does not run, and the state of the run."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from json.encoder import encode_basestring_ascii as quote
from typing import TYPE_CHECKING, Any, NamedTuple

from pqrun.control.protocol import VERSION, Answer, ClientRequest, flag
from pqrun.core import states as life
from pqrun.core.job import TAG_POOL, AttemptId, JobSpec
from pqrun.core.scheduler import Scheduler
from pqrun.core.selectors import selected, selectors_of, state_of
from pqrun.core.task import Task
from pqrun.core.text import count_of, format_duration, last_line
from pqrun.core.unicode_json import argument_facts, as_json, bytes_beside
from pqrun.engine.clock import format_moment

if TYPE_CHECKING:
    from pqrun.engine.live_run import LiveRun
    from pqrun.output.store import Capture

ROWS_PER_PIECE = 200
MAX_REASONS = 100
MAX_NAMED_JOBS = 5
TAIL_BYTES = 2048


def ps(run: LiveRun, request: ClientRequest, scheduler: Scheduler, now: float) -> Listing:
    """List the unfinished jobs, or those selected by `jobs`.

    With `why`, explain what each waits for. With `last_output`, add the last line that each running job printed.
    """
    chosen = selected(selectors_of(request), scheduler) if request.get("jobs") else scheduler.tasks.values()
    facts: Answer = {
        "paused": scheduler.paused,
        "stopping": scheduler.stopping is not None,
        "tag_limits": scheduler.ready.pools.tag_limits(),
    }
    if flag(request, "why"):
        some = list(chosen)[:MAX_REASONS]
        facts["why"] = {task.spec.id: why(task, scheduler, now) for task in some}
    return Listing(chosen, now, facts, run, last_output=flag(request, "last_output"))


def info(run: LiveRun, _request: ClientRequest, _scheduler: Scheduler, now: float) -> Answer:
    """Return the facts and the metrics of the run, the jobs in each state, and the estimated end."""
    left = run.seconds_left(now)
    return {
        "pqrun": VERSION,
        "run": run.facts(),
        "metrics": run.metrics_in_turn(now).rounded(),
        "states": run.states(),
        "seconds_left": None if left is None else round(left, 1),
    }


class _Row(NamedTuple):
    """A job at the time of the request. Its fields are immutable, so later changes don't show."""

    seq: int
    spec: JobSpec
    state: life.State
    entry: tuple[int, int, int] | None
    attempts: int
    retries: int


class Listing:
    """The answer to `ps`: running jobs first, then the others in starting order.

    `facts` are the further members of the answer.
    """

    def __init__(
        self, tasks: Iterable[Task], now: float, facts: dict[str, Any], run: LiveRun, *, last_output: bool
    ) -> None:
        self._rows = [_Row(t.seq, t.spec, t.state, t.entry, t.attempts, t.retries) for t in tasks]
        self._now = now
        self._facts = facts
        self._output_of = run.output_of if last_output else None
        self._usage = run.usage()
        self._alike: tuple[Any, ...] = ()
        self._rest = ""

    def pieces(self) -> Iterator[bytes]:
        """Yield the answer as pieces of one line of JSON."""
        beginning = as_json({"ok": True, **self._facts}, separators=(",", ":"))
        yield f'{beginning[:-1]},"jobs":['.encode()
        rows = self._in_order()
        for start in range(0, len(rows), ROWS_PER_PIECE):
            comma = "," if start else ""
            yield (comma + ",".join(map(self._entry, rows[start : start + ROWS_PER_PIECE]))).encode("ascii")
        yield b"]}\n"

    def _in_order(self) -> list[_Row]:
        running, queued, waiting, pending = [], [], [], []
        for row in self._rows:
            if isinstance(row.state, life.Queued):
                queued.append((row.entry or (0, 0, row.seq), row))
            elif isinstance(row.state, life.Waiting):
                waiting.append((row.state.until, row.seq, row))
            elif isinstance(row.state, life.Pending):
                pending.append(row)
            else:
                running.append(row)
        queued.sort()
        waiting.sort()
        return [*running, *(row for _, row in queued), *(row for _, _, row in waiting), *pending]

    def _entry(self, row: _Row) -> str:
        seq, spec, state, _, attempts, retries = row
        most = attempts + 1 - retries + spec.retry.max
        if isinstance(state, life.Queued):
            seconds = f"{self._now - state.since:.3f}"
        elif isinstance(state, life.Pending):
            seconds = "null"
        elif isinstance(state, life.Waiting):
            seconds = f"{state.until - self._now:.3f}"
            if isinstance(state, life.Delayed):
                seconds += f',"not_before":{spec.not_before:.3f}'
        else:
            most -= 1
            seconds = "null"
            if isinstance(state, life.Running):
                seconds = f"{self._now - state.started:.3f}"
                if state.host:
                    seconds += f',"where":{quote(state.host)}'
            seconds += self._measured(AttemptId(seq, attempts))
        alike = (spec.priority, spec.tags, spec.needs, spec.timeout)
        if alike != self._alike:
            self._alike, self._rest = alike, _rest(spec)
        run = spec.work.run
        text = quote(run) if isinstance(run, str) and run.isascii() else _command(run)
        if facts := argument_facts(spec):
            text += "," + as_json(facts, separators=(",", ":"))[1:-1]
        return (
            f'{{"id":{quote(spec.id)},"seq":{seq},"state":"{state_of(state)}","attempts":{attempts},'
            f'"max_attempts":{most},"run":{text},"seconds":{seconds},{self._rest}}}'
        )

    def _measured(self, key: AttemptId) -> str:
        """Return the members about a running attempt: its usage if it is measured, and its last output if wanted."""
        text = ""
        if (usage := self._usage.get(key)) is not None:
            text = f',"cpus":{usage.cpus:.3f},"memory":{usage.memory}'
        if self._output_of is not None and (line := _last_line(self._output_of(key))):
            text += f',"last_output":{quote(line)}'
        return text


def _last_line(output: Capture | None) -> str:
    """Return the last line of stdout, or of stderr if stdout has none."""
    if output is None:
        return ""
    try:
        return last_line(output.out.tail(TAIL_BYTES)) or last_line(output.err.tail(TAIL_BYTES))
    except OSError:
        return ""  # the attempt has just ended


def _rest(spec: JobSpec) -> str:
    """Return the fields that many jobs share; `Listing` reuses the text while they stay equal."""
    facts = {
        "priority": spec.priority.name.lower(),
        "tags": spec.tags,
        "needs": [need.job for need in spec.needs],
        "timeout": spec.timeout,
    }
    return as_json(facts, separators=(",", ":"))[1:-1]


def _command(run: str | tuple[str, ...]) -> str:
    """Return a command as JSON, followed by its exact bytes (`run_bytes`) if it is not Unicode."""
    more = "".join(f',"{name}":{json.dumps(value)}' for name, value in bytes_beside("run", run).items())
    return as_json(run) + more


def why(task: Task, scheduler: Scheduler, now: float) -> str:
    """Explain why a job does not run, or how long it has run."""
    match task.state:
        case life.Held():
            return "is held: `pqrun release` lets it start"
        case life.Pending():
            return _why_pending(task, scheduler)
        case life.Delayed(_, until):
            assert task.spec.not_before is not None
            moment = format_moment(task.spec.not_before)
            return f"starts not before {moment}, in {format_duration(max(0.0, until - now))}"
        case life.Waiting(attempt, until):
            return f"waits {format_duration(max(0.0, until - now))} before attempt {attempt}"
        case life.Queued():
            return _why_queued(task, scheduler)
        case life.Running(attempt, started):
            return f"runs for {format_duration(now - started)}, attempt {attempt}"
        case life.Stopping(reason=reason):
            return f"is being stopped ({reason})"
        case life.Unsettled():
            return "has ended by a signal; the outcome is known in a second, if pqrun is not stopped, too"
        case _:
            return "is about to start"


def _why_pending(task: Task, scheduler: Scheduler) -> str:
    found = [scheduler.find(need.job) for need in task.spec.needs]
    unmet = [f"{other.spec.id} ({state_of(other.state)})" for other in found if other is not None]
    if not unmet:
        return "needs a job that was interrupted"
    more = f" and {len(unmet) - MAX_NAMED_JOBS} more" if len(unmet) > MAX_NAMED_JOBS else ""
    return f"waits for {', '.join(unmet[:MAX_NAMED_JOBS])}{more}"


def _why_queued(task: Task, scheduler: Scheduler) -> str:
    if scheduler.stopping is not None:
        return "the run is stopping"
    if scheduler.hold_reason:
        return scheduler.hold_reason
    pools = scheduler.ready.pools
    for name, count in task.shape[1]:
        free = pools.free.get(name, 0)
        if free < count and name.startswith(TAG_POOL):
            size, tag = pools.sizes[name], name.removeprefix(TAG_POOL)
            return f"{count_of(size - free, 'job')} with the tag `{tag}` running, the limit is {size}"
        if free < count:
            return f"the pool `{name}` has {max(free, 0)} free, the job needs {count}"
    mine = task.entry or (0, 0, 0)
    before = sum(1 for t in scheduler.tasks.values() if t.entry is not None and t.entry < mine)
    busy = (
        f"{count_of(len(scheduler.running()), 'job')} running, {count_of(before, 'job')} ahead in the queue"
    )
    return f"needs {task.spec.slots} workers: {busy}" if task.spec.slots > 1 else busy
