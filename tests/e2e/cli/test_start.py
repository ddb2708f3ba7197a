# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a command must not load: each of these costs more than all that a short run does."""

import os
import subprocess
import sys

import pytest

HEAVY = {
    "pydantic", "rich", "textual", "distributed", "asyncio", "sqlite3", "yaml", "psutil", "prometheus_client",
    "xml", "http", "email", "ssl", "logging", "multiprocessing", "concurrent", "unittest", "decimal",
    "platformdirs", "starlette", "uvicorn",
}  # fmt: skip
OF_A_RUN = {
    "pqrun.app.run",
    "pqrun.engine.engine",
    "pqrun.core.scheduler",
    "pqrun.executors.thread_pool",
    "pqrun.control",
    "pqrun.journal",
}
OF_A_CLIENTS_RUN = {
    "pqrun.app.run", "pqrun.cli.app", "pqrun.journal.index", "pqrun.core.scheduler", "pqrun.engine.engine",
    "pqrun.control.connection", "pqrun.control.commands.add", "pqrun.control.job_payload",
}  # fmt: skip
OF_OTHERS = {
    "pqrun.library.queue",
    "pqrun.cli.commands.ps",
    "pqrun.cli.commands.runs",
    "pqrun.journal.index",
    "pqrun.input.jobfile.node_reader",
}
OF_TYPER = {
    "typer", "click", "inspect", "dataclasses", "subprocess", "tempfile", "traceback", "pathlib", "difflib",
}  # fmt: skip
FOR_FEW_RUNS = {
    "random", "shlex", "importlib.util", "unicodedata", "termios", "datetime", "shutil", "logging", "string",
    "copy", "pickle", "pqrun.engine.executor", "pqrun.ui.headings", "pqrun.executors.local.niceness",
    "pqrun.executors.local.created_file", "pqrun.reports.targets", "pqrun.reports.report_set",
}  # fmt: skip
"""What a run loads only if it has a use for it: a job with jitter, a client, a terminal, output that is not ASCII."""
MODULES = 92
"""Our own modules of a run. Each one costs a start 0.2 to 0.4 ms."""
BY_TYPER = {"rich", "pydantic", "email", "decimal", "logging"}
"""Modules that typer itself loads for help, mistakes and completion; since 0.29 also pydantic."""
PROGRAM = """
import sys
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
    """The modules that a command has loaded when it ends, and their packages.

    In a UTF-8 locale: the change from the C locale, which Python marks with `LC_CTYPE`, takes one more.
    """
    usual = {name: value for name, value in os.environ.items() if name != "LC_CTYPE"}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words],
        input=lines.encode(),
        capture_output=True,
        env={**usual, "LC_ALL": "C.UTF-8", "TERM": "dumb", **(env or {})},
        timeout=60,
        check=False,
    )
    (told,) = [line for line in done.stderr.decode().splitlines() if line.startswith("loaded ")]
    return set(told.split()[1:]), done


def test_the_version_loads_nothing_of_a_run():
    modules, done = loaded(["--version"])
    assert done.stdout.startswith(b"pqrun ")
    assert not modules & (HEAVY | OF_A_RUN | OF_OTHERS | OF_TYPER)


def test_completing_a_command_loads_nothing_of_a_run():
    env = {"_PQRUN_COMPLETE": "complete_bash", "COMP_WORDS": "pqrun ru", "COMP_CWORD": "1"}
    modules, done = loaded([], env=env)
    assert done.stdout.split() == [b"run", b"runs"]
    assert not modules & ((HEAVY - BY_TYPER) | OF_A_RUN)


@pytest.mark.parametrize("words", [["-h"], ["run", "-h"], ["ps", "-h"]], ids=" ".join)
def test_the_short_help_loads_no_typer(words):
    modules, done = loaded(words)
    assert b"Usage: pqrun" in done.stdout
    assert not modules & (HEAVY | OF_A_RUN | {"typer", "click", "inspect"})


@pytest.mark.slow
@pytest.mark.parametrize("words", [["--help"], ["run", "--help"]], ids=" ".join)
def test_help_loads_rich_and_nothing_of_a_run(words):
    modules, done = loaded(words)
    assert b"Usage" in done.stdout
    assert not modules & ((HEAVY - BY_TYPER) | OF_A_RUN)


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [{}, {"PQRUN_JOBS": "4", "PQRUN_TIMEOUT": "5m", "PQRUN_KEEP_ORDER": "1", "PQRUN_TAG": "no"}],
    ids=["plain", "variables"],
)
def test_a_run_of_lines_loads_nothing_that_it_has_no_use_for(variables):
    modules, done = loaded(["run"], "true\n", variables)
    assert done.returncode == 0
    assert modules >= OF_A_RUN
    assert not modules & (HEAVY | OF_OTHERS | OF_TYPER | FOR_FEW_RUNS)
    assert len([name for name in modules if name.startswith("pqrun")]) <= MODULES


@pytest.mark.slow
def test_a_run_that_nobody_watches_reads_nothing_of_earlier_runs(tmp_path):
    (tmp_path / "jobs.txt").write_text("sleep 1.1\nexit 3\n")
    for words in (["-q"], [], ["-q"]):
        modules, done = loaded(
            ["run", *words, str(tmp_path / "jobs.txt")], env={"PQRUN_STATE_DIR": str(tmp_path / "state")}
        )
        assert done.returncode == 1
        assert not modules & {"sqlite3", "pqrun.core.past", "pqrun.journal.past", "pqrun.journal.index"}


@pytest.mark.slow
def test_commands_for_a_live_run_load_neither_typer_nor_a_run(tmp_path):
    """A plain command line starts as fast as that of `run`: with the client's modules alone."""
    env = {"PQRUN_STATE_DIR": str(tmp_path)}
    queue = [sys.executable, "-m", "pqrun", "serve", "--detach", "-j1"]
    subprocess.run(queue, env={**os.environ, **env}, check=True, capture_output=True, timeout=60)
    try:
        for words in ("add --id b true", "wait b", "add --id a -- sleep 100", "ps --json", "ps --why a", "wait b", "set -j 2", "pause", "unpause", "cancel a",
                      "stop --now"):  # fmt: skip
            modules, done = loaded(words.split(), env=env)
            assert done.returncode == 0, done.stderr
            assert not modules & (HEAVY | OF_TYPER | OF_A_CLIENTS_RUN | {"random", "shutil", "datetime"}), (
                words
            )
    finally:
        loaded(["stop", "--now"], env=env)  # no queue stays behind if a command failed


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables", [{}, {"PQRUN_JOBS": "4", "PQRUN_PROGRESS": "none"}], ids=["plain", "variables"]
)
def test_commands_for_recorded_runs_and_job_files_load_no_typer(variables, tmp_path):
    env = {"PQRUN_STATE_DIR": str(tmp_path / "state"), **variables}
    (tmp_path / "list").write_text("true\n")
    for words in ("each -q true ::: 1", "runs", "show --json", "logs latest", "resume latest -q", "prune --dry-run",
                  f"check {tmp_path}/list", f"init {tmp_path}/jobs.yaml", "schema"):  # fmt: skip
        modules, done = loaded(words.split(), env=env)
        assert done.returncode == 0, done.stderr
        assert not modules & {"typer", "click", "rich", "pydantic", "pqrun.cli.app"}, words


def test_a_run_of_yaml_loads_the_reader_of_yaml_besides(tmp_path):
    (tmp_path / "jobs.yaml").write_text("jobs: ['true']\n")
    modules, done = loaded(["run", str(tmp_path / "jobs.yaml")])
    assert done.returncode == 0
    assert not modules & ((HEAVY - {"yaml"}) | (OF_OTHERS - {"pqrun.input.jobfile.node_reader"}))
