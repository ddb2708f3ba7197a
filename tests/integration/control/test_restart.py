# SPDX-License-Identifier: LGPL-3.0-or-later
"""Ended jobs that run again, in place: what the verb does, and what the queue's journal keeps of it."""

import json
from types import SimpleNamespace

import pytest

from pqrun.app.queue_maintenance import QueueMaintenance
from pqrun.core import events as ev
from pqrun.core.job import HaltRule, Outcome
from pqrun.core.scheduler import Scheduler
from pqrun.core.start_policy import HaltCondition
from pqrun.journal.compaction import CompactedJournal
from pqrun.journal.run_directory import RunDirectory
from pqrun.journal.writer import JournalWriter
from pqrun.output.store import Logs

from .door import Door


@pytest.fixture
def door(tmp_path):
    opened = Door(tmp_path / "control.sock", slots=4)
    yield opened
    opened.close()


def restart(door, *jobs, **facts) -> dict:
    return door.ask("restart", jobs=list(jobs), **facts)


def test_an_ended_job_runs_again_in_place_with_all_its_retries(door):
    door.add("a", retries=1, retry={"delay": 0})
    door.end("a", 1)
    door.end("a", 1)
    assert door.states() == {}
    assert restart(door, "a") == {"ok": True, "count": 1, "dependents": 0}
    [job] = door.ask("ps")["jobs"]
    assert (job["seq"], job["state"], job["attempts"], job["max_attempts"]) == (1, "running", 3, 4)
    reopened = [event for event in door.story.events if isinstance(event, ev.JobReopened)]
    assert [(event.seq, event.outcome, event.by) for event in reopened] == [(1, Outcome.FAILED, "test")]
    door.end("a")
    assert door.ask("wait", jobs=["a"])["failed"] == 0, "the last end counts"


def test_dependents_that_were_skipped_because_of_a_job_run_again_with_it_and_no_others(door):
    door.add("a", "b")
    door.add("of-a", needs=["a"])
    door.add("of-of-a", needs=["of-a"])
    door.add("of-both", needs=["a", "b"])
    door.add("after-failure", needs=[["a", "failed"]])
    door.end("a", 1)
    door.end("b", 1)
    door.end("after-failure")
    assert door.states() == {}
    assert restart(door, "a") == {"ok": True, "count": 1, "dependents": 2}
    assert door.states() == {"a": "running", "of-a": "pending", "of-of-a": "pending"}
    assert restart(door, "b") == {"ok": True, "count": 1, "dependents": 1}
    door.end("b")
    door.end("a")
    assert door.states() == {"of-a": "running", "of-of-a": "pending", "of-both": "running"}


def test_a_job_is_opened_after_those_that_it_needs_also_if_these_came_later(door, monkeypatch):
    monkeypatch.setattr("pqrun.control.commands.restart.JOBS_PER_TURN", 1)
    door.ask("pause")
    door.add("b", "a")
    door.ask("set", jobs=["b"], change={"needs": ["a"]})
    door.ask("unpause")
    door.end("a")
    door.end("b")
    assert restart(door, "a", "b")["count"] == 2
    assert door.states() == {"a": "running", "b": "pending"}


def test_a_stop_in_the_midst_of_a_restart_is_told(door, monkeypatch):
    monkeypatch.setattr("pqrun.control.commands.restart.JOBS_PER_TURN", 1)
    door.add("a", "b")
    door.end("a")
    door.end("b")
    with door.call() as caller:
        caller.say("restart", jobs=["a", "b"])
        while not door.scheduler.reopened:
            door.turn()
        door.engine.turn(request=lambda scheduler, now: scheduler.stop("stop", now, drain=True))
        answer = caller.answer()
    assert (answer["code"], answer["error"]) == (6, "the run stopped when 1 of 2 jobs were restarted")


def test_failed_means_what_did_not_end_ok(door):
    door.add("good", "bad", "cancelled", tags=["x"])
    door.ask("cancel", jobs=["cancelled"])
    door.end("good")
    door.end("bad", 1)
    assert restart(door, "good", failed=True)["count"] == 0
    assert restart(door, "tag:y")["count"] == 0
    assert restart(door, failed=True)["count"] == 2
    assert sorted(door.states()) == ["bad", "cancelled"]
    assert restart(door, "all")["count"] == 1, "unfinished jobs are left alone"
    for name in ("good", "bad", "cancelled"):
        door.end(name, name == "bad")
    assert restart(door, "state:failed", "state:skipped")["count"] == 1


def test_of_jobs_with_one_id_the_last_one_is_meant(door):
    door.add("a")
    door.end("a", 1)
    door.add("a")
    assert restart(door, "a", "state:failed") == {"ok": True, "count": 0, "dependents": 0}
    door.end("a")
    assert restart(door, "a")["count"] == 1
    assert door.scheduler.find("a").seq == 2


def test_a_job_that_still_waits_for_others_waits_for_the_new_end_too(door):
    door.add("a", "b")
    door.add("of-both", needs=["a", "b"])
    door.end("a")
    restart(door, "a")
    door.end("b")
    assert door.states() == {"a": "running", "of-both": "pending"}
    door.end("a")
    assert door.states() == {"of-both": "running"}


def test_a_number_that_failed_and_runs_again_may_be_needed(door):
    door.ask("add", add=[{"run": "false"}])
    door.end("1", 1)
    restart(door, "1")
    door.add("b", needs=["1"])
    assert door.states() == {"1": "running", "b": "pending"}
    door.end("1")
    assert door.states() == {"b": "running"}


def refused(answer, code: int, words: str) -> None:
    assert (answer["ok"], answer["code"]) == (False, code), answer
    assert words in answer["error"]


def test_what_can_not_run_again_is_refused_as_a_whole(tmp_path):
    door = Door(tmp_path / "s", slots=4, max_queue=3)
    door.ask("pool", pool="net", size=2)
    door.add("wide", pools={"net": 2})
    door.end("wide")
    door.ask("pool", pool="net", size=1)
    door.add("a", "b", "c")
    for name in "abc":
        door.end(name)
    refused(restart(door, "all"), 75, "no room for 4 jobs")
    refused(restart(door, "a", "wide"), 2, "2 units of the pool `net`, which has 1")
    refused(restart(door), 2, "names no job")
    refused(door.ask("restart", jobs="a"), 2, "list of selectors")
    door.add("old")
    door.end("old")
    door.add("d", needs=["old"])
    door.end("d")
    door.ask("pause")
    door.add("other")
    door.add("old", needs=["d", "other"])
    refused(restart(door, "d"), 2, "need each other")
    assert sorted(door.states()) == ["old", "other"]
    door.ask("stop")
    door.close()


def test_a_stopping_run_refuses(door):
    door.add("a", "b")
    door.end("a")
    door.ask("stop")
    refused(restart(door, "a"), 6, "stopping")


def test_a_halt_rule_counts_the_last_end():
    halting = HaltCondition(HaltRule("soon", "fail", 2))
    halting.count(Outcome.FAILED, allowed=False)
    halting.uncount(Outcome.FAILED, allowed=False)
    halting.count(Outcome.FAILED, allowed=False)
    assert halting.reached(1, complete=True) is None
    halting.count(Outcome.FAILED, allowed=False)
    assert halting.reached(2, complete=True) is not None


@pytest.mark.slow
def test_thousands_of_jobs_are_restarted_in_steps_while_nothing_starts(tmp_path):
    door = Door(tmp_path / "s", slots=2000, max_queue=2000)
    door.add(*(f"j{number}" for number in range(1000)))
    for key in list(door.slots.running):
        door.slots.end(key)
    door.turn(2)
    with door.call() as caller, door.call() as other:
        caller.say("restart", jobs=["j*"])
        other.say("ps")
        assert door.slots.running == {}
        assert caller.answer(turns=500)["count"] == 1000
        assert other.answer()["ok"]
    door.turn()
    assert len(door.slots.running) == 1000
    door.close()


@pytest.mark.slow
def test_a_queue_runs_ended_jobs_again_and_remembers_it(queue, tmp_path):
    one = queue("-j2")
    good = tmp_path / "good"
    one.add(f"echo tried; test -e {good}", id="a")
    one.add("true", id="b", needs=["a"])
    one.add("true", id="fine")
    one.ask("wait")
    good.touch()
    nothing = one("restart", "nobody")
    assert (nothing.code, nothing.err) == (1, "pqrun: no job restarted: none of these jobs has ended\n")
    assert one("restart").code == 2
    one.ask("pause")
    again = one("restart", "a")
    assert (again.code, again.err) == (0, "pqrun: also run again, because they had been skipped: 1 job\n")
    assert one.states() == {"a": "queued", "b": "pending"}
    one.kill()
    one = queue("-j2")
    assert one.states() == {"a": "queued", "b": "pending"}, "a queue that was killed has it still"
    one.ask("unpause")
    assert one.ask("wait")["failed"] == 0
    again = [line for line in one.events() if line.get("e") == "again"]
    assert [(line["s"], line["o"]) for line in again] == [(1, "failed"), (2, "skipped")]
    assert again[0]["by"].startswith("pid ")
    shown = json.loads(one("show", "queue", "--json").out)
    assert {job["id"]: (job["state"], job["attempts"]) for job in shown["jobs"]} == {
        "a": ("ok", 2), "b": ("ok", 1), "fine": ("ok", 1),
    }  # fmt: skip
    metrics = one.ask("info")["metrics"]
    assert (metrics["jobs_enqueued"], metrics["jobs_skipped"]) == (4, 0)
    assert one("logs", "queue", "a").out == "tried\n"
    assert one.stop() == 0, "the last end counts for the exit code"


def test_a_journal_is_not_compacted_over_a_restart(tmp_path, monkeypatch):
    """The shorter journal may lack the first line of the restarted job."""
    path = tmp_path / "shorter"
    scheduler, replaced = Scheduler(), []

    class Engine:
        def turn(self, request) -> None:
            request(scheduler, 0.0)

    class Journal(JournalWriter):
        def __init__(self) -> None:
            pass

        def go_on_in(self, shorter) -> bool:
            replaced.append(shorter)
            return True

    def compacted(*_, **__) -> CompactedJournal:
        path.touch()
        scheduler.reopened += restarts
        return CompactedJournal(str(path), 0, 0, frozenset(), 0)

    monkeypatch.setattr("pqrun.journal.compaction.compacted", compacted)
    logs = Logs(str(tmp_path), keep=True)
    record = SimpleNamespace(directory=RunDirectory(str(tmp_path)), journal=Journal(), logs=logs)
    tidy = QueueMaintenance(record, 10)
    tidy.begin(Engine())
    restarts = 1
    tidy._tidy()
    assert (replaced, path.exists()) == ([], False)
    restarts = 0
    tidy._tidy()
    assert len(replaced) == 1


@pytest.mark.slow
def test_a_run_of_a_job_file_restarts_its_jobs_while_others_run(live, gate, until, tmp_path):
    (tmp_path / "jobs.yaml").write_text(
        f"jobs:\n  - {{id: a, run: test -e good}}\n  - {{id: b, run: '{gate.wait}'}}\n"
    )
    run = live("jobs.yaml", "-j2", "--halt", "now,fail=2")
    until(lambda: "a" not in run.states())
    (tmp_path / "good").touch()
    assert run("restart", "--failed").code == 0
    until(lambda: "a" not in run.states())
    gate.open()
    assert run.end() == 0
    assert "2 jobs ok" in run.said.read_text()
