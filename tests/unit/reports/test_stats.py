# SPDX-License-Identifier: LGPL-3.0-or-later
"""What running jobs take, of real processes."""

import json
import os
import re
import subprocess
import sys
import threading
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.fake_run import FakeRun

from pqrun.core.job import AttemptId
from pqrun.executors.local import usage
from pqrun.executors.local.usage import UsageMonitor

stats = pytest.importorskip("pqrun.executors.local.usage_sampler", reason="needs psutil")

BUSY = "x = bytearray(60_000_000)\nprint(flush=True)\nwhile True: pass"


@pytest.mark.slow
@pytest.mark.parametrize("listed", [True, False], ids=["by the kernel's lists", "by a look at all"])
def test_the_whole_tree_of_a_job_is_measured(listed, until, monkeypatch):
    if listed:
        assert stats._are_listed() or sys.platform != "linux"
    else:
        monkeypatch.setattr(stats, "_are_listed", lambda: False)
    clock = [0.0]
    quiet = subprocess.Popen(["sleep", "60"])
    busy = subprocess.Popen(["sh", "-c", f"'{sys.executable}' -c '{BUSY}'; true"], stdout=subprocess.PIPE)
    pids = {AttemptId(1, 1): quiet.pid, AttemptId(2, 1): busy.pid, AttemptId(3, 1): 2**22 + 1}
    sampler = stats.UsageSampler(lambda: pids, lambda: clock[0])
    try:
        busy.stdout.readline()
        (child,) = stats.psutil.Process(busy.pid).children()
        assert sampler.sample() == {}
        before = child.cpu_times().user
        until(lambda: child.cpu_times().user > before + 0.2)
        clock[0] += 1.0
        loads = sampler.sample()
        assert loads[AttemptId(2, 1)].cpus > 0.15
        assert loads[AttemptId(2, 1)].memory > 60_000_000 <= loads[AttemptId(2, 1)].peak
        assert loads[AttemptId(1, 1)].cpus < 0.05 and 0 < loads[AttemptId(1, 1)].memory < 20_000_000
        assert loads[AttemptId(3, 1)] == (0.0, 0, 0)
        peak = loads[AttemptId(2, 1)].peak
        del pids[AttemptId(3, 1)]
        child.kill()
        busy.wait()
        clock[0] += 1.0
        loads = sampler.sample()
        assert loads[AttemptId(2, 1)].memory < 20_000_000
        assert loads[AttemptId(2, 1)].peak == peak
        assert AttemptId(3, 1) not in loads
    finally:
        for process in (quiet, busy):
            process.kill()
            process.wait()
        busy.stdout.close()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a peak between two looks is not known")
def test_a_peak_between_two_looks_is_seen_too():
    code = "x = bytearray(90_000_000); del x; print(flush=True); input()"
    process = subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    sampler = stats.UsageSampler(lambda: {AttemptId(1, 1): process.pid}, lambda: 0.0)
    with process:
        process.stdout.readline()
        sampler.sample()
        (load,) = sampler.sample().values()
        process.communicate(b"\n")
    assert load.memory < 60_000_000 and load.peak > 90_000_000


def test_it_is_not_loaded_before_a_run_is_a_second_old_and_gives_nothing_then():
    began = time.monotonic()
    watch = UsageMonitor(FakeRun())
    watch.start()
    watch.close()
    assert time.monotonic() - began < 0.9
    assert watch.loads() == {} and watch.peak_of(AttemptId(1, 1)) is None


@pytest.mark.parametrize(("lives", "measured"), [(1, False), (1000, True)])
def test_nothing_is_measured_before_an_attempt_has_lived_for_an_interval(monkeypatch, lives, measured):
    looks = []
    enough, asked = threading.Event(), threading.Event()

    def leaders():
        looks.append(1)
        if len(looks) == 20:
            enough.set()
        return {AttemptId(len(looks) // lives, 1): os.getpid()}

    monkeypatch.setattr(usage, "EVERY", 0.004)
    monkeypatch.setattr(usage, "SOON", 0.001)
    monkeypatch.setattr(usage, "is_possible", lambda: asked.set())
    run = FakeRun()
    run.pids = leaders
    watch = UsageMonitor(run)
    watch.start()
    assert (asked if measured else enough).wait(30)
    watch.close()
    assert asked.is_set() == measured


def pqrun(directory, *arguments, **more):
    return subprocess.run(
        [sys.executable, "-m", "pqrun", *arguments], cwd=directory, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, timeout=60, **more,
    )  # fmt: skip


@pytest.fixture
def big_and_small(tmp_path):
    """A job of 80 MB for a while, one that is smaller than pqrun itself, one that is over at once."""
    (tmp_path / "big.py").write_text("import time; x = bytearray(80_000_000); time.sleep(4)\n")
    (tmp_path / "jobs.yaml").write_text(
        f"jobs: [{{id: big, run: [{sys.executable}, big.py]}}, {{id: small, run: sleep 4}}, {{id: quick, run: 'true'}}]\n"
    )
    return tmp_path


@pytest.mark.slow
def test_records_have_the_peak_of_the_job_itself(big_and_small):
    done = pqrun(
        big_and_small, "run", "jobs.yaml", "-j3", "--json", "--run-dir", "r", "--events", "events",
        "--trace", "trace", "--results", "out", "--on-finish", "cat > hook.json",
    )  # fmt: skip
    document = json.loads(done.stdout)
    big, small, quick = document["jobs"]
    assert 80_000_000 < big["memory_peak_bytes"] < 150_000_000
    assert 0 < small["memory_peak_bytes"] < 8_000_000, "pqrun's own size is above that"
    assert "memory_peak_bytes" not in quick, "nobody had time to look"
    assert json.loads(pqrun(big_and_small, "show", "./r", "--json").stdout)["jobs"] == document["jobs"]
    lines = [json.loads(line) for line in (big_and_small / "events").read_text().splitlines()]
    told = {line["id"]: line.get("memory_peak_bytes") for line in lines if line["event"] == "attempt_ended"}
    assert told == {job["id"]: job.get("memory_peak_bytes") for job in document["jobs"]}
    spans = [e for e in json.loads((big_and_small / "trace").read_text())["traceEvents"] if e["ph"] == "X"]
    assert {span["args"]["id"]: span["args"].get("memory_peak_bytes") for span in spans} == told
    meta = json.loads((big_and_small / "out" / "1-big" / "meta.json").read_text())
    assert meta["memory_peak_bytes"] == big["memory_peak_bytes"]
    (big_and_small / "document.json").write_text(done.stdout)
    schemas = Path(__file__).parents[3] / "docs" / "schema"
    if find_spec("check_jsonschema"):
        for schema, file in (("document", "document.json"), ("hook", "hook.json"), ("trace", "trace")):
            command = [sys.executable, "-m", "check_jsonschema", "--schemafile", schemas / f"{schema}.json"]
            assert subprocess.run([*command, big_and_small / file]).returncode == 0


@pytest.mark.slow
def test_without_psutil_nothing_is_said_of_memory_and_all_else_is_as_it_was(big_and_small):
    (big_and_small / "sitecustomize.py").write_text("import sys; sys.modules['psutil'] = None\n")
    environment = {**os.environ, "PYTHONPATH": str(big_and_small)}
    done = pqrun(big_and_small, "run", "jobs.yaml", "-j3", "--json", env=environment)
    assert done.returncode == 0 and not re.search("psutil|Traceback|memory", done.stderr)
    assert [job["state"] for job in json.loads(done.stdout)["jobs"]] == ["ok"] * 3
    assert "memory_peak_bytes" not in done.stdout
