# SPDX-License-Identifier: LGPL-3.0-or-later
"""What counts as a failure, what is tried again, and what the run makes of it."""

import os
import re
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_exit_code_tells_whether_all_went_well(run, side_by_side):
    well = ["exit 3 # pqrun: success_codes=3", "false # pqrun: allow_failure=true"]
    lists = [["true"], ["true", "exit 7"], ["true", "kill -9 $$"], well]
    assert [done.code for done in side_by_side(lambda lines: run(lines=lines), lists)] == [0, 1, 1, 0]


@pytest.mark.slow
def test_every_exit_code_and_signal_is_kept_as_it_was(run):
    signals = {1: "HUP", 2: "INT", 6: "ABRT", 9: "KILL", 10: "USR1", 11: "SEGV", 13: "PIPE", 15: "TERM"}
    codes = [0, 1, 2, 99, 125, 128, 137, 254, 255]
    lines = [f"exit {code}" for code in codes] + [f"kill -{number} $$" for number in signals]
    entries = run("--json", "-j4", lines=lines).document["jobs"]
    assert [(job["exit"], job["signal"]) for job in entries] == [
        *((code, None) for code in codes),
        *((None, f"SIG{name}") for name in signals.values()),
    ]
    assert {job["state"] for job in entries[1:]} == {"failed"}


def test_what_cannot_be_run_fails_with_126_or_127_and_the_others_run(run, tmp_path):
    (tmp_path / "text").write_text("no program\n")
    lines = [
        "no-such-program-anywhere",
        "./text",
        "echo fine",
        "true # pqrun: cwd=nowhere",
        "cat # pqrun: stdin=none",
    ]
    done = run("--json", "-r3", "--retry-delay", "0", lines=lines)
    assert done.code == 1
    assert [(j["state"], j["exit"], j["attempts"]) for j in done.document["jobs"]] == [
        ("failed", 127, 1),
        ("failed", 126, 1),
        ("ok", 0, 1),
        ("failed", 126, 1),
        ("failed", 126, 1),
    ]
    assert "nowhere" in done.jobs["4"]["message"] and "No such file" in done.jobs["4"]["message"]
    assert "nowhere" in done.err and "none" in done.err


def test_retries_are_extra_attempts_with_a_growing_wait_that_is_shown(run):
    done = run("-r", "4", "--retry-delay", "10ms", "--max-delay", "50ms", lines=["exit 9"])
    assert done.code == 1
    assert re.findall(r"try (\d/\d) in (\w+)", done.err) == [
        ("2/5", "10ms"), ("3/5", "20ms"), ("4/5", "40ms"), ("5/5", "50ms"),
    ]  # fmt: skip
    assert "exit 9" in done.err and "5 tries" in done.err


@pytest.mark.slow
@pytest.mark.parametrize(("how", "waits"), [("linear", [10, 20, 30]), ("constant", [10, 10, 10])])
def test_backoff_may_be_linear_or_constant(run, how, waits):
    done = run("-r3", "--retry-delay", "10ms", "--backoff", how, lines=["false"])
    assert re.findall(r" in (\d+)ms: ", done.err) == [str(wait) for wait in waits]


def test_a_job_that_goes_well_at_last_is_ok(run, tmp_path):
    done = run("--json", "-r5", "--retry-delay", "0", lines=["[ $PQRUN_ATTEMPT = 3 ] || exit 2"])
    job = done.jobs["1"]
    assert (done.code, job["state"], job["attempts"], job["max_attempts"]) == (0, "ok", 3, 6)
    assert (done.metrics["jobs_retried"], done.metrics["jobs_completed"]) == (2, 1)


@pytest.mark.slow
def test_permanent_codes_are_never_retried_and_the_others_only_if_the_policy_names_them(run, side_by_side):
    def attempts(options):
        ends = ["exit 5", "exit 22", "exit 75", "exit 127", "kill -SEGV $$"]
        jobs = run("--json", "-r1", "--retry-delay", "0", *options, lines=ends).document["jobs"]
        return [job["attempts"] for job in jobs]

    policies = {
        (): [2, 2, 2, 1, 2],
        ("--permanent", "22,SEGV"): [2, 1, 2, 1, 1],
        ("--retry-on", "5,127"): [2, 1, 2, 2, 1],
        ("--retry-on", "signal", "--permanent", "75"): [1, 1, 1, 1, 2],
    }
    assert side_by_side(attempts, policies) == list(policies.values())


@pytest.mark.slow
def test_a_job_may_say_that_it_is_hopeless_or_when_to_come_back(run):
    lines = [
        "echo permanent=true >> $PQRUN_REPORT; echo message=quota is used up >> $PQRUN_REPORT; exit 1",
        "[ $PQRUN_ATTEMPT = 1 ] || exit 0; echo retry_after=30ms >> $PQRUN_REPORT; exit 1",
    ]
    done = run("--json", "-r3", "--retry-delay", "1h", "--max-delay", "1h", lines=lines)
    hopeless, later = done.document["jobs"]
    assert (hopeless["attempts"], hopeless["message"]) == (1, "quota is used up")
    assert (later["state"], later["attempts"]) == ("ok", 2)
    assert "quota is used up" in done.err and "in 30ms" in done.err


@pytest.mark.slow
def test_a_job_past_its_limit_is_stopped_and_may_be_tried_again(run):
    lines = ["[ $PQRUN_ATTEMPT = 2 ] || sleep 60"]
    done = run("--json", "-t", "600ms", "-r1", "--retry-delay", "0", lines=lines)
    assert (done.code, done.states, done.metrics["attempts_timeout"]) == (0, {"1": "ok"}, 1)
    assert "timeout 600ms" in done.err


@pytest.mark.slow
def test_whatever_its_code_a_job_that_was_stopped_at_its_limit_is_a_timeout(run):
    done = run("--json", "-t", "600ms", lines=["trap 'exit 0' TERM; while :; do sleep 0.01; done"])
    assert (done.code, done.states) == (1, {"1": "timeout"})
    assert done.jobs["1"]["exit"] == 0


@pytest.mark.slow
def test_one_that_does_not_listen_is_killed_after_its_grace(run):
    done = run(
        "--json", "-t", "600ms", "--grace", "50ms", lines=["trap '' TERM INT; while :; do sleep 0.01; done"]
    )
    assert (done.jobs["1"]["state"], done.jobs["1"]["signal"]) == ("timeout", "SIGKILL")


@pytest.mark.slow
def test_silence_has_a_limit_of_its_own_and_every_word_starts_it_anew(run):
    talks = "for n in 1 2 3 4 5 6 7 8 9 10; do echo $n; sleep 0.1; done"
    done = run("--json", "--idle-timeout", "800ms", lines=["echo a; sleep 60", talks])
    assert done.states == {"1": "timeout", "2": "ok"}


@pytest.mark.slow
def test_no_limit_and_a_limit_of_nothing_are_the_same(run):
    assert run("-t", "0", lines=["sleep 0.05"]).code == 0
    assert run("-t", "50ms", lines=["sleep 0.2 # pqrun: timeout=0"]).code == 0


# Stopping early


@pytest.mark.slow
@pytest.mark.parametrize(
    ("halt", "code", "ended"),
    [
        ("now,fail=1", 1, {"1": "failed"}),
        ("soon,fail=2", 1, {"1": "failed", "2": "ok", "3": "failed"}),
        ("now,success=1", 1, {"1": "failed", "2": "ok"}),
        ("soon,done=3", 1, {"1": "failed", "2": "ok", "3": "failed"}),
        ("soon,done=50%", 1, {"1": "failed", "2": "ok"}),
    ],
)
def test_a_run_can_be_halted_early(run, tmp_path, halt, code, ended):
    (tmp_path / "list").write_text("false\ntrue\nfalse\ntrue\n")
    done = run("--json", "-j1", "--halt", halt, "list")
    states = done.states
    assert done.code == code
    assert {name: states[name] for name in ended} == ended
    assert set(states.values()) - set(ended.values()) == {"queued"}


@pytest.mark.slow
def test_halted_without_a_failure_is_not_success(run):
    done = run("-j1", "--halt", "soon,success=1", lines=["true", "true"])
    assert done.code == 3
    assert "stopped by --halt after " in done.err and ": 1 of 2 jobs not run (1 ok)\n" in done.err


@pytest.mark.slow
def test_now_stops_what_runs_and_soon_lets_it_finish(run):
    lines = ["echo finished", "sleep 0.3; false", "sleep 0.6; echo finished"]
    soon = run("-q", "-j3", "--halt", "soon,fail=1", lines=lines)
    assert tuple(soon) == (1, "finished\nfinished\n")
    now = run("--json", "-j3", "--fail-fast", lines=[*lines[:2], "sleep 60", "true", "true"])
    assert now.code == 1
    assert now.states["3"] == "interrupted"
    assert now.metrics["attempts_stopped"] == 1


@pytest.mark.slow
def test_failures_that_are_allowed_and_tries_that_are_not_the_last_halt_nothing(run):
    lines = ["false # pqrun: allow_failure=true", "[ $PQRUN_ATTEMPT = 2 ]", "echo last"]
    assert tuple(run("-q", "-j1", "--fail-fast", "-r1", "--retry-delay", "0", lines=lines)) == (0, "last\n")


@pytest.mark.slow
def test_what_needs_an_interrupted_job_stays_pending(run):
    lines = ["sleep 0.1; false", "sleep 60 # pqrun: id=a", "true # pqrun: needs=a"]
    assert run("--json", "-j2", "--fail-fast", lines=lines).states == {
        "1": "failed",
        "a": "interrupted",
        "3": "pending",
    }


@pytest.mark.slow
def test_the_deadline_of_a_run_stops_what_runs_and_starts_nothing_more(run):
    done = run("--json", "-j1", "--deadline", "1s", lines=["true", "sleep 60", "true"])
    assert done.code == 3
    assert done.states == {"1": "ok", "2": "interrupted", "3": "queued"}
    assert "deadline" in done.err


@pytest.mark.slow
def test_a_failure_counts_more_than_a_deadline(run):
    assert run("-j1", "--deadline", "1s", lines=["false", "sleep 60"]).code == 1


@pytest.mark.slow
def test_the_deadline_holds_for_a_run_that_is_being_drained_too(run):
    lines = ["false", "sleep 60"]
    done = run("-j2", "--halt", "soon,fail=1", "--deadline", "500ms", lines=lines)
    assert done.code == 1 and "deadline" in done.err


@pytest.mark.parametrize(
    "words",
    [
        "--help",
        "-h",
        "--version",
        "help run",
        "run --help",
        "run -h",
        "schema",
        "check list",
        "serve --print-unit",
        "init -",
        "--show-completion bash",
    ],
)
@pytest.mark.parametrize("unbuffered", ["1", ""], ids=["unbuffered", "buffered"])
def test_a_reader_that_is_gone_changes_no_exit_code_and_gets_no_message(words, unbuffered, tmp_path):
    (tmp_path / "list").write_text("true\n")
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "pqrun", *words.split()],
        stdout=writer,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "PYTHONUNBUFFERED": unbuffered, "PQRUN_STATE_DIR": str(tmp_path / "state")},
        check=False,
    )
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.slow
@pytest.mark.parametrize("words", ["--help", "run --help", "schema", "--version"])
def test_a_full_disk_under_stdout_is_told(words):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "pqrun", *words.split()], stdout=full, stderr=subprocess.PIPE, check=False
        )
    told = b"pqrun: cannot write to standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (4, told)
