# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a command must not load: each of these costs more than all that a short run does."""

import os
import subprocess
import sys

import pytest

HEAVY = {
    "pydantic", "rich", "textual", "distributed", "asyncio", "sqlite3", "yaml", "psutil", "prometheus_client",
    "xml", "http", "email", "ssl", "logging", "multiprocessing", "concurrent", "unittest", "decimal",
    "platformdirs",
}  # fmt: skip
OF_A_RUN = {
    "pqrun.app.run",
    "pqrun.engine.engine",
    "pqrun.core.scheduler",
    "pqrun.engine.executor",
    "pqrun.control",
    "pqrun.journal",
}
OF_OTHERS = {
    "pqrun.library.queue",
    "pqrun.cli.commands.ps",
    "pqrun.cli.commands.runs",
    "pqrun.journal.index",
    "pqrun.input.jobfile.node_reader",
}
OF_TYPER = {"typer", "inspect", "dataclasses", "subprocess", "tempfile", "traceback", "pathlib", "difflib"}
PROGRAM = """
import sys, runpy
sys.argv = ["pqrun", *sys.argv[1:]]
import os
leave = os._exit
def tell(code):
    os.write(2, ("\\nloaded " + " ".join(sorted(sys.modules)) + "\\n").encode())
    leave(code)
os._exit = tell
from pqrun.cli.main import entry
entry()
"""


def loaded(words, lines="", env=None):
    """The modules that a command has loaded when it ends, and their packages."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        input=lines.encode(),
        capture_output=True,
        env={**os.environ, "TERM": "dumb", **(env or {})},
        timeout=60,
        check=False,
    )
    (told,) = [line for line in done.stderr.decode().splitlines() if line.startswith("loaded ")]
    return set(told.split()[1:]), done


def test_the_version_loads_nothing_of_a_run():
    modules, done = loaded(["--version"])
    assert done.stdout.startswith(b"pqrun ")
    assert not modules & (HEAVY | OF_A_RUN | OF_OTHERS)


def test_completing_a_command_loads_nothing_of_a_run():
    env = {"_PQRUN_COMPLETE": "complete_bash", "COMP_WORDS": "pqrun ru", "COMP_CWORD": "1"}
    modules, done = loaded([], env=env)
    assert done.stdout.split() == [b"run", b"runs"]
    assert not modules & ((HEAVY - {"rich"}) | OF_A_RUN)


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--help"], ["run", "--help"]], ids=" ".join)
def test_help_loads_rich_and_nothing_of_a_run(words):
    modules, done = loaded(words)
    assert b"Usage" in done.stdout
    assert not modules & ((HEAVY - {"rich", "logging", "decimal"}) | OF_A_RUN)


def test_a_run_of_lines_loads_nothing_that_it_has_no_use_for():
    modules, done = loaded(["run"], "true\n")
    assert done.returncode == 0
    assert modules >= OF_A_RUN
    assert not modules & (HEAVY | OF_OTHERS | OF_TYPER)


def test_a_run_of_yaml_loads_the_reader_of_yaml_besides(tmp_path):
    (tmp_path / "jobs.yaml").write_text("jobs: ['true']\n")
    modules, done = loaded(["run", str(tmp_path / "jobs.yaml")])
    assert done.returncode == 0
    assert not modules & ((HEAVY - {"yaml"}) | (OF_OTHERS - {"pqrun.input.jobfile.node_reader"}))
