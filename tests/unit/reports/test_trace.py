# SPDX-License-Identifier: LGPL-3.0-or-later
"""Timelines: lanes, kills, counters."""

import json
from random import Random

from reported import CELLS, Cell, job, play

from pqrun.core import events as ev
from pqrun.core.settings import ReportSettings
from pqrun.reports import write_after
from pqrun.reports.trace_lanes import TraceLanes


def trace_of(directory, cell):
    played = play(directory, cell, settings=ReportSettings(trace=str(directory / "t.json")))
    return played, json.loads((directory / "t.json").read_text())["traceEvents"]


def test_a_kill_is_marked_in_the_lane_of_what_it_hit(tmp_path):
    _, found = trace_of(tmp_path, CELLS["timeout"])
    (attempt,) = [event for event in found if event["ph"] == "X" and event["name"] == "a"]
    marks = [event for event in found if event["ph"] == "i"]
    assert [(mark["name"], mark["tid"], mark["ts"]) for mark in marks] == [
        ("asked to stop: timeout", attempt["tid"], 2_000_000)
    ]


def test_why_the_run_stopped_is_marked_for_all(tmp_path):
    _, found = trace_of(tmp_path, CELLS["int"])
    assert ("signal SIGINT", "g") in [(event["name"], event["s"]) for event in found if event["ph"] == "i"]


def test_waits_begin_when_a_job_is_queued_and_end_when_it_starts(tmp_path):
    _, found = trace_of(tmp_path, Cell([job("a", 2.0), job("b", 2.0)], 0, slots=1))
    waits = [(event["ph"], event["id"], event["ts"]) for event in found if event.get("cat") == "wait"]
    assert waits == [("b", "1.1", 0), ("e", "1.1", 0), ("b", "2.1", 0), ("e", "2.1", 2_000_000)]


def test_counters_follow_the_queue(tmp_path):
    _, found = trace_of(tmp_path, Cell([job("a", 1.0), job("b", 1.0), job("c", 1.0)], 0, slots=1))
    queued = {event["ts"]: event["args"]["count"] for event in found if event["name"] == "jobs queued"}
    assert queued == {0: 2, 1_000_000: 1, 2_000_000: 0}


def test_an_attempt_without_an_end_is_begun_and_never_ends(tmp_path):
    played, _ = trace_of(tmp_path, CELLS["ok"])
    end = next(n for n, event in enumerate(played.events) if isinstance(event, ev.AttemptEnded))
    path = tmp_path / "cut.json"
    write_after(ReportSettings(trace=str(path)), played.events[:end], played.run, played.ending)
    found = json.loads(path.read_text())["traceEvents"]
    assert sorted(event["name"] for event in found if event["ph"] == "B") == ["a", "b"]
    assert not [event for event in found if event["ph"] == "X"]


def test_lanes_are_the_workers_own_where_they_are_known_and_never_shared():
    random = Random(1)
    for _ in range(300):
        lanes, live, number = TraceLanes(), {}, 0
        free = set(range(1, 6))
        for _ in range(60):
            if free and random.random() < 0.55:
                number += 1
                lanes.enter(number, 0.0)
                live[number] = None
                if random.random() < 0.8:
                    slot = random.choice(sorted(free))
                    free.discard(slot)
                    live[number] = slot
                    lanes.move(number, f"slot {slot}")
            elif live:
                gone = random.choice(sorted(live))
                slot = live.pop(gone)
                lane = lanes.leave(gone)
                if slot is not None:
                    assert lane == slot
                    free.add(slot)
            taken = [lane for _, _, lane in lanes.all()]
            assert len(set(taken)) == len(taken) == lanes.taken


def test_a_lane_that_a_job_gives_up_is_free_in_its_order():
    lanes = TraceLanes()
    for number in (1, 2, 3):
        lanes.enter(number, 0.0)
    lanes.leave(1)
    lanes.leave(2)
    lanes.move(3, "slot 1")
    lanes.enter(4, 0.0)
    lanes.enter(5, 0.0)
    assert [lanes.of(number) for number in (3, 4, 5)] == [1, 2, 3]


def test_the_lanes_below_that_of_a_worker_are_free():
    lanes = TraceLanes()
    lanes.enter(1, 0.0)
    lanes.move(1, "slot 3")
    for number in (2, 3, 4):
        lanes.enter(number, 0.0)
    assert [lanes.of(number) for number in (1, 2, 3, 4)] == [3, 1, 2, 4]
    assert lanes.highest == 4
