# SPDX-License-Identifier: LGPL-3.0-or-later
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from world import AS_SOMEBODY, SOMEBODY, World

if not sys.platform.startswith("linux"):
    collect_ignore_glob = ["test_*.py"]


def assert_nothing_is_left(world: World) -> None:
    """A watchdog that pqrun could not end, for want of descriptors or processes, goes by itself soon."""
    end = time.monotonic() + 8.0
    while any(left.command == "pq-warden" for left in world.alive()) and time.monotonic() < end:
        time.sleep(0.05)
    assert world.clean() == []


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world of its own for each test, in which nobody is left when the test has ended."""
    world = World(tmp_path)
    yield world
    assert_nothing_is_left(world)


@pytest.fixture
def somebodys_world() -> Iterator[World]:
    """One in which another user may run pqrun: not below a directory that is ours alone."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to become somebody else")
    try:
        able = (
            subprocess.run([*AS_SOMEBODY, sys.executable, "-c", ""], stderr=subprocess.DEVNULL).returncode
            == 0
        )
    except FileNotFoundError:
        able = False
    if not able:
        pytest.skip("nobody else may run this Python, or there is no setpriv")
    directory = Path(tempfile.mkdtemp(prefix="pqrun-faults-"))
    world = World(directory)
    for path in (directory, *directory.iterdir()):
        os.chown(path, SOMEBODY, SOMEBODY)
    yield world
    try:
        assert_nothing_is_left(world)
    finally:
        shutil.rmtree(directory)
