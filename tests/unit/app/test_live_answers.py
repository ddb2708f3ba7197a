# SPDX-License-Identifier: LGPL-3.0-or-later
"""Each question about a live run goes to the part that knows the answer."""

from types import SimpleNamespace

import pytest

from pqrun.app.parts import RunPlan
from pqrun.app.run import LiveAnswers
from pqrun.core import events as ev
from pqrun.core.job import AttemptId, Command, JobSpec
from pqrun.core.job_table import JobTable
from pqrun.core.metrics import MetricsCollector
from pqrun.core.settings import InputSettings, RecordSettings, Settings
from pqrun.input import JobInput
from pqrun.testing import FakeClock

KEY = AttemptId(1, 1)


def table_of(*, complete=True):
    """The table of a run of one job, which is still queued."""
    table = JobTable(0.0)
    table.fold(ev.JobAdded(0.0, 1, JobSpec("a", Command("true"))))
    if complete:
        table.fold(ev.InputEnded(0.0, 1, complete=True))
    return table


def answers(**parts):
    """The answers of a run that has these parts only."""
    return LiveAnswers(SimpleNamespace(**parts))


def asked_by_time(table, *, is_read):
    return answers(table=table, past_is_read=is_read, collector=MetricsCollector(0.0))


def test_the_seconds_left_are_those_of_earlier_runs_once_these_were_read():
    table = table_of()
    table.rate.expected = lambda now, left: 7.0 * left
    assert asked_by_time(table, is_read=True).seconds_left(2.0) == 7.0


def test_a_question_for_the_seconds_left_reads_nothing_of_earlier_runs():
    table = table_of()
    table.rate.expected = lambda now, left: pytest.fail("within a turn, this would wait for the disk")
    assert asked_by_time(table, is_read=False).seconds_left(2.0) is None


def test_the_seconds_left_are_unknown_while_jobs_are_read():
    table = table_of(complete=False)
    table.rate.expected = lambda now, left: 7.0
    assert asked_by_time(table, is_read=True).seconds_left(2.0) is None


@pytest.mark.parametrize(
    ("ended", "stopping", "state", "workers"),
    [(None, None, "live", 5), (9.0, None, "ended", 2), (9.0, "signal SIGINT", "stopped", 2)],
)
def test_the_facts_are_those_of_the_moment_or_of_the_end(ended, stopping, state, workers):
    run = answers(
        record=SimpleNamespace(run_id="abc", directory=SimpleNamespace(path="/runs/abc")),
        scheduler=SimpleNamespace(stopping=stopping),
        files=("jobs.yaml",),
        first_workers=2,
        collector=MetricsCollector(0.0),
        clock=FakeClock(100.0),
        table=table_of(),
        backend=SimpleNamespace(workers=lambda: 5, guarded=True),
    )
    facts = run.facts(ended)
    assert (facts["id"], facts["state"], facts["workers"]) == ("abc", state, workers)
    assert (facts["files"], facts["directory"], facts["input_complete"]) == (["jobs.yaml"], "/runs/abc", True)
    assert (facts["ended_at"] is None) == (ended is None)


def test_a_run_without_a_directory_has_neither_a_socket_nor_a_history():
    run = answers(server=None, record=SimpleNamespace(directory=None))
    assert (run.control_socket, run.history()) == ("", None)


def test_the_history_is_that_of_the_journal(tmp_path):
    directory = SimpleNamespace(journal=str(tmp_path / "journal"))
    run = answers(server=SimpleNamespace(path="/s"), record=SimpleNamespace(directory=directory))
    assert run.control_socket == "/s"
    assert run.history() is not None


def test_questions_for_attempts_go_to_the_executor_the_place_and_the_monitor():
    sizes = []
    executor = SimpleNamespace(
        resize=sizes.append, output_of=lambda key: ("out", key), stdin_of=lambda key: ("in", key),
        pids=lambda: {KEY: 4711},
    )  # fmt: skip
    run = answers(
        engine=SimpleNamespace(executor=executor, snapshot=lambda: "metrics"),
        backend=SimpleNamespace(status_path=lambda key: f"/status/{key.seq}", validate_job=None),
        usage_monitor=SimpleNamespace(loads=lambda: {KEY: "usage"}, peak_of=lambda key: 8),
        scheduler=SimpleNamespace(hold_reason="load"),
    )
    run.resize(3)
    assert sizes == [3]
    assert (run.output_of(KEY), run.stdin_of(KEY), run.pids()) == (("out", KEY), ("in", KEY), {KEY: 4711})
    assert (run.status_path(KEY), run.usage(), run.peak_of(KEY)) == ("/status/1", {KEY: "usage"}, 8)
    assert (run.metrics(), run.hold_reason(), run.validate_job) == ("metrics", "load", None)


def test_a_warning_is_shown_at_once():
    calls = []
    plain = SimpleNamespace(warn=lambda text: calls.append(text))
    run = answers(
        display=SimpleNamespace(plain=plain), dispatcher=SimpleNamespace(wake=lambda: calls.append("awake"))
    )
    run.warn("no watchdog")
    assert calls == ["no watchdog", "awake"]


def test_threads_are_spared_by_the_monitor_and_the_journal():
    calls = []
    run = answers(
        usage_monitor=SimpleNamespace(spare=lambda: calls.append("monitor")),
        record=SimpleNamespace(spare=lambda: calls.append("journal")),
    )
    run.spare()
    assert sorted(calls) == ["journal", "monitor"]


def test_the_options_for_all_jobs_and_the_kind_of_run_are_those_of_the_plan():
    settings = Settings(InputSettings(given={"timeout": "5"}), record=RecordSettings(serve="queue"))
    run = answers(plan=RunPlan(settings, JobInput()))
    assert run.job_options() == {"timeout": "5"}
    assert run.endless
    assert run.input_stream(1) is None
