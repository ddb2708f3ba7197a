# SPDX-License-Identifier: LGPL-3.0-or-later
"""Thousands of random runs on a cluster that loses, delays, doubles and mixes up its news on purpose.

Simulated: a fake clock, no process. The book and the scheduler are the real ones.
"""

from collections import Counter, defaultdict
from heapq import heappop, heappush
from math import inf
from random import Random

import pytest

from pqrun.core import events as ev
from pqrun.core.job import (
    AttemptId,
    ExitedWith,
    JobSpec,
    KilledBySignal,
    LostExit,
    NotStarted,
    Outcome,
    Priority,
    RetryPolicy,
)
from pqrun.core.notices import ProcessFinished, ProcessRestarted, ProcessStarted
from pqrun.core.scheduler import Scheduler
from pqrun.executors.dask.attempts import RemoteAttempts
from pqrun.testing import FakeClock, simulate

COUNT_EVERY = 10.0
LONGEST_SILENCE = 30.0


class Run:
    """One start of one attempt, on some worker: what really happens."""

    def __init__(self, nonce: str, began: float) -> None:
        self.nonce = nonce
        self.began = began
        self.asked = False
        self.over = False


class BadCluster:
    """An executor and its reactor. `true_ends` is what runners have found, whether anybody heard of it."""

    def __init__(self, slots: int, random: Random, trouble: float) -> None:
        self.clock = FakeClock()
        self.engine = None
        self.attempts = RemoteAttempts()
        self.reports = []
        self.true_ends = defaultdict(list)
        self.starts = Counter()
        self._random = random
        self._trouble = trouble
        self._slots = slots
        self._todo = []
        self._count = 0
        self._woken = False
        self._runs: dict[AttemptId, list[Run]] = defaultdict(list)
        self._coming: set[AttemptId] = set()
        self._refused: set[AttemptId] = set()
        self._later(COUNT_EVERY, self._take_count)

    # As a reactor

    def wake(self):
        self._woken = True

    def wait(self, seconds):
        if self._woken:
            self._woken = False
            return []
        alarm = self.clock.now() + seconds
        when = min(alarm, self._todo[0][0] if self._todo else inf)
        assert when < inf and self.clock.time < 1e5, "the run hangs"
        self.clock.time = max(self.clock.time, when)
        while self._todo and self._todo[0][0] <= self.clock.time:
            _, _, function, arguments = heappop(self._todo)
            function(*arguments)
        return []

    def _later(self, seconds, function, *arguments):
        self._count += 1
        heappush(self._todo, (self.clock.now() + seconds, self._count, function, arguments))

    def _chance(self) -> bool:
        return self._random.random() < self._trouble

    # As an executor

    def report_to(self, engine):
        self.engine = engine
        return self

    def capacity(self):
        return self._slots

    def start(self, attempt):
        self.attempts.submit(attempt)
        self._coming.add(attempt.key)
        self._later(self._random.uniform(0, 2), self._begin, attempt)

    def stop(self, key, *, force):
        live = self.attempts.live.get(key)
        if live is None:
            return
        live.asked, live.forced = True, live.forced or force
        self._later(self._random.uniform(0, 1), self._stop_there, key, force)
        if force:
            self._later(LONGEST_SILENCE, self._lose, key, live)

    def close(self):
        pass

    # At the cluster

    def _begin(self, attempt):
        key = attempt.key
        self._coming.discard(key)
        if key in self._refused:
            return
        for _ in range(1 + self._chance()):  # Dask, or the network, has it begun twice
            run = Run(str(self._random.random()), self.clock.now())
            self._runs[key].append(run)
            self.starts[key] += 1
            self._tell(self._hear_start, key, run)
            if self._chance():
                self._later(self._random.uniform(0, 3), self._die, key, run)
            self._later(self._random.choice([0, 0.5, 3, 20]), self._end, key, run, None)

    def _end(self, key, run, signal):
        if run.over:
            return
        run.over = True
        exit = KilledBySignal(signal) if signal else ExitedWith(self._random.choice([0, 0, 0, 1]))
        self.true_ends[key].append(exit)
        self._tell(self._hear_end, ProcessFinished(key, exit, run.asked, run.began, self.clock.now()))

    def _die(self, key, run):
        if not run.over:
            run.over = True
            self._tell(self._hear_loss, key)

    def _stop_there(self, key, force):
        runs = [run for run in self._runs[key] if not run.over]
        if not self._runs[key]:
            self._refused.add(key)
            self._report(self.attempts.never_started(key, self.clock.now()))
        for run in runs:
            run.asked = True
            if force or self._random.random() < 0.7:
                self._end(key, run, "SIGKILL" if force else "SIGTERM")

    # On the way back

    def _tell(self, function, *arguments):
        for _ in range(self._random.choice([0, 1, 2, 2]) if self._chance() else 1):
            self._later(self._random.choice([0, 0.1, 5]) if self._chance() else 0, function, *arguments)

    def _hear_start(self, key, run):
        self._report(self.attempts.started(key, run.nonce, "worker", "host", run.began))

    def _hear_end(self, report):
        self._report(self.attempts.ended(report))

    def _hear_loss(self, key):
        self._report(self.attempts.lost(key, "its worker died", self.clock.now()))

    def _lose(self, key, live):
        if not live.over:
            self._hear_loss(key)

    def _take_count(self):
        known = {key for key, runs in self._runs.items() if any(not run.over for run in runs)} | self._coming
        for key in self.attempts.missing(known, set(self.attempts.live)):
            self._hear_loss(key)
        self._later(COUNT_EVERY, self._take_count)

    def _report(self, news):
        if news is not None:
            assert not isinstance(news, ProcessRestarted) or news.key in self.attempts.live
            self.reports.append(news)
            self.engine.post(news)


def one_run(seed):
    random = Random(seed)
    jobs = [
        JobSpec(
            f"j{n}", work=None, priority=random.choice(list(Priority)), timeout=random.choice([None, None, 5.0]),
            grace=random.choice([0.0, 1.0]), retry=RetryPolicy(max=random.choice([0, 0, 2]), delay=0.5),
            on_lost=random.choice(["rerun", "rerun", "rerun", "fail"]), max_lost=random.choice([0, 1, 3]),
        )
        for n in range(random.randint(1, 12))
    ]  # fmt: skip
    scheduler = Scheduler(seed=seed)
    scheduler.add(jobs, 0.0)
    scheduler.end_input(0.0)
    cluster = BadCluster(random.randint(1, 6), random, random.choice([0.0, 0.05, 0.3]))
    for _ in range(random.choice([0, 0, 1, 2])):
        cluster._later(random.uniform(0, 10), cancel_one, cluster, scheduler, random)
    return simulate(scheduler, cluster), jobs, cluster


def cancel_one(cluster, scheduler, random):
    def ask(scheduler, now):
        if scheduler.tasks:
            scheduler.cancel(random.choice(list(scheduler.tasks.values())), now)

    cluster.engine.turn(request=ask)


def check(story, jobs, cluster):
    reported = defaultdict(list)
    for news in cluster.reports:
        if not isinstance(news, ProcessRestarted):
            reported[news.key].append(type(news))
    for key, kinds in reported.items():
        assert kinds in ([ProcessStarted, ProcessFinished], [ProcessFinished]), key
    ended, lost, attempts = Counter(), Counter(), defaultdict(list)
    for event in story.events:
        match event:
            case ev.AttemptSubmitted(_, seq, attempt):
                attempts[seq].append(attempt)
            case ev.AttemptEnded(seq=seq, attempt=attempt, exit=exit, asked=asked, began=began, ended=at):
                if isinstance(exit, LostExit):
                    lost[seq] += at > began and asked is None
                    assert exit.worker_lost
                elif not isinstance(exit, NotStarted):
                    assert exit in cluster.true_ends[seq, attempt], "an end that no runner has found"
            case ev.JobEnded(seq=seq, outcome=outcome):
                ended[seq] += 1
                runs = [end for key, ends in cluster.true_ends.items() if key[0] == seq for end in ends]
                if outcome is Outcome.OK:
                    assert ExitedWith(0) in runs
    restarted = sum(isinstance(event, ev.AttemptRestarted) for event in story.events)
    assert restarted <= len(cluster.attempts.twice)
    assert ended == Counter(range(1, len(jobs) + 1)), "a job was lost, or has ended twice"
    for seq, spec in enumerate(jobs, 1):
        assert attempts[seq] == list(range(1, len(attempts[seq]) + 1))
        assert lost[seq] <= spec.max_lost + 1
        if spec.on_lost == "fail":
            assert lost[seq] <= 1


@pytest.mark.slow
def test_whatever_becomes_of_the_news_each_job_ends_once_and_as_a_runner_has_found():
    twice = lost = 0
    for seed in range(2000):
        story, jobs, cluster = one_run(seed)
        check(story, jobs, cluster)
        twice += len(cluster.attempts.twice)
        lost += sum(
            1 for e in story.events if isinstance(e, ev.AttemptEnded) and isinstance(e.exit, LostExit)
        )
    assert twice > 100 and lost > 1000, "too little has gone wrong to tell anything"


def test_the_same_seed_tells_the_same_story():
    for seed in range(20):
        assert one_run(seed)[0].events == one_run(seed)[0].events
