# SPDX-License-Identifier: LGPL-3.0-or-later
"""What stands on a terminal when a run is over: whose output is which, what happened, and what to do next."""

import os
import re
import sys
from pathlib import Path

import pyte
import pytest

from pqrun.core.layout import cells
from pqrun.ui.terminal import NO_BREAK, Style, lay_out

from .conftest import ROOT, Terminal

GOLDEN = Path(__file__).parent / "golden"
SIZES = [(80, 24), (56, 20), (110, 40), (200, 50)]
PLAIN = Style(on=False)


@pytest.fixture
def drawn():
    """`drawn(case, columns, rows, *options)`: the display of an invented run, in a window of that size."""
    windows = []

    def draw(case, columns, rows, *options, env=None):
        argv = [sys.executable, str(Path(__file__).with_name("drawn_run.py")), case, *options]
        windows.append(Terminal(argv, columns, rows, env={"PYTHONPATH": str(ROOT), **(env or {})}))
        assert windows[-1].finish() == 0
        return windows[-1]

    yield draw
    for window in windows:
        window.close()


def as_written(window):
    """The lines that were written, in a window so wide that it breaks none."""
    screen = pyte.Screen(400, 200)
    pyte.ByteStream(screen).feed(window.raw)
    return "\n".join(line.rstrip() for line in screen.display).rstrip()


@pytest.mark.parametrize(("columns", "rows"), SIZES)
@pytest.mark.parametrize("case", ["ok", "stopped"])
def test_the_end_of_a_run_looks_as_it_did(drawn, case, columns, rows):
    window = drawn(case, columns, rows)
    shown = window.read_all().rstrip() + "\n"
    path = GOLDEN / f"end-{case}-{columns}x{rows}.txt"
    if os.environ.get("GOLDEN"):
        path.write_text(shown)
    assert shown == path.read_text()


@pytest.mark.parametrize(("columns", "rows"), [*SIZES, (40, 12)])
@pytest.mark.parametrize("case", ["ok", "stopped"])
@pytest.mark.parametrize("progress", ["auto", "plain"])
def test_no_line_is_wider_than_the_screen(drawn, case, columns, rows, progress):
    window = drawn(case, columns, rows, f"progress={progress}")
    own = [
        line
        for line in as_written(window).split("\n")
        if not line.startswith(("Success: ", "    return [", "ValueError: ", "Successfully"))  # a job's own
    ]
    assert [line for line in own if cells(line) >= columns] == []


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_the_last_page_fits_on_the_screen_with_what_to_do_at_its_end(drawn, columns, rows):
    window = drawn("stopped", columns, rows)
    lines = window.text().split("\n")
    first = next(n for n, line in enumerate(lines) if line.startswith("FAILED in/1093.csv"))
    assert lines[first - 1] == "" or first == 0
    assert [" ".join(line.split()) for line in lines[-3:]] == [
        "continue pqrun resume w2ekc5",
        "run failed jobs again pqrun resume w2ekc5 --failed",
        "see a log pqrun logs w2ekc5 in/1093.csv",
    ]


@pytest.mark.slow
def test_without_colours_it_reads_the_same(drawn):
    coloured, plain = (drawn("stopped", 80, 24, env=env) for env in ({}, {"NO_COLOR": "1"}))
    assert b"\x1b[1;31mfailed" in coloured.raw and b"\x1b" not in plain.raw
    assert coloured.read_all() == plain.read_all()


@pytest.mark.parametrize("case", ["ok", "stopped"])
def test_a_dumb_terminal_gets_the_log_and_the_same_page(drawn, case):
    window = drawn(case, 80, 24, env={"TERM": "dumb"})
    page = (GOLDEN / f"end-{case}-80x24.txt").read_text().rpartition("\n\npqrun: ")[2]
    assert window.read_all().rstrip().endswith(page.rstrip())
    assert b"\x1b" not in window.raw and "] ok      " in window.read_all()


TWO_FAIL = "echo first words >&2; exit 3  # pqrun: id=one\necho last words; exit 4  # pqrun: id=two\n"


@pytest.mark.slow
def test_output_is_headed_by_its_job_and_what_was_last_on_the_screen_is_not_told_again(terminal):
    window = terminal(100, 30, "-j1", jobs="echo fine  # pqrun: id=good\n" + TWO_FAIL)
    assert window.finish() == 1
    lines = window.read_all().split("\n")
    heads = [re.sub(r"(<1|\d+)ms ─+$", "", line) for line in lines if line.startswith("──")]
    assert heads == ["── good  ok  ", "── one  failed  exit 3  ", "── two  failed  exit 4  "]
    assert lines[lines.index("last words") - 1].startswith("── two")
    assert "  │ first words" in lines and "  │ last words" not in lines
    assert "FAILED two: exit 4" in window.text() and lines.count("last words") == 1


@pytest.mark.slow
def test_where_output_is_no_terminal_nothing_is_added_to_it(tmp_path):
    (tmp_path / "jobs.txt").write_text("printf 'one\\ntwo'  # pqrun: id=a\necho err >&2  # pqrun: id=b\n")
    argv = [
        "sh",
        "-c",
        f"exec {sys.executable} -m pqrun run jobs.txt -j1 --no-journal > out",
    ]
    window = Terminal(argv, 80, 24, env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path)
    assert window.finish() == 0
    window.close()
    assert (tmp_path / "out").read_bytes() == b"one\ntwo"
    heads = [line for line in window.read_all().split("\n") if line.startswith("──")]
    assert [head.split("  ")[:2] for head in heads] == [["── b", "ok"]]


@pytest.mark.slow
@pytest.mark.parametrize("options", [("-q",), ("--output", "line")])
def test_neither_quiet_output_nor_single_lines_get_headings(terminal, options):
    window = terminal(80, 24, "-j1", *options, jobs="echo fine\n" + TWO_FAIL)
    assert window.finish() == 1
    assert "── " not in window.read_all()
    assert "  │ first words" in window.read_all()


@pytest.mark.slow
def test_a_retry_says_why_above_the_table(terminal):
    jobs = "echo no luck >&2; [ $PQRUN_ATTEMPT = 2 ]  # pqrun: id=flaky retries=3 retry_delay=10ms\n"
    window = terminal(80, 24, jobs=jobs)
    assert window.finish() == 0
    assert "── flaky  retry  try 2/4 in 10ms  exit 1: no luck ──" in window.read_all()
    assert "── flaky  ok, flaky  try 2/4  " in window.read_all()


@pytest.mark.slow
def test_a_retry_with_a_long_reason_leaves_room_to_tell_its_job_from_others(terminal):
    jobs = "echo it fails for a reason in many words >&2; [ $PQRUN_ATTEMPT = 2 ] || exit 9; : photo-4711.png"
    window = terminal(80, 24, jobs=f"{jobs}  # pqrun: retries=3 retry_delay=10ms\n")
    assert window.finish() == 0
    heading = next(line for line in window.read_all().split("\n") if "  retry  " in line)
    assert "4711.png  retry  try 2/4 in 10ms  exit 9: it fails" in heading, heading


@pytest.mark.slow
def test_after_ctrl_c_with_a_failure_both_ways_on_are_told(tmp_path):
    (tmp_path / "jobs.txt").write_text(
        "exit 3  # pqrun: id=bad\ntouch begun; sleep 60  # pqrun: id=long\ntrue\ntrue\n"
    )
    argv = [sys.executable, "-m", "pqrun", "run", "jobs.txt", "-j1"]
    window = Terminal(argv, 80, 24, env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path)
    window.until((tmp_path / "begun").exists)
    window.until_shown("^C stop")
    window.press("\x03")
    assert window.finish() == -2
    window.close()
    page = window.text().partition("\npqrun: stopped by Ctrl-C (SIGINT) after ")[2].split("\n")
    assert page[0].endswith(": 2 of 4 jobs not run")
    assert page[1] == "  1 failed, 1 interrupted"
    assert [line.split("  ")[1] for line in page[-3:]] == ["continue", "run failed jobs again", "see a log"]
    assert re.search(r"  pqrun resume \w{6}$", page[-3]) and re.search(
        r"  pqrun resume \w{6} --failed$", page[-2]
    )


@pytest.mark.slow
def test_a_run_that_a_key_ended_says_so_and_how_to_continue(tmp_path):
    os.mkfifo(tmp_path / "go")
    (tmp_path / "jobs.txt").write_text("read x < go\ntrue\n")
    argv = [sys.executable, "-m", "pqrun", "run", "jobs.txt", "-j1"]
    window = Terminal(argv, 80, 24, env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path)
    window.until_shown("q q drain")
    window.press("q")
    window.until_shown("q again")
    window.press("q")
    window.until_shown("DRAINING")
    with (tmp_path / "go").open("w") as pipe:
        pipe.write("\n")
    assert window.finish() == 3
    window.close()
    page = window.text().partition("\npqrun: stopped by q after ")[2].split("\n")
    assert page[0].endswith(": 1 of 2 jobs not run (1 ok)")
    assert re.fullmatch(r"  continue  pqrun resume \w{6}", page[1]) and page[2:] == []


@pytest.mark.parametrize("width", range(6, 60))
def test_lines_are_broken_between_words_and_in_colour(width):
    pieces = [("  one two ", "red"), (f"three{NO_BREAK}four, ", ""), ("five-and-a-half", "bold"), ("!", "")]
    lines = lay_out(pieces, PLAIN, width, "   ")
    assert all(cells(line) <= width for line in lines)
    if width >= len("   five-and-a-half!"):
        words = [word for line in lines for word in line.split()]
        assert words == ["one", "two", "three", "four,", "five-and-a-half!"]
        assert "three four," in "\n".join(lines), "glued words stay together"
        assert lines[0].startswith("  one")
    coloured = lay_out(pieces, Style(on=True), width, "   ")
    assert [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in coloured] == lines


def test_what_is_no_terminal_gets_one_line_however_long():
    assert lay_out([("a " * 300, "red"), ("b", "")], PLAIN, None, "    ") == ["a " * 300 + "b"]
