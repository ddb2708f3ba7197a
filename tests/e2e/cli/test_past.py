# SPDX-License-Identifier: LGPL-3.0-or-later
"""The times and results of earlier runs, from outside: options, and what `show` tells of flaky jobs."""

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


@pytest.mark.slow
def test_what_can_not_be_divided_by_time_is_refused(pqrun, jobs):
    assert "give --shard I/N, too" in pqrun("run", "--dry-run", jobs, "--by-time").err
    done = pqrun("run", "--shard", "1/2", "--by-time", input="true\n")
    assert done.code == 2 and "a job file, or arguments after :::" in done.err


FLAKY = """
jobs:
- {id: build, run: "test ! -e bad"}
- {id: fetch, run: "test $PQRUN_ATTEMPT = 2", retries: {max: 1, delay: 0}}
- "true"
"""


@pytest.fixture
def three_runs(pqrun, tmp_path):
    """Three runs of one file: `build` fails in the second and the third one, `fetch` needs a retry in each."""
    (tmp_path / "flaky.yaml").write_text(FLAKY)
    ids = []
    for _ in range(3):
        pqrun("run", "-q", "flaky.yaml")
        (tmp_path / "bad").touch()
        ids.append(json.loads(pqrun("runs", "--json").out)["runs"][0]["id"])
    return ids


@pytest.mark.slow
def test_show_tells_in_how_many_of_its_last_runs_a_job_failed(pqrun, three_runs, tmp_path):
    def rates(run):
        jobs = json.loads(pqrun("show", run, "--json").out)["jobs"]
        return {job["id"]: job["last_runs"] for job in jobs if "last_runs" in job}

    first, second, third = three_runs
    assert rates(first) == {}
    assert rates(second) == {
        "build": {"runs": 2, "failed": 1, "flaky": True}, "fetch": {"runs": 2, "failed": 2, "flaky": True},
    }  # fmt: skip
    assert rates(third) == {
        "build": {"runs": 3, "failed": 2, "flaky": True}, "fetch": {"runs": 3, "failed": 3, "flaky": True},
    }  # fmt: skip
    lines = [json.loads(line) for line in pqrun("show", third, "--jsonl").out.splitlines()]
    assert {job["id"] for job in lines if "last_runs" in job} == {"build", "fetch"}
    page = [line.split() for line in pqrun("show", third).out.splitlines()]
    assert ["last", "3", "runs", "failed", "2,", "flaky"] in page
    page = [line.split() for line in pqrun("show", third, "build").out.splitlines()]
    assert ["history", "failed", "2", "of", "its", "last", "3", "runs,", "flaky"] in page
    assert json.loads(pqrun("show", third, "build", "--json").out)["job"]["last_runs"]["failed"] == 2
    assert pqrun("show", third, "--summary", tmp_path / "page.md").code == 0
    rows = (tmp_path / "page.md").read_text().splitlines()
    assert [row.split(" | ")[-1] for row in rows if "`build`" in row or "`fetch`" in row][:2] == [
        "failed 2 of its last 3 runs |", "failed 3 of its last 3 runs |",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_run_writes_the_rates_into_its_summary(pqrun, three_runs, tmp_path):
    pqrun("run", "-q", "flaky.yaml", "--summary", "page.md")
    page = (tmp_path / "page.md").read_text()
    assert "failed 3 of its last 4 runs |" in page and "failed 4 of its last 4 runs |" in page
    pqrun("run", "-q", "flaky.yaml", "--summary", "page.md", "--no-journal")
    assert "of its last" not in (tmp_path / "page.md").read_text()
