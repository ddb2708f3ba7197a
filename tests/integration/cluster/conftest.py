# SPDX-License-Identifier: LGPL-3.0-or-later
"""Clusters for tests: one that all share who break nothing, one to be killed and mended, and new ones."""

import importlib.util
from pathlib import Path

import pytest
from cluster import Cluster, Pqrun

NEED_DASK = {
    "test_conformance",
    "test_runs",
    "test_deaths",
    "test_refusals",
    "test_room",
    "test_slurm",
    "test_waiting",
}
STARTS_A_CLUSTER = {"cluster", "_fragile", "new_cluster", "pqrun"}


def pytest_collection_modifyitems(items):
    """Mark the tests of this folder that start a cluster, and skip those that need Dask where it is missing."""
    missing = importlib.util.find_spec("distributed") is None
    for item in items:
        if item.path.parent != Path(__file__).parent:
            continue
        if STARTS_A_CLUSTER.intersection(item.fixturenames):
            item.add_marker(pytest.mark.cluster)
        if missing and item.path.stem in NEED_DASK:
            item.add_marker(pytest.mark.skip(reason="Dask is not installed (the extra `dask`)"))


@pytest.fixture(scope="session")
def cluster(tmp_path_factory):
    """Two workers with four slots each; one has a `GPU`."""
    cluster = Cluster(tmp_path_factory.mktemp("cluster"))
    try:
        cluster.start_workers("plain", threads=4, wait=False)
        cluster.start_workers("gpu", threads=4, resources="GPU=1")
        cluster.wait_for_workers()
        yield cluster
    finally:
        cluster.close()


@pytest.fixture(scope="session")
def _fragile(tmp_path_factory):
    cluster = Cluster(tmp_path_factory.mktemp("fragile"))
    yield cluster
    cluster.close()


@pytest.fixture
def fragile(_fragile):
    """Three workers, `w1` to `w3`, with one slot each; to be killed, they are replaced for the next test."""
    _fragile.make_whole("w1", "w2", "w3")
    return _fragile


@pytest.fixture
def new_cluster(tmp_path):
    """Makes clusters of so many workers with one slot each."""
    clusters = []

    def make(workers=2, **more):
        directory = tmp_path / f"cluster{len(clusters)}"
        directory.mkdir()
        clusters.append(Cluster(directory, **more))
        clusters[-1].start_workers(*(f"w{n}" for n in range(1, workers + 1)))
        return clusters[-1]

    yield make
    for made in clusters:
        made.close()


@pytest.fixture
def pqrun(tmp_path):
    """Starts a pqrun on a cluster."""
    running = []

    def start(cluster, jobs, *words, name="run", **more):
        running.append(Pqrun(tmp_path, cluster, *words, jobs=jobs, name=name, **more))
        return running[-1]

    yield start
    for run in running:
        run.process.kill()
        run.process.wait()
