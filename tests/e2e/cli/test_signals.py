# SPDX-License-Identifier: LGPL-3.0-or-later
"""Being stopped."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

WORKS = "touch works-$PQRUN_SEQ"


def alive(path: Path) -> bool:
    """Whether the process whose number is in that file lives."""
    try:
        return Path(f"/proc/{path.read_text().strip()}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_the_first_signal_stops_what_runs_starts_nothing_more_and_ends_it_by_that_signal(
    start, until, tmp_path, number
):
    lines = [f"echo $$ > pid-{n}; exec sleep 1000" for n in (1, 2)] + ["touch third"]
    live = start("-j2", lines=lines)
    until(
        lambda: all((tmp_path / f"pid-{n}").exists() and (tmp_path / f"pid-{n}").read_text() for n in (1, 2))
    )
    live.signal(number)
    done = live.end()
    assert live.process.returncode == -number and done.code == 128 + number
    assert not alive(tmp_path / "pid-1") and not alive(tmp_path / "pid-2")
    assert not (tmp_path / "third").exists()
    name = "Ctrl-C (SIGINT)" if number == signal.SIGINT else signal.Signals(number).name
    assert f"pqrun: {name}: stopping 2 jobs" in done.err
    page = done.err.partition(f"pqrun: stopped by {name} after ")[2].split("\n")
    page = [line for line in page if line != "pqrun: the list of jobs was not read completely"]  # or it was
    assert page[0].endswith(": 1 of 3 jobs not run (2 interrupted)")
    assert page[1].startswith("  continue  pqrun resume ") and page[2:] == [""], "and this is the last line"


def test_jobs_get_the_signal_that_was_asked_for_and_may_end_in_peace(start, until, tmp_path):
    lines = [f"trap 'echo said goodbye > bye; exit 0' INT; {WORKS}; while :; do sleep 0.01; done"]
    live = start("--signal", "INT", "--json", lines=lines)
    until((tmp_path / "works-1").exists)
    live.signal(signal.SIGTERM)
    done = live.end()
    assert done.code == 128 + signal.SIGTERM
    assert (tmp_path / "bye").read_text() == "said goodbye\n"
    assert done.states == {"1": "interrupted"} and done.jobs["1"]["exit"] == 0


def test_the_second_signal_kills(start, until, tmp_path):
    live = start("--grace", "1h", lines=[f"trap 'touch asked' TERM; {WORKS}; while :; do sleep 0.01; done"])
    until((tmp_path / "works-1").exists)
    live.signal(signal.SIGINT)
    until((tmp_path / "asked").exists)
    live.signal(signal.SIGINT)
    done = live.end()
    assert done.code == 130 and "killing" in done.err


@pytest.mark.slow
def test_what_does_not_listen_is_killed_after_its_grace(start, until, tmp_path):
    live = start("--grace", "100ms", lines=[f"trap '' TERM; {WORKS}; while :; do sleep 0.01; done"])
    until((tmp_path / "works-1").exists)
    live.signal(signal.SIGTERM)
    assert live.end().code == 143


def test_a_signal_while_nothing_runs_but_the_input_is_open_ends_it(start, until):
    live = start("-q")
    live.stdin.write(b"true\n")
    live.stdin.flush()
    until(lambda: live.running_and_waiting() == (0, 0))
    live.signal(signal.SIGINT)
    live.process.wait(30)
    assert live.process.returncode == -signal.SIGINT


@pytest.mark.slow
def test_what_the_caller_ignores_stays_ignored(start, until, tmp_path, gate):
    live = start(
        "-q", lines=[f"{WORKS}; {gate.wait}"], preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN)
    )
    until((tmp_path / "works-1").exists)
    live.signal(signal.SIGHUP)
    assert live.running_and_waiting() == (1, 0)
    gate.open()
    assert live.end().code == 0


@pytest.mark.slow
def test_failed_before_it_was_stopped_it_still_ends_by_the_signal(start, until, tmp_path):
    live = start("-j1", lines=["false", f"{WORKS}; sleep 1000"])
    until((tmp_path / "works-2").exists)
    live.signal(signal.SIGTERM)
    assert live.end().code == 143


def test_usr1_tells_what_runs_and_changes_nothing(start, until, tmp_path, gate):
    live = start("-q", "-j1", lines=[f"{WORKS}; {gate.wait} # pqrun: id=long", "true"])
    until((tmp_path / "works-1").exists)
    assert live.running_and_waiting() == (1, 1)
    until(lambda: "long" in live.err)
    gate.open()
    assert live.end().code == 0


@pytest.mark.slow
def test_stopped_by_ctrl_z_the_jobs_stop_too_and_the_time_does_not_count(start, until, tmp_path):
    def state(pid):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]

    live = start("--json", "-t", "2s", lines=[f"echo $$ > pid; {WORKS}; exec sleep 0.5"])
    until((tmp_path / "works-1").exists)
    pid = (tmp_path / "pid").read_text().strip()
    live.signal(signal.SIGTSTP)
    until(lambda: state(live.pid) == "T" and state(pid) == "T")
    time.sleep(2.2)  # longer than its limit: what is to be shown is that this time does not count
    os.kill(live.pid, signal.SIGCONT)
    done = live.end()
    assert done.code == 0 and done.states == {"1": "ok"}


def test_a_loop_of_a_shell_around_it_stops_too(surroundings, tmp_path):
    """As Ctrl-C does it: the signal goes to the whole group, and the shell looks how its child ended."""
    run = f"{sys.executable} -m pqrun run -q"
    script = f"export LOOP=$$; for n in 1 2 3; do echo 'kill -INT -$LOOP; sleep 60' | {run}; echo $n; done"
    done = subprocess.run(
        ["bash", "-c", script],
        capture_output=True,
        cwd=tmp_path,
        env=surroundings,
        timeout=60,
        start_new_session=True,
        check=False,
    )
    assert (done.stdout, done.returncode) == (b"", -signal.SIGINT)


def test_interrupted_before_there_is_a_run_it_ends_by_that_signal_and_without_a_traceback():
    code = "import pqrun.cli.fast_parser as plain, sys\n"
    code += "def interrupted(*words): raise KeyboardInterrupt\n"
    code += "plain.run_if_plain = interrupted; sys.argv = ['pqrun', 'run']\n"
    code += "from pqrun.cli.main import entry; entry()"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, stdin=subprocess.DEVNULL, check=False
    )
    assert (done.returncode, done.stderr) == (-signal.SIGINT, b"")
