# SPDX-License-Identifier: LGPL-3.0-or-later
"""A job that ends within a moment takes the quick way: its pipes are read after its end, and nothing is lost."""

import fcntl
import os
import signal

import pytest

from pqrun.core.job import Command, ExitedWith, JobSpec
from pqrun.core.notices import ProcessStarted
from pqrun.executors.local import child
from pqrun.executors.local.procfs import read_stat
from pqrun.executors.local.spawn import NOTHING_PRINTED
from pqrun.executors.local.watchdog import WatchdogSupervisor
from pqrun.executors.local.watchdog_process import GRACE_SECONDS, SLOTS, SharedTable, _take_charge, cell_of

MUCH = 300_000


@pytest.fixture
def always_short(monkeypatch):
    """The wait for a leader alone is as long as any test: on a busy machine no job is short."""
    monkeypatch.setattr(child, "SHORT_JOB_MILLISECONDS", 60_000)


def printing(stdout: int, stderr: int = 0) -> JobSpec:
    return JobSpec("a", Command(f"head -c {stdout} /dev/zero; head -c {stderr} /dev/zero >&2"))


def output_of(end):
    return b"".join(end.output.out.pieces()), b"".join(end.output.err.pieces())


def test_what_a_short_job_printed_is_read_after_its_end(always_short, processes):
    end = processes.end_of(processes.start(printing(60_000, 7)))
    assert end.exit == ExitedWith(0)
    assert output_of(end) == (bytes(60_000), bytes(7))


def test_a_short_job_that_prints_nothing_costs_no_capture(always_short, processes):
    end = processes.end_of(processes.start("quick"))
    assert end.output is NOTHING_PRINTED
    assert output_of(end) == (b"", b"")


def test_a_short_job_tells_its_start_with_its_end(always_short, processes):
    key = processes.start("quick")
    assert processes.end_of(key).slot == "slot 1"
    assert processes.of(key, ProcessStarted) == []


def test_a_job_that_is_not_short_tells_its_start_while_it_runs(processes):
    key = processes.begin("endless")
    processes.executor.stop(key, force=True)
    assert processes.end_of(key).slot == ""
    assert [news.where for news in processes.of(key, ProcessStarted)] == ["slot 1"]


def test_where_starts_are_reported_at_once_a_short_job_does_so_too(always_short, processes):
    processes.around = processes.around._replace(prompt=True)
    key = processes.start("quick")
    assert processes.end_of(key).slot == ""
    assert len(processes.of(key, ProcessStarted)) == 1


def test_more_than_a_pipe_holds_is_read_when_the_moment_is_over(processes):
    end = processes.end_of(processes.start(printing(MUCH, MUCH)))
    assert output_of(end) == (bytes(MUCH), bytes(MUCH))


def test_a_slot_whose_last_job_printed_much_reads_at_once(monkeypatch, processes):
    processes.end_of(processes.start(printing(MUCH)))
    assert processes.around.talkative == {1}
    # A job that prints more than a pipe holds would hang if its leader were waited for alone.
    monkeypatch.setattr(child, "SHORT_JOB_MILLISECONDS", 60_000)
    assert output_of(processes.end_of(processes.start(printing(MUCH), 2))) == (bytes(MUCH), b"")
    processes.end_of(processes.start(printing(5), 3))
    assert processes.around.talkative == set()


def test_the_output_of_a_job_that_is_not_short_is_there_while_it_runs(processes):
    key = processes.start(JobSpec("a", Command("echo early; exec sleep 1000"), grace=0.2))
    processes.wait(lambda: (output := processes.executor.output_of(key)) and output.out.size == 6)
    processes.executor.stop(key, force=True)
    assert output_of(processes.end_of(key)) == (b"early\n", b"")


def test_a_short_job_is_stopped_while_its_leader_is_waited_for_alone(always_short, processes):
    key = processes.start("endless")
    processes.wait(processes.executor.pids)
    processes.executor.stop(key, force=False)
    assert processes.end_of(key).stopped


def test_a_program_that_is_not_there_is_found_out_on_the_quick_way(always_short, processes):
    end = processes.end_of(processes.start(JobSpec("a", Command(("/nowhere/program",)))))
    assert (end.exit.code, end.output) == (127, None)


def test_a_watchdog_sees_in_shared_memory_which_jobs_run():
    table = SharedTable.create()
    try:
        assert table.cells is not None and len(table.cells) == SLOTS
        seen = SharedTable(table.fd)  # as a watchdog opens it
        assert seen.jobs() == {}
        table.cells[1], table.cells[SLOTS - 1] = cell_of(4321, 0.25), cell_of((1 << 22) - 1, 3.0)
        assert seen.jobs() == {4321: 0.25, (1 << 22) - 1: 3.0}
        table.cells[1] = 0
        assert seen.jobs() == {(1 << 22) - 1: 3.0}
    finally:
        before = len(os.listdir("/proc/self/fd"))
        table.close()
    assert len(os.listdir("/proc/self/fd")) == before - 2, "its own descriptor, and that of the memory"


def test_a_watchdog_gives_no_job_more_than_its_own_longest_grace():
    supervisor = WatchdogSupervisor(b"", lambda start, **_: start())
    supervisor._table = table = SharedTable.create()
    supervisor._cells = table.cells
    supervisor.register(1, 4321, 100 * 86400.0)
    assert table.jobs() == {4321: GRACE_SECONDS}
    supervisor.unregister(1)
    assert table.jobs() == {}
    supervisor.close()


def test_a_stopped_watchdog_does_not_keep_the_other_from_its_work():
    table = SharedTable.create()
    pid = os.fork()
    if pid == 0:
        fcntl.lockf(table.fd, fcntl.LOCK_EX)
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.waitpid(pid, os.WUNTRACED)
    table.put_watchdog(1, pid, read_stat(pid).start_time)
    assert _take_charge(table, 0, 2)
    assert os.waitpid(pid, 0)[1] == signal.SIGKILL
    table.close()
