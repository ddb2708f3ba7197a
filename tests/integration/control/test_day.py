# SPDX-License-Identifier: LGPL-3.0-or-later
"""A short form of the day in `benchmarks.day`: no job is lost, and no curve rises."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]


@pytest.mark.slow
@pytest.mark.timeout(400)
def test_a_queue_lives_through_a_short_day(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "benchmarks.day",
            "--jobs",
            "1800",
            "--kills",
            "4",
            "--keep",
            "200",
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path)},
        timeout=390,
    )
    assert (done.returncode, "wrong" in done.stdout) == (0, False), done.stdout + done.stderr
    assert "4 kills" in done.stdout and ": 0 lost" in done.stdout
