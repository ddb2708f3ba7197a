# SPDX-License-Identifier: LGPL-3.0-or-later
"""What can't be looked at for want of descriptors or memory is looked at again, never taken for gone."""

import errno
import os
import subprocess
import sys

import pytest

from pqrun.executors.local import procfs as processes
from pqrun.executors.local import watchdog_process as vigil
from pqrun.executors.local.cleanup import ProcessCleanup
from pqrun.executors.local.procfs import Children, all_processes, environment_of, group_is_alive, read_stat

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")


def failing(error, times=1):
    """As the built-in `open`, but for the first times."""
    left = [times]

    def flaky(*arguments, **more):
        if left[0] > 0:
            left[0] -= 1
            raise OSError(error, os.strerror(error))
        return open(*arguments, **more)

    return flaky


@pytest.fixture
def sleeper():
    process = subprocess.Popen(["sleep", "600"], start_new_session=True)
    yield process
    process.kill()
    process.wait()


@pytest.mark.parametrize("error", [errno.EMFILE, errno.ENFILE, errno.ENOMEM])
@pytest.mark.parametrize("look", [read_stat, environment_of, lambda _pid: list(all_processes())])
def test_a_look_without_a_descriptor_says_so(monkeypatch, sleeper, look, error):
    monkeypatch.setattr(processes, "open", failing(error), raising=False)
    with pytest.raises(OSError):
        look(sleeper.pid)


@pytest.mark.parametrize("error", [errno.ENOENT, errno.ESRCH, errno.EACCES])
def test_a_process_that_has_gone_or_is_hidden_shows_nothing(monkeypatch, sleeper, error):
    monkeypatch.setattr(processes, "open", failing(error, times=9), raising=False)
    assert read_stat(sleeper.pid) is None
    assert environment_of(sleeper.pid) == b""


def test_a_group_that_can_not_be_seen_may_live(monkeypatch, sleeper):
    monkeypatch.setattr(processes, "open", failing(errno.EMFILE), raising=False)
    assert group_is_alive(sleeper.pid)


def test_a_list_of_children_that_the_kernel_can_not_make_is_searched_for(monkeypatch, sleeper):
    children = Children()
    children.open()

    def out_of_memory(*_arguments):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    monkeypatch.setattr(os, "pread", out_of_memory)
    assert sleeper.pid in map(int, children.read().split())
    children.close()


def test_a_sweep_that_can_not_see_the_children_is_not_calm(monkeypatch):
    cleanup = ProcessCleanup(b"/mark.", b"/mark-kept.")

    def no_descriptor():
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(cleanup._children, "read", no_descriptor)
    assert not cleanup._is_calm()
    assert cleanup._scan() == ([], False)


def test_the_watch_over_a_killed_run_goes_on_when_the_processes_can_not_be_listed(monkeypatch, sleeper):
    looks = []

    def flaky():
        looks.append(1)
        if len(looks) < 3:
            raise OSError(errno.EMFILE, "Too many open files")
        return (process for process in all_processes() if process.pid == sleeper.pid)

    monkeypatch.setattr(vigil, "all_processes", flaky)
    vigil.end_all({sleeper.pid: 1.0}, b"/no-such-mark.", looks=3)
    assert sleeper.poll() == -15
    assert len(looks) >= 6, "three looks that find none, not counting those that could see nothing"
