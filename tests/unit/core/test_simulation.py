# SPDX-License-Identifier: LGPL-3.0-or-later
"""Random whole runs; each checks what must hold in every run."""

from collections import Counter, defaultdict
from math import inf
from random import Random

import pytest

from pqrun.core import events as ev
from pqrun.core.job import (
    CountedAs,
    ExitedWith,
    HaltRule,
    JobSpec,
    KilledBySignal,
    LostExit,
    Need,
    Pool,
    Priority,
    RetryPolicy,
)
from pqrun.core.metrics import MetricsCollector
from pqrun.core.scheduler import Scheduler
from pqrun.core.start_policy import ADDED, LISTED, STREAMED
from pqrun.core.states import Pending, Queued
from pqrun.testing import FakeClock, Fate, RecordedRun, SimulatedExecutor, simulate


def random_jobs(random: Random) -> list[JobSpec]:
    jobs = []
    for n in range(random.randint(1, 25)):
        needs = tuple(
            Need(f"j{random.randrange(n)}", random.choice(["ok", "ok", "ended", "failed"]))
            for _ in range(random.choice([0, 0, 0, 1, 2]))
            if n
        )
        jobs.append(
            JobSpec(
                f"j{n}",
                work=None,
                priority=random.choice(list(Priority)),
                timeout=random.choice([None, None, 3.0]),
                grace=random.choice([0.0, 1.0]),
                retry=RetryPolicy(max=random.choice([0, 0, 1, 3]), delay=random.choice([0.0, 0.5, 2.0])),
                needs=needs,
                slots=random.choice([1, 1, 1, 2, 5]),
                pools=random.choice([(), (), (("net", 1),), (("gpu", 1),), (("gpu", 2), ("net", 1))]),
                allow_failure=random.random() < 0.2,
                on_lost=random.choice(["rerun", "rerun", "fail"]),
                max_lost=random.choice([0, 1, 3]),
                not_before=random.choice([None, None, None, 0.5, 3.0, 20.0]),
                tags=random.choice([(), (), ("x",), ("x", "y")]),
            )
        )
    return jobs


def random_asks(random: Random):
    def cancel_one(scheduler, now):
        if scheduler.tasks:
            scheduler.cancel(random.choice(list(scheduler.tasks.values())), now)

    asks = []
    for _ in range(random.choice([0, 0, 1, 3])):
        asks.append((random.uniform(0, 8), cancel_one))
    if random.random() < 0.2:
        at = random.uniform(0, 8)
        drain = random.random() < 0.5
        asks.append((at, lambda s, now: s.stop("stop", now, drain=drain)))
        if random.random() < 0.5:
            asks.append((at + 1, lambda s, now: s.stop("stop", now, force=True)))
    if random.random() < 0.2:
        at = random.uniform(0, 8)
        asks += [(at, lambda s, now: s.signalled(now)), (at, lambda s, now: s.stop("signal SIGTERM", now))]
    if random.random() < 0.2:
        at = random.uniform(0, 8)
        asks.append((at, lambda s, now: s.pause(paused=True, now=now)))
        asks.append((at + 2, lambda s, now: s.pause(paused=False, now=now)))
    asks += [limit(random) for _ in range(random.choice([0, 0, 1, 4]))]
    return asks


def limit(random: Random):
    """When, and a request to limit a tag, or to lift its limit."""
    tag, most = random.choice("xy"), random.choice([0, 1, 1, 2])

    at = random.choice([0.0, random.uniform(0, 8)])
    return at, lambda scheduler, now: scheduler.limit_tag(tag, most, now, "test")


class Jumps:
    """The wall clock, which is set or goes on while pqrun is suspended: by how much it is ahead, and since when."""

    def __init__(self, random: Random, clock: FakeClock) -> None:
        self.clock = clock
        self.known = [(0.0, 0.0)]
        self.asks = [
            (random.uniform(0, 8), self.to(random.choice([-100.0, -2.0, 1.0, 60.0])))
            for _ in range(random.choice([0, 0, 1, 3]))
        ]

    def to(self, ahead: float):
        def jump(_scheduler, now) -> None:
            self.known.append((now, ahead))
            self.clock.ahead = ahead

        return jump

    def latest(self, at: float) -> float:
        """What the wall clock shows at most at this moment, at which it may just be set."""
        before = [ahead for since, ahead in self.known if since < at] or [0.0]
        return at + max([before[-1], *(ahead for since, ahead in self.known if since == at)])


def one_run(seed: int) -> tuple[RecordedRun, list[JobSpec], int, Scheduler, Jumps]:
    random = Random(seed)
    slots = random.randint(1, 4)
    jobs = random_jobs(random)
    halt = random.choice([None, None, None, HaltRule(random.choice(["now", "soon"]), "fail", 1)])
    scheduler = Scheduler(pools=[Pool("net", 1), Pool("gpu", 2, ("0", "1"))], halt=halt, seed=seed)
    for job in jobs:
        scheduler.add([job], 0.0, origin=random.choice([LISTED, STREAMED, ADDED]))
    scheduler.end_input(0.0)

    def fate(attempt):
        lost, signalled = random.random() < 0.1, random.random() < 0.1
        code = random.choice([0, 0, 0, 1, 75, 127, 143])
        return Fate(
            seconds=random.choice([0.0, 0.5, 1.0, 4.0]),
            exit=LostExit("gone", worker_lost=True)
            if lost
            else KilledBySignal("SIGTERM")
            if signalled
            else ExitedWith(code),
            deaf=random.random() < 0.3,
            refuse=random.random() < 0.05,
        )

    jumps = Jumps(random, FakeClock())
    executor = SimulatedExecutor(jumps.clock, slots, fate, asks=random_asks(random) + jumps.asks)
    return simulate(scheduler, executor, check=check_books), jobs, slots, scheduler, jumps


def check_books(scheduler: Scheduler) -> None:
    """What has not started is counted once, under the way by which it came in; so is each unit of a pool."""
    used = Counter()
    for task in scheduler.running():
        used.update(dict(task.spec.pools))
        used.update(f"tag:{tag}" for tag in task.spec.tags if tag in scheduler.ready.limited_tags)
    pools = scheduler.ready.pools
    assert {name: size - pools.free[name] for name, size in pools.sizes.items()} == {
        name: used[name] for name in pools.sizes
    }
    waiting = Counter(
        task.origin for task in scheduler.tasks.values() if isinstance(task.state, Pending | Queued)
    )
    backlog = scheduler.backlog
    assert (backlog.streamed, backlog.added) == (waiting[STREAMED], waiting[ADDED])
    assert len(backlog) == waiting.total()


def urgencies(jobs: list[JobSpec], ended) -> list[Priority]:
    """What an urgent job needs is as urgent until that has ended; needs point to earlier jobs here."""
    urgent = [job.priority for job in jobs]
    for n in reversed(range(len(jobs))):
        for need in jobs[n].needs if n + 1 not in ended else ():
            other = int(need.job[1:])
            urgent[other] = max(urgent[other], urgent[n])
    return urgent


def check_metrics_add_up(story: RecordedRun) -> None:
    metrics = MetricsCollector()
    for event in story.events:
        metrics.fold([event])
        m = metrics.snapshot()
        assert m.jobs_enqueued - m.jobs_dequeued == m.current_queue_size == sum(m.queue_by_priority.values())
        assert m.jobs_dequeued == (
            m.jobs_completed + m.jobs_failed + m.jobs_timeout + m.jobs_retried
            + m.active_workers + m.attempts_stopped + m.jobs_removed
        )  # fmt: skip


def check_story(
    story: RecordedRun, jobs: list[JobSpec], slots: int, scheduler: Scheduler, jumps: Jumps
) -> None:
    active: dict[int, int] = {}
    ended: Counter[int] = Counter()
    attempts: dict[int, list[int]] = defaultdict(list)
    queued: dict[int, int] = {}
    pools: Counter[str] = Counter()
    place: dict[int, int] = {}
    astray: set[int] = set()
    refused = False
    lost: Counter[int] = Counter()
    limits: dict[str, int] = {}

    def simple(seq: int) -> bool:
        """Whether nothing but its place decides when it starts."""
        spec = jobs[seq - 1]
        return spec.slots == 1 and not spec.pools and limits.keys().isdisjoint(spec.tags)

    for event in story.events:
        match event:
            case ev.PoolChanged(name=name, size=size):
                limits[name.removeprefix("tag:")] = size
                limits = {tag: most for tag, most in limits.items() if most}
            case ev.JobDelayed(seq=seq):
                assert jobs[seq - 1].not_before is not None and seq not in queued and seq not in active
            case ev.JobQueued(at=at, seq=seq):
                assert (jobs[seq - 1].not_before or -inf) <= jumps.latest(at), (
                    "a job was queued before its time"
                )
                if seq not in astray:
                    place[seq] = max(place.values(), default=0) + 1
                queued[seq] = place[seq]
                astray.discard(seq)
            case ev.AttemptSubmitted(seq=seq, attempt=attempt):
                assert scheduler.stopping is None or event.at <= scheduler.stopping.at
                spec = jobs[seq - 1]
                if simple(seq):
                    urgency = urgencies(jobs, ended)
                    for other in queued:
                        if simple(other) and other != seq:
                            mine = (urgency[seq - 1], -queued[seq])
                            its = (urgency[other - 1], -queued[other])
                            assert mine > its, "a job started while a higher one was ready"
                queued.pop(seq)
                active[seq] = min(spec.slots, slots)
                pools.update(dict(spec.pools))
                attempts[seq].append(attempt)
                # Where starts were refused there were fewer slots for a while, of which one may have taken all.
                assert (len(active) if refused else sum(active.values())) <= slots
                assert pools["net"] <= 1 and pools["gpu"] <= 2
                for tag in limits.keys() & set(spec.tags):
                    tagged = sum(tag in jobs[other - 1].tags for other in active)
                    assert tagged <= limits[tag], "more jobs of a tag than its limit"
            case ev.AttemptRefused(seq=seq):
                refused = True
                del active[seq]
                pools.subtract(dict(jobs[seq - 1].pools))
                attempts[seq].pop()
                queued[seq] = place[seq]
            case ev.AttemptEnded(seq=seq, exit=exit, asked=asked, counted=counted):
                if isinstance(exit, LostExit) and exit.worker_lost:  # it goes back to where it was
                    lost[seq] += asked is None
                    if counted is CountedAs.RETRIED and asked is None:
                        astray.add(seq)
                        assert jobs[seq - 1].on_lost == "rerun" and lost[seq] <= jobs[seq - 1].max_lost
                del active[seq]
                pools.subtract(dict(jobs[seq - 1].pools))
            case ev.JobRemoved(seq=seq):
                queued.pop(seq)
            case ev.JobEnded(seq=seq, attempts=count):
                ended[seq] += 1
                assert len(attempts[seq]) == count
    assert not active
    assert max(ended.values(), default=0) <= 1
    for tried in attempts.values():
        assert tried == list(range(1, len(tried) + 1))
    if scheduler.stopping is None:
        assert len(ended) == len(jobs), "a job was lost"


@pytest.mark.slow
def test_random_runs_keep_every_promise():
    for seed in range(2500):
        story, *facts = one_run(seed)
        check_story(story, *facts)
        check_metrics_add_up(story)


def test_the_same_seed_tells_the_same_story():
    for seed in range(20):
        assert one_run(seed)[0].events == one_run(seed)[0].events
