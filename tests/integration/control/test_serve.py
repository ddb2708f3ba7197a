# SPDX-License-Identifier: LGPL-3.0-or-later
"""A queue that is there until it is stopped, and comes back as it was."""

import os
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from support.process import PQRUN, environment

from pqrun.control.client import ControlClient


def detached(pqrun, *options, **more):
    result = pqrun("serve", "--detach", *options, **more)
    pid = int(result.out.rpartition("(pid ")[2].partition(")")[0]) if result.code == 0 else None
    return result, pid


def gone(pid) -> bool:
    """Whether that process has ended; one that nobody has reaped has."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


@pytest.mark.slow
def test_a_socket_that_is_removed_is_bound_anew_and_meanwhile_clients_say_so(queue, until):
    one = queue("-j1")
    path = one.directory / "control.sock"
    before = path.stat().st_ino
    for words in (["ps"], ["ps", "--run", "queue"]):
        os.kill(one.process.pid, signal.SIGSTOP)
        path.unlink()
        answer = one(*words)
        os.kill(one.process.pid, signal.SIGCONT)
        assert (answer.code, answer.out) == (6, "")
        assert f"the run is live (pid {one.process.pid}), but its socket {path} does not exist" in answer.err
        until(lambda: one.answers)
        assert one("add", "true").code == 0
    path.unlink()
    path.symlink_to("/dev/null")
    until(lambda: one.answers)
    assert (path.stat().st_mode & 0o7777, path.stat().st_ino != before) == (0o600, True)
    assert one.ask("wait")["failed"] == 0
    assert one.stop() == 0
    assert not path.exists()


@pytest.mark.slow
def test_no_job_goes_to_another_queue_because_the_socket_of_one_is_missing(queue, until):
    one, other = queue(run="one"), queue(run="other")
    os.kill(one.process.pid, signal.SIGSTOP)
    (one.directory / "control.sock").unlink()
    answer = other("add", "true")
    os.kill(one.process.pid, signal.SIGCONT)
    assert (answer.code, "several runs are live (one, other)" in answer.err) == (2, True)
    assert other.jobs() == {}


@pytest.mark.slow
def test_a_lock_that_is_removed_is_taken_again(queue, until):
    one = queue()
    os.kill(one.process.pid, signal.SIGSTOP)
    (one.directory / "lock").unlink()
    os.kill(one.process.pid, signal.SIGCONT)
    until(lambda: one.answers)
    second = one("serve")
    assert (second.code, f"in use by another pqrun (pid {one.process.pid})" in second.err) == (5, True)
    assert one("add", "true").code == 0


@pytest.mark.slow
def test_a_killed_queue_comes_back_with_all_jobs_in_their_order_and_all_changes(queue, gate, until, tmp_path):
    one = queue("-j1", "--pool", "net=2")
    one.add("false", id="flaky", retries=3, retry={"delay": 3600, "max_delay": 3600})
    until(lambda: one.states() == {"flaky": "waiting"})
    one.add(f"echo once >> runs; {gate.wait}", id="running", cwd=str(tmp_path))
    one.add("true", "true", "true")
    one.ask("pool", pool="net", size=3)
    one.add("true", id="pending", needs=["flaky"], pools={"net": 3})
    one.ask("set", jobs=["5"], front=True)
    one.ask("set", jobs=["3"], change={"priority": "high", "timeout": 9})
    until((tmp_path / "runs").exists)
    one.ask("pause")
    one.ask("workers", workers=2)
    one.kill()
    one = queue("--pool", "other=1")
    jobs = one.jobs()
    assert {name: jobs[name]["state"] for name in jobs} == {
        "3": "queued", "5": "queued", "running": "queued", "4": "queued", "flaky": "waiting", "pending": "pending",
    }  # fmt: skip
    assert list(jobs)[:4] == ["3", "5", "running", "4"], "what was cut short is where it was"
    assert (jobs["3"]["timeout"], jobs["3"]["priority"]) == (9, "high")
    assert jobs["flaky"]["seconds"] > 3500 and (jobs["flaky"]["attempts"], jobs["flaky"]["max_attempts"]) == (
        1,
        4,
    )
    assert (jobs["running"]["attempts"], jobs["running"]["max_attempts"]) == (1, 2)
    assert (one.ask("info")["run"]["workers"], one.ask("ps")["paused"]) == (2, True)
    assert one.ask("pool", pool="net", size=3)["ok"] and one.ask("pool", pool="other", size=1)["ok"]
    one.ask("cancel", jobs=["flaky"])
    one.ask("unpause")
    gate.open()
    one.ask("wait")
    assert (tmp_path / "runs").read_text() == "once\n" * 2
    assert one.stop() == 1


@pytest.mark.slow
def test_what_must_not_run_twice_is_told_instead(queue, gate, until, tmp_path):
    one = queue("-j1")
    one.add(f"echo once >> runs; {gate.wait}", id="never", rerun=False, cwd=str(tmp_path))
    one.add("true", id="child", needs=["never"])
    until((tmp_path / "runs").exists)
    one.kill()
    one = queue("-j1")
    assert one.states() == {}
    assert one.ask("wait", jobs=["never", "child"])["failed_ids"] == ["never", "child"]
    assert (tmp_path / "runs").read_text() == "once\n"


@pytest.mark.slow
def test_numbers_go_on_where_they_were(queue):
    one = queue()
    one.ask("pause")
    one.add("true", "true")
    one.ask("cancel", jobs=["all"])
    one.kill()
    one = queue()
    assert one.add("true") == ["3"]
    assert one.ask("ps")["paused"] is True


@pytest.mark.slow
def test_a_queue_that_was_only_paused_and_changed_is_restored_too(queue):
    one = queue("-j3")
    one.ask("pause")
    one.ask("pool", pool="net", size=5)
    one.kill()
    one = queue()
    assert (one.ask("ps")["paused"], one.ask("info")["run"]["workers"]) == (True, 3)
    one.ask("workers", workers=7)
    one.kill()
    one = queue()
    assert one.ask("info")["run"]["workers"] == 7
    one.kill()
    one = queue("-j2", "--pool", "net=6")
    assert one.ask("info")["run"]["workers"] == 2
    one.kill()
    one = queue()
    assert one.ask("info")["run"]["workers"] == 2, "what was said last holds"
    assert one.add("true", pools={"net": 6}) == ["1"]
    assert [(line["e"], line["by"]) for line in one.events() if line.get("by") == "resume"] == [
        ("pause", "resume"), ("pause", "resume"), ("pause", "resume"), ("workers", "resume"), ("pool", "resume"),
        ("pause", "resume"),
    ]  # fmt: skip


@pytest.mark.slow
def test_a_first_line_that_was_not_written_to_its_end_is_no_queue_yet(queue):
    one = queue()
    one.kill()
    with open(one.directory / "journal.jsonl", "r+b") as file:
        file.truncate(20)
    one = queue()
    assert one.add("true") == ["1"]


@pytest.mark.slow
def test_a_stopped_queue_exits_by_what_became_of_its_jobs_and_goes_on_when_it_is_started(queue):
    one = queue()
    assert one.stop() == 0, "an empty queue has done all that it was asked for"
    one = queue()
    one.ask("pause")
    one.add("true")
    assert one.stop() == 3
    one = queue()
    one.ask("unpause")
    one.ask("wait")
    one.ask("stop")
    assert one.end() == 0
    one = queue()
    one.add("false")
    one.ask("wait")
    assert one.stop() == 1


@pytest.mark.slow
def test_a_resume_of_a_queue_without_a_job_that_is_left_says_so(pqrun, until):
    assert pqrun("serve", "--detach").code == 0
    assert pqrun("add", "true").code == pqrun("wait").code == pqrun("stop").code == 0
    until(lambda: pqrun("ps").code == 6)
    until(lambda: pqrun("resume", "queue").code == 0, what=lambda: pqrun("resume", "queue").err)
    assert pqrun("resume", "queue").err.count("pqrun: nothing is left to run: all jobs have ended\n") == 1


@pytest.mark.slow
def test_signals_stop_a_queue_as_any_run(queue):
    one = queue("-j1")
    one.add("sleep 60", "true")
    one.process.send_signal(signal.SIGTERM)
    assert one.end() == -signal.SIGTERM
    one = queue()
    assert set(one.jobs()) <= {"1", "2"} and "1" in one.jobs()


@pytest.mark.slow
def test_a_second_one_of_the_same_name_is_refused(queue, pqrun):
    one = queue()
    for words in (["serve"], ["serve", "--detach"]):
        result = pqrun(*words)
        assert (result.code, result.out) == (5, "")
        assert f"{one.directory} is in use by another pqrun (pid {one.process.pid})" in result.err
        assert result.err.endswith("; stop it first: pqrun stop --run queue\n")
    assert one.add("true") == ["1"]


@pytest.mark.slow
def test_a_restarted_queue_says_which_options_stay_and_which_hold_for_new_jobs_only(pqrun, until):
    def start(*words, **env):
        result, pid = detached(pqrun, *words, env=env)
        assert result.code == 0
        info = pqrun("show", "queue", "--json").document
        assert pqrun("stop", "--now").code == 0
        until(lambda: gone(pid))
        return result.err, info["run"]["workers"]

    first = ("-j2", "--retries", "3", "--order", "longest-first")
    assert start(*first) == ("", 2)
    assert start(*first) == ("", 2)
    assert start() == ("", 2)
    kept = "pqrun: kept from the queue's first start: {} (`pqrun serve --detach -j2 --retries 3 --order longest-first`)\n"
    assert start("-j4", "--order", "fifo") == (kept.format("--retries"), 4)
    new = "pqrun: {}: for jobs added from now on; `pqrun set JOB…` changes those that are in the queue already\n"
    every = ("-j2", "--order", "fifo")
    assert start(*every, "--retries", "1", "-t5m") == (new.format("--retries, --timeout"), 2)
    assert start(*every, "--retries", "3", PQRUN_TIMEOUT="5m") == (new.format("PQRUN_TIMEOUT"), 2)
    assert start(*every, "--retries", "1", "-q") == ("", 2)


@pytest.mark.slow
def test_variables_that_a_queue_cannot_have_are_named(pqrun):
    for name, what in (
        ("KEEP_ORDER", "which has no end"),
        ("NO_JOURNAL", "which is restored from its journal"),
    ):
        result, _ = detached(pqrun, env={f"PQRUN_{name}": "1"})
        assert (result.code, result.err) == (2, f"pqrun: PQRUN_{name} can't be used with a queue, {what}\n")


@pytest.mark.slow
def test_detached_it_holds_nothing_of_its_caller_open(pqrun, state, tmp_path, until):
    command = f"{shlex.join(PQRUN)} serve --detach 3>&1 4</dev/null | cat"
    done = subprocess.run(
        command,
        shell=True,
        capture_output=True,
        timeout=60,
        env=environment(state=state),
        cwd=tmp_path,
        text=True,
    )
    directory = f"{state}/runs/queue"
    assert done.stdout.startswith(f"pqrun: serving {directory} (pid ") and done.stderr == ""
    pid = int(done.stdout.rpartition("(pid ")[2].partition(")")[0])
    with ControlClient(directory) as talk:
        assert os.getsid(pid) not in (os.getsid(0), pid), "it has no terminal, and can't get one"
        talk.request("add", add=[{"run": "printf 'hel%s wor%s\\n' lo ld; false"}])
        talk.request("wait")
        talk.request("stop")
    until(lambda: gone(pid))
    log = Path(f"{directory}/serve.log").read_text()
    assert "FAILED" in log and log.count("hello world") == 2, (
        "of what jobs print only the last output of those that failed"
    )


@pytest.mark.slow
def test_detached_it_tells_what_is_wrong_before_it_returns(pqrun, state, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "something").touch()
    result, _ = detached(pqrun, "--run-dir", "full")
    assert (result.code, "contains other files (something)" in result.err) == (2, True)
    result, _ = detached(pqrun, "--run-dir", "/proc/nowhere")
    assert (result.code, "cannot create" in result.err) == (4, True)
    result, _ = detached(pqrun, "-C", "nowhere")
    assert (result.code, "cannot enter nowhere" in result.err) == (2, True)
    assert pqrun("run", "--run-dir", "ended", "-", input="true\n").code == 0
    result, _ = detached(pqrun, "--run-dir", "ended")
    assert (result.code, "is not a queue" in result.err) == (2, True)


@pytest.mark.slow
def test_a_queue_may_be_in_a_directory_of_its_own(queue, pqrun, tmp_path, until):
    result, pid = detached(pqrun, "--run-dir", "here")
    assert result.code == 0
    assert pqrun("add", "--run", "here", "true").out == "1\n"
    assert pqrun("add", "true").code == 6, "nothing of it is in the state directory"
    assert pqrun("stop", "--run", "here").code == 0
    until(lambda: gone(pid))


@pytest.mark.slow
def test_what_ended_long_ago_is_gone_when_it_is_started_again(queue):
    one = queue("-q", "-j2")
    with ControlClient(str(one.directory)) as talk:
        talk.request("add", add=[{"run": "echo x"}] * 150 + [{"run": "sleep 60", "id": "stays"}])
    one.ask("cancel", jobs=["nobody"])
    assert one.ask("wait", jobs=["150"])["failed"] == 0
    one.kill()
    size = os.path.getsize(one.directory / "journal.jsonl")
    one = queue("-q", "--keep", "10")
    assert one.states()["stays"] in ("running", "queued")
    assert os.path.getsize(one.directory / "journal.jsonl") < size / 4
    assert sum(len(names) for _, _, names in os.walk(one.directory / "logs")) < 20
    assert one.add("true") == ["152"]


@pytest.mark.slow
def test_a_run_that_was_changed_and_paused_is_resumed_so(live, until):
    one = live("-j1", "--pool", "net=1", "-", input="sleep 60\ntrue\ntrue # pqrun: id=b pools=net\n")
    one.ask("workers", workers=3)
    one.ask("pool", pool="net", size=4)
    one.ask("pause")
    one.kill()
    with one.said.open("ab") as said:
        one.process = subprocess.Popen(
            [*PQRUN, "resume", one.run],
            env=environment(state=one.state),
            cwd=one.cwd,
            stdout=said,
            stderr=said,
        )
    until(lambda: one.answers)
    assert one.ask("ps")["paused"] is True
    assert one.ask("info")["run"]["workers"] == 3
    assert one.add("true", pools={"net": 4})
    one.ask("cancel", jobs=["1"])
    one.ask("unpause")
    assert one.end() == 1


@pytest.mark.slow
def test_detached_it_tells_what_the_machine_refuses_in_a_line(pqrun, state, tmp_path):
    program = (
        "import sys, pqrun.app.serve as serving\n"
        "def serve(*arguments): raise OSError(24, 'Too many open files', '/somewhere')\n"
        "serving._serve = serve\n"
        "from pqrun.cli.main import main\n"
        "sys.argv = ['pqrun', 'serve', '--detach']\n"
        "main()\n"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert (result.returncode, result.stderr) == (
        4,
        "pqrun: cannot continue: Too many open files (/somewhere); see `ulimit -n`\n",
    )


def test_info_tells_how_many_jobs_are_in_each_state(queue, gate, until):
    one = queue("-j1")
    for job, run in (("bad", "exit 1"), ("good", "true"), ("now", gate.wait), ("later", "true")):
        one.add(run, id=job)
    one.ask("hold", jobs=["later"])
    until(lambda: one.ask("info")["states"] == {"failed": 1, "ok": 1, "running": 1, "held": 1})
    one.ask("release", jobs=["later"])
    gate.open()
    until(lambda: one.ask("info")["states"] == {"failed": 1, "ok": 3})
