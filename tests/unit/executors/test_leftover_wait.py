# SPDX-License-Identifier: LGPL-3.0-or-later
"""How long leftovers of a job have to end by themselves, on a clock of the test."""

import os
import select
import subprocess

import pytest

from pqrun.executors.local import leftover_wait
from pqrun.executors.local.leftover_wait import AT_WORK_SECONDS, MAX_WAIT_SECONDS, QUIET_SECONDS, LeftoverWait


class Intake:
    """The reading end of a pipe that a leftover holds open."""

    def __init__(self):
        self.fd, self.theirs = os.pipe()
        self.lost, self.got, self.is_open = "", b"", True

    def register(self, poll):
        poll.register(self.fd, select.POLLIN)

    def __contains__(self, fd):
        return fd == self.fd

    def __bool__(self):
        return self.is_open

    def read_some(self, fd):
        data = os.read(fd, 100)
        self.got += data
        self.is_open = bool(data)
        return self.is_open

    def end(self):
        os.close(self.theirs)
        self.theirs = -1


@pytest.fixture
def intake():
    one = Intake()
    yield one
    for fd in (one.fd, one.theirs):
        if fd >= 0:
            os.close(fd)


@pytest.fixture
def clock():
    return [100.0]


@pytest.fixture
def wait(intake, clock):
    return LeftoverWait(intake, lambda: clock[0])


def is_patient(wait, clock, after):
    clock[0] = 100.0 + after
    return wait.patient


def test_leftovers_have_time_until_they_are_quiet_for_long_enough(wait, intake, clock):
    assert is_patient(wait, clock, QUIET_SECONDS - 0.01) and not is_patient(wait, clock, QUIET_SECONDS + 0.01)
    for at in (
        0.1,
        0.2,
        MAX_WAIT_SECONDS - 0.05,
    ):  # each output gives them as much time again, but not for ever
        clock[0] = 100.0 + at
        os.write(intake.theirs, b"x")
        wait.until_ended(0, 0.001)
        until = min(at + QUIET_SECONDS, MAX_WAIT_SECONDS)
        assert is_patient(wait, clock, until - 0.01) and not is_patient(wait, clock, until + 0.01)
    assert intake.got == b"xxx"


def test_leftovers_at_work_get_a_little_more_time(wait, clock, monkeypatch):
    monkeypatch.setattr(leftover_wait, "is_at_work", lambda pid: pid == 7)
    clock[0] = 100.0 + QUIET_SECONDS + 0.01
    assert not wait.extend([]) and not wait.extend([8])
    assert wait.extend([8, 7])
    clock[0] += AT_WORK_SECONDS + 0.01
    assert not wait.patient and wait.extend([7])
    clock[0] = 100.0 + MAX_WAIT_SECONDS - 0.01
    assert wait.extend([7])
    assert not is_patient(wait, clock, MAX_WAIT_SECONDS + 0.01) and not wait.extend([7])


def test_leftovers_of_a_stopped_job_and_those_whose_output_is_lost_have_none(
    wait, intake, clock, monkeypatch
):
    monkeypatch.setattr(leftover_wait, "is_at_work", lambda _pid: True)
    stopped = LeftoverWait(intake, lambda: clock[0], quiet=0.0)
    assert not stopped.patient and not stopped.extend([7])
    intake.lost = "no space left on device"
    assert not wait.patient and not wait.extend([7])


def test_the_time_that_a_busy_machine_takes_from_pqrun_is_given_to_the_leftovers(intake, clock, monkeypatch):
    class BusyPoll:
        """A poll after which the thread had to wait for a CPU."""

        def register(self, fd, events):
            pass

        def poll(self, milliseconds):
            clock[0] += milliseconds / 1000 + 0.4
            return []

    monkeypatch.setattr(leftover_wait.select, "poll", BusyPoll)
    wait = LeftoverWait(intake, lambda: clock[0])
    wait.until_closed(lambda: clock[0] > 100.3, list)
    assert is_patient(wait, clock, QUIET_SECONDS + 0.39)
    assert not is_patient(wait, clock, QUIET_SECONDS + 0.43)


@pytest.mark.parametrize("end", ["closed", "hurry", "time"])
def test_the_wait_ends_with_the_last_output_at_a_stop_or_with_the_time(wait, intake, clock, end):
    os.write(intake.theirs, b"last")
    if end == "closed":
        intake.end()
    looks = []

    def hurry():
        looks.append(1)
        clock[0] += 0.04 if end == "time" else 0.0
        return end == "hurry"

    wait.until_closed(hurry, list)
    assert intake.got == b"last"
    assert (len(looks), bool(intake)) == {"closed": (1, False), "hurry": (1, True), "time": (4, True)}[end]


def test_the_end_of_a_process_ends_the_wait_and_what_it_printed_is_read(wait, intake):
    with subprocess.Popen(["echo", "bye"], stdout=intake.theirs) as process:
        intake.end()
        wait.until_ended(process.pid, 60)
    while intake:
        wait.until_ended(0, 0.001)
    assert intake.got == b"bye\n"
