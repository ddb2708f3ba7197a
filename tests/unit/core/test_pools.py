# SPDX-License-Identifier: LGPL-3.0-or-later
"""Slots and pools: never too much of them, not too little, and nobody waits for ever."""

from heapq import heappop, heappush
from itertools import groupby
from random import Random

import pytest

from pqrun.core import events as ev
from pqrun.core.job import JobSpec, Pool, Priority
from pqrun.core.ready_queue import MAX_SKIPS
from pqrun.core.scheduler import Scheduler
from pqrun.testing import FakeClock, Fate, SimulatedExecutor, simulate

POOLS = {"net": 2, "gpu": 3}
WANTS = [()] * 5 + [(("net", 1),), (("gpu", 1),), (("gpu", 2), ("net", 1))]


def random_jobs(random, slots):
    """Jobs of many kinds, some of which take half of the machine or all of it, and how long each takes."""
    found = []
    for n in range(random.choice([50, 200, 500])):
        size = random.choice([1] * 8 + [2, 2, 3, max(1, slots // 2), slots])
        priority = random.choice(list(Priority)) if random.random() < 0.3 else Priority.NORMAL
        spec = JobSpec(f"j{n}", work=None, slots=size, priority=priority, pools=random.choice(WANTS))
        found.append((spec, random.choice([0.5, 1.0, 1.0, 2.0, 5.0])))
    return found


def greedy(jobs, slots):
    """How long it takes to start whatever fits, in order, at every end: the oracle, which may let starve."""
    waiting = sorted(range(len(jobs)), key=lambda n: (-jobs[n][0].priority, n))
    free, pools, now = slots, dict(POOLS), 0.0
    running = []
    while waiting or running:
        for n in list(waiting):
            spec, seconds = jobs[n]
            if min(spec.slots, slots) <= free and all(pools[name] >= count for name, count in spec.pools):
                waiting.remove(n)
                free -= min(spec.slots, slots)
                pools.update({name: pools[name] - count for name, count in spec.pools})
                heappush(running, (now + seconds, n))
        now = running[0][0]
        while running and running[0][0] == now:
            spec = jobs[heappop(running)[1]][0]
            free += min(spec.slots, slots)
            pools.update({name: pools[name] + count for name, count in spec.pools})
    return now


def simulated(jobs, slots, **settings):
    scheduler = Scheduler(**settings)
    scheduler.add([spec for spec, _ in jobs], 0.0)
    scheduler.end_input(0.0)
    seconds = {spec.id: length for spec, length in jobs}
    clock = FakeClock()
    story = simulate(scheduler, SimulatedExecutor(clock, slots, lambda a: Fate(seconds[a.spec.id])))
    return story, clock.now()


def check_use(story, jobs, slots):
    """Never more than there is of anything, and no name of a pool given out twice."""
    free, pools = slots, dict(POOLS)
    for event in story.events:
        if isinstance(event, ev.AttemptSubmitted | ev.AttemptEnded):
            sign = 1 if isinstance(event, ev.AttemptEnded) else -1
            spec = jobs[event.seq - 1][0]
            free += sign * min(spec.slots, slots)
            pools.update({name: pools[name] + sign * count for name, count in spec.pools})
            assert free >= 0 and min(pools.values()) >= 0
    assert (free, pools) == (slots, POOLS)


@pytest.mark.slow
@pytest.mark.parametrize("first", range(0, 40, 10))
def test_the_slots_are_used_nine_tenths_as_well_as_by_starting_whatever_fits(first):
    for seed in range(first, first + 10):
        random = Random(seed)
        slots = random.choice([2, 4, 8, 16])
        jobs = random_jobs(random, slots)
        story, took = simulated(jobs, slots, pools=[Pool(name, size) for name, size in POOLS.items()])
        check_use(story, jobs, slots)
        assert greedy(jobs, slots) / took >= 0.9


def starts(story):
    return [event.seq for event in story.events if isinstance(event, ev.AttemptSubmitted)]


@pytest.mark.parametrize("big", [{"slots": 4}, {"slots": 99}, {"pools": (("gpu", 3),)}])
def test_a_big_job_is_passed_over_a_hundred_times_and_no_more(big):
    small = [(JobSpec(f"small{n}", work=None, pools=(("gpu", 1),)), 1.0 + 0.01 * (n % 7)) for n in range(600)]
    jobs = [small[0], small[1], (JobSpec("big", work=None, **big), 1.0), *small[2:]]
    story, _ = simulated(jobs, 4, pools=[Pool("gpu", 3)])
    before = starts(story).index(3) - 2
    assert MAX_SKIPS <= before <= MAX_SKIPS + 4


def test_several_big_jobs_get_their_turn_one_after_the_other():
    small = [(JobSpec(f"small{n}", work=None), 1.0 + 0.01 * (n % 7)) for n in range(900)]
    big = [(JobSpec(f"big{n}", work=None, slots=4), 1.0) for n in range(5)]
    story, _ = simulated([*small[:2], *big, *small[2:]], 4)
    order = starts(story)
    places = [order.index(seq) for seq in range(3, 8)]
    assert places == sorted(places)
    assert all(place <= (turn + 1) * (MAX_SKIPS + 8) for turn, place in enumerate(places))


def test_who_waits_for_a_full_pool_has_no_slots_kept_for_it():
    """Its hundred passings are over, but as long as a long job holds the pool, all others go on."""
    holder = (JobSpec("holder", work=None, pools=(("net", 1),)), 1000.0)
    waiter = (JobSpec("waiter", work=None, slots=4, pools=(("net", 1),)), 1.0)
    small = [(JobSpec(f"small{n}", work=None), 1.0) for n in range(900)]
    story, took = simulated([holder, waiter, *small], 4, pools=[Pool("net", 1)])
    assert starts(story)[-1] == 2
    assert took == 1001.0


def test_a_job_that_needs_more_slots_than_there_are_takes_all_and_runs_alone():
    jobs = [(JobSpec(f"j{n}", work=None, slots=9 if n == 2 else 1), 1.0) for n in range(5)]
    story, _ = simulated(jobs, 3)
    moments = {event.seq: event.at for event in story.events if isinstance(event, ev.AttemptStarted)}
    assert list(moments.values()).count(moments[3]) == 1


def test_the_names_of_an_indexed_pool_are_never_shared():
    jobs = [(JobSpec(f"j{n}", work=None, pools=(("gpu", 1 + n % 2),)), 1.0 + n % 3) for n in range(40)]
    scheduler = Scheduler(pools=[Pool("gpu", 3, ("a", "b", "c"))])
    scheduler.add([spec for spec, _ in jobs], 0.0)
    scheduler.end_input(0.0)
    held: dict[str, set[str]] = {}

    def fate(attempt):
        ((_, share),) = attempt.pools
        names = set(share.split(","))
        taken = {name for id, names in held.items() for name in names if scheduler.find(id) is not None}
        assert len(names) == dict(attempt.spec.pools)["gpu"]
        assert not names & taken
        held[attempt.spec.id] = names
        return Fate(1.0)

    simulate(scheduler, SimulatedExecutor(FakeClock(), 8, fate))
    assert len(held) == 40


def test_among_jobs_that_ask_for_the_same_it_is_first_come_first_served():
    random = Random(1)
    kinds = [(1, ()), (2, ()), (1, (("net", 1),)), (4, (("net", 2),))]
    jobs = []
    for n in range(300):
        slots, pools = random.choice(kinds)
        jobs.append((JobSpec(f"j{n}", work=None, slots=slots, pools=pools), random.choice([0.5, 1.0, 3.0])))
    story, _ = simulated(jobs, 4, pools=[Pool("net", 2)])
    shape = {seq: (jobs[seq - 1][0].slots, jobs[seq - 1][0].pools) for seq in range(1, 301)}
    for _, same in groupby(
        sorted(starts(story), key=lambda seq: str(shape[seq])), key=lambda seq: shape[seq]
    ):
        found = list(same)
        assert found == sorted(found)
