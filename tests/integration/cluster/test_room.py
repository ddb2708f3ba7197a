# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a worker writes lies below its own directory; one whose disk is full is no black hole."""

import subprocess
from collections import Counter

import pytest
from cluster import marks, wait_for

A_LOT = "head -c 200000 /dev/zero"


@pytest.fixture
def disk(tmp_path):
    """A small one of its own; `fill` leaves no room there."""
    path = tmp_path / "disk"
    path.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=6M", "none", path], capture_output=True)
    if mount.returncode != 0:
        pytest.skip("may not mount a small disk")
    yield path
    subprocess.run(["umount", "--lazy", path], check=True)


def fill(disk):
    """Leaves no room, not even for a byte; `unlink` of what it returns makes room again."""
    path = disk / "filler"
    with open(path, "wb", buffering=0) as file:
        try:
            while True:
                file.write(bytes(4096))
        except OSError:
            return path


def attempts(run):
    """As what the attempts of each job were counted."""
    told = {}
    for event in run.events():
        if event["e"] in ("end", "done"):
            told.setdefault(event["s"], []).append(event["as"])
    return told


def test_a_worker_whose_disk_is_full_gets_no_more_and_no_job_fails_of_it(new_cluster, pqrun, tmp_path, disk):
    cluster = new_cluster(0)
    cluster.start_workers("full", threads=2, local=disk, wait=False)
    cluster.start_workers("sound")
    # It runs when the disk has no room any more.
    held = f"echo >> {tmp_path}/begun; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; {A_LOT}\n"
    run = pqrun(cluster, held * 3 + f"{A_LOT}\n" * 30, "--output", "none", "--progress", "plain")
    wait_for(lambda: marks(tmp_path / "begun").total() == 3)
    fill(disk)
    (tmp_path / "go").touch()
    assert run.end() == 0, run.err
    told = attempts(run)
    assert Counter(ways[-1] for ways in told.values()) == {"completed": 33}
    lost = [ways for ways in told.values() if len(ways) > 1]
    assert lost == [["retried", "completed"]] * 2, "only what it ran then was lost, once each"
    assert run.err.count("gets no more jobs for now") == 1 and "No space left on device" in run.err
    assert "flaky" not in run.err


def test_a_worker_that_has_room_again_gets_jobs_again(new_cluster, pqrun, tmp_path, disk):
    cluster = new_cluster(0)
    cluster.start_workers("w", local=disk)
    filler = fill(disk)
    run = pqrun(cluster, "echo fine\n" * 3, "--progress", "plain")
    wait_for(lambda: "no worker of the cluster can write" in run.err, what=lambda: run.err)
    assert "Ctrl-C ends it, and `pqrun resume" in run.err
    assert run.process.poll() is None and run.ends() == {}
    filler.unlink()
    assert run.end() == 0, run.err
    assert "can write again" in run.err
    assert run.out == b"fine\n" * 3


def test_a_job_that_fills_the_disk_itself_is_to_blame_for_it(new_cluster, pqrun, disk):
    cluster = new_cluster(0)
    cluster.start_workers("w", local=disk)
    run = pqrun(cluster, f"head -c 20M /dev/zero\n{A_LOT}\n", "--output", "none", "--progress", "plain")
    assert run.end() == 1
    assert attempts(run) == {1: ["failed"], 2: ["completed"]}
    assert "No space left on device" in run.err and "gets no more" not in run.err


@pytest.mark.parametrize("nanny", [False, True], ids=["alone", "with a nanny"])
def test_what_a_killed_worker_has_written_is_purged_by_the_next(
    new_cluster, pqrun, tmp_path, monkeypatch, nanny
):
    temporary, local = tmp_path / "temporary", tmp_path / "local"
    temporary.mkdir()
    local.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    cluster = new_cluster(0)
    cluster.start_workers("w", local=local, nanny=nanny)
    job = f"[ -e {tmp_path}/again ] && exit; touch {tmp_path}/again; {A_LOT}; kill -9 $PPID; sleep 60"
    run = pqrun(cluster, f"{job}\n", "-q", "--output", "none")
    if not nanny:
        wait_for(lambda: cluster.workers["w"].poll() is not None)
        (left,) = local.rglob("*.out")
        assert left.stat().st_size > 0
        cluster.start_workers("w2", local=local)
    assert run.end() == 0, run.err
    wait_for(lambda: not [*local.rglob("pqrun-*")], what=lambda: [*local.rglob("*")])
    assert [*temporary.rglob("*.out")] == [*temporary.rglob("pqrun-*")] == []
