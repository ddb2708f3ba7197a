# SPDX-License-Identifier: LGPL-3.0-or-later
"""The arguments of a job in all JSON: by place, or by the name of the column."""

import json
import os

import pytest

STATE = "PQRUN_STATE_DIR"


@pytest.fixture
def recorded(pqrun, environment, tmp_path):
    """`recorded(*words)` runs `each` and gives the arguments that it tells; `show` and the events must tell the same."""
    environment[STATE] = str(tmp_path / "state")

    def args_of(*words, **more):
        done = pqrun("each", "--json", "--events", "events", *words, **more)
        found = [job.get("args") for job in done.document["jobs"]]
        shown = pqrun("show", "--json").document["jobs"]
        lines = [json.loads(line) for line in pqrun("show", "--jsonl").lines]
        events = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
        added = [event for event in events if event["event"] == "job_added"]
        for jobs in (shown, lines, added):
            assert [job.get("args") for job in jobs] == found
        return found

    return args_of


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "more", "expected"),
    [
        (("true {2} {1.}", ":::", "a.x", "b", ":::", "1"), {}, [{"1": "a.x", "2": "1"}, {"1": "b", "2": "1"}]),
        (("true {#}", ":::", "a b"), {}, [{"1": "a b"}]),
        (("true",), {"input": "x\ny\n"}, [{"1": "x"}, {"1": "y"}]),
        (("true", ":::", "a", "b", ":::+", "1", "2"), {}, [{"1": "a", "2": "1"}, {"1": "b", "2": "2"}]),
        (("--header", ":", "true {city}"), {"input": "city\tyear\nRome\t1\nOslo\t2\t3\n"},
            [{"city": "Rome", "year": "1"}, {"city": "Oslo", "year": "2", "3": "3"}]),
        (("--header", ":", "--csv", "-a", "-", "true", ":::", "n", "1"), {"input": 'a,b\n"x, y",z\n'},
            [{"a": "x, y", "b": "z", "n": "1"}]),
        (("-n2", "true"), {"input": "1\n2\n3\n"}, [{"1": "1", "2": "2"}, {"1": "3"}]),
        (("-j1", "-X", "true", ":::", "a", "b", "c"), {}, [{"1": "a", "2": "b", "3": "c"}]),
        (("--header", ":", "-N2", "true {1} {2}", ":::", "file", "a", "b"), {}, [{"file": "a", "2": "b"}]),
        (("-n0", "true", ":::", "a", "b"), {}, [None, None]),
        ((":::", "true", "true 2"), {}, [None, None]),
        (("--pipe", "-N1", "cat >&2"), {"input": "x\ny\n"}, [None, None]),
    ],
)  # fmt: skip
def test_each_job_has_its_arguments(recorded, words, more, expected):
    assert recorded(*words, **more) == expected


def test_a_list_of_commands_has_no_arguments(pqrun, environment, tmp_path):
    environment[STATE] = str(tmp_path / "state")
    done = pqrun("run", "--json", "-", input="true a\ntrue b\n")
    assert ["args" in job for job in done.document["jobs"]] == [False, False]
    (journal,) = (tmp_path / "state").glob("runs/*/journal.jsonl")
    assert "arg" not in [json.loads(line) for line in journal.read_text().splitlines()][1]["job"]


@pytest.mark.slow
def test_matrix_values_and_those_of_a_loop_are_arguments_by_their_names(run, pqrun, environment, tmp_path):
    environment[STATE] = str(tmp_path / "state")
    jobs = {
        "id": "a",
        "run": "true",
        "matrix": {"PY": ["3.11", "3.12"]},
        "for": {"values": ["x" * 300, "\n"], "as": "IN"},
    }
    done = run(json.dumps({"jobs": [jobs, {"id": "b", "run": "true"}]}), "--json")
    expected = [{"PY": py, "IN": value} for py in ("3.11", "3.12") for value in ("x" * 300, "\n")]
    assert [job.get("args") for job in done.document["jobs"]] == [*expected, None]
    assert [job.get("args") for job in pqrun("show", "--json").document["jobs"]] == [*expected, None]


@pytest.mark.slow
def test_bytes_that_are_no_text_are_exact_beside_it(pqrun):
    done = pqrun("each", "--json", "true", ":::", b"a\xff", "é\x1b")
    first, second = done.document["jobs"]
    assert (first["args"], first["args_bytes"]) == ({"1": "a\ufffd"}, {"1": "Yf8="})
    assert second["args"] == {"1": "é\x1b"} and "args_bytes" not in second


@pytest.mark.slow
def test_a_value_of_a_megabyte_is_shown_whole(recorded):
    value = "y" * (1 << 20)
    assert recorded("true {/}", input=f"/{value}/a\n") == [{"1": f"/{value}/a"}]


@pytest.mark.slow
def test_one_job_is_shown_with_its_arguments(pqrun, environment, tmp_path):
    environment[STATE] = str(tmp_path / "state")
    pqrun("each", "-q", "true", ":::", "a b", ":::", "\x1b[31m")
    assert "arguments     1=a b 2=\\x1b[31m" in pqrun("show", "latest", "1").lines
    assert pqrun("show", "latest", "1", "--json").document["job"]["args"] == {"1": "a b", "2": "\x1b[31m"}


@pytest.mark.slow
def test_a_live_and_a_resumed_run_tell_the_arguments_of_their_jobs(live, pqrun, environment, tmp_path):
    environment[STATE] = str(tmp_path / "state")
    command = "[ -e go ] || sleep 100; echo {file}"
    running = live("each", "-q", "-j1", "--header", command, ":::", "file", os.fsdecode(b"\xff"), "b")
    jobs = []
    while len(jobs) < 2:
        jobs = json.loads(pqrun("ps", "--json").stdout or b'{"jobs": []}')["jobs"]
        assert running.poll() is None
    assert [job["args"] for job in jobs] == [{"file": "\ufffd"}, {"file": "b"}]
    assert [job.get("args_bytes") for job in jobs] == [{"file": "/w=="}, None]
    running.kill()
    running.wait()
    (tmp_path / "go").touch()
    done = pqrun("resume", "latest", "--json")
    assert [(job["state"], job["args"]) for job in done.document["jobs"]] == [
        ("ok", {"file": "\ufffd"}),
        ("ok", {"file": "b"}),
    ]
