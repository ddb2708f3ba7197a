# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a command costs as a whole process: seconds of wall and CPU, and the largest resident size in its tree."""

from __future__ import annotations

import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple


@contextmanager
def workplace() -> Iterator[Path]:
    """A directory for a benchmark, in which runs are recorded too; the program is compiled, as after an installation."""
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    with tempfile.TemporaryDirectory(prefix="pqrun-bench-") as directory:
        os.environ["PQRUN_STATE_DIR"] = f"{directory}/state"
        yield Path(directory)


def forget_runs() -> None:
    """Their records would fill the disk."""
    subprocess.run(["rm", "-rf", os.environ["PQRUN_STATE_DIR"]], check=True)


class Cost(NamedTuple):
    """`peak` in MiB, of the largest process."""

    wall: float
    cpu: float
    peak: float


def cost_of(command: str, directory: Path) -> Cost:
    """Runs it by a shell; its output goes nowhere, its exit code does not matter."""
    began = time.perf_counter()
    process = subprocess.Popen(
        ["/bin/sh", "-c", f"exec {command}" if not command.startswith("(") else command],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    peak = 0.0
    while True:
        peak = max(peak, _high_water(process.pid))
        pid, _, used = os.wait4(process.pid, os.WNOHANG)
        if pid:
            process.returncode = 0
            return Cost(time.perf_counter() - began, used.ru_utime + used.ru_stime, peak)
        time.sleep(0.005)


def _high_water(pid: int) -> float:
    """The largest in the tree."""
    largest = 0.0
    try:
        with open(f"/proc/{pid}/status") as file:
            for line in file:
                if line.startswith("VmHWM:"):
                    largest = int(line.split()[1]) / 1024
        with open(f"/proc/{pid}/task/{pid}/children") as file:
            for child in file.read().split():
                largest = max(largest, _high_water(int(child)))
    except OSError:
        pass
    return largest
