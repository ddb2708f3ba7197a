# SPDX-License-Identifier: LGPL-3.0-or-later
from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as some

from pqrun.core.job import Pool
from pqrun.core.ready_queue import MAX_SKIPS, Pools, ReadyQueue


@dataclass(eq=False)
class Job:
    seq: int
    rank: int = 0
    slots: int = 1
    pools: tuple = ()
    entry: tuple | None = field(default=None)
    tags: tuple = ()
    shares: tuple = ()

    @property
    def shape(self):
        return (self.slots, self.pools)

    @property
    def spec(self):
        return self

    @property
    def place(self):
        return (self.rank, self.seq, self.seq)


def filled(*jobs, pools=()):
    ready = ReadyQueue(pools, known := {})
    ready.known = known
    for job in jobs:
        push(ready, job)
    return ready


def push(ready, job):
    ready.known[job.seq] = job
    ready.push(job, job.place)


def taken(ready, capacity, free):
    job = ready.take(capacity, free)
    return None if job is None else job.seq


def test_the_best_goes_first_and_then_who_came_first():
    ready = filled(Job(1, rank=0), Job(2, rank=-1), Job(3, rank=-1), Job(4, rank=-3))
    assert [taken(ready, 4, 4) for _ in range(5)] == [4, 2, 3, 1, None]


def test_a_job_that_is_pushed_again_moves_and_is_taken_once():
    ready = filled(Job(1), Job(2), last := Job(3))
    ready.push(last, (-1, 3, 3))
    assert [taken(ready, 4, 4) for _ in range(4)] == [3, 1, 2, None]


def test_a_removed_job_is_not_taken():
    ready = filled(first := Job(1), Job(2))
    ready.remove(first)
    assert (len(ready), taken(ready, 1, 1), taken(ready, 1, 1)) == (1, 2, None)


def test_what_does_not_fit_is_passed_and_comes_first_when_there_is_room():
    ready = filled(big := Job(1, slots=3), Job(2), Job(3))
    assert [taken(ready, 3, 2), taken(ready, 3, 1)] == [2, 3]
    push(ready, Job(4))
    ready.give_back(big)
    assert [taken(ready, 3, 3), taken(ready, 3, 1)] == [1, 4]


def test_a_full_pool_holds_back_only_those_who_ask_for_it():
    net = (("net", 1),)
    one, two = Job(1, pools=net), Job(2, pools=net)
    ready = filled(one, two, Job(3), pools=[Pool("net", 1)])
    assert ready.take(9, 9) is one
    one.shares = ready.pools.take(net)
    assert [taken(ready, 9, 8), taken(ready, 9, 7)] == [3, None]
    ready.give_back(one)
    assert taken(ready, 9, 9) == 2


def test_a_removed_job_that_was_parked_leaves_its_place_to_the_next_of_its_kind():
    big, bigger, small = Job(1, slots=2), Job(2, slots=2), Job(3)
    ready = filled(big, bigger, small)
    assert taken(ready, 2, 1) == 3
    ready.remove(big)
    ready.give_back(small)
    assert taken(ready, 2, 2) == 2


def test_who_was_passed_over_often_enough_gets_what_becomes_free():
    other, big = Job(0), Job(1, slots=2)
    ready = filled(other, big, *(Job(n) for n in range(2, 500)))
    assert taken(ready, 2, 2) == 0
    passed = 0
    while (seq := taken(ready, 2, 1)) is not None:
        passed += 1
        assert seq != 1
        ready.give_back(Job(seq))
    assert passed == MAX_SKIPS
    ready.give_back(other)
    assert taken(ready, 2, 2) == 1


def test_an_indexed_pool_gives_out_names_and_takes_them_back():
    pools = Pools([Pool("gpu", 3, ("0", "1", "2"))])
    first, second = pools.take((("gpu", 2),)), pools.take((("gpu", 1),))
    assert (first, second) == ((("gpu", "0,1"),), (("gpu", "2"),))
    pools.give_back((("gpu", 2),), first)
    assert pools.take((("gpu", 1),)) == (("gpu", "0"),)
    assert pools.free == {"gpu": 1}


def test_a_pool_may_be_resized_while_it_is_held():
    pools = Pools([Pool("net", 2)])
    pools.take((("net", 2),))
    pools.resize(Pool("net", 3))
    assert pools.free == {"net": 1}


shapes = some.tuples(
    some.integers(1, 4), some.sampled_from([(), (("a", 1),), (("a", 2),), (("a", 1), ("b", 1))])
)


@given(
    some.lists(some.tuples(some.integers(-3, 0), shapes), max_size=40), some.integers(1, 4), some.randoms()
)
def test_it_takes_what_a_simple_search_would_take(facts, capacity, random):
    """Against the plain way: the first in order that fits, as long as nobody's patience is at an end."""
    jobs = [Job(n, rank, *shape) for n, (rank, shape) in enumerate(facts, 1)]
    ready = filled(*jobs, pools=[Pool("a", 2), Pool("b", 1)])
    waiting, running = sorted(jobs, key=lambda job: job.place), []
    free = capacity
    while waiting or running:
        left = ready.pools.free
        fits = [
            job
            for job in waiting
            if min(job.slots, capacity) <= free and all(left[name] >= count for name, count in job.pools)
        ]
        job = ready.take(capacity, free)
        assert job is (fits[0] if fits else None)
        if job is not None:
            waiting.remove(job)
            free -= min(job.slots, capacity)
            running.append((job, ready.pools.take(job.pools)))
        else:
            job, job.shares = running.pop(random.randrange(len(running)))
            free += min(job.slots, capacity)
            ready.give_back(job)
