# SPDX-License-Identifier: LGPL-3.0-or-later
"""What running jobs take, of real processes."""

import subprocess
import sys

import pytest

from pqrun.model import Key

stats = pytest.importorskip("pqrun.reports.stats", reason="needs psutil")

BUSY = "x = bytearray(60_000_000)\nprint(flush=True)\nwhile True: pass"


def test_the_whole_tree_of_a_job_is_measured(until):
    clock = [0.0]
    quiet = subprocess.Popen(["sleep", "60"])
    busy = subprocess.Popen(["sh", "-c", f"'{sys.executable}' -c '{BUSY}'; true"], stdout=subprocess.PIPE)
    pids = {Key(1, 1): quiet.pid, Key(2, 1): busy.pid, Key(3, 1): 2**22 + 1}
    sampler = stats.Sampler(lambda: pids, lambda: clock[0])
    try:
        busy.stdout.readline()
        (child,) = stats.psutil.Process(busy.pid).children()
        assert sampler.loads() == {}
        before = child.cpu_times().user
        until(lambda: child.cpu_times().user > before + 0.2)
        clock[0] += 1.0
        loads = sampler.loads()
        assert loads[Key(2, 1)].cpus > 0.15
        assert loads[Key(2, 1)].memory > 60_000_000 <= loads[Key(2, 1)].peak
        assert loads[Key(1, 1)].cpus < 0.05 and 0 < loads[Key(1, 1)].memory < 20_000_000
        assert loads[Key(3, 1)] == stats.Load(0.0, 0, 0)
        assert sampler.loads() is loads, "asked again within a second it does not look again"
        peak = loads[Key(2, 1)].peak
        del pids[Key(3, 1)]
        child.kill()
        busy.wait()
        clock[0] += 1.0
        assert sampler.loads()[Key(2, 1)].memory < 20_000_000
        assert sampler.loads()[Key(2, 1)].peak == peak
        assert Key(3, 1) not in sampler.loads()
    finally:
        for process in (quiet, busy):
            process.kill()
            process.wait()
        busy.stdout.close()
