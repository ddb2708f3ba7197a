# SPDX-License-Identifier: LGPL-3.0-or-later
"""pqrun from outside, as in tests/cli."""

from tests.cli.conftest import pqrun, run, surroundings

__all__ = ["pqrun", "run", "surroundings"]
