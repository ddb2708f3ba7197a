# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reports of recorded runs: by `show`, while they live, after they were killed, after they were gone on with."""

import json
import os
import signal
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from real import run, start


def cases(path):
    return sorted(tuple(child.tag for child in case) for case in ET.parse(path).iter("testcase"))


def first_line(path):
    return path.read_text().partition("\n")[0]


@pytest.mark.slow
def test_show_writes_reports_of_a_run_that_lives_and_of_one_that_was_killed(tmp_path, until):
    lines = b"true\necho > begun; exec sleep 60\ntrue\n"
    process = start(tmp_path, "run", "--run-dir", "r", "-j1", stdin=lines)
    until(lambda: (tmp_path / "begun").exists() or process.poll() is not None)
    done = run(tmp_path, "show", "./r", "--summary", "live.md", "--junit", "live.xml", "--events", "live")
    assert done.code == 0, done.err
    assert "3 jobs: 1 ok" in first_line(tmp_path / "live.md")
    assert cases(tmp_path / "live.xml") == [(), ("skipped",), ("skipped",)]
    assert '"run_ended"' not in (tmp_path / "live").read_text()
    process.kill()
    process.wait()
    # Its warden holds the run's lock until the last of its jobs is gone.
    until(lambda: b"interrupted" in run(tmp_path, "show", "./r").stdout)
    done = run(tmp_path, "show", "./r", "--summary", "dead.md", "--junit", "dead.xml", "--events", "dead")
    assert done.code == 0, done.err
    assert "3 jobs: 1 ok, 1 interrupted, 1 not run" in first_line(tmp_path / "dead.md")
    assert cases(tmp_path / "dead.xml") == [(), ("error",), ("skipped",)]
    last = json.loads((tmp_path / "dead").read_text().splitlines()[-1])
    assert (last["event"], last["exit"], last["state"]) == ("run_ended", 3, "died")


@pytest.mark.slow
def test_a_run_that_was_gone_on_with_was_not_stopped(tmp_path, until):
    process = start(
        tmp_path, "run", "--run-dir", "r", "-j1", "--summary", "first.md", "--junit", "first.xml",
        stdin=b"[ -e begun ] || { echo > begun; exec sleep 60; }\ntrue\n",
    )  # fmt: skip
    until(lambda: (tmp_path / "begun").exists() or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == -signal.SIGINT
    assert "Stopped by `signal SIGINT`" in (tmp_path / "first.md").read_text()
    again = run(tmp_path, "resume", "./r", "--summary", "again.md")
    assert again.code == 0, again.err
    assert "pqrun: 2 jobs ok in " in again.err
    assert first_line(tmp_path / "again.md") == "### ✅ 2 jobs: 2 ok"
    assert "Stopped" not in (tmp_path / "again.md").read_text()
    shown = run(tmp_path, "show", "./r", "--summary", "shown.md")
    assert shown.code == 0, shown.err
    assert (tmp_path / "shown.md").read_text() == (tmp_path / "again.md").read_text()


@pytest.mark.slow
def test_an_attempt_that_never_started_has_no_time_and_no_output_of_the_one_before(tmp_path):
    (tmp_path / "tool").write_text("#!/bin/sh\necho hello; rm tool; exit 1\n")
    (tmp_path / "tool").chmod(0o755)
    job = {"id": "a", "run": ["./tool"], "retries": {"max": 1, "delay": 0.1}}
    (tmp_path / "jobs.yaml").write_text(json.dumps({"jobs": [job]}))
    done = run(tmp_path, "run", "jobs.yaml", "--json", "--run-dir", "r", "--events", "events")
    found = json.loads(done.stdout)
    (entry,) = found["jobs"]
    assert (entry["attempts"], entry["exit"], entry["started_at"], entry["run_s"]) == (2, 127, None, None)
    assert (entry["stdout"], entry["stdout_bytes"]) == (None, 0)
    assert json.loads(run(tmp_path, "show", "./r", "--json").stdout) == found
    lines = [json.loads(line) for line in (tmp_path / "events").read_text().splitlines()]
    assert [line["stdout_bytes"] for line in lines if line["event"] == "attempt_ended"] == [6, 0]


@pytest.mark.slow
def test_a_report_and_a_document_do_not_both_go_to_stdout_and_a_full_disk_is_exit_4(tmp_path):
    run(tmp_path, "run", "--run-dir", "r", "-q", stdin=b"true\n")
    both = run(tmp_path, "show", "./r", "--json", "--junit", "junit.xml")
    assert json.loads(both.stdout)["jobs"][0]["state"] == "ok" and cases(tmp_path / "junit.xml") == [()]
    clash = run(tmp_path, "show", "./r", "--json", "--junit", "-")
    assert (clash.code, clash.stdout) == (2, b"")
    assert "--json and --junit both write to standard output" in clash.err
    full = run(tmp_path, "show", "./r", "--junit", "/dev/full", "--trace", "/dev/full")
    assert (full.code, full.err.splitlines()) == (
        4,
        [f"pqrun: cannot write /dev/full (--{name}): No space left on device" for name in ("junit", "trace")],
    )


@pytest.mark.slow
@pytest.mark.parametrize("words", [[], ["--json"], ["--jsonl"], ["--all"]], ids=" ".join)
def test_show_loads_no_writer_of_reports_that_nobody_asked_for(words, tmp_path):
    run(tmp_path, "run", "--run-dir", "r", "-q", stdin=b"true\n")
    code = (
        f"import sys; sys.argv = {['pqrun', 'show', './r', *words]!r}\n"
        "from pqrun.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print('\\n'.join(sys.modules), file=sys.stderr)"
    )
    environment = {**os.environ, "PQRUN_JUNIT": "junit.xml"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=tmp_path, env=environment)
    loaded = set(done.stderr.decode().split())
    assert "pqrun.cli.commands.runs" in loaded and not (tmp_path / "junit.xml").exists()
    own = {name for name in loaded if name.startswith("pqrun.reports.")}
    # `report` has the facts of a run and the list of reports, but no report.
    assert own <= {"pqrun.reports.report", "pqrun.reports.json_document"}
    assert not loaded & {"pqrun.journal.recovery", "xml.etree.ElementTree"}
