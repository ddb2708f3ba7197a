# SPDX-License-Identifier: LGPL-3.0-or-later
"""One call of a queue in a program costs no more Python than its budget.

Counted, not measured: `python -m benchmarks.library_path` prints where it goes. `docs/design/library.md` explains it.
"""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMITS = {"opcodes": 2_030, "program": 360, "calls": 52, "turns": 0.11}
"""Of one `enqueue`, with ten workers, metrics and a time limit. Before futures without a condition: 2,420, 590, 79."""
WITH_ENQUEUE_MANY = {"opcodes": 1_850, "program": 170}
OTHER_VERSIONS = 1.1  # the limits are those of CPython 3.11; other versions compile to other opcodes
BY_TURN = (
    "calls",
    "turns",
)  # CPython 3.13 switches threads at each job that is handed over, so its turns are short


def cost_of(*options):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.library_path", "--json", *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def allowed(limit):
    return limit * (1 if sys.version_info[:2] == (3, 11) else OTHER_VERSIONS)


@pytest.fixture(scope="module")
def cost():
    return cost_of()


@pytest.mark.parametrize("what", LIMITS)
def test_one_call_executes_no_more_python_than_its_budget(cost, what):
    if what in BY_TURN and sys.version_info >= (3, 13):
        pytest.skip("how many jobs a turn ends depends on when this Python switches threads")
    assert cost[what] <= allowed(LIMITS[what])


def test_calls_that_are_added_together_cost_less():
    cost = cost_of("--many")
    assert {
        what: cost[what] for what in WITH_ENQUEUE_MANY if cost[what] > allowed(WITH_ENQUEUE_MANY[what])
    } == {}
