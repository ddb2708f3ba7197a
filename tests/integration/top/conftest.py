# SPDX-License-Identifier: LGPL-3.0-or-later
"""A run that is only told of, a screen as text, and real runs as the tests of the socket have them."""

import asyncio
from importlib.util import find_spec

import pytest
from control import conftest as real

from pqrun.control.run_view import MeasuredUsage, OutputPiece
from pqrun.core.errors import InternalFailure
from pqrun.core.metrics import Metrics
from pqrun.ui.top.jobs import ListedJob
from pqrun.ui.top.run_source import JobDetails, PastAttempt, RunState, RunUpdate

if find_spec("textual") is None:
    collect_ignore = ["test_model.py", "test_polling.py"]  # the others skip what needs it

NOW = 1_000_000.0
gate, live_run = real.gate, real.live
globals()["state"] = real.state  # the name of the fixture that the others ask for


def job(seq, state="queued", **facts):
    facts.setdefault("queued", NOW - 48)
    if state not in ("queued", "pending"):
        facts.setdefault("began", NOW - 31)
        facts.setdefault("attempts", 1)
    if state not in ("queued", "pending", "running"):
        facts.setdefault("ended", NOW - 9)
    name = facts.pop("name", f"job-{seq}")
    return ListedJob(seq, facts.pop("id", name), name, facts.pop("command", f"make {name}"), state, **facts)


def nightly():
    """A run as it may be in the middle of a night."""
    return [
        job(1, "ok", name="fetch", tags=("net",), cpus=0.04, memory=21 << 20),
        job(
            2,
            "failed",
            name="test[py3.12-macos]",
            how="exit 1",
            message="2 tests failed",
            most=3,
            attempts=3,
            cpus=0.97,
            memory=310 << 20,
        ),
        job(3, "timeout", name="sync:eu-west", priority=2, how="timeout 22s", timeout=22.0),
        job(4, "running", name="render/chapter-07", priority=2, timeout=60.0, most=3, tags=("render",)),
        job(5, "running", name="db:backup --full", priority=2, attempts=2, most=3, began=NOW - 84),
        job(6, "queued", name="render/chapter-08", priority=2, tags=("render",)),
        job(7, "queued", name="pack"),
        job(8, "queued", name="thumbs/img_0092", priority=0),
        job(9, "pending", name="publish", priority=3),
    ]


class Fake:
    """A source that tells what the test says, and keeps what it is asked to do."""

    def __init__(self, jobs, *, live=True, workers=4):
        self.jobs = {one.seq: one for one in jobs}
        self.live, self.workers, self.paused, self.trouble = live, workers, False, ""
        self.state = "live" if live else "ended"
        self.now = NOW
        self.acts = []
        self.refuses = None
        self.limits = {}
        self.output = {}
        self.attempts = {}
        self.usage = {4: MeasuredUsage(1.94, 1638 << 20), 5: MeasuredUsage(0.12, 812 << 10)}
        self.why = "4 jobs running, 1 job ahead in the queue"
        self.closed = False
        self._told = {}

    def numbers(self):
        states = [one.state for one in self.jobs.values()]
        return Metrics(
            jobs_enqueued=len(states), jobs_dequeued=len(states) - states.count("queued"),
            jobs_completed=states.count("ok"), jobs_failed=states.count("failed"),
            jobs_timeout=states.count("timeout"), jobs_retried=1, current_queue_size=states.count("queued"),
            active_workers=states.count("running"), average_wait_time=41.3, average_processing=12.6,
        )  # fmt: skip

    def poll(self):
        changed = [one for seq, one in self.jobs.items() if self._told.get(seq) != one]
        gone = [seq for seq in self._told if seq not in self.jobs]
        anew = not self._told
        self._told = dict(self.jobs)
        ended = sum(not one.unfinished for one in self.jobs.values())
        run = RunState(
            "k3f9", "nightly.yaml", self.state, self.live, NOW - 120, self.now, self.workers, self.numbers(),
            len(self.jobs), ended, self.paused, False, True, self.trouble, usage=self.usage,
            tag_limits=dict(self.limits),
        )  # fmt: skip
        return RunUpdate(run, tuple(changed), tuple(gone), anew)

    def details(self, seq):
        return JobDetails(seq, self.attempts.get(seq, ()), self.why if self.jobs[seq].unfinished else "")

    def last_output(self, seqs):
        return {seq: f"line of {seq}" for seq in seqs if self.jobs[seq].attempts}

    def read(self, seq, attempt, stream, offset):
        data = self.output.get((seq, attempt, stream), b"")
        start = offset or 0
        return OutputPiece(data[start:], start, self.jobs[seq].state != "running")

    def act(self, verb, **facts):
        if self.refuses:
            raise InternalFailure(self.refuses, 1)
        self.acts.append((verb, facts))
        if verb in ("pause", "unpause"):
            self.paused = verb == "pause"
        if verb == "workers":
            self.workers = facts["workers"]
        if verb == "limit":
            self.limits |= {facts["tag"]: facts["workers"]}
            self.limits = {tag: most for tag, most in self.limits.items() if most}
            return {"ok": True, "workers": facts["workers"], "count": 0}
        return {"ok": True}

    def close(self):
        self.closed = True


def attempts(*hows):
    return [PastAttempt(n, how, None if how == "running" else 2.5) for n, how in enumerate(hows, 1)]


def screen_of(app):
    """What the terminal shows, as lines of text."""
    width, height = app.size
    lines = app.screen._compositor.render_strips()
    return [strip.crop(0, width).text.rstrip() for strip in lines][:height]


async def settled(app, pilot, rounds=2):
    """The app has done what keys asked for, has looked at its source again, and drawn."""
    wanted = app.poller.rounds + rounds
    for _ in range(400):
        app.poller.wake()
        await pilot.pause(0.005)
        asked = [worker for worker in app.workers if worker.group == "act" and not worker.is_finished]
        if app.poller.rounds >= wanted and not asked:
            await pilot.pause()
            return
    raise AssertionError("it does not look any more")


@pytest.fixture
def play():
    """`play(source, script)` runs the app, and `script(app, pilot)` at its keys; gives what that gives."""
    pytest.importorskip("textual", reason="the extra `top` is not installed")
    from pqrun.ui.top.app import TopApp

    def begin(source, script, size=(110, 36)):
        async def main():
            app = TopApp(source, every=0.05)
            async with app.run_test(size=size, notifications=True) as pilot:
                await settled(app, pilot)
                return await script(app, pilot)

        return asyncio.run(main())

    return begin
