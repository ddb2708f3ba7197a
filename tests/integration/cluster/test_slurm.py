# SPDX-License-Identifier: LGPL-3.0-or-later
"""Dask workers inside batch jobs of a real Slurm, one of which is cancelled."""

import sys

import pytest
import slurm
from cluster import Cluster, marks, wait_for

pytestmark = pytest.mark.skipif(bool(slurm.why_not()), reason=slurm.why_not())

BATCH = """#!/bin/sh
#SBATCH --cpus-per-task=2 --no-requeue --output=batch-%j.log
exec {python} -m dask worker {address} --nthreads 2 --no-nanny --no-dashboard --local-directory {directory}
"""


@pytest.fixture
def batch(tmp_path):
    directory = tmp_path / "slurm"
    directory.mkdir()
    system = slurm.Slurm(directory)
    yield system
    system.close()


def test_workers_in_batch_jobs_and_one_of_them_cancelled(batch, pqrun, tmp_path):
    directory = tmp_path / "cluster"
    directory.mkdir()
    cluster = Cluster(directory)
    try:
        script = directory / "batch.sh"
        script.write_text(BATCH.format(python=sys.executable, address=cluster.address, directory=directory))
        numbers = [batch.run("sbatch", "--parsable", str(script)).strip() for _ in range(2)]
        logs = [batch.directory / f"batch-{number}.log" for number in numbers]
        for log in logs:
            wait_for(lambda log=log: log.exists() and "Registered to" in log.read_text())
        jobs = "".join(
            f"echo {n} >> {tmp_path}/begun; sleep 0.05; echo {n} >> {tmp_path}/done\n" for n in range(1, 81)
        )
        run = pqrun(cluster, jobs, "-q")
        wait_for(lambda: len(marks(tmp_path / "done")) > 20)
        batch.run("scancel", "--full", "--signal=KILL", numbers[0])
        assert run.end() == 0, run.err
        assert set(run.ends().values()) == {1} and len(run.ends()) == 80
        assert len(marks(tmp_path / "done")) == 80
    finally:
        cluster.close()
