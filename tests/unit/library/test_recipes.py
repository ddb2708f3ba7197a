# SPDX-License-Identifier: LGPL-3.0-or-later
"""The page about the library is right: its programs run, and print what it says."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import pqrun

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "library.md").read_text(encoding="utf-8")
PROGRAM = re.compile(r"^```python\n(.*?)^```\n\n^```text\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
RECIPES = (
    "Fixed kinds of jobs", "A batch that can be cancelled", "Priority by customer tier",
    "Permanent errors", "When the queue is full", "asyncio", "Shell commands", "Stopping a service",
    "An export queue", "A dashboard", "Try again later", "Idempotent handlers",
)  # fmt: skip
EXAMPLES = ("export_queue.py", "dashboard.py", "try_later.py", "idempotent.py")


@pytest.mark.slow
def test_every_program_of_the_page_prints_what_it_says(tmp_path):
    programs = PROGRAM.findall(PAGE)
    assert len(programs) == PAGE.count("```python") == len(RECIPES) + 1
    running = []
    for number, (program, printed) in enumerate(programs):
        path = tmp_path / str(number) / "recipe.py"
        path.parent.mkdir()
        path.write_text(program, encoding="utf-8")
        process = subprocess.Popen(
            [sys.executable, "-W", "error", str(path)],
            cwd=path.parent, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )  # fmt: skip
        running.append((process, printed))
    told = [(*process.communicate(timeout=60), process.returncode) for process, _ in running]
    assert told == [(printed, "", 0) for _, printed in running]


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_is_a_program_of_the_page(name):
    _, licence, program = (ROOT / "examples" / name).read_text(encoding="utf-8").split("\n", 2)
    assert licence.startswith("# SPDX-License-Identifier")
    assert program in [shown for shown, _ in PROGRAM.findall(PAGE)]
    assert f"](../examples/{name})" in PAGE


def test_the_recipes_are_those_that_are_promised():
    assert tuple(re.findall(r"^### (.*)$", PAGE, re.MULTILINE)) == RECIPES


def test_the_page_tells_of_every_method_and_every_public_name():
    methods = [name for name in vars(pqrun.Queue) if not name.startswith("_")]
    assert [name for name in methods if f"`{name}(" not in PAGE] == []
    assert [name for name in pqrun.__all__ if name not in PAGE and name != "Metrics"] == []
    assert [name for name in pqrun.Config.__dataclass_fields__ if f"{name}=" not in PAGE] == []
