# SPDX-License-Identifier: LGPL-3.0-or-later
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from world import World

if not sys.platform.startswith("linux"):
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A world of its own for each test, in which nobody is left when the test has ended."""
    world = World(tmp_path)
    yield world
    assert world.clean() == []
