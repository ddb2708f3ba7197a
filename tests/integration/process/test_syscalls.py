# SPDX-License-Identifier: LGPL-3.0-or-later
"""Each system call of pqrun's own may fail: nothing hangs, nothing is left, the exit code tells the truth.

A point is one call of one thread, made to fail by strace in a run of its own. `syscalls/inject.py` is the
same for the command line.
"""

from concurrent.futures import ThreadPoolExecutor

import pytest
from syscalls.inject import examine, find_points, sample, why_not

SAMPLE = 100
AT_ONCE = 3


@pytest.fixture(scope="module")
def points():
    if why := why_not():
        pytest.skip(why)
    return find_points()


def findings(points) -> list[str]:
    with ThreadPoolExecutor(AT_ONCE) as pool:
        found = [finding for finding, _ in pool.map(examine, points) if finding is not None]
    return [f"{finding.point}: {finding.what}\n{finding.point.text}\n{finding.said}" for finding in found]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_whichever_system_call_fails_the_promises_hold(points):
    """Each call with each of its errors once, and some of them at another place."""
    chosen = sample(points, SAMPLE, seed=0)

    assert len({(point.call, point.error) for point in chosen}) > 60
    assert "\n\n".join(findings(chosen)) == ""


@pytest.mark.exhaustive
@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_the_promises_hold_at_every_point(points):
    assert "\n\n".join(findings(points)) == ""
