# SPDX-License-Identifier: LGPL-3.0-or-later
"""How fast, and how long still."""

import pytest

from pqrun.core.metrics import Throughput


def ends(times, began=0.0):
    rate = Throughput(began)
    for at in times:
        rate.count(at)
    return rate


def test_nothing_is_told_before_it_means_something():
    assert Throughput(0.0).per_second(100.0) is None
    assert ends([1, 2, 3, 4]).per_second(10.0) is None
    assert ends([0.1, 0.2, 0.3, 0.4, 0.5]).per_second(1.0) is None
    assert ends([1, 2, 3, 4, 5]).eta(10.0, 0) is None


def test_the_last_minute_counts():
    steady = [float(n) for n in range(1, 301)]
    assert ends(steady).per_second(300.0) == pytest.approx(1.0, rel=0.05)
    faster = steady + [300 + n / 10 for n in range(1, 601)]
    assert ends(faster).per_second(360.0) == pytest.approx(10.0, rel=0.05)
    assert ends(faster).eta(360.0, 100) == pytest.approx(10.0, rel=0.05)


def test_where_few_end_in_a_minute_the_last_few_count():
    slow = [120.0 * n for n in range(1, 8)]
    assert ends(slow).per_second(840.0) == pytest.approx(5 / 480)


def test_memory_does_not_grow_with_the_jobs():
    rate = ends([n / 1000 for n in range(200_000)])
    assert len(rate._slices) <= 61
    assert rate.per_second(200.0) == pytest.approx(1000.0, rel=0.05)


def test_a_run_that_has_stalled_slows_down():
    rate = ends([float(n) for n in range(1, 61)])
    assert rate.per_second(600.0) < rate.per_second(60.0) / 5


def test_the_time_to_go_counts_the_wait_for_a_retry():
    steady = ends([float(n) for n in range(1, 61)])
    assert steady.eta(60.0, 10, waiting=1, last_retry=50.0) == 50.0
    assert steady.eta(60.0, 100, waiting=1, last_retry=50.0) == pytest.approx(100.0, rel=0.05)
    assert steady.eta(60.0, 10, waiting=0, last_retry=50.0) == pytest.approx(10.0, rel=0.05)
    few = ends([1.0, 2.0])
    assert few.eta(10.0, 1, waiting=1, last_retry=32.0) == 32.0
    assert few.eta(10.0, 2, waiting=1, last_retry=32.0) is None
