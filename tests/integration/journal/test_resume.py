# SPDX-License-Identifier: LGPL-3.0-or-later
"""pqrun is killed at the worst of moments; what goes on from its record does what is left, and no more."""

import json
import os
import re
import signal
import sys

import pytest

from pqrun.cli.options import RunOptions
from pqrun.cli.settings import resumed_settings
from pqrun.journal.run_record import RunRecord

from .conftest import first_line, lines_of
from .records import Record


def append(word: str) -> str:
    """A command that writes a line to the file `ran`."""
    return f"echo {word} >> ran"


def states(world, *words):
    world.wait_until_all_is_gone()
    result = world.look("show", *(words or ("latest",)), "--json")
    return {job["id"]: job["state"] for job in result.document["jobs"]}


@pytest.mark.slow
def test_a_job_that_ran_when_pqrun_died_runs_again_and_what_had_ended_does_not(world):
    lines = [append("a"), "echo b >> ran; test -e go || exec sleep 60", append("c")]
    world.kill_when(lambda: "b" in world.read("ran"), "run", "-j1", lines=lines)
    assert states(world) == {"1": "ok", "2": "interrupted", "3": "queued"}
    world.write("go", "")
    result = world.pqrun("resume", "latest", "--json")
    assert result.code == 0
    assert world.counted("ran") == {"a": 1, "b": 2, "c": 1}
    assert {job["id"]: job["attempts"] for job in result.document["jobs"]} == {"1": 1, "2": 2, "3": 1}
    assert result.document["metrics"]["attempts_stopped"] == 1
    assert result.document["metrics"]["jobs_completed"] == 3


@pytest.mark.slow
def test_a_dry_run_of_a_resume_prints_what_is_left_and_changes_nothing(world):
    lines = [append("a"), "echo b >> ran; exec sleep 60", append("c")]
    world.kill_when(lambda: "b" in world.read("ran"), "run", "-j1", lines=lines)
    world.wait_until_all_is_gone()
    journal = (world.only_run / "journal.jsonl").read_bytes()
    done = world.pqrun("resume", "latest", "--dry-run")
    assert (done.code, sorted(done.out.splitlines())) == (0, sorted(lines[1:]))
    assert world.counted("ran") == {"a": 1, "b": 1}
    assert (world.only_run / "journal.jsonl").read_bytes() == journal


@pytest.mark.slow
def test_an_attempt_that_was_cut_short_uses_up_no_retry(world):
    line = "echo x >> ran; test -e go && exit 3; exec sleep 60"
    options = ("run", "--retries", "1", "--retry-delay", "10ms")
    world.kill_when(lambda: world.read("ran"), *options, lines=[line])
    world.write("go", "")
    result = world.pqrun("resume", "latest", "--json")
    assert result.code == 1
    (job,) = result.document["jobs"]
    assert (job["state"], job["attempts"], job["max_attempts"]) == ("failed", 3, 3)
    assert world.counted("ran") == {"x": 3}


@pytest.mark.slow
def test_retries_that_were_used_up_before_stay_used_up_and_a_wait_goes_on(world):
    line = "echo x >> ran; exit 3"
    options = ("run", "--retries", "2", "--retry-delay", "1s", "--backoff", "constant")
    process = world.start(*options, lines=[line])
    world.until(lambda: world.recorded("wait"))
    world.kill(process)
    (wait,) = lines_of(world.only_run, "wait")
    result = world.pqrun("resume", "latest", "--json")
    assert (result.code, result.jobs["1"]["attempts"]) == (1, 3)
    assert world.counted("ran") == {"x": 3}
    second = [line for line in lines_of(world.only_run, "start") if line["n"] == 2]
    assert second[0]["t"] >= wait["until"]


@pytest.mark.slow
def test_rerun_never_is_reported_instead_of_run_again(world):
    lines = [
        "echo a >> ran; exec sleep 60 # pqrun: rerun=never",
        "echo b >> ran; test -e go || exec sleep 60",
    ]
    world.kill_when(lambda: len(world.counted("ran")) == 2, "run", "-j2", lines=lines)
    world.write("go", "")
    result = world.pqrun("resume", "latest", "--json")
    assert result.code == 1
    assert "INTERRUPTED 1" in result.err and "run failed jobs again" in result.err
    assert {job["id"]: job["state"] for job in result.document["jobs"]} == {"1": "interrupted", "2": "ok"}
    assert world.counted("ran") == {"a": 1, "b": 2}
    shown = world.look("show", "latest")
    assert b"--failed" in shown.stdout and b"continue" not in shown.stdout
    again = world.pqrun("resume", "latest", "--failed", "--timeout", "50ms", "--json")
    assert {job["id"]: job["state"] for job in again.document["jobs"]} == {"1": "timeout", "2": "ok"}


@pytest.mark.slow
def test_rerun_never_of_a_job_file_holds_for_a_stop_by_signal_too(world):
    jobs = {"jobs": [{"id": "a", "run": "echo a >> ran; exec sleep 60", "rerun": "never", "grace": 0}]}
    world.write("jobs.json", json.dumps(jobs))
    process = world.start("run", "jobs.json")
    world.until(lambda: world.read("ran"))
    process.send_signal(signal.SIGINT)
    process.wait()
    assert world.pqrun("resume", "latest", "--summary", "summary").code == 1
    assert world.counted("ran") == {"a": 1}
    assert "Stopped by" not in world.read("summary")  # that was the process before
    assert world.look("show", "latest", "--summary", "later").code == 0
    assert world.read("later") == world.read("summary")
    assert world.pqrun("resume", "latest", "--failed", "--timeout", "50ms").code == 1
    assert world.counted("ran") == {"a": 2}


@pytest.mark.slow
def test_what_needs_a_job_that_is_never_run_again_is_skipped(world):
    jobs = [
        {"id": "a", "run": "echo a >> ran; exec sleep 60", "rerun": "never"},
        {"id": "b", "run": "echo b >> ran", "needs": ["a"]},
    ]
    world.write("jobs.json", json.dumps({"jobs": jobs}))
    world.kill_when(lambda: world.read("ran"), "run", "jobs.json")
    result = world.pqrun("resume", "latest", "--json")
    assert result.code == 1
    assert {job["id"]: job["state"] for job in result.document["jobs"]} == {
        "a": "interrupted",
        "b": "skipped",
    }
    assert world.counted("ran") == {"a": 1}


@pytest.mark.slow
def test_a_run_that_is_stopped_while_such_a_job_runs_has_failed(world):
    jobs = {"jobs": [{"id": "a", "run": "echo a >> ran; exec sleep 60", "rerun": "never"}]}
    world.write("jobs.json", json.dumps(jobs))
    assert world.pqrun("run", "jobs.json", "--deadline", "1").code == 1


@pytest.mark.slow
@pytest.mark.parametrize("end", ["kill", "signal"])
def test_what_a_job_had_half_made_when_the_run_ended_is_moved_aside(world, end):
    job = {
        "id": "a",
        "run": "test -e go && exit 3; echo half > out; echo a >> ran; exec sleep 60",
        "creates": "out",
    }
    world.write("jobs.json", json.dumps({"jobs": [job]}))
    if end == "kill":
        world.kill_when(lambda: world.read("ran"), "run", "jobs.json")
    else:
        process = world.start("run", "jobs.json")
        world.until(lambda: world.read("ran"))
        process.send_signal(signal.SIGTERM)
        process.wait()
        assert not world.read("out")
    world.write("go", "")
    result = world.pqrun("resume", "latest")
    assert result.code == 1
    assert ("moved out to out.failed" in result.err) == (end == "kill")
    assert (world.read("out"), world.read("out.failed")) == ("", "half\n")


@pytest.mark.slow
def test_what_a_signal_stopped_goes_on(world):
    lines = [append("a"), "echo b >> ran; test -e go || exec sleep 60", append("c")]
    process = world.start("run", "-j1", lines=lines)
    world.until(lambda: "b" in world.read("ran"))
    process.send_signal(signal.SIGTERM)
    assert process.wait() == -signal.SIGTERM
    assert states(world) == {"1": "ok", "2": "interrupted", "3": "queued"}
    world.write("go", "")
    assert world.pqrun("resume", "latest").code == 0
    assert world.counted("ran") == {"a": 1, "b": 2, "c": 1}


@pytest.mark.slow
def test_what_needs_an_interrupted_job_waits_for_it_and_runs_then(world):
    jobs = {"jobs": [{"id": "a", "run": "echo a >> ran; test -e go || exec sleep 60"},
                     {"id": "b", "run": append("b"), "needs": ["a"]}]}  # fmt: skip
    world.write("jobs.json", json.dumps(jobs))
    world.kill_when(lambda: world.read("ran"), "run", "jobs.json")
    assert states(world) == {"a": "interrupted", "b": "pending"}
    world.write("go", "")
    assert world.pqrun("resume", "latest").code == 0
    assert world.counted("ran") == {"a": 2, "b": 1}


@pytest.mark.slow
def test_failed_runs_all_again_that_is_not_ok_with_fresh_retries(world):
    jobs = {"jobs": [
        {"id": "good", "run": append("good")},
        {"id": "bad", "run": "echo bad >> ran; exit 3", "retries": {"max": 1, "delay": 0}},
        {"id": "after", "run": append("after"), "needs": ["bad"]},
        {"id": "allowed", "run": "echo allowed >> ran; exit 1", "allow_failure": True},
    ]}  # fmt: skip
    world.write("jobs.json", json.dumps(jobs))
    assert world.pqrun("run", "jobs.json").code == 1
    assert states(world) == {"good": "ok", "bad": "failed", "after": "skipped", "allowed": "failed"}
    assert world.pqrun("resume", "latest").code == 1
    assert world.counted("ran") == {"good": 1, "bad": 2, "allowed": 1}
    result = world.pqrun("resume", "latest", "--failed", "--json")
    assert result.code == 1
    assert world.counted("ran") == {"good": 1, "bad": 4, "allowed": 2}
    assert (result.jobs["bad"]["attempts"], result.jobs["bad"]["max_attempts"]) == (4, 4)
    assert result.jobs["after"]["state"] == "skipped"


@pytest.mark.slow
def test_the_exit_code_is_that_of_the_whole_run(world):
    lines = ["exit 3", "echo b >> ran; test -e go || exec sleep 60"]
    world.kill_when(lambda: world.read("ran"), "run", "-j1", lines=lines)
    world.write("go", "")
    assert world.pqrun("resume", "latest").code == 1


@pytest.mark.slow
def test_options_of_the_first_run_hold_unless_given_again(world):
    lines = ["echo $A; test -e go || exec sleep 60", "exec sleep 60"]
    options = ("--timeout", "70s", "--env", "A=first", "--tag", "-j1")
    world.kill_when(lambda: world.recorded("start"), "run", *options, lines=lines)
    world.write("go", "")
    result = world.pqrun("resume", "latest", "--timeout", "300ms")
    assert result.stdout == b"1\tfirst\n"
    assert result.code == 1
    assert states(world) == {"1": "ok", "2": "timeout"}


def test_options_that_are_given_again_hold_for_what_a_signal_stopped(world):
    process = world.start("run", "-q", lines=["true", "echo x > ran; exec sleep 20"])
    world.until(lambda: world.read("ran"))
    process.send_signal(signal.SIGINT)
    process.wait()
    assert world.pqrun("resume", "latest", "-q", "--timeout", "50ms").code == 1
    assert states(world) == {"1": "ok", "2": "timeout"}


@pytest.mark.slow
def test_jobs_start_where_they_started_the_first_time(world):
    lines = ["pwd > where; test -e go || exec sleep 60"]
    world.kill_when(lambda: world.read("where"), "run", lines=lines)
    elsewhere = world.here / "elsewhere"
    elsewhere.mkdir()
    (world.here / "where").unlink()
    world.write("go", "")
    assert world.pqrun("resume", "latest", cwd=elsewhere).code == 0
    assert world.read("where") == f"{world.here}\n"


@pytest.mark.slow
def test_of_a_stream_what_was_read_is_kept_and_its_end_is_missed(world):
    process = world.start("run", "-j1", "--max-queue", "5")
    for n in range(3):
        process.stdin.write(f"echo {n} >> ran\n".encode())
    process.stdin.write(b"echo x >> ran; test -e go || exec sleep 60\n" + b"echo y >> ran\n")
    process.stdin.flush()
    world.until(lambda: "x" in world.read("ran") and len(lines_of(world.only_run, "add")) == 5)
    world.kill(process)
    world.write("go", "")
    result = world.pqrun("resume", "latest")
    assert result.code == 3
    assert "not read completely" in result.err
    assert world.counted("ran") == {"0": 1, "1": 1, "2": 1, "x": 2, "y": 1}
    assert "not read completely" in world.look("show").err + world.look("show").out


@pytest.mark.slow
def test_a_run_whose_list_was_stopped_says_so(world):
    process = world.start("run", "-j1", stderr=None, stdout=None)
    process.stdin.write(b"echo a >> ran; sleep 60\n")
    process.stdin.flush()
    world.until(lambda: world.read("ran"))
    process.send_signal(signal.SIGTERM)
    process.wait()
    assert world.look("show", "--json").document["run"]["input_complete"] is False


@pytest.mark.slow
def test_going_on_with_what_is_over_runs_nothing(world):
    assert world.pqrun("run", lines=[append("a")]).code == 0
    size = (world.only_run / "journal.jsonl").stat().st_size
    for _ in range(2):
        again = world.pqrun("resume", "latest")
        assert (again.code, again.err.count("pqrun: nothing is left to run: all jobs have ended\n")) == (0, 1)
    assert world.pqrun("resume", "latest", "-q").err == ""
    assert world.counted("ran") == {"a": 1}
    assert (world.only_run / "journal.jsonl").stat().st_size < size + 2000


@pytest.mark.slow
def test_resume_after_resume_after_resume(world):
    """Each process does one more job before it is killed."""
    lines = [f"echo {n} >> ran; grep -q x$ go{n} 2>/dev/null || exec sleep 60" for n in (1, 2, 3)]
    words, more = ("run", "-j1"), {"lines": lines}
    for number in (1, 2, 3):
        world.kill_when(lambda n=number: str(n) in world.read("ran"), *words, **more)
        world.write(f"go{number}", "x\n")
        words, more = ("resume", "latest"), {}
    assert world.pqrun("resume", "latest").code == 0
    assert world.counted("ran") == {"1": 2, "2": 2, "3": 2}
    ends = [line["s"] for line in lines_of(world.only_run, "end") if line["as"] == "completed"]
    assert sorted(ends) == [1, 2, 3]


@pytest.mark.slow
def test_results_that_a_killed_pqrun_did_not_write_are_written_by_resume(world):
    stuck = "test -e go || { echo run >> ran; exec sleep 60; }; echo last"
    skipped = '{"id": "skipped", "run": "true", "needs": ["bad"]}'
    jobs = '{"id": "bad", "run": "echo out; echo err >&2; exit 3"}, ' + skipped
    world.write("jobs.json", f'{{"jobs": [{jobs}, {{"id": "long", "run": "{stuck}"}}]}}')
    bad, skipped = world.here / "results/1-bad", world.here / "results/2-skipped"

    def told():
        return (
            world.counted("ran") and (skipped / "meta.json").exists() and (skipped / "meta.json").read_text()
        )

    world.kill_when(told, "run", "jobs.json", "-j1", "--results", "results")
    whole = {path: path.read_bytes() for path in (world.here / "results").glob("*/*")}
    assert {bad / "stdout", bad / "meta.json", skipped / "meta.json"} <= whole.keys()

    # As they are if it is killed a moment earlier: without a record, or with a part of it.
    (bad / "stdout").unlink()
    (bad / "meta.json").write_text('{"id": "ba')
    (skipped / "meta.json").unlink()
    skipped.rmdir()
    world.write("go", "")
    assert world.pqrun("resume", "latest").code == 1
    now = {path: path.read_bytes() for path in (world.here / "results").glob("*/*")}
    assert {path: now[path] for path in whole} == whole
    assert (world.here / "results/3-long/stdout").read_text() == "last\n"

    # What is complete is not written again.
    changed = {path: path.stat().st_mtime_ns for path in now}
    assert world.pqrun("resume", "latest").code == 1
    assert {path: path.stat().st_mtime_ns for path in now} == changed


@pytest.mark.slow
def test_results_that_could_not_be_written_are_written_by_resume(world):
    world.write("jobs.json", '{"jobs": {"a": "echo a"}}')
    (world.here / "results/1-a/stdout").mkdir(parents=True)
    assert world.pqrun("run", "jobs.json", "--results", "results").code == 4
    (world.here / "results/1-a/stdout").rmdir()
    assert world.pqrun("resume", "latest").code == 0
    assert world.read("results/1-a/stdout") == "a\n"
    assert json.loads(world.read("results/1-a/meta.json"))["state"] == "ok"


# An edited list


EDITED = ("run", "list", "-j1")
ADD = f"{sys.executable} -m pqrun add"


@pytest.mark.slow
def test_of_an_edited_list_only_what_is_new_or_changed_runs(world):
    world.write("list", "echo a >> ran\necho b >> ran\necho c >> ran\n")
    assert world.pqrun(*EDITED).code == 0
    world.write("list", "echo new >> ran\necho c >> ran\necho a >> ran\necho B >> ran\n")
    result = world.pqrun(*EDITED, "--resume", "latest", "--json")
    assert result.code == 0
    assert world.counted("ran") == {"a": 1, "b": 1, "c": 1, "new": 1, "B": 1}
    assert "2 jobs unchanged, 0 changed, 2 new, 1 removed" in result.err
    assert sorted(job["run"] for job in result.document["jobs"]) == sorted(
        world.read("list").split("\n")[:-1]
    )
    again = world.pqrun(*EDITED, "--resume", "latest", "-q")
    assert (again.code, again.err) == (0, "")


@pytest.mark.slow
def test_the_same_command_several_times_is_counted_not_matched_by_position(world):
    world.write("list", "echo a >> ran\n" * 3 + "echo b >> ran\n")
    assert world.pqrun(*EDITED).code == 0
    world.write("list", "echo b >> ran\n" + "echo a >> ran\n" * 5)
    assert world.pqrun(*EDITED, "--resume", "latest").code == 0
    assert world.counted("ran") == {"a": 5, "b": 1}
    world.write("list", "echo a >> ran\n" * 2)
    result = world.pqrun(*EDITED, "--resume", "latest", "--json")
    assert world.counted("ran") == {"a": 5, "b": 1}
    assert len(result.document["jobs"]) == 2


@pytest.mark.slow
def test_jobs_with_ids_are_matched_by_id_and_by_what_they_run(world):
    def jobs(**commands):
        world.write("jobs.json", json.dumps({"jobs": {id: f"{run} >> ran" for id, run in commands.items()}}))

    jobs(a="echo a1", b="echo b1", c="echo c1")
    assert world.pqrun("run", "jobs.json").code == 0
    jobs(c="echo c1", b="echo b2", d="echo a1")
    result = world.pqrun("run", "jobs.json", "--resume", "latest", "--json")
    assert world.counted("ran") == {"a1": 2, "b1": 1, "b2": 1, "c1": 1}
    assert "1 job unchanged, 1 changed, 1 new, 1 removed" in result.err
    assert sorted(result.jobs) == ["b", "c", "d"]


@pytest.mark.slow
def test_what_was_skipped_for_a_job_that_the_edited_list_mends_runs_after_it(world):
    def jobs(build, **more):
        needy = {"run": "echo test >> ran", "needs": ["build"], **more}
        last = {"run": "echo ship >> ran", "needs": ["test", "good"]}
        other = {"run": "echo other >> ran", "needs": ["bad"]}
        listed = {"good": "true", "bad": "false", "build": build, "test": needy, "ship": last, "other": other}
        world.write("jobs.json", json.dumps({"jobs": listed}))

    jobs("false")
    assert world.pqrun("run", "jobs.json").code == 1
    jobs("echo build >> ran")
    result = world.pqrun("run", "jobs.json", "--resume", "latest", "--json")
    assert "5 jobs unchanged, 1 changed, 0 new, 0 removed; no longer skipped: 2 jobs" in result.err
    assert world.read("ran") == "build\ntest\nship\n"
    assert {id: job["state"] for id, job in result.jobs.items()} == {
        "good": "ok", "bad": "failed", "build": "ok", "test": "ok", "ship": "ok", "other": "skipped",
    }  # fmt: skip


@pytest.mark.slow
def test_an_edited_list_may_say_of_a_failed_job_that_it_may_fail(world):
    def jobs(**fields):
        bad = {"run": "echo why; exit $((PQRUN_ATTEMPT + 2))", "retries": {"max": 1, "delay": 0}, **fields}
        listed = {"bad": bad, "test": {"run": "echo test >> ran", "needs": ["bad"]}}
        world.write("jobs.json", json.dumps({"jobs": listed}))

    def reports(name):
        return ("--summary", f"{name}.md", "--junit", f"{name}.xml", "--html", f"{name}.html")

    jobs()
    assert world.pqrun("run", "jobs.json").code == 1
    jobs(allow_failure=True)
    done = world.pqrun("run", "jobs.json", "--resume", "latest", *reports("live"))
    assert (done.code, world.read("ran")) == (0, "test\n")
    assert "no longer skipped: 1 job" in done.err
    assert "FAILED bad: exit 4 (may fail)" in done.err
    assert "exit 4 (may fail)" in world.read("live.md")
    assert 'failures="0" errors="0"' in world.read("live.xml")
    chunks = re.findall(r'<script [^>]*class="chunk">(.*?)</script>', world.read("live.html"))
    (jobs_of_page,) = (chunk["columns"] for chunk in map(json.loads, chunks) if chunk["kind"] == "jobs")
    columns = (jobs_of_page["seq"], jobs_of_page["allowed"], jobs_of_page["last"]["at"])
    records = {seq: facts for seq, *facts in zip(*columns, strict=True)}
    assert (records[1][0], jobs_of_page["last"]["values"][records[1][1]]) == (1, "why")
    assert world.look("show", "latest", *reports("later")).code == 0
    assert [world.read(f"later.{kind}") == world.read(f"live.{kind}") for kind in ("md", "xml")] == [True] * 2
    assert json.loads(world.look("runs", "--json").out)["runs"][0]["failed"] == 0

    jobs()
    done = world.pqrun("run", "jobs.json", "--resume", "latest", *reports("live"))
    assert (done.code, world.read("ran")) == (1, "test\n")
    assert "(may fail)" not in done.err + world.read("live.md")
    assert 'failures="1"' in world.read("live.xml")


@pytest.mark.slow
def test_a_skipped_job_that_needs_nothing_bad_any_more_runs(world):
    def jobs(needs):
        needy = {"run": "echo b >> ran", "needs": needs}
        world.write("jobs.json", json.dumps({"jobs": {"a": "false", "ok": "true", "b": needy}}))

    jobs(["a"])
    assert world.pqrun("run", "jobs.json").code == 1
    jobs(["ok"])
    assert world.pqrun("run", "jobs.json", "--resume", "latest").code == 1
    assert world.read("ran") == "b\n"
    jobs(["a"])
    assert world.pqrun("run", "jobs.json", "--resume", "latest").code == 1
    assert world.read("ran") == "b\n"


@pytest.mark.slow
def test_an_edited_list_after_a_crash_goes_on_where_it_was(world):
    world.write("list", "echo a >> ran\necho b >> ran; test -e go || exec sleep 60\necho c >> ran\n")
    world.kill_when(lambda: "b" in world.read("ran"), *EDITED)
    world.write("go", "")
    world.write("list", "echo d >> ran\necho b >> ran; test -e go || exec sleep 60\necho a >> ran\n")
    assert world.pqrun(*EDITED, "--resume", "latest").code == 0
    assert world.counted("ran") == {"a": 1, "b": 2, "d": 1}


@pytest.mark.slow
def test_an_edited_list_may_give_a_time_to_a_job_that_was_queued(world):
    def jobs(**fields):
        later = {"run": "echo b >> ran", **fields}
        world.write(
            "jobs.json", json.dumps({"jobs": {"a": "echo a >> ran; test -e go || sleep 60", "b": later}})
        )

    jobs()
    world.kill_when(lambda: "a" in world.read("ran"), "run", "jobs.json", "-j1")
    world.write("go", "")
    jobs(not_before="+1h")
    result = world.pqrun("run", "jobs.json", "-j1", "--resume", "latest", "--deadline", "2s", "--json")
    assert result.code == 3
    assert (world.counted("ran"), result.jobs["b"]["state"]) == ({"a": 2}, "waiting")
    assert (result.metrics["current_queue_size"], result.metrics["jobs_removed"]) == (0, 1)
    jobs()
    assert world.pqrun("run", "jobs.json", "-j1", "--resume", "latest").code == 0
    assert world.counted("ran") == {"a": 2, "b": 1}


@pytest.mark.slow
def test_jobs_that_were_added_to_the_run_stay_when_its_list_is_edited(world):
    add = f"{ADD} --id extra 'echo extra >> ran' && {ADD} --id more --needs extra 'echo more >> ran'"
    unnamed = f"{ADD} 'echo unnamed >> ran' && touch added; while ! [ -e go ]; do sleep 0.05; done"
    world.write("list", f"{add} && {unnamed}\n")
    world.kill_when((world.here / "added").exists, *EDITED)
    world.wait_until_all_is_gone()
    (world.here / "go").touch()
    world.write("list", "".join(f"echo {number} >> ran\n" for number in range(9)))
    result = world.pqrun(*EDITED, "--resume", "latest", "--json")
    assert (result.code, world.counted("ran").keys()) == (0, {*"012345678", "extra", "more", "unnamed"}), (
        result.err
    )
    assert "0 jobs unchanged, 0 changed, 9 new, 1 removed, 3 from `add` kept" in result.err
    assert len({job["id"] for job in result.document["jobs"]}) == 12


@pytest.mark.slow
def test_an_edited_list_takes_the_place_of_added_jobs_and_of_what_they_need(world):
    add = f"{ADD} --id b 'echo b1 >> ran' && {ADD} --id c --needs a,b 'echo c >> ran'"
    world.write(
        "jobs.json", json.dumps({"jobs": {"a": f"{add} && touch added; sleep 60", "d": "echo d >> ran"}})
    )
    world.kill_when((world.here / "added").exists, "run", "jobs.json", "-j1")
    world.wait_until_all_is_gone()
    world.write("jobs.json", json.dumps({"jobs": {"b": "echo b2 >> ran", "d": "echo d >> ran"}}))
    result = world.pqrun("run", "jobs.json", "--resume", "latest", "--json")
    assert (result.code, world.counted("ran"), sorted(result.jobs)) == (0, {"b2": 1, "d": 1}, ["b", "d"]), (
        result.err
    )


@pytest.mark.slow
def test_an_edited_list_that_is_wrong_changes_nothing(world):
    world.write("jobs.json", '{"jobs": {"a": "echo a >> ran"}}')
    assert world.pqrun("run", "jobs.json").code == 0
    before = (world.only_run / "journal.jsonl").read_bytes()
    world.write("jobs.json", '{"jobs": {"a": "echo a", "b": {"run": "true", "needs": ["x"]}}}')
    assert world.pqrun("run", "jobs.json", "--resume", "latest").code == 2
    assert (world.only_run / "journal.jsonl").read_bytes() == before


# Survivors, locks, and other runs


def lives(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def watchdogs_of(pid: int) -> list[int]:
    """The children of pqrun that guard its jobs."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:
        children = [int(child) for child in file.read().split()]
    marks = {
        child: os.getsid(child) == child and b"PQRUN_TREE" not in environment_of(child) for child in children
    }
    return [child for child, is_it in marks.items() if is_it]


def environment_of(pid: int) -> bytes:
    with open(f"/proc/{pid}/environ", "rb") as file:
        return file.read()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc")
@pytest.mark.parametrize("watchdogs_too", [False, True], ids=["", "with its watchdogs"])
def test_what_a_killed_pqrun_left_running_is_gone_before_its_job_starts_again(world, watchdogs_too):
    line = (
        "if test -e pid; then grep -sq '^State:[^ZX]*$' /proc/$(cat pid)/status && echo both >> ran; else "
        "echo $$ > pid; trap '' TERM; echo first >> ran; while :; do sleep 0.1; done; fi; echo again >> ran"
    )
    process = world.start("run", "--grace", "300ms", lines=[line])
    world.until(lambda: "first" in world.read("ran"))
    survivor = int(world.read("pid"))
    guards = watchdogs_of(process.pid)
    assert len(guards) == 2
    for guard in guards if watchdogs_too else ():
        os.kill(guard, signal.SIGSTOP)
    process.send_signal(signal.SIGKILL)
    for guard in guards if watchdogs_too else ():
        os.kill(guard, signal.SIGKILL)
    process.wait()
    result = world.pqrun("resume", "latest")
    assert result.code == 0, result.err
    assert not lives(survivor)
    assert world.counted("ran") == {"first": 1, "again": 1}


@pytest.mark.slow
def test_a_run_that_is_alive_is_not_gone_on_with(world):
    process = world.start("run", lines=["echo x >> ran; exec sleep 60"])
    world.until(lambda: world.read("ran"))
    result = world.pqrun("resume", "latest")
    assert result.code == 5
    assert f"in use by another pqrun (pid {process.pid})" in result.err
    assert process.poll() is None


@pytest.mark.slow
def test_two_runs_on_one_directory_the_second_is_refused(world):
    process = world.start("run", "--run-dir", "rd", lines=["echo x >> ran; exec sleep 60"])
    world.until(lambda: world.read("ran"))
    for words in (("run", "--run-dir", "rd"), ("resume", "./rd"), ("run", "list", "--resume", "./rd")):
        world.write("list", "true\n")
        assert world.pqrun(*words, lines=["echo y >> ran"]).code == 5, words
    assert world.counted("ran") == {"x": 1}
    assert process.poll() is None


@pytest.mark.slow
def test_a_lock_that_names_a_process_long_gone_keeps_nobody_out(world):
    world.kill_when(
        lambda: world.read("ran"), "run", "--run-dir", "rd", lines=["echo x >> ran; test -e go || sleep 60"]
    )
    world.write("go", "")
    (world.here / "rd" / "lock").write_text("1 1\n")
    assert world.pqrun("resume", "./rd").code == 0


@pytest.mark.slow
def test_a_directory_that_holds_a_recorded_run_is_not_begun_again(world):
    assert world.pqrun("run", "--run-dir", "a dir", lines=["echo x >> ran"]).code == 0
    result = world.pqrun("run", "--run-dir", "a dir", lines=["echo x >> ran"])
    assert result.code == 2
    assert "pqrun resume 'a dir'" in result.err
    assert world.counted("ran") == {"x": 1}


@pytest.mark.slow
def test_a_directory_without_a_recorded_list_of_jobs_starts_afresh(world):
    run = world.here / "rd"
    assert world.pqrun("run", "--run-dir", "rd", lines=["true"]).code == 0
    whole = (run / "journal.jsonl").read_bytes()
    (run / "journal.jsonl").write_bytes(whole[: whole.index(b"\n") + 1])
    assert world.pqrun("run", "--run-dir", "rd", lines=["echo x >> ran"]).code == 0
    assert world.counted("ran") == {"x": 1}
    assert len([line for line in lines_of(run) if "pqrun" in line]) == 1


@pytest.mark.slow
def test_nothing_of_a_run_in_a_directory_of_its_own_goes_into_the_state_directory(world):
    assert world.pqrun("run", "--run-dir", "deep/er/rd", lines=["true"]).code == 0
    assert world.look("show", "deep/er/rd").code == 0
    assert not world.state.exists() or list(world.state.iterdir()) == []
    assert first_line(world.here / "deep/er/rd")["run"]


@pytest.mark.slow
@pytest.mark.parametrize("options", [("-N2",), ("-n2", "-m")])
def test_a_job_with_many_arguments_runs_again_with_the_same_arguments(world, options):
    command = "for x in {}; do echo $x >> ran; done; test -e go || test $x = b || exec sleep 60"
    world.kill_when(lambda: "d" in world.read("ran"), "each", "-j1", *options, command, ":::", *"abcdef")
    assert states(world) == {"1": "ok", "2": "interrupted", "3": "queued"}
    world.write("go", "")
    assert world.pqrun("resume", "latest", "--json").code == 0
    assert world.counted("ran") == {"a": 1, "b": 1, "c": 2, "d": 2, "e": 1, "f": 1}


def packed(run):
    """What each recorded attempt printed, by the places in the journal: job numbers and bytes."""
    found = []
    for line in lines_of(run, "end"):
        if "lost" in line:
            continue
        pack, offset = line["out_at"]
        with (run / "logs" / f"pack.{pack}").open("rb") as file:
            found.append((line["s"], os.pread(file.fileno(), line["out"], offset)))
    return found


@pytest.mark.slow
def test_the_journal_points_only_to_bytes_that_are_in_a_pack_whenever_pqrun_is_killed(world):
    texts = {number: f"{number} {'x' * (number % 50)}".strip() for number in range(1, 401)}
    printed = {number: f"{text}\n".encode() for number, text in texts.items()}
    # They fill all workers.
    gates = [number for number in texts if number % 100 in (1, 2, 3, 4) and number > 100]
    wait_once = "[ -e gate.{0} ] || {{ touch gate.{0}; exec sleep 600; }}; echo {1}"
    lines = [
        wait_once.format(number, text) if number in gates else f"echo {text}"
        for number, text in texts.items()
    ]
    for stage, words in ((101, ["run"]), (201, ["resume", "latest"]), (301, ["resume", "latest"])):
        first_gate = world.here / f"gate.{stage}"
        world.kill_when(first_gate.exists, *words, "-q", "-j4", lines=lines if words == ["run"] else ())
        world.wait_until_all_is_gone()
        assert all(data == printed[seq] for seq, data in packed(world.only_run))
    for number in gates:
        (world.here / f"gate.{number}").touch()
    assert world.pqrun("resume", "latest", "-q").code == 0
    found = packed(world.only_run)
    assert {seq for seq, _ in found} == set(printed) and all(data == printed[seq] for seq, data in found)
    assert len(list((world.only_run / "logs").iterdir())) == 4, "each process begins a pack of its own"
    assert world.look("logs", "latest").stdout == b"".join(printed.values())


def test_a_run_of_an_older_pqrun_goes_on_in_its_format(tmp_path):
    for version, packs in ((1, False), (2, True)):
        record = Record(tmp_path / f"v{version}", pqrun=version)
        reopened = RunRecord.reopen(str(record.path))
        assert (reopened.logs.packs is not None) == packs
        reopened.close()


@pytest.mark.slow
def test_a_limit_relative_to_other_jobs_is_kept_and_knows_those_before_the_crash(world):
    command = "test {} != 60 || echo x >> ran; exec sleep {}"
    words = ("each", "-j1", "--timeout", "1000%", command, ":::", "0.2", "0.2", "60")
    world.kill_when(lambda: "x" in world.read("ran"), *words)
    assert states(world) == {"1": "ok", "2": "ok", "3": "interrupted"}
    done = world.pqrun("resume", "latest", "--json")
    assert done.code == 1 and states(world) == {"1": "ok", "2": "ok", "3": "timeout"}


def test_a_preset_that_is_given_to_resume_replaces_what_it_sets(tmp_path):
    record = Record(tmp_path / "abc", options={"jobs": "7", "max_queue": 3, "delay": 2.0})
    kept = resumed_settings(str(record.path), RunOptions(), failed=False).limits
    replaced = resumed_settings(str(record.path), RunOptions(preset="small"), failed=False).limits
    assert [(one.jobs, one.max_queue, one.delay) for one in (kept, replaced)] == [
        ("7", 3, 2.0),
        ("2", 100, 2.0),
    ]


def test_an_option_that_is_given_with_its_default_replaces_the_recorded_one(tmp_path):
    before = {"order": "longest-first", "on": "dask://127.0.0.1:1", "tag": True, "show": "failed"}
    record = Record(tmp_path / "abc", options=before)
    kept = resumed_settings(str(record.path), RunOptions(), failed=False)
    assert {name: kept.value_of(name) for name in before} == before
    now = {"order": "fifo", "on": "local", "tag": False, "show": "all"}
    replaced = resumed_settings(str(record.path), RunOptions(**now), failed=False)
    assert {name: replaced.value_of(name) for name in now} == now
