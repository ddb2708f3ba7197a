# SPDX-License-Identifier: LGPL-3.0-or-later
"""Jobs with a time before which they do not start, in a live run and in a queue that is killed meanwhile."""

import json
import time
from datetime import datetime

import pytest

from pqrun.core import events as ev
from pqrun.journal.index import query_index
from pqrun.journal.run_directory import RunDirectory

from .door import Door


@pytest.fixture
def door(tmp_path):
    opened = Door(tmp_path / "control.sock", slots=1)
    yield opened
    opened.close()


def test_a_job_waits_for_its_time_and_lets_others_pass(door):
    door.add("late", not_before=100)
    door.add("a", "b")
    assert door.states() == {"late": "waiting", "a": "running", "b": "queued"}
    [job] = door.ask("ps", jobs=["late"])["jobs"]
    assert (job["seconds"], job["not_before"], job["attempts"]) == (100.0, 100.0, 0)
    assert door.ask("ps", jobs=["late"], why=True)["why"]["late"].endswith(", in 1m40s")
    door.end("a")
    door.end("b")
    assert door.engine.next_timer == 100
    door.pass_seconds(99)
    assert door.states() == {"late": "waiting"}
    door.pass_seconds(1)
    assert door.states() == {"late": "running"}
    assert door.scheduler.admission.delayed == {}, "nothing looks at the wall clock any more"
    door.end("late")
    assert door.states() == {}


def test_a_job_whose_time_has_come_goes_behind_its_equals(door):
    door.add("busy", "a", "b")
    door.ask("set", jobs=["a"], change={"not_before": 10})
    door.pass_seconds(10)
    assert door.states() == {"busy": "running", "b": "queued", "a": "queued"}
    assert list(door.states()) == ["busy", "b", "a"]


def test_the_time_is_looked_at_when_all_needs_are_met(door):
    door.add("a")
    door.add("b", needs=["a"], not_before=50)
    assert door.states() == {"a": "running", "b": "pending"}
    door.end("a")
    assert door.states() == {"b": "waiting"}
    door.add("c")
    door.add("d", needs=["c"], not_before=50)
    door.pass_seconds(50)
    door.end("c")
    assert door.states() == {"b": "running", "d": "queued"}


def test_set_moves_the_time_of_a_queued_and_of_a_waiting_job(door):
    door.add("busy", "a")
    assert door.ask("set", jobs=["a"], change={"not_before": 10}) == {"ok": True, "count": 1}
    assert door.states() == {"busy": "running", "a": "waiting"}
    door.ask("set", jobs=["a"], change={"not_before": 20})
    door.end("busy")
    door.pass_seconds(15)
    assert door.states() == {"a": "waiting"}
    door.ask("set", jobs=["a"], change={"not_before": 0})
    assert door.states() == {"a": "running"}
    [change] = [event for event in door.story.events if isinstance(event, ev.JobChanged)][-1:]
    assert change.spec.not_before is None


def test_a_hold_outlasts_the_time_and_a_release_comes_before_it(door):
    door.add("a", "b", not_before=10)
    door.ask("hold", jobs=["state:waiting"])
    assert door.states() == {"a": "held", "b": "held"}
    door.ask("release", jobs=["a"])
    assert door.states() == {"a": "waiting", "b": "held"}
    door.pass_seconds(10)
    assert door.states() == {"a": "running", "b": "held"}
    door.ask("cancel", jobs=["b"])
    door.end("a")
    assert door.states() == {}


def test_jobs_that_wait_for_their_time_do_not_fill_the_queue(tmp_path):
    door = Door(tmp_path / "s", max_queue=2)
    door.ask("pause")
    door.add("a", "b", not_before=10)
    assert door.add("c", "d")["ok"]
    assert door.add("e")["error"] == "the queue is full (2 of 2)"
    later = door.add("e", not_before=10)
    assert (later["code"], later["error"]) == (
        75,
        "the queue is full (2 of 2): a job that waits for its time needs room, too, to be added (`add --wait` waits for room)",
    )
    door.close()


def test_a_run_waits_for_its_last_job(tmp_path):
    door = Door(tmp_path / "s", endless=False)
    door.add("a", not_before=10)
    door.scheduler.end_input(0.0)
    door.turn()
    assert not door.scheduler.done
    door.pass_seconds(10)
    door.end("a")
    assert door.scheduler.done
    door.close()


def test_a_wall_clock_that_is_set_moves_the_start(door):
    door.add("a", not_before=100)
    door.clock.ahead = -50.0  # set back
    door.pass_seconds(100)
    assert door.states() == {"a": "waiting"}
    assert door.engine.next_timer == 150
    door.clock.ahead = 30.0  # set on, or the machine has slept
    door.ask("ps")
    assert door.states() == {"a": "running"}


def test_the_first_time_of_a_run_is_compared_with_the_present_wall_clock(door):
    door.clock.ahead = -3600.0
    door.pass_seconds(10)
    door.add("a", not_before=20)
    assert door.states() == {"a": "waiting"}
    assert door.engine.next_timer == 3620


@pytest.mark.parametrize("wrong", [-1, "22:00", True, 1e300])
def test_a_request_gives_the_time_in_seconds(door, wrong):
    answer = door.add("a", not_before=wrong)
    assert answer["error"] == "not a job: its `not_before` is invalid"


@pytest.mark.slow
def test_a_queue_that_was_killed_keeps_the_time(queue, until):
    one = queue("-j2")
    due = time.time() + 4
    assert one("add", "--in", "4", "--id", "soon", "date +%s.%N > soon").code == 0
    assert one("add", "--at", "2090-01-01 10:00", "--id", "late", "true").code == 0
    one.kill()
    one = queue("-j2")
    assert one.states() == {"soon": "waiting", "late": "waiting"}
    listed = one("ps").out
    assert "late  waiting  normal    0/1  in " in listed
    assert one("ps", "--why", "late").out.startswith("late: starts not before 2090-01-01 10:00, in ")
    assert "late" in one("show", "queue").out
    due_at = datetime(2090, 1, 1, 10).timestamp()
    [late] = query_index(RunDirectory(str(one.directory)), lambda index: index.jobs("id = 'late'"))
    assert (late.state, late.is_delayed, late.spec.not_before, late.until) == (
        "waiting", True, due_at, due_at,
    )  # fmt: skip
    described = one("show", "queue", "late").out
    assert "not before    2090-01-01 10:00" in described
    jobs = json.loads(one("ps", "--json", "late").out)["jobs"]
    assert jobs[0]["not_before"] > due
    one.ask("wait", jobs=["soon"])
    started = float((one.cwd / "soon").read_text())
    assert due <= started < due + 30
    assert one("set", "late", "--at", "now").code == 0
    assert one.ask("wait")["failed"] == 0
    assert [line["s"] for line in one.events() if line.get("e") == "delay"][:2] == [1, 2]


def test_two_ways_to_set_the_time_contradict_each_other(pqrun):
    both = pqrun("set", "a", "--at", "22:00", "--in", "1h")
    assert (both.code, both.err) == (2, "pqrun: --at and --in: give only one of them\n")


@pytest.mark.slow
def test_a_list_and_a_dry_run_know_the_time(pqrun):
    commands = "echo late # pqrun: not_before=+300ms\necho early\n"
    assert pqrun("run", "-q", "-", input=commands).out == "early\nlate\n"
    tried = pqrun("run", "--dry-run", "-", input=commands.replace("300ms", "10d"))
    assert (tried.code, tried.out.splitlines()) == (0, ["echo early", "echo late"])
    wrong = pqrun("run", "-", input="true # pqrun: not_before=25:00\n")
    assert wrong.code == 2 and "stdin:1: `not_before`: no such time of day: `25:00`" in wrong.err


@pytest.mark.slow
def test_a_job_file_knows_the_time_and_a_resumed_run_keeps_it(pqrun, tmp_path):
    jobs = "jobs:\n- {id: late, run: 'true', not_before: 2090-01-01 10:00}\n- {id: stop, run: 'kill -INT $PPID; sleep 9'}\n"
    (tmp_path / "jobs.yaml").write_text(jobs)
    stopped = pqrun("run", "-q", "jobs.yaml")
    assert stopped.code == 130
    shown = json.loads(pqrun("show", "latest", "late", "--json").out)["job"]
    assert (shown["state"], shown["attempts"]) == ("waiting", 0)
    (tmp_path / "jobs.yaml").write_text(
        jobs.replace("2090", "2020").replace("kill -INT $PPID; sleep 9", "true")
    )
    gone_on = pqrun("run", "-q", "jobs.yaml", "--resume", "latest")
    assert gone_on.code == 0
