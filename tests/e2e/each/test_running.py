# SPDX-License-Identifier: LGPL-3.0-or-later
"""`pqrun each` as a program: how it reads while it runs, what it refuses, what it answers."""

import os
import pty
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_the_first_job_starts_before_the_input_ends(live, until, tmp_path):
    process = live("each", "-q", "touch {}")
    process.stdin.write(b"first\n")
    process.stdin.flush()
    until((tmp_path / "first").exists)
    process.stdin.write(b"second")
    process.stdin.close()
    assert process.wait(60) == 0
    assert (tmp_path / "second").exists()


def test_when_the_queue_is_full_the_producer_has_to_wait(live, until, tmp_path):
    os.mkfifo(tmp_path / "gate")
    process = live("each", "-q", "-j1", "--max-queue", 10, "read _ < gate; :")
    fd = process.stdin.fileno()
    os.set_blocking(fd, False)
    given = 0

    def stuck():
        """Whether it has taken nothing more for a while: it is full then."""
        nonlocal given
        before = given
        try:
            while given < 4_000_000:
                given += os.write(fd, b"x" * 999 + b"\n")
        except BlockingIOError:
            pass
        return given == before and given > 0

    quiet = 0

    def full():
        nonlocal quiet
        quiet = quiet + 1 if stuck() else 0
        return quiet > 40

    until(full)
    assert given < 400_000, "it reads far ahead of what it may queue"


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_memory_stays_flat_however_much_there_is_to_do(live, most_memory):
    """Each job's argument is long enough that a thousand of them would be seen."""

    def most(count):
        process = live("each", "-q", "--no-journal", "-j2", "--max-queue", 20, ": {}; exit 0")
        for _ in range(count):
            process.stdin.write(b"x" * 60_000 + b"\n")
        process.stdin.flush()
        most = most_memory(process.pid)
        process.stdin.close()
        assert process.wait(60) == 0
        return most

    few, many = most(40), most(800)
    assert many < few + 12 * 1024  # KiB; all of them would be 47 MB


def test_lines_that_begin_with_a_hash_are_data(each):
    assert each("echo", input="#a\n # b\n#!c\n").lines == ["#a", " # b", "#!c"]


@pytest.mark.slow
def test_a_line_is_never_continued_nor_read_as_ours(each):
    assert each("echo", input="a \\\nb # pqrun: retries=3\n").lines == ["a \\", "b # pqrun: retries=3"]


@pytest.mark.slow
def test_without_a_command_lines_are_commands(each):
    assert each(input="echo a; echo b\n\necho '{}' # {}\n").lines == ["a", "b", "{}"]
    assert each(":::", "echo a", "exit 3").code == 1


@pytest.mark.slow
@pytest.mark.parametrize("words", [("echo",), (), ("echo", ":::"), ("echo", ":::", "a", "::::", "/dev/null")])
def test_nothing_to_do_is_no_failure(each, words):
    done = each(*words)
    assert (done.code, done.stdout) == (0, b"")


def test_what_is_refused_is_refused_before_anything_starts(each, tmp_path):
    done = each('touch {1}; echo "{2}"', ":::", "made", ":::", "x")
    assert (done.code, done.stdout) == (2, b"")
    assert "in double quotes" in done.err and "hint: " in done.err
    assert not (tmp_path / "made").exists()
    assert os.listdir(os.environ["PQRUN_STATE_DIR"]) == []


@pytest.mark.slow
def test_a_bad_line_far_down_ends_the_reading_and_what_was_before_has_run(each):
    done = each("echo", input=b"a\nb\n\0\nc\n")
    assert (done.code, sorted(done.lines)) == (1, ["a", "b"])
    assert "stdin:3: a NUL character" in done.err


def test_options_of_run_hold(pqrun):
    done = pqrun(
        "each",
        "--json",
        "-r",
        "1",
        "--retry-delay",
        "0",
        "-t",
        "9",
        "-p",
        "high",
        "test {} = a",
        ":::",
        "a",
        "b",
    )
    assert done.code == 1
    assert {(job["state"], job["attempts"], job["priority"]) for job in done.jobs.values()} == {
        ("ok", 1, "high"), ("failed", 2, "high"),
    }  # fmt: skip


@pytest.mark.slow
def test_options_end_where_the_command_begins(each):
    assert (
        each("printf '<%s>' -j9 --header", ":", "-q {}", ":::", "-k").stdout == b"<-j9><--header><:><-q><-k>"
    )
    assert each("--", "echo", "--", "{}", ":::", "x").lines == ["-- x"]


@pytest.mark.slow
def test_a_header_may_be_asked_for_as_in_gnu_parallel(each, tmp_path):
    (tmp_path / "table").write_text("a\tb\n1\t2\n")
    assert each("--header", ":", "echo {b} {a}", "::::", "table").lines == ["2 1"]
    assert each("--header", "-a", "table", "echo {b} {a}").lines == ["2 1"]
    assert each("-ja", "--header", ":", "echo", ":::", "x").code == 2


@pytest.mark.slow
def test_slots_are_numbered_from_one_and_never_shared(each, tmp_path):
    command = 'test "$PQRUN_SLOT" = {%} && mkdir "slot {%}" && rmdir "slot {%}" && echo {%}'
    done = each("-j3", command, input="".join(f"{n}\n" for n in range(60)))
    assert done.code == 0
    assert set(done.lines) <= {"1", "2", "3"}


@pytest.mark.slow
def test_a_stopped_each_can_be_gone_on_with(pqrun, tmp_path):
    done = pqrun("each", "-q", "-j1", "--run-dir", "r", "--halt", "soon,done=2", "echo {}", ":::", *"abcd")
    assert (done.code, done.lines) == (3, ["a", "b"])
    again = pqrun("resume", "./r", "-q")
    assert (again.code, again.lines) == (0, ["c", "d"])


@pytest.mark.slow
def test_without_anything_on_a_terminal_it_shows_how_it_is_used(environment, tmp_path):
    def at_a_terminal(*words):
        master, slave = pty.openpty()
        try:
            return subprocess.run(
                [sys.executable, "-m", "pqrun", "each", *words],
                stdin=slave, capture_output=True, env=environment, cwd=tmp_path, timeout=60,
            )  # fmt: skip
        finally:
            os.close(master)
            os.close(slave)

    bare = at_a_terminal()
    assert bare.returncode == 2 and b"::: ARG" in bare.stdout
    waiting = at_a_terminal("echo {}")
    assert waiting.returncode == 2
    assert b"no arguments: give them after :::" in waiting.stderr


def test_a_dry_run_shows_a_newline_on_one_line(each):
    assert each("--dry-run", "-0", "echo", input=b"a\nb\0c\0").lines == ["echo 'a\\nb'", "echo c"]


def test_a_job_that_stands_in_no_line_is_refused_without_a_place(pqrun):
    refused = pqrun("each", "--pty", "--output", "raw", "echo", ":::", "1")
    assert refused.code == 2
    assert "pqrun: job `1` asks for a terminal" in refused.err
