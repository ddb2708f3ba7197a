# SPDX-License-Identifier: LGPL-3.0-or-later
"""A run inside tmux, which wraps lines anew when its window changes: nothing of an old table may stay."""

import os
import re
import shutil
import subprocess
import sys
import time

import pytest

from .conftest import ROOT

TMUX = shutil.which("tmux")
pytestmark = pytest.mark.skipif(not TMUX, reason="tmux is not installed")


class Pane:
    def __init__(self, socket, command, columns, rows):
        self.socket = socket
        self("-f", "/dev/null", "new-session", "-d", "-x", str(columns), "-y", str(rows), command)
        self("set", "-g", "remain-on-exit", "on")

    def __call__(self, *words):
        argv = [TMUX, "-S", self.socket, *words]
        return subprocess.run(argv, capture_output=True, text=True, timeout=20).stdout

    def visible(self):
        return self("capture-pane", "-p")

    def read_all(self):
        return self("capture-pane", "-p", "-S", "-")

    def resize(self, columns, rows):
        self("resize-window", "-x", str(columns), "-y", str(rows))

    def until(self, fact, seconds=30.0, *, of_all=False):
        """Wait for a fact about the visible text, or about all of it. A capture may show a half drawn table."""
        end = time.monotonic() + seconds
        while not fact(self.read_all() if of_all else self.visible()):
            assert time.monotonic() < end, self.read_all()
            time.sleep(0.05)

    def until_drawn_again(self):
        """Wait for a later frame: its clock shows another time."""
        shown = clock(self.visible())
        self.until(lambda text: clock(text) not in ("", shown))


@pytest.fixture
def pane(tmp_path):
    panes = []

    def open_pane(jobs, columns, rows):
        (tmp_path / "jobs.txt").write_text(jobs)
        os.mkfifo(tmp_path / "go")
        start = f"cd {tmp_path} && PYTHONPATH={ROOT} {sys.executable} -m pqrun run jobs.txt --no-journal"
        panes.append(Pane(str(tmp_path / "s"), f"{start}; echo; echo code $?; cat", columns, rows))
        return panes[-1]

    yield open_pane
    for one in panes:
        one("kill-server")


def tables(text):
    return text.count("pqrun jobs.txt")


def clock(text):
    """The time that the run has taken, as its table shows it."""
    found = re.search(r"pqrun jobs\.txt +(\S+s)\b", text)
    return found[1] if found else ""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("columns", "rows"),
    [(70, 40), (110, 20), (60, 18), (140, 50)],
    ids=["narrower", "lower", "both", "larger"],
)
def test_no_debris_in_the_window_nor_above_it(pane, tmp_path, columns, rows):
    jobs = "".join(f"echo a line of output {n}\n" for n in range(30))
    one = pane(jobs + "read x < go; exit 3\n", 110, 40)
    one.until(lambda text: "30 ok" in text)
    one.resize(columns, rows)
    one.until_drawn_again()
    one.until(lambda text: tables(text) == 1 and text.count("30 ok") == 1, of_all=True)
    with (tmp_path / "go").open("w") as pipe:
        pipe.write("\n")
    one.until(lambda text: "code " in text)
    assert tables(one.read_all()) == 0
    assert "^C stop" not in one.read_all()
    printed = [line for line in one.read_all().split("\n") if line.startswith("a line of output")]
    assert sorted(printed) == sorted(f"a line of output {n}" for n in range(30))
    assert one("display", "-p", "#{cursor_flag}").strip() == "1"


@pytest.mark.slow
def test_no_debris_when_little_was_printed(pane, tmp_path):
    one = pane("echo hello\nread x < go; exit 3\n", 110, 40)
    one.until(lambda text: "1 ok" in text)
    one.resize(80, 24)
    one.until_drawn_again()
    one.until(lambda text: tables(text) == 1, of_all=True)
    with (tmp_path / "go").open("w") as pipe:
        pipe.write("\n")
    one.until(lambda text: "code " in text)
    assert tables(one.read_all()) == 0
    assert "^C stop" not in one.read_all()
    assert "━" not in one.read_all()
