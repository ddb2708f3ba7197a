# SPDX-License-Identifier: LGPL-3.0-or-later
"""What `import pqrun` offers: found when it is asked for, and typed."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

import pqrun

ROOT = Path(__file__).parents[3]
TYPED = """
from concurrent.futures import Future
from typing import Any
from pqrun import Config, Context, Job, Metrics, PermanentError, Priority, Queue, QueueFull

def handler(context: Context, job: Job[list[int]]) -> int:
    if context.cancelled or context.remaining == 0:
        raise PermanentError
    return sum(job.payload)

queue = Queue(handler, Config.small())
reveal_type(queue)
handle: Future[Any] = queue.enqueue(Job("a", payload=[1], priority=Priority.HIGH))
queue.enqueue(Job.shell("true"))
reveal_type(queue.dequeue().payload)
reveal_type(queue.shutdown())
numbers: Metrics = queue.metrics()
queue.subscribe(lambda events: print(len(events)))
queue.enqueue(Job("b", payload="text"))
"""


def test_every_public_name_is_there():
    assert [name for name in pqrun.__all__ if not hasattr(pqrun, name)] == []
    assert set(pqrun.__all__) <= set(dir(pqrun))
    with pytest.raises(AttributeError, match="no attribute 'Cue'"):
        _ = pqrun.Cue


def test_importing_the_package_loads_nothing_of_the_library():
    program = "import sys, pqrun; print([n for n in sys.modules if n.startswith(('pqrun.', 'concurrent'))])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
def test_the_library_does_without_what_only_the_command_line_needs():
    program = (
        "import sys; from pqrun import *; Queue(print);"
        "print(sorted({n.partition('.')[0] for n in sys.modules}"
        " & {'typer', 'click', 'rich', 'yaml', 'pydantic', 'asyncio', 'platformdirs', 'sqlite3'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("mypy") is None, reason="needs mypy")
def test_a_queue_is_generic_in_what_its_handler_takes(tmp_path):
    (tmp_path / "typed.py").write_text(TYPED, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "typed.py"],
        cwd=tmp_path, env={"MYPYPATH": str(ROOT), "PATH": "/usr/bin:/bin"}, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    lines = done.stdout.replace("builtins.", "").splitlines()
    told = [line.partition(": ")[2] for line in lines if line.startswith("typed.py")]
    assert told[:3] == [
        'note: Revealed type is "pqrun.library.queue.Queue[list[int]]"',
        'note: Revealed type is "list[int]"',
        'note: Revealed type is "list[pqrun.library.config.Job[list[int]]]"',
    ]
    assert len(told) == 4 and 'incompatible type "Job[str]"' in told[3], "only the last line is wrong"
