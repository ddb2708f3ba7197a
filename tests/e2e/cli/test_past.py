# SPDX-License-Identifier: LGPL-3.0-or-later
"""`--order longest-first` and `--by-time`, from outside."""

import json
from itertools import chain

import pytest

JOBS = {
    "jobs": [{"id": name, "run": f"sleep {seconds}"} for name, seconds in (("a", 0), ("b", 0.4), ("c", 0.15))]
}


@pytest.fixture
def jobs(tmp_path):
    """The job file."""
    (tmp_path / "jobs.json").write_text(json.dumps(JOBS))
    return str(tmp_path / "jobs.json")


def dry(pqrun, *words, **more):
    done = pqrun("run", "--dry-run", "-j1", *words, **more)
    assert done.code == 0, done.err
    return done.out.split("\n")[:-1]


@pytest.mark.slow
def test_the_times_of_earlier_runs_decide(pqrun, jobs):
    first = ["sleep 0", "sleep 0.4", "sleep 0.15"]
    assert dry(pqrun, jobs, "--order", "longest-first") == first  # nothing is known yet
    assert pqrun("run", "-q", jobs).code == 0
    assert dry(pqrun, jobs, "--order", "longest-first") == ["sleep 0.4", "sleep 0.15", "sleep 0"]
    assert dry(pqrun, jobs) == first
    parts = [dry(pqrun, jobs, "--shard", f"{part}/2", "--by-time") for part in (1, 2)]
    assert parts == [["sleep 0.4"], ["sleep 0", "sleep 0.15"]]
    assert sorted(chain(*parts)) == sorted(first)
    done = pqrun("run", jobs, "-j1", "-q", "--order", "longest-first", "--tag", "--verbose")
    assert done.code == 0


@pytest.mark.slow
def test_a_damaged_run_keeps_no_other_from_starting(pqrun, jobs, tmp_path):
    assert pqrun("run", "-q", jobs, env={"PQRUN_STATE_DIR": str(tmp_path / "state")}).code == 0
    (journal,) = (tmp_path / "state").glob("runs/*/journal.jsonl")
    journal.write_bytes(b'{"e":"what"}\n' + journal.read_bytes())
    env = {"PQRUN_STATE_DIR": str(tmp_path / "state")}
    assert dry(pqrun, jobs, "--order", "longest-first", env=env) == ["sleep 0", "sleep 0.4", "sleep 0.15"]


def test_what_can_not_be_divided_by_time_is_refused(pqrun, jobs):
    assert "give --shard I/N, too" in pqrun("run", "--dry-run", jobs, "--by-time").err
    done = pqrun("run", "--shard", "1/2", "--by-time", input="true\n")
    assert done.code == 2 and "a job file, or arguments after :::" in done.err
