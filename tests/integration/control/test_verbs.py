# SPDX-License-Identifier: LGPL-3.0-or-later
"""Each verb, by what it says and does; in this process."""

from collections import deque

import pytest

from pqrun.core import events as ev
from pqrun.core.job import AttemptId, ExitedWith, Outcome, Priority
from pqrun.core.notices import ProcessStarted
from pqrun.core.task import Task
from pqrun.engine.live_run import JobUsage
from pqrun.output.store import Capture, Logs

from .door import Door
from .invariants import Observer


@pytest.fixture
def door(tmp_path):
    opened = Door(tmp_path / "control.sock")
    yield opened
    opened.close()


@pytest.fixture
def held(door):
    """One that is paused, so that what is added stays in the queue."""
    door.ask("pause")
    return door


def added(door, *jobs, **more):
    return door.ask("add", add=[{"run": "true", **job} for job in jobs], **more)


def named(door, *names, **facts):
    return added(door, *({"id": name, **facts} for name in names))


def task(door, name) -> Task:
    return door.scheduler.find(name)


def states(door) -> dict[str, str]:
    return {job["id"]: job["state"] for job in door.ask("ps")["jobs"]}


def in_order(door) -> list[str]:
    return [job["id"] for job in door.ask("ps")["jobs"]]


def end(door, name: str, code: int = 0) -> None:
    key = next(key for key in door.slots.running if door.scheduler.tasks[key.seq].spec.id == name)
    door.slots.end(key, ExitedWith(code))
    door.turn(2)


def rejected(answer, code: int, *words: str) -> None:
    assert (answer["ok"], answer["code"]) == (False, code), answer
    assert all(word in answer["error"] for word in words), answer["error"]


# add


def test_a_job_is_called_by_its_number_or_by_the_name_it_is_given(held):
    assert added(held, {}, {"id": "a"}, {})["ids"] == ["1", "a", "3"]


def test_all_jobs_of_a_request_are_added_or_none(held):
    rejected(added(held, {"id": "a"}, {"id": "a"}), 2, "`a`")
    rejected(added(held, {"id": "a"}, {"run": ""}), 2, "run")
    rejected(added(held, {"id": "a"}, {"needs": ["nobody"]}), 2, "nobody")
    rejected(added(held, {"id": "a"}, {"pools": {"net": 1}}), 2, "pqrun set --pool net=1")
    rejected(added(held, {"id": "a"}, {"id": "7"}), 2, "number")
    rejected(added(held, {"id": "a"}, {"tiemout": 1}), 2, "tiemout")
    assert states(held) == {}


def test_jobs_of_a_request_may_need_each_other_in_any_order_but_not_in_a_ring(held):
    assert added(held, {"id": "b", "needs": ["a"]}, {"id": "a"})["ids"] == ["a", "b"]
    assert states(held) == {"a": "queued", "b": "pending"}
    rejected(added(held, {"id": "c", "needs": ["d"]}, {"id": "d", "needs": ["c"]}), 2, "need each other")
    rejected(added(held, {"id": "c", "needs": ["c"]}), 2, "need each other")


def test_an_id_may_be_used_again_when_its_job_has_ended(door):
    named(door, "a")
    rejected(named(door, "a"), 2, "unfinished job `a` exists already")
    end(door, "a", 1)
    assert named(door, "a")["ids"] == ["a"]
    added(door, {"id": "b", "needs": ["a"]})
    end(door, "a")
    assert states(door) == {"b": "running"}, "it needs the later one of that id"


def test_jobs_that_are_there_may_be_left_out(door):
    named(door, "a", "b")
    end(door, "a")
    jobs = [{"id": name} for name in ("a", "b", "c")] + [{}]
    assert added(door, *jobs, once=True)["ids"] == ["c", "4"]
    assert added(door, *jobs, if_absent=True)["ids"] == ["a", "6"]
    assert added(door, {"id": "b"}, if_absent=True) == {"ok": True, "ids": []}


def test_a_full_queue_takes_nothing_or_lets_one_wait_and_then_in_turn(tmp_path):
    door = Door(tmp_path / "s", max_queue=3)
    door.ask("pause")
    named(door, "a", "b")
    rejected(named(door, "c", "d"), 75, "full (2 of 3)")
    first, second, other = door.call(), door.call(), door.call()
    first.say("add", add=[{"id": name, "run": "true"} for name in "cdef"], wait=True)
    door.turn(3)
    assert in_order(door) == ["a", "b", "c"]
    second.say("add", add=[{"id": "late", "run": "true"}], wait=True)
    door.turn(3)
    assert other.ask("cancel", jobs=["a"])["count"] == 1
    assert in_order(door) == ["b", "c", "d"]
    other.ask("cancel", jobs=["all"])
    assert first.answer()["ids"] == ["c", "d", "e", "f"]
    assert second.answer()["ids"] == ["late"]
    assert in_order(door) == ["e", "f", "late"]
    for caller in (first, second, other):
        caller.socket.close()
    door.close()


def test_more_jobs_than_the_queue_holds_come_in_one_after_another(tmp_path):
    door = Door(tmp_path / "s", max_queue=2, slots=1)
    with door.call() as caller:
        caller.say("add", add=[{"run": "true"}] * 10, wait=True)
        for _ in range(12):
            door.turn(3)
            for key in list(door.slots.running):
                door.slots.end(key)
        assert caller.answer()["ids"] == [str(n) for n in range(1, 11)]
    door.close()


def test_a_request_in_lines_is_carried_out_as_a_whole_when_its_end_has_come(held):
    with held.call() as caller:
        caller.send_lines("add", {"id": "b", "run": "true", "needs": ["a"]}, {"id": "a", "run": "true"})
        held.turn(3)
        assert states(held) == {}
        assert caller.end_lines()["ids"] == ["a", "b"]
        caller.send_lines("add", {"id": "c", "run": "true"}, {"id": "c", "run": "true"})
        rejected(caller.end_lines(), 2, "`c`")
        caller.send_lines("add", {"id": "c", "run": "true"}, add=[{"id": "d", "run": "true"}])
        assert caller.end_lines()["ids"] == ["d", "c"], "a list may come before the lines"
        caller.send_lines("add")
        assert caller.end_lines() == {"ok": True, "ids": []}
    with held.call() as caller:
        caller.send_lines("add", {"id": "e", "run": "true"})
    held.turn(3)
    assert sorted(states(held)) == ["a", "b", "c", "d"], (
        "a client that leaves before the end has added nothing"
    )


def test_a_wrong_line_refuses_the_request_at_its_end_and_the_next_request_is_carried_out(held):
    with held.call() as caller:
        for wrong in ({"run": ""}, {"run": "true", "tiemout": 1}, 7):
            caller.send_lines("add", {"id": "a", "run": "true"}, wrong, {"id": "b", "run": "true"})
            assert caller.answer(turns=5) is None, "the request is not over"
            assert caller.end_lines()["code"] == 2
        caller.send_lines("add", {"run": "true"})
        caller.send(b"no JSON\n")
        rejected(caller.end_lines(), 2, "not a line of JSON")
        caller.send_lines("add", {"id": "a", "run": "true"})
        assert caller.end_lines()["ids"] == ["a"]
    assert list(states(held)) == ["a"]


def test_jobs_that_are_there_are_left_out_of_lines_as_of_a_list(held):
    named(held, "a")
    with held.call() as caller:
        jobs = [{"id": name, "run": "true"} for name in "abc"]
        caller.send_lines("add", *jobs, if_absent=True)
        held.turn(3)
        named(held, "b")
        assert caller.end_lines()["ids"] == ["c"]


def test_a_request_that_would_overfill_the_queue_is_refused_and_keeps_no_memory(tmp_path):
    door = Door(tmp_path / "s", max_queue=1500)
    door.ask("pause")
    with door.call() as caller:
        caller.send_lines("add", *[{"run": "true"}] * 5000)
        door.turn(20)
        (client,) = door.server._clients
        assert client.in_message and client._with_lines.specs == []
        rejected(caller.end_lines(), 75, "the queue is full (0 of 1500)", "no room for")
        rejected(caller.ask("add", add=[{"run": "true"}] * 1001), 2, "1,000")
        caller.send_lines("add", *[{"run": "true"}] * 1001, wait=True)
        rejected(caller.end_lines(), 2, "1,000", "send several")
    assert states(door) == {}
    door.close()


def test_lines_of_a_refused_request_are_no_requests(held):
    named(held, "a")
    with held.call() as caller:
        for wrong in ({"once": 1}, {"pqrun": 3}, {"add": 7}):
            caller.send_lines("add", {"pqrun": 1, "verb": "cancel", "jobs": ["all"]}, **wrong)
            assert caller.end_lines()["code"] == 2
        caller.send_lines("dance", {"pqrun": 1, "verb": "cancel", "jobs": ["all"]})
        rejected(caller.end_lines(), 2, "dance")
        assert caller.ask("ps")["ok"] is True
        held.ask("stop")
        caller.send_lines("add", *[{"run": "true"}] * 5000)
        rejected(caller.end_lines(), 6, "stopping")
    assert list(states(held)) == ["a"]


def test_a_client_of_version_1_is_told_to_be_upgraded_if_it_sends_one_request_in_several(held):
    with held.call() as caller:
        rejected(
            caller.ask("add", add=[{"run": "true"}], more=True), 2, "upgrade the pqrun that sends several"
        )
        assert caller.ask("add", add=[{"run": "true"}], more=False)["ids"] == ["1"]


def test_thousands_of_jobs_are_added_in_steps_while_nothing_starts(tmp_path):
    door = Door(tmp_path / "s", max_queue=5000, slots=2)
    with door.call() as caller, door.call() as other, door.call() as looks:
        caller.send_lines("add", *[{"run": "true", "priority": "low"}] * 2000)
        door.turn(10)
        caller.send(b'{"id": "urgent", "run": "true", "priority": "critical"}\n\n')
        door.turn()
        other.say("cancel", jobs=["1", "urgent"])
        turns = 0
        while (answer := caller.answer(turns=1)) is None:
            assert not (door.slots.running and door.scheduler.maintenance)
            assert looks.ask("ps", jobs=["1"])["ok"] is True, "who only looks does not wait"
            turns += 1
        assert len(answer["ids"]) == 2001 and turns > 5
        assert other.answer()["count"] == 2, "who changes jobs does: for him all were added at once"
    assert min(key.seq for key in door.slots.running) == 2
    door.close()


def test_what_the_run_says_for_all_jobs_holds_for_added_ones_that_do_not_say_otherwise(tmp_path):
    said = {
        "timeout": 60.0,
        "priority": Priority.LOW,
        "retry": {"max": 2, "delay": 5.0},
        "env": {"A": "1", "B": "2"},
    }
    door = Door(tmp_path / "s", options=said)
    door.ask("pause")
    named(door, "usual")
    added(door, {"id": "own", "timeout": 0, "priority": "high", "retries": 0, "env": {"B": "3"}})
    usual, own = task(door, "usual").spec, task(door, "own").spec
    assert (usual.timeout, usual.priority, usual.retry.max, usual.retry.delay) == (60.0, Priority.LOW, 2, 5.0)
    assert (own.timeout, own.priority, own.retry.max, own.retry.delay) == (None, Priority.HIGH, 0, 5.0)
    assert (dict(usual.work.env), dict(own.work.env)) == ({"A": "1", "B": "2"}, {"A": "1", "B": "3"})
    door.close()


def test_a_stopping_run_takes_no_more_jobs(door):
    named(door, "a")
    door.ask("stop")
    rejected(named(door, "b"), 6, "stopping")


# ps and why


def test_ps_tells_of_running_jobs_first_then_in_starting_order(door):
    named(door, "running")
    named(door, "low", priority="low")
    named(door, "flaky", "normal")
    added(door, {"id": "p", "needs": ["low"], "priority": "low"}, {"id": "critical", "priority": "critical"})
    answer = door.ask("ps")
    assert [(job["id"], job["state"], job["priority"]) for job in answer["jobs"]] == [
        ("running", "running", "normal"), ("critical", "queued", "critical"), ("flaky", "queued", "normal"),
        ("normal", "queued", "normal"), ("low", "queued", "low"), ("p", "pending", "low"),
    ]  # fmt: skip
    assert [job["id"] for job in door.ask("ps", jobs=["*l*w*", "state:pending"])["jobs"]] == [
        "low",
        "p",
    ]


def test_ps_counts_attempts_as_the_run_does(door):
    named(door, "a", retries=2, retry={"delay": 5})
    job = door.ask("ps")["jobs"][0]
    assert (job["state"], job["attempts"], job["max_attempts"]) == ("running", 1, 3)
    end(door, "a", 1)
    job = door.ask("ps")["jobs"][0]
    assert (job["state"], job["attempts"], job["max_attempts"], job["seconds"]) == ("waiting", 1, 3, 5.0)


def test_why_says_what_a_job_waits_for(tmp_path):
    door = Door(tmp_path / "s", slots=1)
    door.ask("pool", pool="net", size=1)
    added(
        door, {"id": "a", "pools": {"net": 1}}, {"id": "b", "needs": ["a"]}, {"id": "c", "pools": {"net": 1}},
        {"id": "d"}, {"id": "e", "retries": 1, "priority": "low"},
    )  # fmt: skip

    def why(name):
        return door.ask("ps", jobs=[name], why=True)["why"][name]

    assert why("a") == "runs for <1ms, attempt 1"
    assert why("b") == "waits for a (running)"
    assert why("c") == "the pool `net` has 0 free, the job needs 1"
    assert why("d") == "1 job running, 1 job ahead in the queue"
    door.ask("pause")
    assert why("d") == "the run is paused"
    assert door.ask("ps", jobs=["nobody"], why=True)["why"] == {}
    door.close()


@pytest.mark.parametrize(
    ("field", "wrong"),
    [
        ("id", 5), ("id", None), ("id", "x" * 201), ("id", "a\nb"), ("id", "\x1b[2J"), ("named", 1), ("named", "yes"),
        ("line", -1), ("line", 1.5), ("line", "3"),
    ],
)  # fmt: skip
def test_a_job_with_a_wrong_name_or_place_is_refused(door, field, wrong):
    answer = door.ask("add", add=[{"id": "good", "run": "true"}, {"id": "a", "run": "true", field: wrong}])
    assert (answer["error"], answer["code"]) == (f"not a job: its `{field}` is invalid", 2)
    assert door.states() == {}
    assert door.ask("add", add=[{"id": "x" * 200, "run": "true", "named": True, "line": 3}])["ok"]


def test_ps_says_on_which_host_a_job_runs(door):
    door.add("a", "b")
    assert {job["id"]: job.get("where") for job in door.ask("ps")["jobs"]} == {"a": "here", "b": None}
    door.slots.start = lambda attempt: door.engine.post(
        ProcessStarted(attempt.key, door.clock.now(), "slot 1")
    )
    door.end("a")
    (job,) = door.ask("ps")["jobs"]
    assert job["state"] == "running" and "where" not in job


def test_why_a_job_is_not_tried_yet_or_what_becomes_of_it(door):
    def why(name):
        return door.ask("ps", jobs=[name], why=True)["why"][name]

    names = ["a", "b", "c", "d", "e", "f"]
    door.add(*names, retries=1)
    door.add("five", needs=names[1:])
    door.add("six", needs=names)
    door.add("wide", slots=3)
    queued = "b (queued), c (queued), d (queued), e (queued), f (queued)"
    assert why("five") == f"waits for {queued}"
    assert why("six") == f"waits for a (running), {queued.removesuffix(', f (queued)')} and 1 more"
    assert why("wide") == "needs 3 workers: 1 job running, 5 jobs ahead in the queue"
    door.end("a", 1)
    assert why("a").startswith("waits ") and why("a").endswith(" before attempt 2")
    door.ask("stop")
    assert why("c") == "the run is stopping"


# set


def test_set_changes_jobs_that_have_no_slot_and_keeps_their_place(held):
    named(held, *"abc")
    answer = held.ask("set", jobs=["a"], change={"timeout": 9, "retries": 3, "grace": 1, "idle_timeout": 0})
    spec = task(held, "a").spec
    assert (answer["count"], spec.timeout, spec.retry.max, spec.grace, spec.idle_timeout) == (
        1,
        9,
        3,
        1,
        None,
    )
    assert in_order(held) == ["a", "b", "c"]
    held.ask("set", jobs=["b"], change={"priority": "high"})
    held.ask("set", jobs=["b"], change={"priority": "normal"})
    assert in_order(held) == ["a", "b", "c"], "within a priority in order of submission"


def test_set_front_puts_jobs_before_all_of_the_same_priority(held):
    named(held, *"abcd")
    named(held, "high", priority="high")
    held.ask("set", jobs=["c", "d"], front=True)
    assert in_order(held) == ["high", "c", "d", "a", "b"]
    held.ask("set", jobs=["b"], front=True)
    assert in_order(held) == ["high", "b", "c", "d", "a"]


def test_set_front_holds_for_a_job_that_is_not_in_the_queue_yet(door):
    named(door, "a")
    added(door, {"id": "b", "needs": ["a"]}, {"id": "c"}, {"id": "d"})
    door.ask("set", jobs=["b"], front=True)
    door.ask("pause")
    end(door, "a")
    assert in_order(door) == ["b", "c", "d"]


def test_set_needs_holds_a_job_back_or_lets_it_go(door):
    named(door, "a", "b", "c")
    door.ask("set", jobs=["b"], change={"needs": ["c"]})
    assert states(door) == {"a": "running", "b": "pending", "c": "queued"}
    assert len(door.scheduler.ready) == 1, "only c may start"
    door.ask("set", jobs=["b"], change={"needs": []})
    assert states(door)["b"] == "queued"
    door.ask("set", jobs=["b"], change={"needs": ["a", ["c", "failed"]]})
    end(door, "a")
    assert states(door) == {"c": "running", "b": "pending"}
    end(door, "c")
    assert states(door) == {}
    assert [
        e.because for e in door.story.events if isinstance(e, ev.JobEnded) and e.outcome is Outcome.SKIPPED
    ] == ["c"]


def test_a_job_can_not_be_made_to_wait_for_itself(held):
    added(held, {"id": "a"}, {"id": "b", "needs": ["a"]}, {"id": "c", "needs": ["b"]})
    rejected(held.ask("set", jobs=["a"], change={"needs": ["c"]}), 2, "`a` would need itself")
    rejected(held.ask("set", jobs=["all"], change={"needs": ["a"]}), 2, "`a` would need itself")
    rejected(held.ask("set", jobs=["a"], change={"needs": ["nobody"]}), 2, "nobody")
    assert states(held) == {"a": "queued", "b": "pending", "c": "pending"}


def test_what_an_urgent_job_needs_is_as_urgent_as_long_as_that_is(held):
    named(held, "x", "need")
    added(held, {"id": "urgent", "needs": ["need"]})
    assert in_order(held)[:2] == ["x", "need"]
    held.ask("set", jobs=["urgent"], change={"priority": "critical"})
    assert in_order(held)[:2] == ["need", "x"]
    assert held.ask("ps", jobs=["need"])["jobs"][0]["priority"] == "normal", (
        "its shown priority stays its own"
    )
    held.ask("set", jobs=["urgent"], change={"priority": "low"})
    assert in_order(held)[:2] == ["x", "need"]
    held.ask("set", jobs=["urgent"], change={"priority": "critical"})
    held.ask("cancel", jobs=["urgent"])
    assert in_order(held) == ["x", "need"]
    held.ask("set", jobs=["need"], change={"priority": "critical"})
    assert in_order(held) == ["need", "x"]


def test_set_says_how_many_could_be_changed(door):
    named(door, "runs", "waits")
    assert door.ask("set", jobs=["runs"], change={"priority": "low"})["count"] == 0
    assert door.ask("set", jobs=["all"], change={"priority": "low"})["count"] == 1
    rejected(door.ask("set", jobs=["all"], change={"run": "false"}), 2, "`run`")
    rejected(door.ask("set", jobs=["all"], change={"priority": "urgent"}), 2, "priority")
    rejected(door.ask("set", jobs=["all"], change={}), 2)


def test_needs_of_a_job_that_was_tried_have_been_met_and_do_not_change(door):
    named(door, "a", retries=1, retry={"delay": 5})
    named(door, "b")
    end(door, "a", 1)
    assert door.ask("set", jobs=["a"], change={"needs": ["b"]})["count"] == 0
    assert door.ask("set", jobs=["a"], change={"priority": "high"})["count"] == 1


def test_thousands_of_jobs_are_changed_and_cancelled_in_steps(tmp_path):
    door = Door(tmp_path / "s", max_queue=2000)
    added(door, *[{}] * 1000)
    first = next(iter(door.slots.running))
    with door.call() as caller:
        before = door.turns
        assert caller.ask("set", jobs=["all"], change={"priority": "low"})["count"] == 999
        assert caller.ask("cancel", jobs=["all"])["count"] == 1000
        assert door.turns - before >= 8
    door.turn(3)
    assert states(door) == {}
    assert [e.seq for e in door.story.events if isinstance(e, ev.AttemptSubmitted)] == [first.seq]
    door.close()


def test_a_client_that_waits_for_room_is_told_of_a_stop_in_the_midst_of_another_request(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("pqrun.control.commands.set.JOBS_PER_TURN", 10)
    door = Door(tmp_path / "s", max_queue=1000)
    added(door, *[{}] * 1000)
    with door.call() as waits, door.call() as changes:
        added(door, {})
        waits.say("add", add=[{"run": "true"}], wait=True)
        door.turn(3)
        changes.say("set", jobs=["all"], change={"priority": "low"})
        door.turn(2)
        assert door.scheduler.maintenance
        assert door.ask("stop")["running"] == 1
        assert waits.answer(turns=3) is None and door.scheduler.maintenance
        assert changes.answer()["count"] == 1000
        rejected(waits.answer(), 6, "ended before")
    door.close()


def test_workers_and_pools_of_the_run_can_be_changed(door):
    assert door.ask("pool", pool="net", size=2)["ok"] is True
    added(door, *[{"id": f"n{n}", "pools": {"net": 2}} for n in range(2)], {"id": "x"}, {"id": "y"})
    assert list(states(door).values()).count("running") == 1
    door.ask("workers", workers=3)
    door.turn()
    assert {name for name, state in states(door).items() if state == "running"} == {"n0", "x", "y"}
    door.ask("workers", workers=4)
    door.ask("pool", pool="net", size=4)
    door.turn()
    assert set(states(door).values()) == {"running"}
    rejected(door.ask("pool", pool="net", size=1), 2, "needs more than 1")
    rejected(door.ask("pool", pool="a b", size=1), 2, "a b")
    rejected(door.ask("workers", workers=0), 2)
    changes = [
        (type(e).__name__, e.by)
        for e in door.story.events
        if isinstance(e, ev.WorkersChanged | ev.PoolChanged)
    ]
    assert changes == [
        ("PoolChanged", "test"),
        ("WorkersChanged", "test"),
        ("WorkersChanged", "test"),
        ("PoolChanged", "test"),
    ]


# pause, cancel, stop


def test_pause_holds_back_starts_and_what_runs_goes_on(door):
    named(door, "a", "b")
    assert door.ask("pause")["paused"] is True
    end(door, "a")
    assert states(door) == {"b": "queued"}
    assert door.ask("unpause")["paused"] is False
    door.turn()
    assert states(door) == {"b": "running"}


def test_cancel_ends_jobs_in_every_state_and_tells_by_whom(door):
    added(door, {"id": "runs"}, {"id": "queued"}, {"id": "pending", "needs": ["runs"]})
    assert door.ask("cancel", jobs=["runs", "queued", "pending", "nobody"])["count"] == 3
    door.turn(2)
    ends = {e.seq: (e.outcome, e.by) for e in door.story.events if isinstance(e, ev.JobEnded)}
    assert ends == dict.fromkeys((1, 2, 3), (Outcome.CANCELLED, "test"))
    assert door.ask("cancel", jobs=["all"])["count"] == 0


def test_an_exact_id_wins_over_a_pattern(held):
    named(held, "test[a]", "testa", "all", "tag:x")
    added(held, {"id": "tagged", "tags": ["x"]})
    assert held.ask("cancel", jobs=["test[a]"])["count"] == 1
    assert held.ask("cancel", jobs=["all"])["count"] == 1
    assert held.ask("cancel", jobs=["tag:x"])["count"] == 1
    assert sorted(states(held)) == ["tagged", "testa"]
    assert held.ask("cancel", jobs=["tag:x"])["count"] == 1


def test_too_many_patterns_are_refused_but_not_too_many_ids(held):
    named(held, *(f"j{n}" for n in range(300)))
    rejected(held.ask("cancel", jobs=[f"{n}*" for n in range(101)]), 2, "100 patterns")
    assert held.ask("cancel", jobs=[f"j{n}" for n in range(300)])["count"] == 300


def test_stop_lets_running_jobs_end_and_again_changes_nothing(door):
    named(door, "a", "b")
    assert door.ask("stop") == {"ok": True, "running": 1, "left": 1}
    assert door.ask("stop")["running"] == 1
    assert [type(e) for e in door.story.events].count(ev.RunStopping) == 1
    assert not door.scheduler.done
    end(door, "a")
    assert door.scheduler.done


def test_stop_now_stops_what_runs_and_kills_it_the_second_time(door):
    door.slots.stop = lambda key, force: None  # deaf
    named(door, "a")
    for _ in range(2):
        door.ask("stop", now=True)
    stops = [(e.drain, e.force, e.by) for e in door.story.events if isinstance(e, ev.RunStopping)]
    assert stops == [(False, False, "test"), (False, True, "test")]


# wait


def test_wait_answers_when_jobs_have_ended_and_tells_which_did_not_end_well(door):
    named(door, "a", "b")
    with door.call() as caller:
        caller.say("wait", jobs=["a", "b"])
        door.turn(3)
        end(door, "a")
        assert caller.answer(turns=3) is None
        end(door, "b", 1)
        answer = caller.answer()
    assert (answer["ended"], answer["failed"], answer["failed_ids"]) == (2, 1, ["b"])


def test_wait_for_what_has_ended_answers_at_once(door):
    added(door, {"id": "a"}, {}, {"id": "allowed", "allow_failure": True}, {})
    for name, code in (("a", 1), ("2", 0), ("allowed", 1), ("4", 1)):
        end(door, name, code)
    assert door.ask("wait", jobs=["a"])["failed_ids"] == ["a"]
    assert door.ask("wait", jobs=["2"])["failed"] == 0
    assert door.ask("wait", jobs=["allowed"])["failed"] == 0
    assert door.ask("wait", jobs=["4", "2"])["failed_ids"] == ["4"]
    assert door.ask("wait", jobs=["a*"])["ended"] == 2
    rejected(door.ask("wait", jobs=["nobody", "x*"]), 1, "nobody")


def test_wait_any_answers_when_one_has_ended(door):
    named(door, "a", "b")
    with door.call() as caller:
        caller.say("wait", jobs=["*"], any=True)
        door.turn(2)
        end(door, "a")
        assert caller.answer()["ids"] == ["a"]


def test_wait_for_nothing_in_particular_is_until_nothing_is_left(door):
    assert door.ask("wait")["ended"] == 0
    named(door, "a")
    with door.call() as caller:
        caller.say("wait")
        door.turn(2)
        named(door, "child")
        end(door, "a")
        assert caller.answer(turns=3) is None, "what was added meanwhile counts too"
        end(door, "child", 1)
        assert (caller.answer()["failed"]) == 1


def test_wait_in_a_run_that_still_reads_its_input_is_until_that_has_ended_too(tmp_path):
    door = Door(tmp_path / "s", endless=False)
    with door.call() as caller:
        caller.say("wait")
        assert caller.answer(turns=3) is None
        door.engine.turn(request=lambda scheduler, now: scheduler.end_input(now))
        door.engine.turn(request=door.server.look)
        assert caller.answer()["ok"] is True
    door.close()


# memory


def test_what_has_ended_is_forgotten_by_and_by(door):
    door.scheduler.graph.remembers_ended = 3
    for n in range(6):
        added(door, {"id": f"j{n}"}, {})
        end(door, f"j{n}")
        end(door, str(2 * n + 2), 1)
    assert len(door.scheduler.graph._ended) == 3
    assert door.ask("wait", jobs=["12"])["failed_ids"] == ["12"]
    rejected(door.ask("wait", jobs=["j0"]), 1)
    rejected(door.ask("wait", jobs=["2"]), 1)
    rejected(added(door, {"needs": ["2"]}), 2, "does not exist")
    assert not door.scheduler.tasks and not door.scheduler.graph._ids


def sizes(thing, seen) -> int:
    """How much is held in lists, tables and the like, all in all."""
    if id(thing) in seen or isinstance(thing, str | int | float | bytes | type(None) | type):
        return 0
    seen.add(id(thing))
    if isinstance(thing, dict):
        return len(thing) + sum(sizes(value, seen) for value in thing.values())
    if isinstance(thing, list | tuple | set | deque):
        return len(thing) + sum(sizes(value, seen) for value in thing)
    slots = [name for kind in type(thing).__mro__ for name in getattr(kind, "__slots__", ())]
    parts = [*vars(thing).values()] if hasattr(thing, "__dict__") else []
    return sum(sizes(part, seen) for part in [*parts, *(getattr(thing, name, None) for name in slots)])


@pytest.mark.slow
def test_a_queue_does_not_grow_by_what_has_ended(door):
    door.scheduler.graph.remembers_ended = 50
    door.ask("pool", pool="net", size=1)
    grown = []
    for round in range(4):
        for n in range(100):
            added(
                door,
                {"id": f"{round}.{n}", "retries": 1, "timeout": 9},
                {"pools": {"net": 1}},
                {"needs": [f"{round}.{n}"]},
            )
            door.ask("set", jobs=[f"{round}.{n}"], change={"priority": "high"})
            door.ask("cancel", jobs=["all"]) if n % 3 == 0 else None
            for code in (1, 1, 0, 0, 0):
                door.clock.time += 2
                door.turn()
                for key in list(door.slots.running):
                    door.slots.end(key, ExitedWith(code))
                door.turn(2)
        assert not door.scheduler.tasks
        door.story.events.clear()
        door.observer = Observer(1, {"net": 1})
        grown.append(sizes([door.scheduler, door.server, door.engine.metrics], set()))
    assert max(grown[1:]) < grown[0] + 200, grown


def test_a_pool_can_shrink_to_what_the_largest_job_needs(door):
    door.ask("pool", pool="net", size=4)
    added(door, {"id": "a", "pools": {"net": 2}})
    rejected(door.ask("pool", pool="net", size=1), 2, "needs more than 1")
    assert door.ask("pool", pool="net", size=2)["ok"] is True


# ps


def test_a_running_job_has_its_usage_and_if_asked_its_last_output(tmp_path):
    first, second = AttemptId(1, 1), AttemptId(2, 1)
    outputs = {
        first: Capture(Logs("/nowhere", keep=False), first),
        second: Capture(Logs("/nowhere", keep=False), second),
    }
    outputs[first].out.put(b"one\n\x1b[31mtwo\x1b[0m\n\n")
    outputs[first].err.put(b"warning\n")
    outputs[second].err.put(b"only on stderr\r")
    door = Door(tmp_path / "s", slots=3, outputs=outputs, usage={first: JobUsage(1.8251, 4096, 8192)})
    named(door, "a", "b", "c", "d")
    members = ("cpus", "memory", "last_output")

    def told(**facts):
        return {
            job["id"]: {name: job[name] for name in members if name in job}
            for job in door.ask("ps", **facts)["jobs"]
        }

    assert told() == {"a": {"cpus": 1.825, "memory": 4096}, "b": {}, "c": {}, "d": {}}
    assert told(last_output=True, jobs=["a", "b", "d"]) == {
        "a": {"cpus": 1.825, "memory": 4096, "last_output": "two"},
        "b": {"last_output": "only on stderr"},
        "d": {},
    }
    rejected(door.ask("ps", last_output="yes"), 2, "last_output")
    door.close()


@pytest.mark.parametrize(("left", "said"), [(None, None), (1530.04, 1530.0)])
def test_the_facts_of_a_run_have_its_estimated_end(tmp_path, left, said):
    door = Door(tmp_path / "control.sock", left=left)
    assert door.ask("info")["seconds_left"] == said
    door.close()
