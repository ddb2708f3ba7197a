# SPDX-License-Identifier: LGPL-3.0-or-later
"""Reading commands while they run."""

import os
import pty
import subprocess
import sys
from contextlib import suppress

import pytest


@pytest.mark.slow
def test_the_first_job_starts_before_the_input_ends(start, until, tmp_path):
    live = start("-q")
    live.stdin.write(f"touch {tmp_path}/first\n".encode())
    live.stdin.flush()
    until((tmp_path / "first").exists)
    live.stdin.write(f"touch {tmp_path}/second\n".encode())
    live.stdin.flush()
    until((tmp_path / "second").exists)
    live.stdin.write(b"echo last, without a newline")
    assert tuple(live.end()) == (0, "last, without a newline\n")


@pytest.mark.slow
def test_when_the_queue_is_full_the_producer_has_to_wait(start, gate, until):
    live = start("-q", "-j1", "--max-queue", 10)
    fd = live.stdin.fileno()
    os.set_blocking(fd, False)
    lines = b"".join(b"echo %d # %s\n" % (n, b"x" * 4000) for n in range(400))
    data = memoryview(f"{gate.wait}\n".encode() + lines)
    given = 0

    def give():
        nonlocal given
        with suppress(BlockingIOError):
            while given < len(data):
                given += os.write(fd, data[given : given + 4096])
        return given

    until(lambda: give() and live.running_and_waiting() == (1, 10))
    for _ in range(20):
        live.running_and_waiting()
        give()
    assert given < 300_000, "it reads far ahead of what it may queue"
    assert live.running_and_waiting() == (1, 10)
    gate.open()
    until(lambda: give() == len(data))
    assert live.end().out == "".join(f"{n}\n" for n in range(400))


@pytest.mark.slow
def test_an_input_without_commands_is_no_failure(run, side_by_side):
    inputs = ["", "\n", "# only a comment\n\n   # another\n"]
    assert [tuple(done) for done in side_by_side(lambda text: run(input=text), inputs)] == [(0, "")] * 3


def test_blank_lines_and_comments_are_skipped_and_backslashes_continue(run):
    commands = "# a comment\n\n  # another\necho a \\\n  b\n\techo 'c # d'\necho e # not ours\necho last"
    assert tuple(run("-q", "-k", input=commands)) == (0, "a b\nc # d\ne\nlast\n")


@pytest.mark.slow
def test_dos_line_ends_and_a_byte_order_mark_do_no_harm(run):
    assert tuple(run("-q", "-k", input=b"\xef\xbb\xbfecho a\r\n\r\n# b\r\necho 'c'\r\n")) == (0, "a\nc\n")


@pytest.mark.slow
def test_commands_may_be_any_bytes(run):
    assert tuple(run("-q", input=b"printf 'caf\xe9 \\303\\251'\n")) == (0, "caf\udce9 é")


def test_nul_separated_commands_may_hold_newlines(run):
    assert tuple(run("-q", "-k", "-0", input=b"echo a\necho b\0echo '# c'\0\0echo d")) == (
        0,
        "a\nb\n# c\nd\n",
    )


@pytest.mark.slow
def test_files_are_read_one_after_another_and_stdin_among_them(run, tmp_path):
    (tmp_path / "one.txt").write_text("echo one")
    (tmp_path / "two").write_text("echo two\n")
    done = run("-q", "-k", "one.txt", "-", "two", input="echo stdin\n")
    assert tuple(done) == (0, "one\nstdin\ntwo\n")


@pytest.mark.slow
def test_a_file_that_cannot_be_read_is_said_and_nothing_starts(run, tmp_path):
    (tmp_path / "one").write_text(f"touch {tmp_path}/ran\n")
    (tmp_path / "directory").mkdir()
    for missing, why in (("no-such-file", "No such file"), ("directory", "directory")):
        done = run("one", missing)
        assert done.code == 2 and missing in done.err and why in done.err
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_without_input_on_a_terminal_it_helps(surroundings):
    leader, follower = pty.openpty()
    done = subprocess.run(
        [sys.executable, "-m", "pqrun", "run"],
        stdin=follower, capture_output=True, env=surroundings, timeout=60, check=False,
    )  # fmt: skip
    os.close(leader)
    os.close(follower)
    assert done.returncode == 2
    assert b"Usage" in done.stdout + done.stderr


# Lines that end the reading


@pytest.mark.slow
def test_a_nul_among_lines_ends_the_reading(run):
    first = run("-q", input=b"echo a\0b\necho c\n")
    assert tuple(first) == (2, "")
    assert "stdin:1" in first.err and "NUL" in first.err and "-0" in first.err
    later = run("-q", input=b"echo a\n# fine\necho \0b\necho c\n")
    assert tuple(later) == (1, "a\n")
    assert "stdin:3" in later.err and "not read completely" in later.err


@pytest.mark.slow
def test_a_line_over_sixteen_mebibytes_ends_the_reading(run):
    just_so = b": " + b"x" * (16 * 1024 * 1024 - 2)
    too_long = run("-q", input=b"echo before\n" + just_so + b"x\necho after\n")
    assert tuple(too_long) == (1, "before\n")
    assert "stdin:2" in too_long.err and "16 MiB" in too_long.err
    assert run("-q", input=just_so + b"xx").code == 2


@pytest.mark.slow
def test_a_comment_of_ours_that_is_wrong_ends_the_reading(run, side_by_side):
    wrong = {
        "priorty=high": "did you mean `priority`",
        "priority=urgent": "critical, high, normal",
        "timeout=soon": "duration",
        "retries=-1": "at least 0|from 0",
        "retries": "key=value",
        "id=a id=b": "twice",
        "needs=nobody": "nobody",
        "pools=net:2": "net",
    }
    results = side_by_side(lambda field: run(lines=["true", f"echo ran # pqrun: {field}"]), wrong)
    for (field, said), done in zip(wrong.items(), results, strict=True):
        assert tuple(done) == (1, ""), field
        assert "stdin:2" in done.err and any(word in done.err for word in said.split("|")), done.err


@pytest.mark.slow
def test_a_repeated_id_ends_the_reading(run):
    done = run("-q", lines=["echo a # pqrun: id=a", "echo b # pqrun: id=a", "echo c"])
    assert tuple(done) == (1, "a\n")
    assert "stdin:2" in done.err and "`a`" in done.err


@pytest.mark.slow
def test_a_need_of_more_of_a_pool_than_there_is_is_an_error_and_not_a_wait(run):
    done = run("--pool", "net=2", lines=["echo a # pqrun: pools=net:2", "echo b # pqrun: pools=net:3"])
    assert tuple(done) == (1, "a\n")
    assert "stdin:2" in done.err and "net" in done.err
