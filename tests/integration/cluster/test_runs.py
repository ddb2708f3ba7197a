# SPDX-License-Identifier: LGPL-3.0-or-later
"""Whole runs on a cluster: the same job file, the same promises, the same reports."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from cluster import Cluster, lives, wait_for


def told_by(*words):
    """What another pqrun says."""
    return subprocess.check_output([sys.executable, "-m", "pqrun", *words], stdin=subprocess.DEVNULL)


def test_what_runs_is_told_with_its_host(cluster, pqrun, tmp_path):
    run = pqrun(cluster, f"echo > {tmp_path}/up; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done\n", "-q")
    wait_for(lambda: (tmp_path / "up").exists())

    def where():
        return json.loads(told_by("ps", "--run", str(run.record), "--json"))["jobs"][0].get("where")

    assert wait_for(where) == socket.gethostname()
    (tmp_path / "go").touch()
    assert run.end() == 0, run.err


def test_jobs_end_as_they_would_here(cluster, pqrun, tmp_path):
    jobs = "echo out; echo err >&2\nexit 3\nkill -9 $$\nno-such-command-anywhere\ncat /dev/null\n"
    events = tmp_path / "events"
    run = pqrun(cluster, jobs, "-k", "--json", "--output", "none", "--events", str(events))
    assert run.end() == 1
    document = json.loads(run.out)
    told = [(job["state"], job["exit"], job["signal"]) for job in document["jobs"]]
    assert told == [
        ("ok", 0, None), ("failed", 3, None), ("failed", None, "SIGKILL"), ("failed", 127, None), ("ok", 0, None),
    ]  # fmt: skip
    host = socket.gethostname()
    assert {json.loads(line).get("where") for line in events.read_text().splitlines()} == {None, host}
    assert {job["where"] for job in document["jobs"]} == {host}
    assert json.loads(told_by("show", str(run.record), "--json"))["jobs"] == document["jobs"]
    for name in ("out", "err"):
        place = document["jobs"][0][f"std{name}_at"]
        data = Path(place["file"]).read_bytes()
        assert data[place["offset"] : place["offset"] + place["bytes"]] == f"{name}\n".encode()


def test_output_is_the_same_byte_for_byte(cluster, pqrun):
    jobs = "".join(f"head -c {size} /dev/zero | tr '\\0' '\\{size % 64 + 64:o}'\n" for size in SIZES)
    run = pqrun(cluster, jobs, "-k", "-q")
    assert run.end() == 0, run.err
    assert run.out == b"".join(bytes([size % 64 + 64]) * size for size in SIZES)


@pytest.mark.parametrize(
    ("options", "commands"),
    [(("-n2",), ["1 2", "3 4", "5"]), (("-N", "3"), ["1 2 3", "4 5"]), (("-L4",), ["1 2 3 4", "5"]),
     (("-j1", "-X"), ["1 2 3 4 5"]), (("-j1", "-m", "-s", "20"), ["1 2 3 4 5"]), (("-n0",), [""] * 5)],
)  # fmt: skip
def test_many_arguments_a_command(cluster, pqrun, tmp_path, options, commands):
    words = ("-q", "-k", "--run-dir", str(tmp_path / "run"), "--on", cluster.on, *options, "echo")
    run = pqrun(cluster, "", verb=("each", *words, ":::", *"12345"))
    assert run.end() == 0, run.err
    assert run.out.decode().splitlines() == commands
    jobs = json.loads(told_by("show", str(run.record), "--json"))["jobs"]
    assert [" ".join(job.get("args", {}).values()) for job in jobs] == commands


def test_a_job_has_its_niceness_on_a_worker(cluster, pqrun):
    run = pqrun(cluster, "nice # pqrun: nice=7\nnice\n", "-k", "-q")
    assert run.end() == 0, run.err
    assert run.out.split() == [b"7", b"%d" % os.getpriority(os.PRIO_PROCESS, 0)]


SIZES = (1, 16_383, 16_384, 16_385, 65_536, 65_537, 1_000_000, 3_000_000, 0, 5)


@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
def test_no_output_of_a_reader_in_the_background_is_lost(cluster, pqrun):
    run = pqrun(cluster, "exec > >(cat); echo start; echo last\n" * 50, "-q", "--shell", "bash -c")
    assert run.end() == 0, run.err
    assert sorted(run.out.split()) == [b"last"] * 50 + [b"start"] * 50


def test_output_can_be_read_line_by_line_as_it_comes(cluster, pqrun, tmp_path):
    go_on = tmp_path / "go-on"
    job = f"echo first; while [ ! -e {go_on} ]; do sleep 0.02; done; printf 'second\\nlast'; seq 20000\n"
    run = pqrun(cluster, job, "--output", "line", "-q")
    wait_for(lambda: run.out == b"first\n")
    go_on.touch()
    assert run.end() == 0, run.err
    assert run.out == b"first\nsecond\nlast" + b"".join(b"%d\n" % n for n in range(1, 20001))


def test_a_job_whose_stdin_has_no_writer_is_ended_at_its_limit(cluster, pqrun, tmp_path):
    os.mkfifo(tmp_path / "fifo")
    jobs = {"jobs": [{"run": "cat", "stdin": str(tmp_path / "fifo"), "timeout": 0.5}, "echo beside"]}
    (tmp_path / "jobs.yaml").write_text(json.dumps(jobs))
    run = pqrun(cluster, "", str(tmp_path / "jobs.yaml"), "-q")
    assert run.end() == 1
    assert {event["as"] for event in run.events() if event["e"] == "end"} == {"timeout", "completed"}


def test_a_job_past_its_limit_is_ended_with_all_that_is_below_it(cluster, pqrun, tmp_path):
    tree = (
        f"trap '' TERM; for n in 1 2 3 4; do (trap '' TERM; echo >> {tmp_path}/up; sleep 1000; :) & done; "
        f"echo $$ > {tmp_path}/pid; wait"
    )
    (tmp_path / "jobs.yaml").write_text(json.dumps({"jobs": [{"run": tree, "timeout": 1, "grace": 0.3}]}))
    run = pqrun(cluster, "", str(tmp_path / "jobs.yaml"), "-q")
    assert run.end() == 1
    end = next(event for event in run.events() if event["e"] == "end")
    assert end["as"] == "timeout" and 1.0 <= end["f"] - end["b"] < 1.0 + 0.3 + 1.0
    assert not lives(int((tmp_path / "pid").read_text()))


def test_a_high_job_that_becomes_ready_goes_ahead_of_many_low_ones(fragile, pqrun, tmp_path):
    jobs = {
        "first": {"run": "sleep 0.3"},
        "high": {"run": "echo high >> began", "needs": ["first"], "priority": "high"},
    }
    jobs |= {f"low{n}": {"run": "echo low >> began; sleep 0.03", "priority": "low"} for n in range(60)}
    (tmp_path / "jobs.yaml").write_text(json.dumps({"jobs": jobs}))
    run = pqrun(fragile, "", str(tmp_path / "jobs.yaml"), "-q")
    assert run.end() == 0, run.err
    ended = next(event["f"] for event in run.events() if event["e"] == "end" and event["s"] == 1)
    high = next(event["b"] for event in run.events() if event["e"] == "end" and event["s"] == 2)
    between = [e for e in run.events() if e["e"] == "end" and ended < e["b"] < high]
    assert len(between) <= 8


def test_the_cluster_never_has_more_than_its_window(cluster, pqrun):
    run = pqrun(cluster, "true\n" * 300, "--output", "none", "-q")
    assert run.end() == 0, run.err
    live, most = set(), 0
    for event in run.events():
        live.add(event["s"]) if event["e"] == "start" else live.discard(event["s"]) if event[
            "e"
        ] == "end" else None
        most = max(most, len(live))
    assert 8 < most <= 4 * 8


def test_no_more_run_at_a_time_than_was_said(cluster, pqrun, tmp_path):
    run = pqrun(
        cluster, "mkdir here || exit 9; sleep 0.02; rmdir here\n" * 15, "-j1", "-q", "--show", "failed"
    )
    assert run.end() == 0, run.err


def test_a_pool_is_a_resource_of_workers(cluster, pqrun, tmp_path):
    job = {"run": "mkdir gpu || exit 9; sleep 0.1; rmdir gpu", "pools": {"GPU": 1}}
    (tmp_path / "jobs.yaml").write_text(json.dumps({"pools": {"GPU": 9}, "jobs": [job] * 4}))
    run = pqrun(cluster, "", str(tmp_path / "jobs.yaml"), "-q")
    assert run.end() == 0, run.err


def test_what_no_worker_has_is_told_soon(cluster, pqrun, tmp_path):
    (tmp_path / "jobs.yaml").write_text(
        '{"pools": {"TPU": 2}, "jobs": [{"run": "true", "pools": {"TPU": 1}}]}'
    )
    began = time.monotonic()
    run = pqrun(cluster, "", str(tmp_path / "jobs.yaml"))
    assert run.end() == 1
    assert "no worker of the cluster has TPU=1: start one with `dask worker --resources 'TPU=1'`" in run.err
    end = next(event for event in run.events() if event["e"] == "end")
    start = next(event for event in run.events() if event["e"] == "start")
    assert end["t"] - start["t"] <= 5.0 and time.monotonic() - began < 60


def test_ctrl_c_ends_what_runs_and_what_waits_there(cluster, pqrun, tmp_path):
    import signal

    run = pqrun(cluster, f"echo $$ >> {tmp_path}/pids; sleep 1000\n" * 30, "-q")
    wait_for(lambda: (tmp_path / "pids").exists() and len((tmp_path / "pids").read_text().split()) == 8)
    run.process.send_signal(signal.SIGINT)
    assert run.end(20) in (130, -signal.SIGINT)
    assert not any(lives(int(pid)) for pid in (tmp_path / "pids").read_text().split())
    outcomes = [event["o"] for event in run.events() if "o" in event]
    assert set(outcomes) == {"interrupted"}


def test_workers_that_come_later_are_used(new_cluster, pqrun):
    cluster = new_cluster(0)
    run = pqrun(cluster, "echo hello\n", "-q")
    cluster.start_workers("late")
    assert run.end() == 0 and run.out == b"hello\n"


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl makes the certificates")
def test_an_encrypted_cluster(pqrun, tmp_path):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(cert),
         "-days", "2", "-subj", "/CN=localhost"],
        check=True, capture_output=True,
    )  # fmt: skip
    files = ("--tls-ca-file", str(cert), "--tls-cert", str(cert), "--tls-key", str(key))
    directory = tmp_path / "cluster"
    directory.mkdir()
    cluster = Cluster(directory, tls=files)
    try:
        cluster.start_workers("w")
        ours = ("--tls-ca", str(cert), "--tls-cert", str(cert), "--tls-key", str(key))
        run = pqrun(cluster, "echo secret\n", "-q", *ours)
        assert (run.end(), run.out) == (0, b"secret\n"), run.err
        plain = pqrun(cluster, "echo secret\n", "-q", name="plain", on=cluster.address.replace("tls", "dask"))
        assert plain.end() == 2 and "no Dask scheduler answers" in plain.err
    finally:
        cluster.close()


def test_values_of_a_job_file_are_expanded_on_the_worker(cluster, pqrun, tmp_path):
    (tmp_path / "jobs.yaml").write_text("""\
pools: {GPU: [a]}
jobs:
  - {run: 'echo "$DEVICES $PATH $LITERAL"', pools: {GPU: 1}, env: {DEVICES: "x$PQRUN_POOL_GPU", PATH: "/first:$PATH"}}
""")
    run = pqrun(cluster, "", "jobs.yaml", "-q", "--env", "LITERAL=$PATH")
    assert run.end() == 0, run.err
    devices, path, literal = run.out.decode().split()
    assert (devices, literal) == ("xa", "$PATH")
    assert path.startswith("/first:/") and "$" not in path
