# SPDX-License-Identifier: LGPL-3.0-or-later
"""The limit of a tag: so many jobs with it run at a time, now and later, whatever else happens."""

import json

import pytest

from pqrun.core import events as ev

from .door import Door


@pytest.fixture
def door(tmp_path):
    opened = Door(tmp_path / "control.sock", slots=8)
    yield opened
    opened.close()


def running(door) -> set[str]:
    return {name for name, state in door.states().items() if state == "running"}


def test_jobs_with_the_tag_run_so_many_at_a_time_also_those_that_come_later(door):
    assert door.ask("limit", tag="x", workers=2) == {"ok": True, "workers": 2, "count": 0}
    door.add("a", "b", "c", tags=["x", "other"])
    door.add("free", tags=["other"])
    door.add("d", tags=["x"])
    assert running(door) == {"a", "b", "free"}
    answer = door.ask("ps", jobs=["c"], why=True)
    assert answer["why"] == {"c": "2 jobs with the tag `x` running, the limit is 2"}
    assert answer["tag_limits"] == {"x": 2}
    door.end("a")
    assert running(door) == {"b", "c", "free"}
    assert door.ask("limit", tag="x", workers=3)["ok"]
    assert running(door) == {"b", "c", "d", "free"}


def test_a_tag_that_is_given_twice_counts_once(door):
    door.ask("limit", tag="x", workers=2)
    door.add("a", "b", tags=["x", "x"])
    assert running(door) == {"a", "b"}


def test_running_jobs_count_and_none_is_stopped(door):
    door.add("a", "b", "c", tags=["x"])
    door.ask("limit", tag="x", workers=2)
    door.add("d", "e", tags=["x"])
    assert running(door) == {"a", "b", "c"}
    why = door.ask("ps", jobs=["d"], why=True)["why"]
    assert why == {"d": "3 jobs with the tag `x` running, the limit is 2"}
    door.end("a")
    assert running(door) == {"b", "c"}
    door.end("b")
    assert running(door) == {"c", "d"}
    door.ask("limit", tag="x", workers=1)
    door.end("c")
    assert running(door) == {"d"}


def test_a_limit_is_lifted_also_while_jobs_run(door):
    door.ask("limit", tag="x", workers=1)
    door.add("a", "b", "c", tags=["x"])
    assert door.ask("limit", tag="x", workers=None) == {"ok": True, "workers": None, "count": 3}
    assert running(door) == {"a", "b", "c"}
    assert door.ask("ps")["tag_limits"] == {}
    door.end("a")
    door.ask("limit", tag="x", workers=2)
    door.add("d", tags=["x"])
    assert running(door) == {"b", "c"}
    door.end("b")
    assert running(door) == {"c", "d"}
    door.ask("limit", tag="x", workers=None)
    assert door.scheduler.ready.pools.sizes == {}


def test_a_job_waits_for_each_of_its_tags_and_for_its_pool(door):
    door.ask("pool", pool="net", size=2)
    door.ask("limit", tag="x", workers=2)
    door.ask("limit", tag="y", workers=1)
    door.add("a", tags=["x", "y"], pools={"net": 1})
    door.add("b", tags=["y"])
    door.add("c", tags=["x"], pools={"net": 1})
    door.add("d", tags=["x"], pools={"net": 1})
    assert running(door) == {"a", "c"}
    shares = {attempt.spec.id: attempt.pools for attempt in door.slots.attempts}
    assert shares == {"a": (("net", "1"),), "c": (("net", "1"),)}, "a limit is no pool of the job's own"
    door.end("a")
    assert running(door) == {"b", "c", "d"}


def test_a_job_that_its_limit_holds_back_keeps_no_pool_from_others(door, monkeypatch):
    monkeypatch.setattr("pqrun.core.ready_queue.MAX_SKIPS", 4)
    door.ask("pool", pool="gpu", size=1)
    door.ask("limit", tag="x", workers=1)
    door.add("long", tags=["x"])
    door.add("waits", tags=["x"], pools={"gpu": 1})
    for n in range(20):
        door.add(f"{n}.gpu", pools={"gpu": 1})
        assert running(door) == {"long", f"{n}.gpu"}
        door.add(f"{n}.x", tags=["x"])
        door.end(f"{n}.gpu")
    door.end("long")
    assert running(door) == {"waits"}


def test_a_job_with_a_limit_and_a_pool_gets_its_turn_among_those_that_need_one_of_them(door, monkeypatch):
    monkeypatch.setattr("pqrun.core.ready_queue.MAX_SKIPS", 4)
    door.ask("pool", pool="gpu", size=1)
    door.ask("limit", tag="x", workers=1)
    door.add("x0", tags=["x"])
    door.add("gpu0", pools={"gpu": 1})
    door.add("both", tags=["x"], pools={"gpu": 1}, priority="high")
    door.add(*(f"x{n}" for n in range(1, 20)), tags=["x"])
    door.add(*(f"gpu{n}" for n in range(1, 20)), pools={"gpu": 1})
    ended = 0
    while "both" not in running(door) and ended < 20:
        kind = "x" if ended % 2 else "gpu"
        [name] = [name for name in running(door) if name.startswith(kind)]
        door.end(name)
        ended += 1
    assert 4 <= ended < 12


def test_a_retry_needs_its_unit_again(door):
    door.ask("limit", tag="x", workers=1)
    door.add("a", tags=["x"], retries=1, retry={"delay": 5})
    door.add("b", tags=["x"])
    door.end("a", 1)
    assert door.states() == {"a": "waiting", "b": "running"}
    door.pass_seconds(6)
    assert door.states() == {"a": "queued", "b": "running"}
    door.end("b")
    assert door.states() == {"a": "running"}


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        ({"tag": "x", "workers": 0}, "`workers` is a number from 1 to 100,000, or null for no limit"),
        ({"tag": "x", "workers": True}, "`workers` is a number"),
        ({"tag": "x", "workers": "2"}, "`workers` is a number"),
        ({"tag": "", "workers": 1}, "not a tag"),
        ({"tag": "a,b", "workers": 1}, "not a tag"),
        ({"tag": ["x"], "workers": 1}, "not a tag"),
    ],
)
def test_a_wrong_limit_is_refused_and_changes_nothing(door, request_, error):
    answer = door.ask("limit", **request_)
    assert (answer["ok"], answer["code"], answer["error"].startswith(error)) == (False, 2, True)
    assert not any(isinstance(event, ev.PoolChanged) for event in door.story.events)


def test_limits_are_bounded(door, monkeypatch):
    monkeypatch.setattr("pqrun.control.commands.set.MAX_LIMITED_TAGS", 2)
    assert [door.ask("limit", tag=tag, workers=1)["ok"] for tag in "xyzx"] == [True, True, False, True]
    assert door.ask("limit", tag="x", workers=None)["ok"] and door.ask("limit", tag="z", workers=1)["ok"]


def test_a_limit_holds_at_once_for_all_queued_jobs(door, monkeypatch):
    """In parts, jobs over the limit could start between two of them."""
    monkeypatch.setattr("pqrun.control.commands.set.JOBS_PER_TURN", 10)
    door.add(*(f"j{n}" for n in range(300)), tags=["x"])
    first = running(door)
    assert len(first) == 8
    assert door.ask("limit", tag="x", workers=2)["count"] == 300
    for name in sorted(first)[:6]:
        door.end(name)
        assert running(door) < first
    door.end(sorted(first)[6])
    assert len(running(door) - first) == 1


@pytest.mark.slow
def test_the_command_limits_real_jobs_also_after_a_kill(queue, pqrun, gate, until):
    one = queue("-j4")
    one.add(*[gate.wait] * 3, tags=["x"])
    until(lambda: list(one.states().values()).count("running") == 3)
    assert one("set", "tag:x", "--workers", "2").code == 0
    one.add(gate.wait, tags=["x"], id="later")
    one.add(gate.wait, id="free")
    until(lambda: one.states()["free"] == "running")
    assert one.states()["later"] == "queued"
    why = one("ps", "--why", "later").out
    assert why == "later: 3 jobs with the tag `x` running, the limit is 2\n"
    assert "\nlimited: 2 at a time with tag:x\n" in one("ps").out
    assert json.loads(one("ps", "--json").out)["tag_limits"] == {"x": 2}
    one.kill()
    one = queue("-j4")
    until(lambda: list(one.states().values()).count("running") == 3)
    states = one.states()
    assert (states["free"], list(states.values()).count("queued")) == ("running", 2)
    assert one("set", "tag:x", "tag:other", "-j", "none").code == 0
    until(lambda: list(one.states().values()).count("running") == 4)
    assert one.ask("ps")["tag_limits"] == {}
    changes = [(line["name"], line["size"]) for line in one.events() if line.get("e") == "pool"]
    assert changes == [("tag:x", 2), ("tag:x", 0), ("tag:other", 0)]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("a", "-j2"), "-j is for the whole run, or for the jobs with a tag: `pqrun set tag:NAME -j N`"),
        (("tag:x", "a", "-j2", "-p", "low"), "-j is for the whole run, or for the jobs with a tag"),
        (("-j", "none"), "only the limit of a tag can be lifted: `pqrun set tag:NAME -j none`"),
        (("tag:x", "-j0"), "write at least 1; `pqrun pause` and `pause tag:NAME` start no more jobs"),
        (("tag:x", "--pool", "net=1"), "`pqrun set tag:NAME -j N`"),
    ],
)
def test_a_command_line_that_means_nothing_is_answered_with_the_cure(pqrun, words, told):
    answer = pqrun("set", *words)
    assert (answer.code, told in answer.err.replace("\n", " ")) == (2, True), answer.err


@pytest.mark.slow
def test_a_job_and_the_limit_of_its_tag_are_changed_together(queue):
    one = queue("-j1")
    one.ask("pause")
    one.add("true", id="a", tags=["x"])
    assert one("set", "tag:x", "-p", "high", "-j", "1").code == 0
    told = one("set", "tag:y", "-j", "1")
    why = "no unfinished job has the tag y: the limit is for jobs that are added later"
    assert (told.code, told.err) == (0, f"pqrun: {why}\n")
    [job], limits = (one.ask("ps")[name] for name in ("jobs", "tag_limits"))
    assert (job["priority"], limits) == ("high", {"x": 1, "y": 1})
