# SPDX-License-Identifier: LGPL-3.0-or-later
"""Held jobs: they do not start before they are released, whatever else happens."""

import json

import pytest

from .door import Door


@pytest.fixture
def door(tmp_path):
    opened = Door(tmp_path / "control.sock", slots=4)
    yield opened
    opened.close()


def test_a_held_job_starts_when_it_is_released_and_a_running_one_is_left_alone(door):
    door.add("running")
    door.ask("pause")
    door.add("a", "b")
    assert door.ask("hold", jobs=["all"]) == {"ok": True, "count": 2}
    assert door.ask("hold", jobs=["a"]) == {"ok": True, "count": 0}
    door.ask("unpause")
    assert door.states() == {"running": "running", "a": "held", "b": "held"}
    why = door.ask("ps", jobs=["a"], why=True)["why"]
    assert why == {"a": "is held: `pqrun release` lets it start"}
    assert door.ask("release", jobs=["a", "running"]) == {"ok": True, "count": 1}
    assert door.states() == {"running": "running", "a": "running", "b": "held"}
    assert door.ask("cancel", jobs=["state:held"])["count"] == 1
    assert sorted(door.states()) == ["a", "running"]


def test_a_release_is_one_more_need(door):
    door.add("a")
    door.add("b", needs=["a"])
    door.ask("hold", jobs=["b"])
    door.end("a")
    assert door.states() == {"b": "held"}
    door.add("c")
    door.ask("set", jobs=["b"], change={"needs": ["c"]})
    assert door.states() == {"c": "running", "b": "held"}
    door.ask("release", jobs=["b"])
    assert door.states() == {"c": "running", "b": "pending"}
    door.ask("hold", jobs=["b"])
    door.ask("set", jobs=["b"], change={"needs": []})
    assert door.states() == {"c": "running", "b": "held"}
    door.ask("release", jobs=["b"])
    assert door.states() == {"c": "running", "b": "running"}


def test_a_held_dependent_of_a_failed_job_is_skipped(door):
    door.add("a")
    door.add("b", needs=["a"])
    door.ask("hold", jobs=["b"])
    door.end("a", 1)
    assert door.states() == {}


def test_a_job_that_waits_for_its_retry_can_be_held_and_keeps_its_attempts(door):
    door.add("a", retries=2, retry={"delay": 5})
    door.end("a", 1)
    assert door.states() == {"a": "waiting"}
    assert door.ask("hold", jobs=["a"])["count"] == 1
    door.clock.time += 60
    door.turn(2)
    assert door.states() == {"a": "held"}
    door.ask("release", jobs=["a"])
    [job] = door.ask("ps")["jobs"]
    assert (job["state"], job["attempts"], job["max_attempts"]) == ("running", 2, 3)


def test_a_held_job_has_its_place_in_the_bound_of_the_queue(tmp_path):
    door = Door(tmp_path / "s", max_queue=1)
    door.add("a", retries=1)
    door.end("a", 1)
    door.ask("hold", jobs=["a"])
    assert door.ask("add", add=[{"run": "true"}])["error"] == "the queue is full (1 of 1)"
    door.ask("release", jobs=["a"])
    assert door.ask("add", add=[{"run": "true"}])["ok"]
    door.close()


def test_a_run_with_a_held_job_does_not_end(tmp_path):
    door = Door(tmp_path / "s", endless=False)
    door.ask("pause")
    door.add("a")
    door.ask("hold", jobs=["a"])
    door.scheduler.end_input(0.0)
    door.ask("unpause")
    assert not door.scheduler.done
    door.ask("release", jobs=["a"])
    door.end("a")
    assert door.scheduler.done
    door.close()


@pytest.mark.slow
def test_a_queue_that_was_killed_holds_what_was_held(queue):
    one = queue("-j2")
    one.ask("pause")
    one.add("true", id="a")
    one.add("true", id="b", needs=["a"])
    one.add("true", id="c")
    assert one("hold", "a", "b").code == 0
    nothing = one("release", "c")
    assert (nothing.code, nothing.err) == (1, "pqrun: no job released: none of these jobs is held\n")
    assert one("unpause", "b").code == 0 and one("pause", "b").code == 0
    one.ask("unpause")
    one.ask("wait", jobs=["c"])
    assert one("hold", "c").err == "pqrun: no job held: none of these jobs waits to start\n"
    assert one("set", "c", "-p", "high").err == "pqrun: no job changed: none of these jobs waits to start\n"
    one.kill()
    one = queue("-j2")
    listed = one("ps").out
    assert one.states() == {"a": "held", "b": "held"}
    assert listed.splitlines()[-1] == "2 held"
    shown = json.loads(one("show", "queue", "--json").out)
    assert {job["id"]: job["state"] for job in shown["jobs"]} == {"a": "held", "b": "held", "c": "ok"}
    assert "held" in one("show", "queue").out
    assert one("release", "all").code == 0
    assert one.ask("wait")["failed"] == 0
    assert [(line["s"], line["on"]) for line in one.events() if line.get("e") == "hold"] == [
        (1, True), (2, True), (2, False), (2, True), (1, False), (2, False),
    ]  # fmt: skip
