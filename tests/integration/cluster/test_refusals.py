# SPDX-License-Identifier: LGPL-3.0-or-later
"""What can't be done on a cluster is said in a line, before anything is created."""

import subprocess
import sys

import pytest
from cluster import wait_for

from pqrun.core.errors import UserError
from pqrun.executors.dask.address import Address
from pqrun.executors.dask.connection import SchedulerConnection


def refused(tmp_path, *words, jobs="jobs: ['true']"):
    (tmp_path / "jobs.yaml").write_text(jobs)
    run = subprocess.run(
        [sys.executable, "-m", "pqrun", "run", str(tmp_path / "jobs.yaml"), "--run-dir", str(tmp_path / "run"), *words],
        stdin=subprocess.DEVNULL, capture_output=True, text=True,
    )  # fmt: skip
    assert run.returncode == 2 and "Traceback" not in run.stderr
    assert not (tmp_path / "run").exists()
    return run.stderr


def test_a_job_takes_one_slot(cluster, tmp_path):
    told = refused(tmp_path, "--on", cluster.on, jobs="jobs:\n- make a\n- {run: make b, slots: 2}\n")
    assert f"{tmp_path}/jobs.yaml:3: job `2` asks for 2 slots" in told


def test_a_job_of_a_list_takes_one_slot(cluster, pqrun, tmp_path):
    run = pqrun(cluster, "echo a\necho b # pqrun: slots=2\necho c\n", "-q")
    assert run.end() == 1 and run.out == b"a\n"
    assert f"{run.jobs}:2: job `2` asks for 2 slots" in run.err


def test_a_job_that_is_added_takes_one_slot(cluster, pqrun, tmp_path):
    run = pqrun(cluster, f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done\n", "-q")
    wait_for(lambda: (run.record / "control.sock").exists())
    words = [sys.executable, "-m", "pqrun", "add", "--run", str(run.record), "--slots", "2", "true"]
    added = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert added.returncode != 0 and "a job asks for 2 slots: with --on dask://" in added.stderr
    (tmp_path / "go").touch()
    assert run.end() == 0, run.err


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ("pty: true", "job `2` asks for a terminal (`pty`): with --on {on} there is none; remove `pty`"),
        (
            "stdin: open",
            "job `2` asks for an open standard input: with --on {on} nothing can be sent to a job",
        ),
    ],
)
def test_nothing_can_be_typed_there(cluster, tmp_path, fields, told):
    said = refused(tmp_path, "--on", cluster.on, jobs=f"jobs:\n- make a\n- {{run: make b, {fields}}}\n")
    assert f"{tmp_path}/jobs.yaml:3: {told.format(on=cluster.on)}" in said


def test_output_can_not_be_passed_straight_through(cluster, tmp_path):
    assert "--output raw" in refused(tmp_path, "--on", cluster.on, "--output", "raw")


def test_this_machine_says_nothing_about_the_swapping_of_others(cluster, tmp_path):
    assert "--noswap looks at this machine only" in refused(tmp_path, "--on", cluster.on, "--noswap")


@pytest.mark.slow
def test_there_has_to_be_a_scheduler(tmp_path):
    told = refused(tmp_path, "--on", "dask://127.0.0.1:9")
    assert "no Dask scheduler answers at tcp://127.0.0.1:9" in told


def test_pqrun_has_to_be_the_same_there(cluster, monkeypatch):
    monkeypatch.setattr("pqrun.executors.dask.address.version", lambda _package: "9.9")
    link = SchedulerConnection(Address(cluster.on, cluster.address, None))
    with pytest.raises(
        UserError, match=r"pqrun 9\.9 here, \S+ on the scheduler: install the same version on both"
    ):
        link.open()


def test_dask_must_not_be_too_old_there(cluster, monkeypatch):
    monkeypatch.setattr("pqrun.executors.dask.address.MIN_VERSION", (9999, 1))
    link = SchedulerConnection(Address(cluster.on, cluster.address, None))
    with pytest.raises(
        UserError, match=r"distributed \S+ here, \S+ on the scheduler: install 9999\.1 or newer"
    ):
        link.open()


@pytest.mark.parametrize(
    "words", [("--pipe",), ("--pipe-part", "-a", "file"), ("--pipe", "--round-robin"), ("--pipe", "-N2")]
)
def test_parts_of_an_input_are_refused(cluster, tmp_path, words):
    (tmp_path / "file").write_text("a\n")
    run = subprocess.run(
        [sys.executable, "-m", "pqrun", "each", "--run-dir", "run", "--on", cluster.on, *words, "cat"],
        input="a\n", capture_output=True, text=True, cwd=tmp_path,
    )  # fmt: skip
    assert run.returncode == 2
    assert f"splits the input on this machine: it can't be combined with --on {cluster.on}" in " ".join(
        run.stderr.split()
    )
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_blocks_of_an_input_are_refused_before_the_cluster_is_looked_for(tmp_path):
    def pqrun(*words, **more):
        return subprocess.run(
            [sys.executable, "-m", "pqrun", *words], capture_output=True, text=True, cwd=tmp_path, **more
        )

    assert pqrun("each", "-q", "--run-dir", "run", "--pipe", "false", input="a\n").returncode == 1
    done = pqrun("resume", "./run", "--failed", "--on", "dask://127.0.0.1:9")
    assert done.returncode == 2
    assert "the blocks of the input are on this machine" in " ".join(done.stderr.split())
