# SPDX-License-Identifier: LGPL-3.0-or-later
"""Each system call of pqrun's own may fail: nothing hangs, nothing is left, the exit code tells the truth.

A point is one call of one thread, made to fail by strace in a run of its own. `syscalls/inject.py` is the
same for the command line.
"""

import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor

import pytest
from syscalls.inject import CODES, examine, find_points, sample, why_not
from syscalls.place import LIMIT, Place

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


FROM_LIST = ("run", "-q", "--no-journal", "-")
DEALT = ("each", "--pipe", "--round-robin", "-j2", "--block", "20", "cat")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "when"), [(FROM_LIST, "1"), (FROM_LIST, "1+"), (DEALT, "3"), (DEALT, "6"), (DEALT, "3+")]
)
def test_no_thread_waits_for_ever_for_another_one_whose_write_fails(words, when):
    """The same write of each thread fails, or all from there on: also those that wake another thread."""
    if why := why_not():
        pytest.skip(why)
    place = Place()
    try:
        inject = ["-e", "trace=write", "-e", f"inject=write:error=EIO:when={when}"]
        process = subprocess.Popen(
            ["strace", "-f", "-qq", "-o", place.path / "log", *inject, *place.command(*words)],
            env=place.environment(), cwd=place.path, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            process.communicate(b"true\nsleep 0.1\n" * 10, timeout=LIMIT)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        assert "(INJECTED)" in (place.path / "log").read_text(errors="replace")
        assert process.returncode in CODES - {2, 70}
    finally:
        place.remove()
