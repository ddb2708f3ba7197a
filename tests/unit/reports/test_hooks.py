# SPDX-License-Identifier: LGPL-3.0-or-later
"""Hooks: what they get, when they run, and that they change nothing."""

import json
import time

import pytest
from reported import CELLS, play

from pqrun.cli.options import RunOptions
from pqrun.core.settings import ReportSettings
from pqrun.reports.hooks import Hook, hooks_of, run_hook, variables_of


def with_hooks(directory, cell, **hooks):
    return play(directory, CELLS[cell], settings=ReportSettings(**hooks))


def test_a_hook_gets_the_summary_as_its_stdin_and_the_numbers_as_variables(tmp_path):
    command = f"cat > {tmp_path}/summary; env | grep ^PQRUN_ | sort > {tmp_path}/variables"
    played = with_hooks(tmp_path, "failed", on_finish=command)
    found = json.loads((tmp_path / "summary").read_text())
    assert found["run"] == {**played.document["run"], "exit": 1, "headline": "3 jobs: 1 ok, 2 failed"}
    assert found["metrics"] == played.document["metrics"]
    assert found["jobs"] == [entry for entry in played.document["jobs"] if entry["state"] == "failed"]
    variables = dict(line.split("=", 1) for line in (tmp_path / "variables").read_text().splitlines())
    assert variables.items() >= {
        "PQRUN_RUN_ID": "r1", "PQRUN_STATUS": "failed", "PQRUN_EXIT_CODE": "1", "PQRUN_JOBS_TOTAL": "3",
        "PQRUN_JOBS_OK": "1", "PQRUN_JOBS_FAILED": "2", "PQRUN_JOBS_LEFT": "0",
        "PQRUN_HEADLINE": "3 jobs: 1 ok, 2 failed",
    }.items()  # fmt: skip


@pytest.mark.parametrize("cell", ["ok", "failed", "flaky", "allowed", "deadline", "int", "nothing"])
def test_on_failure_runs_unless_all_went_well_and_on_finish_always(cell, tmp_path):
    played = with_hooks(
        tmp_path,
        cell,
        on_finish=f"echo finish >> {tmp_path}/ran",
        on_failure=f"echo failure >> {tmp_path}/ran",
    )
    ran = (tmp_path / "ran").read_text().split()
    assert ran == (["failure", "finish"] if played.code else ["finish"])


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("exit 3", "exit 3"),
        ("kill -9 $$", "ended by SIGKILL"),
        ("kill -40 $$", "ended by SIG40"),
        ("exec /no/such/thing", "exit 127"),
        ("-no-such-thing", "exit 127"),
    ],
)
def test_what_goes_wrong_in_a_hook_is_told_and_changes_nothing(command, told, tmp_path):
    played = with_hooks(tmp_path, "ok", on_finish=f"{command} 2>/dev/null")
    assert played.code == 0
    assert played.said == f"pqrun: --on-finish: {told}; the exit code of the run is not affected\n"


def never(_seconds):
    time.sleep(0.01)
    return False


def gone(pid):
    """Whether it has ended, although perhaps nobody has reaped it."""
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_a_hook_has_a_limit_of_its_own(tmp_path, until):
    began = time.monotonic()
    hook = Hook("on_finish", f"sleep 60 & echo $! > {tmp_path}/pid; wait", limit=0.3)
    assert run_hook(hook, b"", {}, never) == "took longer than 300ms and was stopped"
    assert time.monotonic() - began < 5
    pid = (tmp_path / "pid").read_text().strip()
    until(lambda: gone(pid))


def test_somebody_who_wants_to_stop_is_not_kept_by_a_hook():
    assert run_hook(Hook("on_finish", "sleep 60"), b"", {}, lambda _seconds: True) == "stopped"


def test_a_hook_that_reads_nothing_of_a_long_summary_is_no_problem():
    assert run_hook(Hook("on_finish", "true"), b"x" * (1 << 20), {}, never) == ""


def test_a_hook_may_be_a_list_of_words(tmp_path):
    path = tmp_path / "a b"
    assert run_hook(Hook("on_finish", ("touch", str(path))), b"", {}, never) == ""
    assert path.exists()
    assert (
        run_hook(Hook("on_finish", ("/no/such",)), b"", {}, never)
        == "cannot be run: No such file or directory"
    )


def test_no_variable_of_a_hook_is_an_option_to_a_pqrun_in_it(tmp_path):
    played = with_hooks(tmp_path, "ok", on_finish="true")
    variables = variables_of(played.reports.digest, played.run, played.ending)
    read = {one.flag.variable for one in RunOptions.declared().values()}
    assert "PQRUN_JOBS" in read and not read & variables.keys()


def test_a_files_hooks_survive_json_and_the_command_line_goes_over_them():
    said = {"on_finish": ("a", "b"), "on_failure": "c", "timeout": 5.0}
    settings = ReportSettings(on_failure="d", hooks=json.loads(json.dumps(said)))
    assert hooks_of(settings) == [
        Hook("--on-failure", "d", on_failure=True, limit=5.0),
        Hook("hooks: on_finish", ("a", "b"), limit=5.0),
    ]


def test_an_empty_command_runs_nothing_of_what_the_file_says():
    settings = ReportSettings(on_finish="", hooks={"on_finish": "a", "on_failure": "b"})
    assert hooks_of(settings) == [Hook("hooks: on_failure", "b", on_failure=True)]


def test_a_hook_without_a_limit_is_waited_for():
    assert run_hook(Hook("on_finish", "sleep 0.1", limit=0.0), b"", {}, never) == ""
