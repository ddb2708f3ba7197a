# SPDX-License-Identifier: LGPL-3.0-or-later
"""Whole runs in a terminal: what is on the screen during, after a resize, and after the end."""

import os
import re
import signal
import sys
import termios
import time
from pathlib import Path

import pytest

from pqrun.ui.live.type_ahead import PAUSE_SECONDS

from .conftest import ROOT, Terminal

EVIL = r"""
printf 'clean line\n\033[2J\033[H\033]0;owned\007over the table\n'
printf 'half \033[\n[/markup] [red]not red[/red]\n'; sleep 0.1
printf '\033[31mred\033[0m text\n\033[10A\033[Jup\n\r\roverwritten\rlast version\n'
printf 'no end of line \033]0;half a title'
sleep 60
"""
WAITS = "read x < go; exit 3  # pqrun: id=waits\n"


def one_line(script):
    return "; ".join(line for line in script.strip().split("\n")) + "\n"


def table_lines(window):
    return [line for line in window.lines() if "pqrun jobs" in line or "^C stop" in line]


@pytest.fixture
def waiting(terminal, tmp_path):
    """A run of one job that waits for a word, seen in a window."""
    os.mkfifo(tmp_path / "go")

    def open_window(*arguments, columns=90, rows=30, jobs=WAITS, **more):
        window = terminal(columns, rows, *arguments, jobs=jobs, **more)
        window.until_shown("^C stop")
        return window

    return open_window


def press_twice(window, key):
    """Press a key that asks first, and answer."""
    window.press(key)
    window.until_shown(f"{key} again")
    window.press(key)


def press_after_a_pause(window, key):
    """Press a key after other text, of which the run takes no notice."""
    window.until_shown("typed text is kept for the shell")
    window.listen_for(PAUSE_SECONDS + 0.3)
    window.press(key)


def let_go(tmp_path):
    with (tmp_path / "go").open("w") as pipe:
        pipe.write("\n")


@pytest.mark.slow
def test_the_table_shows_the_run_and_leaves_nothing_behind(waiting, tmp_path):
    window = waiting(jobs="echo from above\n" + WAITS, columns=110)
    window.until_shown("waits")
    assert "pqrun jobs.txt" in window.text()
    assert "1/2+" in window.text() or "1/2" in window.text()
    assert window.screen.cursor.hidden
    assert window.lines()[0].startswith("── echo from above  ok  ")
    assert window.lines()[1] == "from above"
    assert not window.echoes()
    let_go(tmp_path)
    assert window.finish() == 1
    assert not window.screen.cursor.hidden
    assert table_lines(window) == []
    assert window.lines()[1] == "from above"
    assert "FAILED waits: exit 3" in window.text()
    assert "1 of 2 jobs failed" in window.text()
    assert window.raw.count(b"\x1b[?25l") >= 1 and window.raw.rstrip().count(b"\x1b[?25h") == 1
    assert window.raw.count(b"\x1b[?7l") == window.raw.count(b"\x1b[?7h")


@pytest.mark.slow
def test_jobs_cannot_steer_the_screen(terminal):
    window = terminal(100, 40, "--output", "line", jobs=one_line(EVIL))
    window.until_shown("last version")
    window.until_shown("no end of line")
    lines = window.lines()
    assert "over the table" in lines
    assert "half \\x1b[" in lines
    assert "[/markup] [red]not red[/red]" in lines
    assert lines.index("clean line") == 0
    assert "red text" in lines and "up" in lines
    assert len(table_lines(window)) == 2
    assert "no end of line \\x1b]0;half a title" in window.text()
    assert window.titles == []
    window.press("\x03")
    assert window.finish() == -signal.SIGINT
    assert window.titles == []
    assert table_lines(window) == []


def test_what_a_job_is_called_cannot_forge_a_line(terminal):
    jobs = 'jobs:\n  - {id: "x\\e[2J\\e[1;1H[bold]y[/nope]", run: "sleep 60"}\n'
    window = terminal(100, 40, jobs=jobs, name="jobs.yaml")
    window.until_shown("[bold]y[/nope]")
    assert b"\x1b[2J" not in window.raw
    window.press("\x03")
    window.finish()


@pytest.mark.slow
@pytest.mark.parametrize(("columns", "rows"), [(56, 24), (110, 16), (60, 12), (130, 45), (40, 10)])
def test_a_resize_leaves_no_debris(waiting, tmp_path, columns, rows):
    window = waiting(columns=90, rows=30, jobs="seq 5\n" + WAITS)
    window.resize(columns, rows)
    wide = columns - 1

    def fits():
        tables = [line for line in window.lines() if "pqrun jobs" in line]
        bars = [line for line in window.lines() if "━" in line or "──" in line]
        return len(tables) == 1 and all(len(line) <= wide for line in bars) and "waits" in window.text()

    window.until(fits)
    window.until(lambda: len([line for line in window.lines() if "^C stop" in line]) <= 1 and fits())
    let_go(tmp_path)
    assert window.finish() == 1
    assert [line for line in window.read_all().split("\n") if "^C stop" in line] == []


@pytest.mark.slow
def test_many_resizes_in_a_row(waiting, tmp_path):
    window = waiting(jobs="".join(f"echo line {n}\n" for n in range(60)) + WAITS)
    window.until_shown("60/61")  # what is drawn for one size while pyte has another by now leaves debris
    for columns, rows in [(70, 20), (100, 35), (57, 13), (91, 31), (120, 24), (80, 40)]:
        window.resize(columns, rows)
        seen = len(window.raw)
        window.until(lambda: len(window.raw) > seen + 200)  # noqa: B023
    window.until(lambda: len(table_lines(window)) == 2)
    let_go(tmp_path)
    window.finish()
    assert table_lines(window) == []
    assert "1 of 61 jobs failed" in window.text()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_every_signal_leaves_the_terminal_as_it_was(waiting, number):
    window = waiting()
    window.until(lambda: not window.echoes())
    os.kill(window.pid, number)
    window.until(lambda: window.echoes())
    assert window.finish() == -number
    assert not window.screen.cursor.hidden
    assert table_lines(window) == []


@pytest.mark.slow
def test_ctrl_z_leaves_the_terminal_and_going_on_draws_again(waiting, tmp_path):
    window = waiting()
    window.until(lambda: not window.echoes())
    window.press("\x1a")
    _, status = os.waitpid(window.pid, os.WUNTRACED)
    assert os.WIFSTOPPED(status)
    window.listen(0.1)
    assert table_lines(window) == []
    assert not window.screen.cursor.hidden
    assert window.echoes()
    os.kill(window.pid, signal.SIGCONT)
    window.until_shown("^C stop")
    window.until(lambda: not window.echoes())
    assert window.screen.cursor.hidden
    let_go(tmp_path)
    assert window.finish() == 1
    assert table_lines(window) == []


@pytest.mark.slow
def test_a_stop_without_a_word_is_got_over(waiting, tmp_path):
    window = waiting()
    window.until(lambda: not window.echoes())
    os.kill(window.pid, signal.SIGSTOP)
    os.waitpid(window.pid, os.WUNTRACED)
    window.stream.feed(b"\x1b[2J\x1b[Hsomebody else wrote here\r\n")
    os.kill(window.pid, signal.SIGCONT)
    window.until_shown("^C stop")
    let_go(tmp_path)
    assert window.finish() == 1


@pytest.mark.slow
def test_keys(waiting, tmp_path):
    window = waiting("-j2", jobs="read x < go; exit 0  # pqrun: id=waits\n" * 1 + "sleep 0.01\n" * 3)
    window.until(lambda: not window.echoes())
    press_twice(window, "p")
    window.until_shown("PAUSED")
    press_twice(window, "p")
    window.until(lambda: "PAUSED" not in window.text())
    window.press("+")
    window.until_shown("1/3")
    for workers in (2, 1):
        window.press("-")
        window.until_shown(f"1/{workers}")
    window.press("-")  # there is always one worker
    window.listen_for(PAUSE_SECONDS)
    assert "1/1" in window.text()
    window.press("?")
    window.until_shown("one worker more or less")
    window.press("?")
    window.until(lambda: "one worker more or less" not in window.text())
    window.press("\x1b[A\x1bOq")  # an arrow, a keypad key
    press_after_a_pause(window, "o")
    window.until_shown("show output")
    press_twice(window, "q")
    window.until_shown("DRAINING")
    let_go(tmp_path)
    assert window.finish() in (0, 3)


@pytest.mark.slow
def test_hidden_output_is_not_shown_and_a_pasted_text_does_nothing(waiting, tmp_path):
    os.mkfifo(tmp_path / "then")
    window = waiting("-j1", jobs="read x < go; echo secret\nread x < then; echo public\nread x < go\n")
    window.until(lambda: not window.echoes())
    window.press("quit please")
    press_after_a_pause(window, "o")
    window.until_shown("show output")
    assert "DRAINING" not in window.text()
    let_go(tmp_path)
    window.until_shown("1 ok")
    window.press("o")
    window.until_shown("hide output")
    with (tmp_path / "then").open("w") as pipe:
        pipe.write("\n")
    window.until_shown("2 ok")
    window.until_shown("public")
    let_go(tmp_path)
    assert window.finish() == 0
    assert "secret" not in window.read_all().split("\n")


@pytest.mark.slow
def test_status_progress_and_last_lines_of_running_jobs(waiting, tmp_path):
    jobs = "echo status=step 3 >> $PQRUN_REPORT; echo progress=0.5 >> $PQRUN_REPORT; read x < go\n"
    jobs += "echo first; printf 'loading 50%%\\rloading 75%%'; sleep 60\n"
    window = waiting("-j2", columns=120, jobs=jobs)
    window.until_shown("━━━╸───  50%")
    window.until_shown("step 3")
    window.until_shown("loading 75%")
    window.press("\x03")
    window.finish()


@pytest.mark.slow
def test_what_running_jobs_take_of_the_machine(waiting, tmp_path):
    pytest.importorskip("psutil", reason="an extra")
    code = "x = bytearray(90000000)\nwhile True: pass"
    (tmp_path / "busy.py").write_text(code)
    window = waiting("-j2", jobs=f"exec {sys.executable} {tmp_path}/busy.py\n" + WAITS, columns=120)
    until = time.monotonic() + 20
    while not (found := re.search(r" (\d+)%  +(\d+)M\b", window.text())) and time.monotonic() < until:
        window.listen(0.2)
    assert found, window.text()
    assert 90 <= int(found[2]) < 200
    os.kill(window.pid, signal.SIGINT)
    assert window.finish() == -signal.SIGINT


@pytest.mark.slow
def test_the_job_list_may_come_through_stdin(tmp_path):
    os.mkfifo(tmp_path / "go")
    shell = f"printf 'read x < go\\n' | {sys.executable} -m pqrun run --no-journal"
    window = Terminal(["/bin/sh", "-c", shell], 90, 30, env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path)
    window.until_shown("stdin")
    window.until_shown("q q drain")
    press_twice(window, "q")
    window.until_shown("DRAINING")
    let_go(tmp_path)
    assert window.finish() == 0
    window.close()


@pytest.mark.slow
def test_keys_are_left_to_a_pager_behind_us(tmp_path):
    os.mkfifo(tmp_path / "go")
    shell = f"printf 'read x < go; echo end\\n' | {sys.executable} -m pqrun run --no-journal | cat"
    window = Terminal(["/bin/sh", "-c", shell], 90, 30, env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path)
    window.until_shown("^C stop")
    assert "q q drain" not in window.text()
    assert window.echoes()
    let_go(tmp_path)
    assert window.finish() == 0
    assert "end" in window.lines()
    window.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        ((), {"TERM": "dumb"}),
        ((), {"TERM": ""}),
        ((), {"CI": "true"}),
        (("-q",), {}),
        (("--json",), {}),
        (("--progress", "plain"), {}),
        ((), {"PQRUN_PROGRESS": "none"}),
        (("--output", "raw"), {}),
    ],
)
def test_where_no_table_is_wanted_the_cursor_never_moves(terminal, arguments, env):
    window = terminal(90, 30, *arguments, jobs="sleep 0.7\nfalse\n", env=env)
    assert window.finish() == 1
    assert b"\x1b[?25l" not in window.raw
    assert b"\x1b7" not in window.raw


@pytest.mark.slow
def test_an_explicit_wish_beats_the_look_around(waiting, tmp_path):
    window = waiting("--progress", "live", env={"CI": "true"})
    let_go(tmp_path)
    assert window.finish() == 1


def test_grouped_output_on_a_terminal_is_safe_without_a_table_too(terminal):
    window = terminal(90, 30, "--progress", "plain", jobs="printf 'a\\033[2Jb\\033]0;t\\007\\n'\n")
    window.finish()
    assert "ab" in window.lines()
    assert window.titles == []


@pytest.mark.slow
def test_the_last_page_has_colours_on_a_terminal_unless_not_wanted(terminal):
    window = terminal(90, 30, jobs="false\n")
    window.finish()
    assert b"\x1b[1;31mFAILED\x1b[0m" in window.raw
    plain = terminal(90, 30, jobs="false\n", env={"NO_COLOR": "1"})
    plain.finish()
    assert b"\x1b[1;31m" not in plain.raw


@pytest.mark.slow
def test_the_table_says_why_nothing_starts(waiting, tmp_path):
    window = waiting("--delay", "1h", "-j2", jobs=WAITS + "true\n")
    window.until_shown("no job starts: the last start was less than 1h00m ago (--delay)")
    let_go(tmp_path)
    window.until_shown("exit 3")
    window.until_shown("no job starts: the last start was less than 1h00m ago (--delay)")


@pytest.fixture
def shell(tmp_path):
    """What starts pqrun in a window and goes on after it, as a script or `make` does: it mends no terminal."""
    os.mkfifo(tmp_path / "go")
    windows = []

    def open_window(*arguments, jobs=WAITS):
        (tmp_path / "jobs.txt").write_text(jobs)
        command = " ".join(["exec", sys.executable, "-m", "pqrun", *arguments])
        argv = ["sh", "-c", f"sh -c 'echo $$ > pid; {command}'; echo and so on; read line; echo got $line"]
        env = {"PYTHONPATH": str(ROOT), "PQRUN_STATE_DIR": str(tmp_path / "state")}
        windows.append(Terminal(argv, 90, 30, env=env, cwd=tmp_path))
        return windows[-1]

    yield open_window
    for window in windows:
        window.close()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_killed_run_leaves_the_terminal_as_it_was_found(shell, tmp_path, number):
    window = shell("run", "jobs.txt", "--no-journal")
    modes = termios.tcgetattr(window.fd)
    window.until_shown("^C stop")
    assert window.screen.cursor.hidden and not window.echoes()
    os.kill(int((tmp_path / "pid").read_text()), number)

    window.until(lambda: termios.tcgetattr(window.fd) == modes)
    window.until(lambda: not window.screen.cursor.hidden and "and so on" in window.text())
    window.press("typo\x7fes\n")
    window.until_shown("got types")
    assert window.echoes()
    assert table_lines(window) == []


def is_guarded(pid):
    """Whether that process has noted how its terminal is to be put right."""
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        if "memfd:pq-watchdog" in os.readlink(fd):
            return b"1049l" in fd.read_bytes()
    return False


@pytest.mark.slow
def test_a_killed_top_leaves_the_terminal_as_it_was_found(shell, tmp_path):
    pytest.importorskip("textual", reason="the extra `top` is not installed")
    window = shell("run", "jobs.txt", "-q", "--progress", "none", "--run-dir", "record", jobs="true\n")
    window.until_shown("and so on")
    window.press("\n")
    window.finish()

    window = shell("top", "./record", jobs="")
    modes = termios.tcgetattr(window.fd)
    window.until(lambda: b"\x1b[?1049h" in window.raw and termios.tcgetattr(window.fd) != modes)
    window.until(lambda: window.screen.cursor.hidden)
    window.until(lambda: is_guarded(int((tmp_path / "pid").read_text())))
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

    window.until(lambda: termios.tcgetattr(window.fd) == modes)
    window.until(lambda: not window.screen.cursor.hidden and b"\x1b[?1049l" in window.raw)
    assert b"\x1b[?1003l" in window.raw
    window.press("typo\x7fes\n")
    window.until_shown("got types")


NEXT_COMMAND = "pqrun ps; echo quit"


def typed_slowly(window):
    for letter in NEXT_COMMAND:
        window.press(letter)
        window.listen_for(0.15)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("type_in", "lost"), [(typed_slowly, 1), (lambda window: window.press(NEXT_COMMAND), 0)],
    ids=["typed", "pasted"],
)  # fmt: skip
def test_the_next_command_is_left_to_the_shell(tmp_path, type_in, lost):
    """Also with the keys of the table in it. The letter that was taken for a key may be lost."""
    os.mkfifo(tmp_path / "go")
    (tmp_path / "jobs.txt").write_text("read x < go\necho second\n")
    shell = f'{sys.executable} -m pqrun run -j1 --no-journal jobs.txt; read -r next; echo "next: <$next>"'
    window = Terminal(["/bin/sh", "-c", shell], 90, 30, env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path)
    window.until_shown("q q drain")
    window.until(lambda: not window.echoes())
    type_in(window)
    window.until_shown("typed text is kept for the shell")
    assert "PAUSED" not in window.text() and "DRAINING" not in window.text()
    let_go(tmp_path)
    window.until_shown("second")
    window.until(window.echoes)
    window.press("\n")
    assert window.finish() == 0
    assert f"next: <{NEXT_COMMAND[lost:]}>" in window.lines()


@pytest.mark.slow
def test_a_question_is_taken_back_by_escape_or_by_time(waiting, tmp_path):
    window = waiting("-j1")
    window.until(lambda: not window.echoes())
    window.press("q")
    window.until_shown("q again within 2s: start no more jobs, let the 1 running finish")
    window.press("\x1b")
    window.until(lambda: "q again" not in window.text())
    window.press("p")
    window.until_shown("p again")
    window.until(lambda: "p again" not in window.text())
    window.press("p")
    window.until_shown("p again")
    window.press("\r")
    window.until_shown("PAUSED")
    let_go(tmp_path)
    window.finish()


@pytest.mark.slow
@pytest.mark.parametrize(("columns", "rows"), [(56, 20), (80, 24)])
def test_a_retry_that_waits_is_on_the_screen_with_its_countdown_and_its_reason(terminal, columns, rows):
    jobs = "true\necho cannot reach the host >&2; exit 7  # pqrun: id=flaky retries=2 retry_delay=50s\n"
    window = terminal(columns, rows, jobs=jobs)
    window.until_shown("again in ")
    text = window.text()
    assert "1 waiting to retry   1 ok" in text
    assert "no job runs" not in text
    (head,) = [line for line in window.lines() if "try  then" in line]
    assert head.split()[:3] == ["#", "P", "waiting"]
    (row,) = [line for line in window.lines() if "again in " in line]
    assert row.split()[:4] == ["2", "N", "flaky", "2/3"]
    assert "exit 7: cannot" in text
    (to_go,) = [line for line in window.lines() if line.startswith("pqrun jobs.txt")]
    assert re.search(r"about \d+s to go$", to_go)
    before = re.search(r"again in (\d+)s", text)[1]
    window.until(lambda: f"again in {int(before) - 1}s" in window.text())


@pytest.fixture
def recorded(tmp_path):
    """`recorded(*words)`: pqrun with a record, in a window of 90 columns."""
    windows = []

    def open_window(*words):
        argv = [sys.executable, "-m", "pqrun", *words]
        windows.append(Terminal(argv, 90, 30, env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path))
        return windows[-1]

    yield open_window
    for window in windows:
        window.close()


@pytest.mark.slow
def test_the_second_run_of_a_file_shows_the_time_to_go_before_a_job_has_ended(recorded, tmp_path):
    (tmp_path / "jobs.txt").write_text('sleep "$(cat seconds)"\n' * 40)
    (tmp_path / "seconds").write_text("0.3\n")
    assert recorded("run", "jobs.txt", "-j20").finish() == 0
    (tmp_path / "seconds").write_text("60\n")
    window = recorded("run", "jobs.txt", "-j1")
    window.until_shown(" to go")
    (line,) = [line for line in window.lines() if line.startswith("pqrun jobs.txt")]
    assert re.search(r"about \d\ds to go$", line)  # 39 jobs of 0.3 s and more, for the machine may be busy
    assert "0 ok" not in window.text() and "1 ok" not in window.text()


@pytest.mark.slow
def test_a_resumed_run_shows_the_time_to_go_by_the_average_of_its_jobs(recorded, tmp_path):
    (tmp_path / "jobs.txt").write_text('sleep "$(cat seconds)"\n' * 40)
    (tmp_path / "seconds").write_text("0.5\n")
    window = recorded("run", "jobs.txt", "-j1")
    window.until(lambda: re.search(r"^\d+ ok ", window.text(), re.MULTILINE))
    window.press("\x03")
    window.finish()
    (tmp_path / "seconds").write_text("60\n")
    window = recorded("resume", "latest")
    window.until_shown(" to go")
    (line,) = [line for line in window.lines() if line.startswith("pqrun jobs.txt")]
    assert re.search(r"about \d\ds to go$", line)


@pytest.mark.slow
def test_the_summary_tells_in_how_many_of_its_last_runs_a_job_failed(recorded, tmp_path):
    jobs = "exit 3  # pqrun: id=bad\n[ $PQRUN_ATTEMPT = 2 ]  # pqrun: id=flaky retries=1 retry_delay=0\n"
    (tmp_path / "jobs.txt").write_text(jobs)
    (tmp_path / "flaky.txt").write_text(jobs.partition("\n")[2])
    texts = []
    for name in ("jobs.txt", "jobs.txt", "flaky.txt", "flaky.txt"):
        window = recorded("run", name)
        window.finish()
        texts.append(" ".join(window.read_all().split()))
    assert [text.count("of its last") for text in texts] == [0, 1, 0, 1]
    assert re.search(r"FAILED bad: exit 3 after \S+, failed 2 of its last 2 runs ", texts[1])
    assert "1 flaky: flaky, ok at try 2/2 after exit 1, failed 2 of its last 2 runs" in texts[3]
