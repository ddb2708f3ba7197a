# SPDX-License-Identifier: LGPL-3.0-or-later
"""What every executor promises, held by the one that runs attempts on a cluster."""

import os

import pytest
from executors.conftest import Processes, check_what_was_reported
from executors.test_conformance import *  # noqa: F403

from pqrun.engine.clock import SystemClock
from pqrun.output.store import Logs


class OnCluster(Processes):
    """Four of its eight slots."""

    cluster = None
    runs_processes = False  # of this machine

    def build(self):
        from pqrun.executors.dask.address import Address
        from pqrun.executors.dask.connection import SchedulerConnection
        from pqrun.executors.dask.executor import DaskExecutor
        from pqrun.executors.dask.worker_plugin import RunConfig

        token = os.urandom(8).hex()
        self.marker = b"/" + token.encode()
        self.link = SchedulerConnection(Address(self.cluster.on, self.cluster.address, None))
        self.link.open()
        executor = DaskExecutor(
            self.link,
            RunConfig("", "test" + token[:4], str(self.directory), token, False),
            clock=SystemClock(),
            reporter=self,
            logs=Logs(str(self.directory / "logs"), keep=False),
            limit=4,
        )
        executor.open()
        return executor

    @property
    def commands(self):
        return self

    def open_descriptors(self):
        return set()  # they are another process's

    def tear_down(self):
        """Its own end is the link's."""


@pytest.fixture
def rig(cluster, tmp_path):
    OnCluster.cluster = cluster
    rig = OnCluster(tmp_path)
    yield rig
    rig.executor.close()
    assert rig.failures == []
    check_what_was_reported(rig.reports)


@pytest.fixture(params=OnCluster.faults)
def faulty(request, rig):
    return rig, rig.faults[request.param]
