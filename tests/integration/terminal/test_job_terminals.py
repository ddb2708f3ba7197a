# SPDX-License-Identifier: LGPL-3.0-or-later
"""Jobs with a terminal of their own (`pty`) in a run that has one, too."""

import os
import sys

import pytest

from .conftest import ROOT, Terminal

PQRUN = (sys.executable, "-m", "pqrun")


@pytest.fixture
def window(tmp_path):
    """`window(*words)`: pqrun in a window of 101 columns and 33 lines."""
    opened = []

    def open_window(*words):
        env = {"PYTHONPATH": str(ROOT), "PQRUN_STATE_DIR": str(tmp_path / "state")}
        opened.append(Terminal([*PQRUN, *words], 101, 33, env=env, cwd=tmp_path))
        return opened[-1]

    yield open_window
    for terminal in opened:
        terminal.close()


def test_a_job_gets_another_terminal_of_the_same_size(window, tmp_path):
    (tmp_path / "list").write_text("stty size; tty\n")
    terminal = window("run", "list", "--pty", "--progress", "plain")
    ours = os.readlink(f"/proc/{terminal.pid}/fd/0")
    terminal.finish()
    assert "33 101" in terminal.lines()
    [named] = [line for line in terminal.lines() if line.startswith("/dev/pts/")]
    assert named != ours


def test_a_redirected_run_asks_its_controlling_terminal(tmp_path):
    (tmp_path / "list").write_text("stty size >size\n")
    shell = f"{' '.join(PQRUN)} run list --pty >out 2>&1 </dev/null"
    env = {"PYTHONPATH": str(ROOT), "PQRUN_STATE_DIR": str(tmp_path / "state")}
    terminal = Terminal(["sh", "-c", shell], 77, 22, env=env, cwd=tmp_path)
    terminal.finish()
    terminal.close()
    assert (tmp_path / "size").read_text() == "22 77\n"


def test_ctrl_c_stops_the_run_and_its_jobs_as_ever(window, tmp_path):
    (tmp_path / "list").write_text(
        "trap 'echo asked; exit' TERM; touch there; while :; do sleep 0.02; done\n"
    )
    terminal = window("run", "list", "--pty", "--progress", "plain")
    terminal.until(lambda: (tmp_path / "there").exists())
    terminal.press("\x03")
    assert terminal.finish() == -2
    assert "asked" in terminal.text()


def test_progress_of_a_job_is_its_last_version_and_its_colours_stay(window, tmp_path):
    (tmp_path / "draws").write_text(
        r"printf '10%%\r50%%\r\033[32m100%%\033[0m\n'; printf '\033[2Ka\033]0;title\007\n'"
    )
    (tmp_path / "list").write_text("sh draws\n")
    terminal = window("run", "list", "--pty", "--progress", "plain")
    terminal.finish()
    assert "100%" in terminal.lines()
    assert b"\x1b[32m100%" in terminal.raw
    assert b"50%" not in terminal.raw
    assert terminal.titles == []
