# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a plan says of a run, and when the parts of a run read the times of earlier runs."""

from types import SimpleNamespace

import pytest

import pqrun.app.time_left
from pqrun.app.parts import LOOK_BACK_AFTER_SECONDS, RunParts, RunPlan
from pqrun.app.time_left import TimeLeft
from pqrun.core import events as ev
from pqrun.core.job import Command, JobSpec, Pool
from pqrun.core.job_table import JobTable
from pqrun.core.past import KnownDurations, key_of
from pqrun.core.settings import MAX_QUEUE, InputSettings, LimitSettings, Settings
from pqrun.input import JobInput
from pqrun.journal.restart_plan import RestartPlan
from pqrun.journal.run_record import RunRecord
from pqrun.reports.report import NoReports

JOB = JobSpec("a", Command("true"))
KNOWN = KnownDurations({key_of(JOB): 30.0})
SAID, OF_FILES, LEFT = Pool("net", 1), Pool("net", 2), Pool("net", 3)


def test_the_pools_are_those_that_were_left_else_said_else_of_the_job_files():
    files = JobInput(pools=[OF_FILES])
    said = Settings(InputSettings(pools=(SAID,)))
    assert tuple(RunPlan(Settings(), files).pools) == (OF_FILES,)
    assert tuple(RunPlan(said, files).pools) == (SAID,)
    assert tuple(RunPlan(said, files, RestartPlan(pools=(LEFT,))).pools) == (LEFT,)


def test_the_length_of_the_queue_is_what_is_said_else_of_the_job_files():
    files, said = JobInput(max_queue=50), Settings(limits=LimitSettings(max_queue=7))
    assert RunPlan(said, files).max_queue == 7
    assert RunPlan(Settings(), files).max_queue == 50
    assert RunPlan(Settings(), JobInput()).max_queue == MAX_QUEUE


def test_times_of_earlier_runs_set_the_order_only_if_the_longest_start_first():
    longest = Settings(limits=LimitSettings(order="longest-first"))
    assert RunPlan(longest, JobInput(), past=KNOWN).times_for_order is KNOWN
    assert RunPlan(Settings(), JobInput(), past=KNOWN).times_for_order is None


class Look:
    """Stands for the look at earlier runs, which has found `found`."""

    def __init__(self, directory):
        self.found = KNOWN

    def durations(self, specs):
        assert [spec.id for spec in specs()] == ["a"]
        return self.found


@pytest.fixture
def look(monkeypatch):
    monkeypatch.setattr(pqrun.app.time_left, "BackgroundLook", Look)


@pytest.fixture
def parts(tmp_path):
    """The parts of a run of one job and one worker, not opened. `with_past(past)` makes them."""
    record = RunRecord.new(run_dir=str(tmp_path / "run"), keep=True)

    def with_past(past):
        backend = SimpleNamespace(count_workers=lambda said: 1, workers=lambda: 1)
        run = RunParts(RunPlan(Settings(), JobInput(), past=past), record, backend, NoReports())
        run.table.fold(ev.JobAdded(0.0, 1, JOB))
        return run

    yield with_past
    record.close(discard=True)


def test_earlier_runs_are_read_when_a_run_of_a_second_is_asked_for_its_time_left(parts, look):
    run = parts(None)
    ask, began = run.table.rate.expected, run.table.rate.began
    assert ask(began + LOOK_BACK_AFTER_SECONDS / 2, 1) is None
    assert not run.past_is_read
    assert ask(began + LOOK_BACK_AFTER_SECONDS, 1) == 30.0
    assert run.past_is_read


def test_earlier_runs_do_not_count_as_read_while_they_are_read(parts, monkeypatch):
    run, seen = parts(None), []

    class SlowLook(Look):
        def durations(self, specs):
            seen.append(run.past_is_read)

    monkeypatch.setattr(pqrun.app.time_left, "BackgroundLook", SlowLook)
    assert run.table.rate.expected(run.table.rate.began + LOOK_BACK_AFTER_SECONDS, 1) is None
    assert seen == [False]
    assert run.past_is_read


def test_times_that_an_option_has_read_count_from_the_start(parts):
    run = parts(KNOWN)
    assert run.past_is_read
    assert run.table.rate.expected(run.table.rate.began, 1) == 30.0


def test_without_known_times_and_a_directory_the_time_left_is_unknown():
    assert TimeLeft(JobTable(0.0), None, None).seconds(2.0, 1, workers=1, average=0.0) is None
