# SPDX-License-Identifier: LGPL-3.0-or-later
"""A run of one job starts few processes and threads, and waits for the disk once.

Counted, not measured. `tests/e2e/cli/test_start.py` holds what is loaded, `docs/design/start-up.md` explains both.
"""

import gc
import os
import re
import shutil
import subprocess
import sys

import pytest

from pqrun.cli import main


@pytest.fixture(scope="module")
def trace(tmp_path_factory):
    """The system calls of a run of one job and of all its processes, as strace writes them."""
    directory = tmp_path_factory.mktemp("start")
    log = directory / "trace"
    if shutil.which("strace") is None or subprocess.run(["strace", "-o", log, "true"]).returncode:
        pytest.skip("strace is not installed, or may not trace here")
    (directory / "list").write_text("true\n")
    subprocess.run(
        ["strace", "-f", "-o", log, sys.executable, "-m", "pqrun", "run", "-q", "list"],
        cwd=directory,
        env={**os.environ, "PQRUN_STATE_DIR": str(directory / "state")},
        stdin=subprocess.DEVNULL,
        check=True,
        timeout=60,
    )
    return log.read_text(errors="replace")


def test_one_job_takes_two_watchdogs_and_one_program(trace):
    clones = re.findall(r"^\d+ +clone3?\((.*)$", trace, re.MULTILINE)
    assert len([flags for flags in clones if "CLONE_THREAD" not in flags]) == 2
    assert len(re.findall(r"^\d+ +v?fork\(", trace, re.MULTILINE)) == 1
    programs = re.findall(r'^\d+ +execve\("([^"]*)"', trace, re.MULTILINE)
    assert programs == [sys.executable, "/bin/sh"]


def test_one_job_takes_four_threads(trace):
    """Of the observers, of the journal, of the measurements, and the worker."""
    assert len(re.findall(r"^\d+ +clone3?\(.*CLONE_THREAD", trace, re.MULTILINE)) == 4


def test_one_job_waits_for_the_disk_once(trace):
    assert len(re.findall(r"^\d+ +f(?:data)?sync\(", trace, re.MULTILINE)) == 1


def test_the_collector_does_not_look_through_the_modules_of_a_short_run(tmp_path):
    program = """
import gc, os
looks = []
gc.callbacks.append(lambda phase, facts: looks.append(phase))
os._exit = lambda code: print("looks", len(looks), flush=True)
from pqrun.cli.main import entry
entry()
"""
    (tmp_path / "list").write_text("true\n")
    done = subprocess.run(
        [sys.executable, "-c", program, "run", "-q", "list"],
        cwd=tmp_path,
        env={**os.environ, "PQRUN_STATE_DIR": str(tmp_path / "state")},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert (
        int(done.stdout.split()[-1]) <= 24
    )  # a beginning and an end of each: before `entry`, and in the copies of the watchdogs
    assert gc.get_threshold()[0] < main.COLLECT_EVERY
