# SPDX-License-Identifier: LGPL-3.0-or-later
"""What dies for real, and what becomes of the run: exactly once in the journal, at least once on hosts."""

import os
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import pytest
from cluster import lives, marks, wait_for


def told(path, count):
    """The numbers of processes that have written themselves down."""
    wait_for(lambda: path.exists() and len(path.read_text().split()) >= count)
    return [int(pid) for pid in path.read_text().split()]


def counted(count, directory, work="sleep 0.02"):
    """Jobs that tell when they begin and when they have done their work."""
    return "".join(
        f"echo {n} >> {directory}/begun; {work}; echo {n} >> {directory}/done\n" for n in range(1, count + 1)
    )


def check_that_each_ended_once(run, count):
    assert set(run.ends().values()) == {1} and len(run.ends()) == count
    assert [event for event in run.events() if event.get("o", "ok") != "ok"] == []


def test_a_killed_worker_costs_no_job_and_no_second_end(fragile, pqrun, tmp_path):
    cluster = fragile
    run = pqrun(cluster, counted(150, tmp_path), "-q", "-r", "0")
    wait_for(lambda: len(marks(tmp_path / "done")) > 50)
    cluster.kill(cluster.workers["w1"])
    assert run.end() == 0, run.err
    check_that_each_ended_once(run, 150)
    begun, done = marks(tmp_path / "begun"), marks(tmp_path / "done")
    assert len(done) == 150
    assert sum(1 for count in begun.values() if count > 1) <= 2
    assert sum(1 for count in done.values() if count > 1) <= 1, "killed between its last act and its report"


def test_a_killed_worker_takes_its_jobs_with_it_and_is_missed_at_once(fragile, pqrun, tmp_path):
    cluster = fragile
    deaf = (
        f"trap '' TERM; (sleep 1000 & echo $! >> {tmp_path}/pids; wait) & echo $$ >> {tmp_path}/pids; wait\n"
    )
    run = pqrun(cluster, deaf * 3, "-q", "--grace", "0.2")
    before = told(tmp_path / "pids", 6)
    cluster.kill(cluster.workers["w1"])
    wait_for(lambda: sum(map(lives, before)) == 4, 5.0)
    wait_for(lambda: any(event.get("gone") for event in run.events()), 5.0)
    # The lost one waits for a slot: both that are left are taken.
    time.sleep(0.2)
    assert sum(map(lives, before)) == 4
    run.process.send_signal(signal.SIGINT)
    run.end()
    wait_for(lambda: not any(map(lives, before)), 5.0)


@pytest.mark.slow
def test_what_a_guardian_was_not_told_of_yet_is_killed_at_once_too():
    from pqrun.executors.dask.worker_plugin import WorkerWatchdog

    watchdogs = WorkerWatchdog(b"mark-of-this-test", lambda start, instead_of=0: start())
    watchdogs.spawn()
    command = "trap '' TERM; echo; sleep 1000; :"
    with subprocess.Popen(
        command, shell=True, env={"SIGN": "mark-of-this-test"}, stdout=subprocess.PIPE, start_new_session=True
    ) as job:
        job.stdout.readline()
        for watchdog in watchdogs.watchdogs:
            os.close(watchdog.pipe)  # as the death of its worker does
        assert job.wait(2.5) == -signal.SIGKILL
    for watchdog in watchdogs.watchdogs:
        os.waitpid(watchdog.pid, 0)


@pytest.mark.parametrize("nanny", [False, True], ids=["alone", "with a nanny"])
def test_a_killed_pqrun_leaves_nothing_running(request, pqrun, tmp_path, nanny):
    if nanny:
        cluster = request.getfixturevalue("new_cluster")(0)
        cluster.start_workers("w", threads=2, nanny=True)
    else:
        cluster = request.getfixturevalue("cluster")
    run = pqrun(cluster, f"trap '' TERM; echo $$ >> {tmp_path}/pids; sleep 1000; :\n" * 2, "-q")
    pids = told(tmp_path / "pids", 2)
    run.process.kill()
    wait_for(lambda: not any(map(lives, pids)), 5.0)


def test_a_scheduler_that_comes_back_goes_on_with_the_run(fragile, pqrun, tmp_path):
    cluster = fragile
    run = pqrun(cluster, counted(100, tmp_path), "--progress", "plain", "--output", "none")
    wait_for(lambda: len(marks(tmp_path / "done")) > 40)
    cluster.kill(cluster.scheduler)
    cluster.make_whole("w1", "w2", "w3")
    assert run.end() == 0, run.err
    check_that_each_ended_once(run, 100)
    assert "the connection to the scheduler at" in run.err
    assert sum(1 for count in marks(tmp_path / "begun").values() if count > 1) <= 4


def test_what_has_ended_when_the_scheduler_dies_does_not_run_again(fragile, pqrun, tmp_path):
    cluster = fragile
    jobs = "".join(
        f"echo $$ >> {tmp_path}/pids; echo {n} >> {tmp_path}/begun; "
        f"while [ ! -e {tmp_path}/go ]; do sleep 0.01; done; head -c {size} /dev/zero\n"
        for n, size in enumerate((100, 3_000_000), 1)
    )
    run = pqrun(cluster, jobs, "-k", "-q")
    wait_for(lambda: len(marks(tmp_path / "begun")) == 2)
    # What they report does not get beyond the scheduler.
    cluster.scheduler.send_signal(signal.SIGSTOP)
    (tmp_path / "go").touch()
    wait_for(lambda: not any(map(lives, told(tmp_path / "pids", 2))))
    cluster.kill(cluster.scheduler)
    cluster.make_whole("w1", "w2", "w3")
    assert run.end() == 0, run.err
    assert marks(tmp_path / "begun") == {"1": 1, "2": 1}
    assert run.out == bytes(3_000_100)


def test_a_worker_that_is_asked_to_go_takes_no_job_with_it(fragile, pqrun, tmp_path):
    cluster = fragile
    run = pqrun(cluster, counted(40, tmp_path, work="sleep 0.1"), "-q")
    wait_for(lambda: len(marks(tmp_path / "done")) > 10)
    cluster.kill(cluster.workers["w1"], signal.SIGTERM)
    assert run.end() == 0, run.err
    check_that_each_ended_once(run, 40)


def test_what_is_ended_together_with_its_worker_is_not_to_blame(fragile, pqrun, tmp_path):
    job = f"echo $$ >> {tmp_path}/pids; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done\n"
    run = pqrun(fragile, job, "-q")
    (pid,) = told(tmp_path / "pids", 1)
    parent = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(pid, signal.SIGTERM)  # as batch systems do it at the end of a job's time
    wait_for(lambda: not Path(f"/proc/{pid}").exists())
    os.kill(parent, signal.SIGTERM)
    told(tmp_path / "pids", 2)
    (tmp_path / "go").touch()
    assert run.end() == 0, run.err
    assert [event["as"] for event in run.events() if event["e"] == "end"] == ["retried", "completed"]


def test_what_kills_its_worker_again_and_again_is_given_up(fragile, pqrun, tmp_path):
    cluster = fragile
    jobs = tmp_path / "jobs.yaml"
    events = tmp_path / "events"
    # The parent of its shell is the worker. A loss counts only once pqrun has heard of the start (`[d]`: not the command itself).
    heard = f"until [ $(grep -c attempt_starte[d] {events}) -ge $PQRUN_ATTEMPT ]; do sleep 0.05; done"
    jobs.write_text(f"jobs: {{bad: {{run: '{heard}; kill -9 $PPID; sleep 9', max_lost: 1, retries: 5}}}}")
    run = pqrun(cluster, "", str(jobs), "-q", "--events", str(events))
    assert run.end() == 1
    assert [event["as"] for event in run.events() if event["e"] == "end"] == ["retried", "failed"]
    assert run.ends() == {1: 1}
    assert not lives(cluster.workers["w1"].pid) or not lives(cluster.workers["w2"].pid)
    assert sum(worker.poll() is None for worker in cluster.workers.values()) == 1


def test_what_must_not_run_twice_is_not_run_again(fragile, pqrun, tmp_path):
    cluster = fragile
    jobs = tmp_path / "jobs.yaml"
    jobs.write_text(
        f"jobs: [{{run: 'echo x >> {tmp_path}/begun; sleep 0.3; kill -9 $PPID; sleep 9', on_lost: fail, retries: 3}}]"
    )
    run = pqrun(cluster, "", str(jobs), "-q")
    assert run.end() == 1
    assert marks(tmp_path / "begun") == {"x": 1}
    assert "died" in run.err


def test_a_run_whose_pqrun_was_killed_is_resumed_on_the_cluster(cluster, pqrun, tmp_path):
    run = pqrun(cluster, counted(40, tmp_path, work="sleep 0.05"), "-q")
    wait_for(lambda: len(marks(tmp_path / "done")) > 10)
    run.process.kill()
    run.process.wait()
    again = pqrun(cluster, "", name="again", verb=("resume", str(run.record)))
    assert again.end() == 0, again.err
    assert len(marks(tmp_path / "done")) == 40
    ends = run.ends()
    assert set(ends) == set(range(1, 41))


@pytest.mark.parametrize("end", ["exec sleep 1000", "sleep 1000 & wait $!"], ids=["itself", "its shell"])
def test_a_command_that_is_signalled_together_with_pqrun_was_interrupted(fragile, pqrun, tmp_path, end):
    job = f"test -e {tmp_path}/go && exit; echo $$ >> {tmp_path}/pids; {end}"
    words = ("-q", "--retries", "1")
    run = pqrun(fragile, f"{job}\n" * 3, *words)
    pids = told(tmp_path / "pids", 3)
    run.process.send_signal(signal.SIGSTOP)  # so that pqrun hears of nothing before all of them have died
    for pid in pids:
        below = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        os.kill(int(below[0]) if below else pid, signal.SIGTERM)
    wait_for(lambda: not any(map(lives, pids)))
    run.process.send_signal(signal.SIGTERM)
    run.process.send_signal(signal.SIGCONT)
    assert run.end() == -signal.SIGTERM, run.err
    assert [event["asked"] for event in run.events() if event["e"] == "end"] == ["interrupted"] * 3
    (tmp_path / "go").touch()
    again = pqrun(fragile, "", name="again", verb=("resume", str(run.record), "-q", "--on", fragile.on))
    assert again.end() == 0, again.err
    assert Counter(event["o"] for event in run.events() if "o" in event and event["e"] == "end") == {
        "interrupted": 3, "ok": 3,
    }  # fmt: skip
