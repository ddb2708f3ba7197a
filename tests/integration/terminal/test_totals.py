# SPDX-License-Identifier: LGPL-3.0-or-later
"""How many jobs there are, on the screen of a real run: at once for a file, at its end for a pipe."""

import os
import re
import sys

import pytest

from .conftest import ROOT, Terminal

WAITS = "read x < go\n"


@pytest.fixture
def go(tmp_path):
    os.mkfifo(tmp_path / "go")
    return tmp_path / "go"


@pytest.mark.slow
def test_a_list_of_3000_lines_shows_its_total_at_once(terminal, go):
    window = terminal(80, 24, "-j1", "--max-queue", "10", jobs="# pages\n" + WAITS * 3000)
    window.until_shown(" 0/3000   0%")
    assert "10 queued" in window.text() and "2989 pending" in window.text()


@pytest.mark.slow
def test_a_file_that_grows_has_no_total_until_its_end_is_read(terminal, go, tmp_path):
    jobs = "true\n" * 20 + WAITS + "true\n" * 20 + WAITS
    window = terminal(80, 24, "-j1", "--max-queue", "2", jobs=jobs)
    window.until_shown(" 20/42  47%")
    with (tmp_path / "jobs.txt").open("a") as more:
        more.write("true\n" * 20 + WAITS + WAITS)
    go.write_text("\n")
    window.until_shown(" 41/44+")
    go.write_text("\n")
    window.until_shown(" 62/64  96%")


@pytest.mark.slow
def test_a_file_that_shrinks_is_told_right_at_its_end(terminal, go, tmp_path):
    jobs = WAITS + f": {'x' * 4000}\n" * 200
    window = terminal(80, 24, "-j1", "--max-queue", "2", jobs=jobs)
    window.until_shown(" 0/201   0%")
    with (tmp_path / "jobs.txt").open("r+") as file:  # the first 64 KiB have been read
        file.truncate(50_000)
        file.seek(0, os.SEEK_END)
    go.write_text("\n")
    window.finish()
    (ended,) = re.findall(r"(\d+) (?:of \d+ )?jobs", window.text())[-1:]
    assert 10 < int(ended) < 20


@pytest.mark.slow
def test_a_pipe_shows_its_total_as_soon_as_its_end_was_read(go, tmp_path):
    os.mkfifo(tmp_path / "gate")
    feed = "echo 'read x < go'; echo true; echo true; read x < gate"
    command = f"({feed}) | {sys.executable} -m pqrun run -j1 --no-journal -"
    window = Terminal(["sh", "-c", command], 80, 24, env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path)
    try:
        window.until_shown("0/3+")
        assert "%" not in window.text()
        (tmp_path / "gate").write_text("\n")
        window.until_shown(" 0/3   0%")
        go.write_text("\n")
        window.finish()
    finally:
        window.close()
