# SPDX-License-Identifier: LGPL-3.0-or-later
"""What `check`, `ps`, `runs`, `show`, `-h` and errors print, on terminals of four sizes, against pictures kept here.

`GOLDEN=1 pytest tests/integration/terminal/test_screens.py` writes the pictures anew: look at them.
"""

import json
import os
import re
import sys
from pathlib import Path

import pytest

from pqrun.cli.commands.ps import shown as shown_jobs
from pqrun.cli.console import Console
from pqrun.core.layout import cells
from pqrun.journal.format import append_checksum

from .commands import NOW
from .conftest import Terminal

GOLDEN = Path(__file__).parent / "golden"
SIZES = [(80, 24), (56, 20), (110, 40), (200, 50)]
JOB_FILE = """\
jobs:
  - id: build
    run: make
    timeout: 5m
    time_out: 90s
  - id: test
    run: make test
    priority: urgent
  - id: docs
    run: make docs
  - id: publish
    needs: [build, test, docs, build, test, docs, build, test, docs, build, test, docs, build, test, biuld, docs, test]
    run: make publish
  - {id: 東京の名前, run: make fetch, timeout: soon}  # 受注
"""
SCREENS = {
    "check": ["check", "jobs.yaml"],
    "ps": ["ps"],
    "runs": ["runs"],
    "show": ["show", "k3f9q2"],
    "help": ["-h"],
    "help-run": ["run", "-h"],
    "error": [
        "each",
        "convert a-very-long-name-of-an-image.png --size '{}' --quality 85 {.}.png",
        ":::",
        "1",
    ],
    "usage": ["run", "--tiemout", "5m"],
    "value": ["run", "--timeout", "soon"],
}


class Journal:
    """A recorded run. Times are in seconds before `NOW`."""

    def __init__(self, state, name, began, **facts):
        self.path = state / "runs" / name
        for directory in (state, state / "runs", self.path, self.path / "logs", self.path / "work"):
            directory.mkdir(mode=0o700, exist_ok=True)
        self.crc = 0
        (self.path / "journal.jsonl").touch(0o600)
        process = {"token": "0" * 16, "version": "0", "at": NOW - began, "cwd": "/", "options": {}}
        self.note(pqrun=1, run=name, listed=0, **process, **{"files": [], **facts})

    def note(self, **facts):
        text = json.dumps(facts, separators=(",", ":"))
        line, self.crc = append_checksum(text, self.crc)
        with (self.path / "journal.jsonl").open("ab") as file:
            file.write(line)

    def job(self, seq, name, began, seconds, *, outcome="ok", code=0, message="", attempts=1):
        job = {"id": name, "run": "make", "retry": {"max": attempts - 1}}
        self.note(e="add", t=NOW - began, s=seq, job=job, q=True)
        for attempt in range(1, attempts + 1):
            last = attempt == attempts
            counted = {"ok": "completed"}.get(outcome, "failed") if last else "retried"
            self.note(e="start", t=NOW - began, s=seq, n=attempt, w=0.0)
            end = {"as": counted, "x": code if last else 75, "b": NOW - began, "f": NOW - began + seconds}
            if last:
                end |= {"o": outcome, **({"message": message} if message else {})}
            self.note(e="end", t=NOW - began + seconds, s=seq, n=attempt, u=0.0, y=0.0, **end)
            if not last:
                self.note(e="wait", t=NOW - began, s=seq, n=attempt + 1, until=NOW - began)
                self.note(e="queue", t=NOW - began, s=seq, n=attempt + 1, p=2)

    def close(self, at, *, jobs, failed=0, stopped=False, **outcomes):
        self.note(
            e="close", t=NOW - at, stopped=stopped, complete=True, jobs=jobs, outcomes=outcomes | ({"failed": failed} if failed else {}),
            failed=failed, exit=1 if failed else 0,
        )  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A directory with a wrong job file and recorded runs."""
    place = tmp_path_factory.mktemp("place")
    (place / "jobs.yaml").write_text(JOB_FILE, encoding="utf-8")
    state = place / "state"
    day = 86400.0
    Journal(state, "a9s0je", 7 * day, each="each ::: 3 arguments").close(7 * day, jobs=3, ok=3)
    Journal(state, "b6n2vd", 8 * day, files=["render-the-whole-second-part-of-the-movie.yaml"]).close(
        8 * day - 10920, jobs=1204, ok=1204
    )
    Journal(state, "h1zz8m", 1.2 * day, serve=True).close(9000, jobs=120, ok=116, failed=4)
    Journal(state, "w2ekc5", 0.5 * day).close(0.5 * day - 291, jobs=2000, ok=1117, failed=11, stopped=True)
    night = Journal(state, "k3f9q2", 1862.0, files=["nightly.yaml"])
    long = "train[LR=0.0003,DEPTH=4,OPTIMIZER=adam,BATCH=128]"
    night.job(
        1, "test[PY=3.13,DB=mysql]", 1860, 48, outcome="failed", code=1, message="E   AssertionError: 3 != 4"
    )
    night.job(2, long, 1850, 71, outcome="failed", code=137, message="out of memory: 受注 " * 5)
    night.job(3, "fetch[exchange-rates]", 1840, 34, attempts=3)
    for seq in range(4, 40):
        night.job(seq, f"thumbs/{seq}", 1800, 0.0001)
    night.close(79, jobs=39, ok=37, failed=2)
    return place


def shown(place, name, size):
    """The lines of the command on a terminal of that size, and the terminal."""
    argv = [sys.executable, str(Path(__file__).with_name("commands.py")), *SCREENS[name]]
    env = {"PQRUN_STATE_DIR": str(place / "state"), "LANG": "C.UTF-8", "HOME": str(place)}
    window = Terminal(argv, *size, env=env, cwd=place)
    try:
        window.finish()
        return window.read_all().rstrip(), window
    finally:
        window.close()


@pytest.mark.parametrize("size", SIZES, ids=lambda size: "x".join(map(str, size)))
@pytest.mark.parametrize("name", SCREENS)
def test_the_screen_is_as_it_was_and_fits(place, name, size):
    _, window = shown(place, name, size)
    # What a terminal breaks itself, it joins without a line feed: so the lines as they were written are compared.
    written = re.sub(rb"\x1b\[[0-9;]*m", b"", window.raw).decode().split("\r\n")
    assert max(map(cells, written)) <= size[0], max(written, key=cells)
    picture = "\n".join(line.rstrip() for line in written).rstrip() + "\n"
    golden = GOLDEN / f"{name}-{size[0]}x{size[1]}.txt"
    if os.environ.get("GOLDEN"):
        golden.write_text(picture, encoding="utf-8")
    assert picture == golden.read_text(encoding="utf-8")


@pytest.mark.parametrize("name", ["help", "help-run"])
def test_the_short_help_is_one_screen(place, name):
    found, _ = shown(place, name, (80, 24))
    assert len(found.split("\n")) < 24


@pytest.mark.slow
def test_carets_are_under_the_word_that_is_wrong(place):
    for size in SIZES:
        lines = shown(place, "check", size)[0].split("\n")
        marks = [at for at, line in enumerate(lines) if re.search(r"\^\^", line)]
        assert len(marks) == 4
        for at, word in zip(marks, ("time_out", "urgent", "biuld", "soon"), strict=True):
            # pyte draws a wide character as itself and an empty cell, which its text leaves out.
            begin = cells(lines[at][: lines[at].index("^")])
            above = lines[at - 1]
            assert cells(above[: above.rindex(word)]) == begin, lines[at - 1 : at + 1]


@pytest.mark.slow
def test_errors_are_red_words_are_marked_and_hints_are_green(place):
    raw = shown(place, "check", (80, 24))[1].raw.decode()
    for text in (
        "\x1b[1;31merror:",
        "\x1b[1;31mtime_out",
        "\x1b[1;31m^^^^^^^^",
        "\x1b[32m  hint:",
        "\x1b[1;31m4 errors",
    ):
        assert text in raw, text
    for name in ("error", "usage", "value"):
        raw = shown(place, name, (80, 24))[1].raw.decode()
        assert "\x1b[1mpqrun:\x1b[0m \x1b[1;31merror:\x1b[0m" in raw and "\x1b[32m  hint:" in raw


@pytest.mark.parametrize(
    "words", [("check", "jobs.yaml"), ("run", "--color", "auto", "--tiemout")], ids=" ".join
)
def test_colours_can_be_turned_off(place, words, monkeypatch):
    argv = [sys.executable, str(Path(__file__).with_name("commands.py")), *words]
    window = Terminal(argv, 80, 24, env={"NO_COLOR": "1"}, cwd=place)
    window.finish()
    window.close()
    assert window.code == 2 and b"error" in window.raw and b"\x1b" not in window.raw


def test_a_job_that_was_skipped_is_not_counted_as_failed(tmp_path):
    run = Journal(tmp_path / "state", "q7d2xk", 100.0, files=["jobs.yaml"])
    counts = {"ok": 4, "failed": 1, "skipped": 2}
    run.note(e="close", t=NOW - 50, stopped=False, complete=True, jobs=7, outcomes=counts, failed=3, exit=1)
    env = {"PQRUN_STATE_DIR": str(tmp_path / "state"), "LANG": "C.UTF-8"}
    window = Terminal(
        [sys.executable, str(Path(__file__).with_name("commands.py")), "runs"], 80, 24, env=env, cwd=tmp_path
    )
    window.finish()
    window.close()
    (row,) = [line.split() for line in window.lines() if line.startswith("q7d2xk")]
    assert row[-5:-1] == ["7", "4", "1", "0"]


def test_the_last_output_of_a_job_is_in_ps_where_it_says_more_than_the_command():
    jobs = [
        {
            "id": "train",
            "seq": 1,
            "state": "running",
            "last_output": "epoch 1",
            "attempts": 1,
            "seconds": 3.0,
        },
        {"id": "2", "seq": 2, "state": "running", "last_output": "half", "attempts": 1, "seconds": 3.0},
        {"id": "flaky", "seq": 3, "state": "waiting", "attempts": 1, "seconds": 9.0},
    ]
    common = {"priority": "normal", "max_attempts": 3, "run": "make all", "needs": []}
    answer = {"jobs": [{**job, **common} for job in jobs], "stopping": False, "paused": False}

    def table_at(width):
        page = Console()
        page.is_terminal, page.width = width is not None, width
        return [line.split()[-4:] for line in shown_jobs(answer, page, None, most=None).split("\n")[:4]]

    assert table_at(80) == [
        ["time", "output", "or", "command"], ["1/3", "3s", "epoch", "1"], ["1/3", "3s", "make", "all"],
        ["in", "9s", "make", "all"],
    ]  # fmt: skip
    assert [row[-3:] for row in table_at(120)[1:3]] == [["1", "make", "all"], ["half", "make", "all"]]
    assert table_at(None)[0][-1] == "command" and {row[-1] for row in table_at(None)[1:]} == {"all"}
