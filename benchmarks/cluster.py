# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a Dask cluster of four workers on this machine does, and survives: `python benchmarks/cluster.py`."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "dask"))

from cluster import Cluster, Pqrun, lives, marks, wait_for  # noqa: E402

NAMES = ("a", "b", "c", "d")


def mixed(count, directory):
    """Mostly short jobs; some sleep, some fail, some print a lot. Each tells when it begins and ends."""
    lines = []
    for n in range(1, count + 1):
        work = (
            "sleep 0.01" if n % 4 == 0 else "exit 3" if n % 10 == 1 else "head -c 100000 /dev/zero" if n % 50 == 3
            else "sleep 0.7" if n % 40 == 5 else "true"
        )  # fmt: skip
        lines.append(f"echo {n} >> {directory}/begun; ({work}); c=$?; echo {n} >> {directory}/done; exit $c")
    return "\n".join(lines) + "\n"


def plain_mix(count):
    """60 % true, 25 % short sleeps, 10 % failing, and a few that print 1 MiB or run into their limit."""
    limit = "sleep 9 & sleep 9 # pqrun: timeout=0.7 grace=0.2\n"
    return "".join(
        "sleep 0.01\n" if n % 4 == 0 else "exit 3\n" if n % 10 == 1 else "head -c 1048576 /dev/zero\n" if n % 50 == 3
        else limit if n % 40 == 5 else "true\n"
        for n in range(count)
    )  # fmt: skip


def seconds(*words, jobs, directory):
    path = directory / "jobs"
    path.write_text(jobs)
    began = time.monotonic()
    subprocess.run(
        [sys.executable, "-m", "pqrun", "run", str(path), "--output", "none", "-q", "--run-dir",
         str(directory / f"r{began}"), *words],
        stdin=subprocess.DEVNULL, check=False, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    return time.monotonic() - began


def memory(pid):
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0


def report(what, **facts):
    print(json.dumps({"what": what, **facts}), flush=True)


def speed(cluster, directory):
    for what, jobs, count in (("true", "true\n" * 1500, 1500), ("mix", plain_mix(800), 800),
                              ("sleep 0.1", "sleep 0.1\n" * 200, 200)):  # fmt: skip
        empty = min(seconds("--on", cluster.on, jobs="true\n", directory=directory) for _ in range(2))
        none = min(seconds("-j4", jobs="true\n", directory=directory) for _ in range(2))
        rows = []
        for _ in range(3):
            here = seconds("-j4", jobs=jobs, directory=directory) - none
            there = seconds("--on", cluster.on, jobs=jobs, directory=directory) - empty
            rows.append((count / there, here / there))
        rows.sort()
        report(what, jobs_a_second=round(rows[1][0]), of_local=round(rows[1][1], 2), start_up=round(empty, 2))


def killed_worker(cluster, directory, count=2000):
    run = Pqrun(directory, cluster, "--output", "none", "-q", jobs=mixed(count, directory), name="killed")
    wait_for(lambda: len(marks(directory / "done")) > count // 2, 200)
    cluster.kill(cluster.workers["a"])
    code = run.end(300)
    account("worker killed", run, directory, count, code)
    cluster.start_workers("a")


def killed_scheduler(cluster, directory, count=2000):
    run = Pqrun(directory, cluster, "--output", "none", "-q", jobs=mixed(count, directory), name="scheduler")
    wait_for(lambda: len(marks(directory / "done")) > count // 2, 200)
    cluster.kill(cluster.scheduler)
    for name in NAMES:
        cluster.workers[name].wait()
    cluster.start_scheduler()
    cluster.start_workers(*NAMES)
    account("scheduler killed", run, directory, count, run.end(300))


def account(what, run, directory, count, code):
    ends, begun, done = run.ends(), marks(directory / "begun"), marks(directory / "done")
    lost = sum(1 for event in run.events() if "gone" in event)
    report(
        what, exit=code, ended_once=sum(1 for n in ends.values() if n == 1), of=count,
        ended_wrongly=[
            event for event in run.events() if event.get("o") == "failed" and event["s"] % 10 != 1
        ],
        started_twice=sum(1 for n in begun.values() if n > 1), completed_twice=sum(1 for n in done.values() if n > 1),
        attempts_lost=lost,
    )  # fmt: skip
    for name in ("begun", "done"):
        (directory / name).unlink()


def output(cluster, directory):
    before = memory(cluster.scheduler.pid)
    jobs = "".join(f"head -c 1048576 /dev/zero | tr '\\0' '\\{n % 64 + 60:o}'\n" for n in range(100))
    run = Pqrun(directory, cluster, "-q", "-k", jobs=jobs, name="output")
    code = run.end()
    wanted = b"".join(bytes([n % 64 + 60]) * 1048576 for n in range(100))
    report("100 x 1 MiB", exit=code, identical=run.out == wanted,
           scheduler_grew_by=round(memory(cluster.scheduler.pid) - before, 1))  # fmt: skip


def many(cluster, directory, count=100_000):
    before = memory(cluster.scheduler.pid)
    jobs = directory / "many.jobs"
    jobs.write_text("true\n" * count)
    run = Pqrun(
        directory, cluster, "--output", "none", "-q", "--deadline", "40s", jobs="true\n" * count, name="many"
    )
    run.end(120)
    submitted = most = 0
    live = set()
    for event in run.events():
        if event["e"] == "start":
            live.add(event["s"])
            submitted += 1
        elif event["e"] == "end":
            live.discard(event["s"])
        most = max(most, len(live))
    report("100,000 jobs, 40 s of them", submitted=submitted, most_at_once=most,
           scheduler_grew_by=round(memory(cluster.scheduler.pid) - before, 1))  # fmt: skip


def killed_pqrun(cluster, directory):
    run = Pqrun(directory, cluster, "-q", jobs=f"echo $$ >> {directory}/pids; sleep 1000\n" * 4, name="dead")
    wait_for(lambda: (directory / "pids").exists() and len((directory / "pids").read_text().split()) == 4)
    pids = [int(pid) for pid in (directory / "pids").read_text().split()]
    run.process.kill()
    began = time.monotonic()
    wait_for(lambda: not any(map(lives, pids)))
    report("pqrun killed", commands_dead_after=round(time.monotonic() - began, 3))


def main():
    directory = Path(tempfile.mkdtemp(prefix="pqrun-bench-"))
    os.environ["PQRUN_STATE_DIR"] = str(directory / "state")
    cluster = Cluster(directory)
    try:
        cluster.start_workers(*NAMES)
        wanted = sys.argv[1:]
        for part in (speed, killed_worker, killed_scheduler, output, killed_pqrun, many):
            if not wanted or part.__name__ in wanted:
                part(cluster, directory)
    finally:
        cluster.close()
        shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    main()
