# SPDX-License-Identifier: LGPL-3.0-or-later
"""No report goes into a file that is read, or into one of a run directory: nothing is started then."""

import json
import os
import subprocess
import sys

import pytest

from pqrun.core.errors import UserError
from pqrun.core.settings import RecordSettings, ReportSettings
from pqrun.reports.file_clashes import refuse_clashes

REPORTS = ("--junit", "--html", "--trace", "--summary", "--joblog", "--events")


@pytest.fixture
def pqrun(tmp_path, monkeypatch):
    monkeypatch.setenv("PQRUN_STATE_DIR", str(tmp_path / "state"))
    here = tmp_path / "here"
    here.mkdir()
    (here / "list").write_text("touch ran\n")
    (here / "jobs.yaml").write_text("jobs: [touch ran]\n")
    os.symlink("list", here / "link")
    os.link(here / "list", here / "hard")

    def call(*words, **more):
        before = {path.name: path.read_bytes() for path in here.iterdir() if path.is_file()}
        done = subprocess.run(
            [sys.executable, "-m", "pqrun", *map(str, words)], cwd=here, text=True, check=False, timeout=60,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL, **more},
        )  # fmt: skip
        assert "Traceback" not in (done.stderr or "")
        after = {path.name: path.read_bytes() for path in here.iterdir() if path.is_file()}
        return done.returncode, done.stderr, before == after

    call.here = here
    return call


def refused(result, *words):
    code, err, unchanged = result
    assert (code, unchanged) == (2, True), err
    assert all(word in err for word in words), err


@pytest.mark.slow
@pytest.mark.parametrize("option", REPORTS)
def test_a_report_that_names_an_input_is_refused(pqrun, option):
    for words in (["list"], ["./list"], ["link"], ["hard"], ["jobs.yaml", "list"]):
        refused(pqrun("run", option, "list", *words), f"{option} list would overwrite", "choose another file")
    refused(pqrun("run", option, "jobs.yaml", "jobs.yaml"), option)
    refused(pqrun("run", option, "link", "list"), option)
    with (pqrun.here / "list").open() as stdin:
        refused(pqrun("run", option, "list", stdin=stdin), option, "standard input")
    refused(pqrun("each", option, "list", "-a", "list", "echo"), option)
    refused(pqrun("each", option, "hard", "echo", ":::", "a", "::::", "list"), option)


def test_a_report_into_the_pipe_that_is_read_is_refused(tmp_path):
    """pqrun would read its own report, or wait for itself."""
    fifo = str(tmp_path / "fifo")
    os.mkfifo(fifo)
    with pytest.raises(UserError, match="--junit .* would overwrite"):
        refuse_clashes(ReportSettings(junit=fifo), RecordSettings(), [fifo])


@pytest.mark.slow
def test_files_that_jobs_of_a_job_file_read_are_inputs_too(pqrun):
    loop = {"for": {"lines": "list"}, "run": 'echo "$LINE" > ran'}
    (pqrun.here / "loop.json").write_text(json.dumps({"jobs": {"a": loop}}))
    refused(pqrun("run", "--joblog", "list", "loop.json"), "--joblog list would overwrite list")
    (pqrun.here / "in.json").write_text(json.dumps({"jobs": [{"run": "cat > ran", "stdin": "list"}]}))
    refused(pqrun("run", "--events", "hard", "in.json"), "--events hard would overwrite list")


@pytest.mark.slow
@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_our_own_output_does_not_go_into_what_is_read(pqrun, stream):
    with (pqrun.here / "list").open("a") as out:
        code, _, _ = pqrun("run", "list", **{stream: out})
    assert code == 2 and not (pqrun.here / "ran").exists()
    (pqrun.here / "list").write_text("true\n")
    with (pqrun.here / "other").open("a") as out:
        assert pqrun("run", "list", **{stream: out})[0] == 0


@pytest.mark.slow
def test_files_of_a_run_directory_are_not_written_over(pqrun):
    assert pqrun("run", "--run-dir", "rd", "list")[0] == 0
    (pqrun.here / "ran").unlink()
    run = pqrun.here / "rd"
    journal = (run / "journal.jsonl").read_bytes()
    os.symlink("rd/journal.jsonl", pqrun.here / "alias")
    os.link(run / "journal.jsonl", pqrun.here / "twin")
    for name in (
        "rd/journal.jsonl",
        "rd/lock",
        "rd/index.db",
        "rd/index.db-wal",
        "rd/logs/x",
        "rd/logs/0000/x",
        "rd/work/x",
        "alias",
    ):
        refused(pqrun("run", "--joblog", name, "list"), f"--joblog {name} is a file of the run directory")
        refused(pqrun("resume", "rd/", "--failed", "--junit", name), f"--junit {name}")
        refused(pqrun("show", "rd/", "--junit", name), f"--junit {name}")
    for words in (["resume", "rd/"], ["show", "rd/"]):
        refused(pqrun(*words, "--events", "twin"), "--events twin")
    refused(pqrun("show", "rd/", "--events", "list"), "--events list would overwrite")
    refused(pqrun("run", "--results", "rd/logs", "list"), "--results rd/logs")
    refused(pqrun("run", "--run-dir", "new", "--events", "new/journal.jsonl", "list"), "--events")
    assert (run / "journal.jsonl").read_bytes() == journal
    assert not (pqrun.here / "ran").exists() and not (pqrun.here / "new").exists()


def test_results_do_not_go_over_what_is_read(pqrun):
    (pqrun.here / "out" / "1-1").mkdir(parents=True)
    (pqrun.here / "out" / "1-1" / "stdout").write_text("touch ran\n")
    refused(pqrun("run", "--results", "out", "out/1-1/stdout"), "--results out may overwrite")


@pytest.mark.slow
def test_what_does_no_harm_is_allowed(pqrun):
    assert pqrun("run", "--joblog", "/dev/null", "/dev/null")[0] == 0
    assert pqrun("run", "--joblog", "log", "--results", "out", "--run-dir", "rd", "list")[0] == 0
    assert pqrun("run", "--joblog", "log", "list")[0] == 0, "what a run has written, another may write over"
