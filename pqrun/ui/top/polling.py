# SPDX-License-Identifier: LGPL-3.0-or-later
"""The polling of a run for the screen, and the reading of the selected job's output.

`RunPoller` calls the source on one thread of its own, one call at a time, so that a slow disk or a busy run does not
block the screen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, NamedTuple, TypeVar

from pqrun.control.run_view import NO_USAGE, MeasuredUsage, OutputPiece
from pqrun.core import text as hints
from pqrun.core.text import escape_controls
from pqrun.ui.top.jobs import JobList, ListedJob
from pqrun.ui.top.rendering import TopHistory
from pqrun.ui.top.run_source import JobDetails, RunSource, RunState, RunUpdate
from pqrun.ui.top.widgets import LogView

T = TypeVar("T")
REFRESH_INTERVAL_SECONDS = 0.5
MIN_REFRESH_SECONDS = 0.9
"""The details of the selected job, and the last output of a running job, are kept for at least this time."""
MAX_PIECES = 8
"""Up to this number of pieces of each stream are read in a round."""
STREAM_CHOICES = (("stdout+stderr", (1, 2)), ("stdout", (1,)), ("stderr", (2,)))


class WantedChanges:
    """The values that the user asked for, while the run does not show them yet.

    The user may press a key again before the run shows the effect of the first press. The second press then steps on
    from the value here, not from the old value that the run still shows.
    """

    def __init__(self) -> None:
        self._workers: int | None = None
        self._limits: dict[str, int] = {}
        self._priorities: dict[int, int] = {}

    def workers(self, run: RunState) -> int | None:
        """Return the number of workers, or None if it is not known."""
        return self._workers or run.workers

    def limit(self, tag: str, run: RunState) -> int:
        """Return how many jobs with a tag may run at a time; 0 means any number."""
        return self._limits.get(tag, run.tag_limits.get(tag, 0))

    def priority(self, job: ListedJob) -> int:
        """Return the priority of a job."""
        return self._priorities.get(job.seq, job.priority)

    def want_workers(self, count: int) -> None:
        """Remember the number of workers that was asked for."""
        self._workers = count

    def want_limit(self, tag: str, limit: int) -> None:
        """Remember the limit of a tag that was asked for."""
        self._limits[tag] = limit

    def want_priority(self, job: ListedJob, priority: int) -> None:
        """Remember the priority of a job that was asked for."""
        self._priorities[job.seq] = priority

    def settle(self, news: RunUpdate) -> None:
        """Forget the values that the run now shows, and the priorities of jobs that changed."""
        if news.run.workers == self._workers:
            self._workers = None
        limits = self._limits.items()
        self._limits = {tag: limit for tag, limit in limits if news.run.tag_limits.get(tag, 0) != limit}
        for job in news.changed:
            self._priorities.pop(job.seq, None)

    def clear(self) -> None:
        """Forget all values: the run has refused a request."""
        self._workers = None
        self._limits.clear()
        self._priorities.clear()


class RunPoller:
    """The run as the source last reported it, and the only caller of the source.

    `run` is None until the first poll has returned. `last_output`: the last line of output by job number. `details`
    are those of the job that was last selected. `rounds`: the number of finished rounds, for tests.
    """

    def __init__(self, source: RunSource, *, every: float = REFRESH_INTERVAL_SECONDS) -> None:
        self.run: RunState | None = None
        self.jobs = JobList()
        self.history = TopHistory()
        self.last_output: dict[int, str] = {}
        self.details = JobDetails(0)
        self.wanted = WantedChanges()
        self.rounds = 0
        self._source = source
        self._every = every
        self._thread = ThreadPoolExecutor(1, "source")
        self._woken = asyncio.Event()
        self._closed = False
        # By job number: the state and the attempts of the job when its last output was asked for.
        self._output_asked_in: dict[int, tuple[str, int]] = {}
        # Whether what may change all the time is asked for in this round, and when it was asked for last.
        self._refresh_due = True
        self._refreshed = 0.0

    def now(self) -> float:
        """Return the time of the last poll, in seconds of the wall clock."""
        return self.run.now if self.run is not None else 0.0

    def usage(self) -> Mapping[int, MeasuredUsage]:
        """Return the usage of the running jobs, by number."""
        return self.run.usage if self.run is not None else NO_USAGE

    def wake(self) -> None:
        """Start the next round at once."""
        self._woken.set()

    async def pause(self) -> None:
        """End a round: wait for the interval, or until `wake` is called."""
        self.rounds += 1
        try:
            await asyncio.wait_for(self._woken.wait(), self._every)
        except TimeoutError:
            pass
        self._woken.clear()

    async def poll(self) -> bool:
        """Begin a round: take in the changes of the run. Return whether there are any."""
        news = await self._call(self._source.poll)
        self._refresh_due = monotonic() - self._refreshed >= MIN_REFRESH_SECONDS
        before, run = self.run, news.run
        if before is not None and news == RunUpdate(before):
            return False  # as in every poll of a past run
        self.run = run
        self.wanted.settle(news)
        if news.changed or news.gone or news.anew:
            self.jobs.update(news.changed, news.gone, anew=news.anew)
        if before is None:
            self.history.begin(self.jobs.all.values(), run)
        elif before.live and not run.live:
            self._output_asked_in.clear()  # every job may have printed more before the run ended
        self.history.sample(run)
        return True

    async def ask_last_output(self, shown: Sequence[ListedJob]) -> bool:
        """Ask for the last output of the jobs on the screen, where it is due. Return whether it was asked for."""
        asked_in = self._output_asked_in
        wanted = [
            job.seq
            for job in shown
            if (job.state == "running" and self._refresh_due)
            or asked_in.get(job.seq) != (job.state, job.attempts)
        ]
        if wanted:
            self.last_output.update(await self._call(self._source.last_output, wanted))
            asked_in.update((job.seq, (job.state, job.attempts)) for job in shown)
        return bool(wanted)

    async def ask_details(self, job: ListedJob | None) -> bool:
        """Ask for the details of the selected job, if they are due. Return whether they were asked for."""
        wanted = job is not None and (self._refresh_due or self.details.seq != job.seq)
        if job is not None and wanted:
            self.details = await self._call(self._source.details, job.seq)
        if self._refresh_due:
            self._refreshed = monotonic()
        return wanted

    async def read(self, seq: int, attempt: int, stream: int, offset: int | None) -> OutputPiece:
        """Read a piece of the output of an attempt, as `RunSource.read` does."""
        return await self._call(self._source.read, seq, attempt, stream, offset)

    async def act(self, verb: str, facts: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request to the run. Raises `InternalFailure` or `UserError` if it is refused."""
        return await self._call(lambda: self._source.act(verb, **facts))

    def close(self) -> None:
        """Close the source, on its own thread, after the calls that wait there."""
        self._closed = True
        self._thread.submit(self._source.close)
        self._thread.shutdown(wait=False)

    async def _call(self, question: Callable[..., T], *values: Any) -> T:
        if self._closed:
            raise asyncio.CancelledError
        return await asyncio.get_running_loop().run_in_executor(self._thread, question, *values)


class FollowedOutput(NamedTuple):
    """The output that the log shows. `choice`: the row of `STREAM_CHOICES`."""

    seq: int
    attempt: int
    choice: int


class OutputFollower:
    """Reads the output of the selected job into the log, further with each round."""

    def __init__(self, poller: RunPoller, log: LogView) -> None:
        self._poller = poller
        self._log = log
        self._choice = 0
        self._attempt: int | None = None  # None: the last one
        self._followed: FollowedOutput | None = None
        self._offsets: dict[int, int | None] = {}  # where to read on, for each stream that has not ended

    def choose_last_attempt(self) -> None:
        """Follow the last attempt, also when the job is tried again."""
        self._attempt = None

    def choose_attempt_before(self, job: ListedJob) -> None:
        """Follow the attempt before the present one; after the first attempt, the last."""
        self._attempt = ((self._attempt or job.attempts) - 1) or None

    def choose_next_streams(self) -> None:
        """Follow the next of: both streams, stdout, stderr."""
        self._choice = (self._choice + 1) % len(STREAM_CHOICES)

    async def read(self, job: ListedJob | None) -> None:
        """Read on in the output of the selected job."""
        log = self._log
        if job is None:
            if self._followed is not None:
                self._followed = None
                log.border_title = ""
                log.begin()
            return
        attempt = self._attempt or job.attempts
        wanted = FollowedOutput(job.seq, attempt, self._choice)
        if wanted != self._followed:
            self._begin(wanted, job)
        log.border_title = self._title(wanted, job)
        if not attempt:
            return
        changed = False
        for stream in list(self._offsets):
            changed |= await self._read_stream(wanted, stream, job)
        if changed or not log.text.lines:
            log.changed()

    def _begin(self, wanted: FollowedOutput, job: ListedJob) -> None:
        """Clear the log for other output."""
        self._followed = wanted
        self._offsets = dict.fromkeys(STREAM_CHOICES[wanted.choice][1])
        self._log.begin()
        if not wanted.attempt:
            self._log.text.remark("it has not started yet" if job.unfinished else "it was never started")

    async def _read_stream(self, wanted: FollowedOutput, stream: int, job: ListedJob) -> bool:
        """Read the next pieces of a stream. Return whether a line of the log changed."""
        text = self._log.text
        changed = False
        for _ in range(MAX_PIECES):
            offset = self._offsets[stream]
            piece = await self._poller.read(wanted.seq, wanted.attempt, stream, offset)
            if offset is None and piece.start:
                run = self._poller.run
                command = hints.command("logs", run.id if run is not None else "RUN", job.id)
                text.remark(f"… {piece.start:,} bytes before this: {command}")
            self._offsets[stream] = piece.start + len(piece.data)
            changed |= text.feed(stream, piece.data)
            if piece.over:
                del self._offsets[stream]
            if piece.over or not piece.data:
                break
        return changed

    def _title(self, wanted: FollowedOutput, job: ListedJob) -> str:
        """Return the title of the log's border. Textual reads it as markup, which a job's name must not be."""
        found = self._log.searched
        search = f" · “{escape_controls(found)}” in {self._log.text.count(found)} lines" if found else ""
        tries = f" · try {wanted.attempt}/{job.most}" if wanted.attempt else ""
        text = f"{job.seq} {job.name[:60]}{tries} · {STREAM_CHOICES[wanted.choice][0]}{search}"
        return text.replace("[", "\\[")
