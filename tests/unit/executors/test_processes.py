# SPDX-License-Identifier: LGPL-3.0-or-later
"""What can't be looked at for want of descriptors or memory is looked at again, never taken for gone."""

import errno
import os
import subprocess
import sys

import pytest

from pqrun.executors.local import cleanup as local_cleanup
from pqrun.executors.local import procfs as processes
from pqrun.executors.local import watchdog_process as vigil
from pqrun.executors.local.cleanup import ProcessCleanup
from pqrun.executors.local.ownership import JobProcesses, Orphan, ProcessOwnership
from pqrun.executors.local.procfs import (
    Children,
    Process,
    all_processes,
    all_processes_to_the_newest,
    environment_of,
    group_is_alive,
    read_stat,
)

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


def test_a_process_that_was_forked_has_the_list_of_its_own_children():
    """As in `serve --detach`. Without the list, each job's end is a search of all of `/proc`."""
    program = (
        "import os; from pqrun.executors.local.procfs import Children; children = Children()\n"
        "if os.fork(): raise SystemExit(os.waitstatus_to_exitcode(os.wait()[1]))\n"
        "children.open(); raise SystemExit(not children.only_orphans)"
    )
    assert subprocess.run([sys.executable, "-c", program], timeout=60).returncode == 0


def test_a_sweep_that_can_not_see_the_children_is_not_calm(monkeypatch):
    cleanup = ProcessCleanup(b"/mark.", b"/mark-kept.")

    def no_descriptor():
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(cleanup._children, "read", no_descriptor)
    assert not cleanup._is_calm()
    assert cleanup._scan() == ([], [], False)


def test_a_dead_orphan_may_have_left_a_child_after_the_list_of_children_was_read(monkeypatch):
    """A chain of short processes: each has ended when it is looked at, and its child is in the next list only."""
    cleanup = ProcessCleanup(b"/mark.", b"/mark-kept.")
    lists = [b"501 ", b"502 ", b"503 ", b""]
    seen = []

    def read():
        seen.append(lists[min(len(seen), len(lists) - 1)])
        return seen[-1]

    monkeypatch.setattr(cleanup._children, "read", read)
    monkeypatch.setattr(cleanup, "_subreaper", True)
    monkeypatch.setattr(local_cleanup, "read_stat", lambda pid: Process(pid, "Z", 1, pid, pid, 77, False))
    monkeypatch.setattr(local_cleanup, "reap", lambda pid: True)
    monkeypatch.setattr(local_cleanup, "is_dead", lambda pid: True)
    monkeypatch.setattr(local_cleanup, "be_subreaper", lambda wanted: True)
    cleanup.close()
    assert seen[:4] == lists


def test_the_watch_over_a_killed_run_goes_on_when_the_processes_can_not_be_listed(monkeypatch, sleeper):
    looks = []

    def flaky():
        looks.append(1)
        if len(looks) < 3:
            raise OSError(errno.EMFILE, "Too many open files")
        return (process for process in all_processes() if process.pid == sleeper.pid)

    monkeypatch.setattr(vigil, "all_processes_to_the_newest", flaky)
    vigil.end_all({sleeper.pid: 1.0}, b"/no-such-mark.")
    assert sleeper.poll() == -15
    assert len(looks) >= 4, "the last look finds none, and the first two could see nothing"


def test_what_is_known_of_a_process_does_not_hold_for_a_later_one_of_its_number():
    ownership = ProcessOwnership(b"/mark.", b"/mark-kept.")
    member = JobProcesses(b"/mark.1/", keep=False, slot=1)
    first = Process(60, "S", 50, 60, 60, 77, False)
    ownership.inherit(first, Orphan(50, 0.0, member))
    assert ownership.identify_owner(first._replace(state="Z"), None).owner is member
    assert ownership.identify_owner(first._replace(state="Z", start_time=99), None).owner is None


@pytest.mark.parametrize("awaits", [False, True])
def test_where_children_of_all_threads_are_listed_none_is_reaped_that_may_be_a_leader(monkeypatch, awaits):
    cleanup, reaped = ProcessCleanup(b"/mark.", b"/mark-kept."), []
    assert not cleanup._children.only_orphans
    if awaits:
        cleanup.expect(JobProcesses(b"/mark.1/", keep=False, slot=1))
    monkeypatch.setattr(cleanup._children, "read", lambda: b"501 ")
    monkeypatch.setattr(local_cleanup, "read_stat", lambda pid: Process(pid, "Z", 1, pid, pid, 77, False))
    monkeypatch.setattr(local_cleanup, "reap", lambda pid: reaped.append(pid) or True)
    monkeypatch.setattr(local_cleanup, "is_dead", lambda pid: True)
    monkeypatch.setattr(cleanup, "_subreaper", True)
    cleanup.reap_orphans()
    assert reaped == ([] if awaits else [501])


def test_the_watch_over_a_killed_run_finds_all_that_descend_from_a_job(monkeypatch):
    """Processes that left the job's session and its marker are known by their parents alone."""

    def process(pid, parent, session):
        return Process(pid, "S", parent, session, session, 77, False)

    there = [process(13, 12, 13), process(12, 11, 12), process(11, 10, 10), process(14, 1, 14)]
    monkeypatch.setattr(vigil, "all_processes_to_the_newest", lambda: iter(there))
    monkeypatch.setattr(vigil, "environment_of", lambda pid: b"")
    found = vigil._those_of({10: 1.0}, b"/mark.", {}, set())
    assert [one.pid for one in found] == [11, 12, 13]


def stat_of(pid, *, start_code=b"4096", env_start=b"8192", flags=b"4194304"):
    """Return the text of `/proc/PID/stat` of a process, as far as `read_stat` looks at it."""
    fields = [b"0"] * 50
    fields[0], fields[6], fields[19], fields[23], fields[48] = b"S", flags, b"77", start_code, env_start
    return b"%d (a name) b) " % pid + b" ".join(fields)


@pytest.mark.parametrize(
    ("pid", "fields", "executing"),
    [
        (500, {}, False),
        (500, {"env_start": b"0"}, True),
        (1, {"env_start": b"0"}, False),  # the first process of a system may never have had variables
        (500, {"env_start": b"0", "start_code": b"1"}, False),  # another user's, whose addresses are hidden
        (500, {"env_start": b"0", "flags": b"%d" % 0x00200000}, False),  # a thread of the kernel
    ],
)
def test_only_a_process_in_the_middle_of_an_exec_has_variables_that_show_later(
    monkeypatch, pid, fields, executing
):
    monkeypatch.setattr(processes, "_read", lambda path, limit: stat_of(pid, **fields))
    assert read_stat(pid).bare is executing


def test_a_chain_of_processes_that_each_fork_and_end_during_a_scan_is_seen(monkeypatch):
    """The list knows process 10 alone; while it is read, 10 becomes 11, 11 becomes 12, and 12 stays."""
    newest = iter([10, 11, 12, 12])
    monkeypatch.setattr(processes, "newest_pid", lambda: next(newest))
    monkeypatch.setattr(processes.os, "listdir", lambda path: ["10"])
    monkeypatch.setattr(
        processes, "_read", lambda path, limit: stat_of(12) if path == "/proc/12/stat" else b""
    )
    assert [process.pid for process in all_processes_to_the_newest()] == [12]
