# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reports of real runs, by the program itself."""

import json
import os
import re
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from real import run, start

pytestmark = pytest.mark.slow

ALL = ["--junit", "junit.xml", "--trace", "trace.json", "--summary", "summary.md", "--joblog", "joblog",
       "--events", "events.jsonl"]  # fmt: skip


def cases(directory):
    return {
        c.get("name"): [child.tag for child in c] for c in ET.parse(directory / "junit.xml").iter("testcase")
    }


def lines(directory):
    return [json.loads(line) for line in (directory / "events.jsonl").read_text().splitlines()]


def test_all_reports_agree_with_the_document(tmp_path):
    (tmp_path / "jobs.yaml").write_text(
        """jobs:
          - {id: good, run: "echo fine; exec awk 'BEGIN { for (i = 0; i < 3e6; i++) x += i }'"}
          - {id: bad, run: "echo no >&2; exit 3", retries: {max: 1, delay: 0}}
          - {id: long, run: sleep 60, timeout: 300ms}
          - {id: after, run: x, needs: [bad]}
          - {id: none, run: [/no/such/program]}
        """
    )
    done = run(tmp_path, "run", "jobs.yaml", "-j2", "--json", *ALL)
    assert done.code == 1, done.err
    found = json.loads(done.stdout)
    jobs = {entry["id"]: entry for entry in found["jobs"]}
    last = {line["id"]: line for line in lines(tmp_path) if line["event"] == "attempt_ended"}
    for name in ("good", "bad", "long"):
        for key in (
            "exit",
            "signal",
            "run_s",
            "user_s",
            "sys_s",
            "stdout_bytes",
            "stderr_bytes",
            "started_at",
        ):
            assert last[name][key] == jobs[name][key], (name, key)
    assert jobs["good"]["user_s"] > 0.01
    assert lines(tmp_path)[-1]["metrics"] == found["metrics"]
    assert json.loads((tmp_path / "trace.json").read_text())["otherData"]["run"] == found["run"]
    assert cases(tmp_path) == {
        "good": [], "bad": ["failure", "rerunFailure", "system-err"], "long": ["error"], "after": ["skipped"],
        "none": ["error"],
    }  # fmt: skip
    log = [line.split("\t") for line in (tmp_path / "joblog").read_text().splitlines()[1:]]
    assert {line[0]: (line[5], line[6], line[7]) for line in log} == {
        "1": ("5", "0", "0"), "2": ("0", "3", "0"), "3": ("0", "-1", "15"), "5": ("0", "127", "0"),
    }  # fmt: skip


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_reports_are_complete_when_somebody_stops_the_run(name, tmp_path, until):
    # The third starts when one of the first two has ended: the other one sleeps.
    commands = b"echo a\nexec sleep 61\necho begun > begun; exec sleep 60\nx\n"
    process = start(tmp_path, "run", "-j2", *ALL, stdin=commands, stderr=subprocess.PIPE)
    until(lambda: (tmp_path / "begun").exists() or process.poll() is not None)
    process.send_signal(signal.Signals[name])
    assert process.wait(20) == -signal.Signals[name]
    process.stderr.close()
    found = cases(tmp_path)
    assert sorted(map(tuple, found.values())) == [(), ("error",), ("error",), ("skipped",)]
    last = lines(tmp_path)[-1]
    assert (last["event"], last["exit"]) == ("run_ended", 128 + signal.Signals[name])
    assert (tmp_path / "summary.md").read_text().startswith("### ❌ 4 jobs: 1 ok, 2 interrupted, 1 not run")


def largest_size(pid):
    """The largest resident size so far of what that process executes, in KiB; 0 if it is gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")), 0)


@pytest.mark.skipif(sys.platform != "linux", reason="sizes are read from /proc")
def test_a_hundred_megabytes_of_output_stay_out_of_memory(tmp_path):
    command = b"head -c 100000000 /dev/zero | tr '\\0' x; echo; echo the end; exit 1\n"
    process = start(
        tmp_path, "run", "--output", "none", "--ci", "github", *ALL, stdin=command, stderr=subprocess.PIPE
    )
    # Not by what waiting for it says: that is never below the largest size of the process that started it.
    peak = 0
    while process.poll() is None:
        peak = max(peak, largest_size(process.pid))
        time.sleep(0.005)
    process.stderr.close()
    assert process.returncode == 1
    assert 5_000 < peak < 150_000
    (text,) = [element.text for element in ET.parse(tmp_path / "junit.xml").iter("system-out")]
    assert text.endswith("x\nthe end\n") and len(text) < 34_000


def test_a_user_who_got_a_path_wrong_hears_it_before_anything_is_created(tmp_path):
    (tmp_path / "file").touch()
    environment = {**os.environ, "PQRUN_STATE_DIR": str(tmp_path / "state")}
    done = run(tmp_path, "run", "--junit", "file/x", stdin=b"touch ran\n", env=environment)
    assert done.code == 2
    assert done.err == "pqrun: --junit: cannot write file/x: Not a directory\n"
    assert sorted(os.listdir(tmp_path)) == ["file"]


def test_a_full_disk_is_exit_4_and_the_others_are_written(tmp_path):
    done = run(tmp_path, "run", "--junit", "/dev/full", "--joblog", "joblog", stdin=b"true\n")
    assert done.code == 4
    assert "pqrun: cannot write /dev/full (--junit): No space left on device\n" in done.err
    assert len((tmp_path / "joblog").read_text().splitlines()) == 2


def test_a_pipe_that_nobody_reads_never_keeps_a_run_that_is_to_stop(tmp_path, until):
    os.mkfifo(tmp_path / "fifo")
    reader = os.open(tmp_path / "fifo", os.O_RDONLY | os.O_NONBLOCK)
    process = start(
        tmp_path,
        "run",
        "--events",
        "fifo",
        "-q",
        stdin=b"echo > begun; exec sleep 60\n" + b"true\n" * 900,
        stderr=subprocess.PIPE,
    )
    until(lambda: (tmp_path / "begun").exists() or process.poll() is not None)
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.wait(20) == -signal.SIGINT
    assert time.monotonic() - began < 6
    process.stderr.close()
    os.close(reader)


def test_after_a_resume_reports_tell_of_the_whole_run(tmp_path):
    commands = b"echo one\ntest -e there\necho three\n"
    first = run(tmp_path, "run", "--run-dir", "r", *ALL, stdin=commands)
    assert first.code == 1 and sorted(map(tuple, cases(tmp_path).values())) == [(), (), ("failure",)]
    (tmp_path / "there").touch()
    again = run(tmp_path, "resume", "./r", "--failed", "-q")
    assert again.code == 0, again.err
    assert list(cases(tmp_path).values()) == [[], [], []]
    assert "3 jobs: 3 ok" in (tmp_path / "summary.md").read_text()
    log = (tmp_path / "joblog").read_text().splitlines()
    assert [line.split("\t")[6] for line in log if line.startswith("2")] == ["1", "0"]
    assert [line["event"] for line in lines(tmp_path)].count("job_reopened") == 1


def test_hooks_hear_how_it_ended_and_jobs_are_not_told_of_our_files(tmp_path):
    environment = {**os.environ, "PQRUN_JUNIT": "junit.xml", "PQRUN_ON_FINISH": "cat > hook.json"}
    done = run(tmp_path, "run", stdin=b"env | grep ^PQRUN_JUNIT\n", env=environment)
    assert done.code == 1 and done.stdout == b""
    assert json.loads((tmp_path / "hook.json").read_text())["run"]["exit"] == 1
    assert list(cases(tmp_path).values()) == [["failure"]]


def test_annotations_stand_on_lines_of_their_own_beside_the_output(tmp_path):
    environment = {**os.environ, "GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(tmp_path / "step.md")}
    (tmp_path / "jobs.yaml").write_text("jobs: [{id: a, run: 'printf ::error::forged; exit 1'}]\n")
    done = run(tmp_path, "run", "jobs.yaml", env=environment)
    assert done.err == ""
    found = re.findall(rb"(?m)^::(?:error|warning) .*$", done.stdout)
    assert found == [b"::error file=jobs.yaml,line=1,title=a::exit 1: ::error::forged"]
    assert (tmp_path / "step.md").read_text().startswith("### ❌ 1 job: 1 failed")


def test_what_a_run_does_not_ask_for_is_not_loaded(tmp_path):
    code = (
        "import sys; sys.argv = ['pqrun', 'run', '-q']; from pqrun.cli.main import main\n"
        "try: main()\nexcept SystemExit: pass\n"
        "print(*sorted(n for n in sys.modules if n.startswith(('pqrun.reports.', 'xml', 'prometheus'))))"
    )
    done = subprocess.run([sys.executable, "-c", code], input=b"true\n", capture_output=True, cwd=tmp_path)
    # It has the facts of a run and the list of reports, but no report.
    assert done.stdout.split() == [b"pqrun.reports.report"]


HOOKS = """hooks:
  on_finish: [sh, -c, "cat > finish.json; echo finish >> ran"]
  on_failure: echo failure $PQRUN_EXIT_CODE >> ran
  timeout: 20s
jobs: [{id: a, run: test -e there}]
"""


def test_hooks_of_a_job_file_run_and_a_resume_runs_them_again_where_the_run_began(tmp_path):
    (tmp_path / "jobs.yaml").write_text(HOOKS)
    assert run(tmp_path, "run", "jobs.yaml", "--run-dir", "r", "-q").code == 1
    assert (tmp_path / "ran").read_text().splitlines() == ["failure 1", "finish"]
    assert json.loads((tmp_path / "finish.json").read_text())["run"]["exit"] == 1
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "there").touch()
    again = run(tmp_path / "elsewhere", "resume", "../r", "--failed", "-q")
    assert again.code == 0, again.err
    assert (tmp_path / "ran").read_text().splitlines() == ["failure 1", "finish", "finish"]
    assert json.loads((tmp_path / "finish.json").read_text())["run"]["exit"] == 0


def test_the_command_lines_hook_replaces_that_of_the_file_alone(tmp_path):
    (tmp_path / "jobs.yaml").write_text(HOOKS)
    done = run(tmp_path, "run", "jobs.yaml", "--on-failure", "echo mine >> ran; exit 9", "-q")
    assert done.code == 1
    assert (tmp_path / "ran").read_text().splitlines() == ["mine", "finish"]
    assert "--on-failure: exit 9; the exit code of the run is not affected" in done.err


def test_a_hook_of_a_file_that_takes_too_long_is_ended_and_named(tmp_path):
    (tmp_path / "jobs.yaml").write_text("hooks: {on_finish: sleep 60, timeout: 200ms}\njobs: ['true']\n")
    done = run(tmp_path, "run", "jobs.yaml", "-q")
    assert done.code == 0
    assert "hooks: on_finish: took longer than 200ms and was stopped" in done.err


def test_relative_reports_of_a_resumed_run_are_the_files_of_the_first(tmp_path):
    first = run(tmp_path, "run", "--run-dir", "r", *ALL, stdin=b"test -e there\n")
    assert first.code == 1
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "there").touch()
    assert run(tmp_path / "elsewhere", "resume", "../r", "--failed", "-q").code == 0
    assert list((tmp_path / "elsewhere").iterdir()) == []
    assert list(cases(tmp_path).values()) == [[]]


def test_show_writes_each_report_of_a_recorded_run_as_the_run_did(tmp_path):
    (tmp_path / "jobs.yaml").write_text("jobs: [{id: a, run: echo x}, {id: b, run: 'echo y; exit 3'}]\n")
    assert run(tmp_path, "run", "jobs.yaml", "--run-dir", "r", "-q", *ALL).code == 1
    names = ["junit.xml", "summary.md", "joblog"]
    before = {name: (tmp_path / name).read_text() for name in names}
    for option, file in zip(ALL[::2], ALL[1::2], strict=True):
        (tmp_path / file).unlink()
        done = run(tmp_path, "show", "./r", option, file)
        assert (done.code, done.stdout) == (0, b""), done.err
        assert (tmp_path / file).stat().st_size
    assert (tmp_path / "joblog").read_text().count("\n") == before["joblog"].count("\n")
    assert cases(tmp_path) == {"a": [], "b": ["failure", "system-out"]}
    assert "2 jobs: 1 ok, 1 failed" in (tmp_path / "summary.md").read_text()


def test_a_variable_that_names_a_report_is_for_runs_and_not_for_show(tmp_path):
    run(tmp_path, "run", "--run-dir", "r", "-q", stdin=b"true\n")
    done = run(tmp_path, "show", "./r", env={**os.environ, "PQRUN_JUNIT": "junit.xml"})
    assert done.code == 0 and done.stdout and not (tmp_path / "junit.xml").exists()


def test_what_never_started_has_no_start_in_the_document_and_in_that_of_show(tmp_path):
    (tmp_path / "jobs.yaml").write_text("jobs: [{id: none, run: [/no/such/program]}]\n")
    ended = json.loads(run(tmp_path, "run", "jobs.yaml", "--run-dir", "r", "--json").stdout)
    shown = json.loads(run(tmp_path, "show", "./r", "--json").stdout)
    for document in (ended, shown):
        (job,) = document["jobs"]
        assert (job["exit"], job["started_at"], job["run_s"]) == (127, None, None)
