# SPDX-License-Identifier: LGPL-3.0-or-later
"""pqrun from outside, as in tests/e2e/cli, and a console for what pages show."""

import pytest
from cli.conftest import pqrun, run, surroundings

from .console import Console

__all__ = ["pqrun", "run", "surroundings"]


@pytest.fixture
def console(tmp_path, surroundings, until):
    """A shell in a directory of its own."""
    made = Console(tmp_path, surroundings, until)
    yield made
    made.close()
