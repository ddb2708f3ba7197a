# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is said of a run that goes on, and of one that grows."""

import json
import shlex
import subprocess
import sys

import pytest
from support.process import PQRUN


@pytest.mark.slow
def test_a_resumed_run_that_went_well_was_not_stopped_and_a_job_cut_short_was_not_flaky(run, pqrun):
    job = '[ "$PQRUN_ATTEMPT" -gt 1 ] || { kill -INT "$PPID"; sleep 60; }'
    jobs = json.dumps({"jobs": [job, "true"]})  # a job file is read before a job starts, a list may not be
    first = run("-j1", "--format", "json", input=jobs)
    assert first.code == 130 and "stopping 1 job (press Ctrl-C again to kill)" in first.err
    second = pqrun("resume", "latest")
    assert second.code == 0
    assert "pqrun: 2 jobs ok in " in second.err and "flaky" not in second.err, second.err


@pytest.mark.slow
def test_a_job_that_only_went_well_when_tried_again_is_flaky(run):
    done = run("-r1", "--retry-delay", "0", lines=['test "$PQRUN_ATTEMPT" = 2 # pqrun: id=job'])
    assert "\n  1 flaky: job, ok at try 2/2 after exit 1\n" in done.err


@pytest.mark.slow
def test_a_job_that_is_added_later_is_counted(run, surroundings):
    add = f"{shlex.quote(sys.executable)} -m pqrun add -p low true"
    assert "[2/2] ok" in run("-j1", lines=[add]).err


@pytest.mark.slow
def test_a_pause_is_told_also_when_the_run_goes_on(start, pqrun, until, gate, surroundings):
    live = start("-j1", lines=[gate.wait, "true"])
    until(lambda: "running" in pqrun("ps").out, what=lambda: live.err)
    pqrun("pause")
    until(lambda: "pqrun: paused: no job starts until `pqrun unpause`\n" in live.err)
    gate.open()
    until(lambda: "[1/2] ok" in live.err)
    live.signal(2)
    assert live.end().code == 130
    again = subprocess.Popen([*PQRUN, "resume", "latest"], stderr=subprocess.PIPE, env=surroundings)
    until(lambda: pqrun("ps").code == 0)
    pqrun("unpause")
    assert [line for line in again.communicate(timeout=60)[1].decode().splitlines() if line.startswith("pqrun: ")][:2] == [
        "pqrun: paused: no job starts until `pqrun unpause`", "pqrun: jobs start again",
    ]  # fmt: skip


@pytest.mark.slow
def test_a_resumed_run_does_not_ignore_a_choice_of_jobs(pqrun, tmp_path):
    (tmp_path / "jobs.yaml").write_text('jobs:\n  a: "echo a >> ran; false"\n  b: "echo b >> ran; false"\n')
    assert pqrun("run", "-q", "--only", "a", "jobs.yaml").code == 1
    for words in (("--only", "b"), ("--skip", "a"), ("--shard", "1/2")):
        done = pqrun("resume", "latest", "--failed", *words)
        assert (done.code, done.err.splitlines()[0]) == (
            2, f"pqrun: {words[0]} can't be used with `resume`, which runs all jobs that are left of the run"
        )  # fmt: skip
    assert (tmp_path / "ran").read_text() == "a\n"
    named = pqrun("resume", "latest", "--failed", env={"PQRUN_ONLY": "b"})
    assert (named.code, named.err.startswith("pqrun: PQRUN_ONLY can't be used with `resume`")) == (2, True)
    both = pqrun("resume", "latest", "--failed", env={"PQRUN_OUTPUT": "raw", "PQRUN_TAG": "1"})
    assert (both.code, both.err) == (2, "pqrun: PQRUN_OUTPUT raw can't be combined with PQRUN_TAG\n")
    assert pqrun("resume", "latest", "--failed", "-q", env={"PQRUN_ONLY": "a"}).code == 1
    assert (tmp_path / "ran").read_text() == "a\na\n"


@pytest.mark.slow
def test_a_resumed_run_keeps_its_record_where_it_is(pqrun, tmp_path):
    (tmp_path / "list").write_text("false\n")
    for words in ((), ("--run-dir", "own"), ("--run-dir", "other")):
        assert pqrun("run", "-q", "list", *words).code == 1
    journal = tmp_path / "own" / "journal.jsonl"
    recorded = journal.read_bytes()
    no_journal = "  hint: leave it out: begin a new run to keep no journal\n"
    stays = "  hint: leave it out: the run stays in its directory\n"
    for words, env, name, hint in (
        (["resume", "own", "--no-journal"], {}, "--no-journal", no_journal),
        (["run", "list", "--resume", "own", "--no-journal"], {}, "--no-journal", no_journal),
        (["resume", "own", "--run-dir", "new"], {}, "--run-dir", stays),
        (["resume", "own", "--run-dir=other"], {}, "--run-dir", "  hint: to continue the run that is there: pqrun resume other\n"),
        (["resume", "own"], {"PQRUN_NO_JOURNAL": "1"}, "PQRUN_NO_JOURNAL", "  hint: leave it out: env -u PQRUN_NO_JOURNAL pqrun …\n"),
        (["resume", "own"], {"PQRUN_RUN_DIR": "other"}, "PQRUN_RUN_DIR", "  hint: leave it out: env -u PQRUN_RUN_DIR pqrun …\n"),
    ):  # fmt: skip
        done = pqrun(*words, env=env)
        told = f"pqrun: {name} can't be used with `resume`, which continues the run's own journal\n{hint}"
        assert (done.code, done.err) == (2, told), words
    assert journal.read_bytes() == recorded and not (tmp_path / "new").exists()
    for words, env in ((["--run-dir", "own/"], {}), ([], {"PQRUN_RUN_DIR": "own", "PQRUN_NO_JOURNAL": "0"})):
        assert pqrun("resume", "own", "--failed", "-q", *words, env=env).code == 1, words
    assert len(journal.read_bytes()) > len(recorded)


def test_a_journal_is_not_left_out_and_put_somewhere_at_once(run, tmp_path):
    both = "give only one of them (--run-dir DIR is where the journal is kept)\n"
    done = run("--no-journal", "--run-dir", "kept", lines=["true"])
    assert (done.code, done.err) == (2, f"pqrun: --no-journal and --run-dir: {both}")
    done = run("--run-dir", "kept", lines=["true"], env={"PQRUN_NO_JOURNAL": "yes"})
    assert (done.code, done.err) == (2, f"pqrun: PQRUN_NO_JOURNAL and --run-dir: {both}")
    assert not (tmp_path / "kept").exists()
