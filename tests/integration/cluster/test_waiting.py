# SPDX-License-Identifier: LGPL-3.0-or-later
"""A scheduler that does not come back, or does not answer: that is told, with how to end the run; and it ends."""

import os
import signal

from cluster import lives, marks, wait_for

SOON = "import pqrun.executors.dask.connection as l; l.LONG_SILENCE_SECONDS = 0.3; l.MISSING_CHECK_INTERVAL_SECONDS = l.CONNECT_TIMEOUT_SECONDS = 0.5"
STAY = "echo $$ >> {}/pids; trap '' TERM; echo some words; sleep 1000; :\n"


def told_to_wait(run):
    words = "the run waits for it. Ctrl-C ends it, and `pqrun resume "
    wait_for(lambda: words in run.err, what=lambda: run.err)
    assert "has not answered for" in run.err
    assert run.err.count(words) == 1


def pids(tmp_path, count):
    wait_for(lambda: marks(tmp_path / "pids").total() == count)
    return [int(pid) for pid in marks(tmp_path / "pids")]


def test_a_scheduler_that_stays_away_is_told_and_ctrl_c_ends_the_run(new_cluster, pqrun, tmp_path):
    cluster = new_cluster(1)
    run = pqrun(cluster, STAY.format(tmp_path) * 2, "--progress", "plain", first=SOON)
    before = pids(tmp_path, 1)
    cluster.kill(cluster.scheduler)
    told_to_wait(run)
    assert "broke; the run waits for it to come back. Ctrl-C ends it, and `pqrun resume " in run.err
    run.process.send_signal(signal.SIGINT)
    assert run.end(20) == -signal.SIGINT
    wait_for(lambda: not any(map(lives, before)), 10.0)


def test_a_scheduler_that_hangs_is_told_and_ctrl_c_ends_the_run_and_what_runs(new_cluster, pqrun, tmp_path):
    cluster = new_cluster(2)
    run = pqrun(cluster, STAY.format(tmp_path) * 2, "--progress", "plain", "--grace", "0.5", first=SOON)
    before = pids(tmp_path, 2)
    cluster.scheduler.send_signal(signal.SIGSTOP)
    try:
        told_to_wait(run)
        assert all(map(lives, before))
        run.process.send_signal(signal.SIGINT)
        wait_for(lambda: not any(map(lives, before)), 30.0)
        assert run.end(30) == -signal.SIGINT
    finally:
        cluster.scheduler.send_signal(signal.SIGCONT)
    assert [event["sig"] for event in run.events() if event["e"] in ("end", "done")] == ["SIGKILL"] * 2


def test_a_scheduler_that_answers_again_is_no_trouble(new_cluster, pqrun, tmp_path):
    cluster = new_cluster(1)
    os.mkfifo(tmp_path / "go")
    run = pqrun(cluster, f"echo $$ >> {tmp_path}/pids; read x < {tmp_path}/go; echo fine\n", first=SOON)
    pids(tmp_path, 1)
    cluster.scheduler.send_signal(signal.SIGSTOP)
    told_to_wait(run)
    cluster.scheduler.send_signal(signal.SIGCONT)
    (tmp_path / "go").write_text("\n")
    assert run.end() == 0, run.err
    assert run.out == b"fine\n"
