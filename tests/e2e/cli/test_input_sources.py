# SPDX-License-Identifier: LGPL-3.0-or-later
"""Where input comes from: a non-blocking descriptor, one source named twice, lines as Windows ends them."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest


def is_at_rest(process):
    """Whether it sleeps and uses no time: it waits for something."""

    def facts():
        return Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()

    before = facts()
    time.sleep(0.1)
    after = facts()
    return before[0] == after[0] == "S" and before[11:13] == after[11:13]


READERS = {
    "run": (["run", "-q", "-k"], b"echo a\necho b\n", "a\nb\n"),
    "run -0": (["run", "-q", "-0", "-k"], b"echo a\0echo b", "a\nb\n"),
    "run a job file": (["run", "-q", "-"], b"jobs:\n  - echo a\n", "a\n"),
    "run --format yaml": (["run", "-q", "--format", "yaml", "-"], b"jobs:\n  - echo a\n", "a\n"),
    "check -": (["check", "-"], b"jobs:\n  - echo a\n", "stdin: 1 job, no problems\n"),
    "each": (["each", "-q", "-k", "echo"], b"a\nb\n", "a\nb\n"),
    "each --header": (["each", "-q", "--header", "echo {x}"], b"x\na\n", "a\n"),
    "each, second": (["each", "-q", "-k", "echo", ":::", "1", "::::", "-"], b"a\nb\n", "1 a\n1 b\n"),
    "add -f -": (["add", "--run", "queue", "-f", "-"], b"jobs:\n  - echo a\n", "1\n"),
}


@pytest.fixture
def queue(pqrun, until):
    """A queue for those who add to one."""
    assert pqrun("serve", "--detach").code == 0
    yield
    assert pqrun("stop", "--now", "--run", "queue").code == 0


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="there is no /proc here")
@pytest.mark.parametrize("reader", READERS)
def test_a_stdin_that_another_program_made_non_blocking_is_read_all_the_same(
    surroundings, until, tmp_path, reader, request
):
    words, data, out = READERS[reader]
    if words[0] == "add":
        request.getfixturevalue("queue")
    reading, writing = os.pipe()
    os.set_blocking(reading, False)
    process = subprocess.Popen(
        [sys.executable, "-m", "pqrun", *words],
        stdin=reading, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=tmp_path, env=surroundings,
    )  # fmt: skip
    os.close(reading)
    try:
        for piece in (data[:3], data[3:]):
            until(lambda: process.poll() is not None or is_at_rest(process))
            assert process.poll() is None, process.stderr.read()
            os.write(writing, piece)
    finally:
        os.close(writing)
        told, err = process.communicate(timeout=60)
    assert (process.returncode, told.decode()) == (0, out), err


@pytest.mark.slow
def test_a_list_named_twice_is_read_twice(pqrun, tmp_path):
    (tmp_path / "list").write_text("echo a\necho b\n")
    (tmp_path / "more").write_text("echo c\n")
    done = pqrun("run", "-q", "-k", "list", "more", "list")
    assert tuple(done) == (0, "a\nb\nc\na\nb\n")
    assert pqrun("run", "-q", "-k", "list", "-", input="echo x\n").out == "a\nb\nx\n"


@pytest.mark.slow
def test_a_job_file_whose_name_does_not_tell_is_read_twice_too(pqrun, tmp_path):
    (tmp_path / "jobs").write_text("jobs: [echo a]\n")
    assert tuple(pqrun("run", "-q", "-k", "jobs", "jobs")) == (0, "a\na\n")


TWICE = {
    "run - -": ["run", "-", "-"],
    "run - /dev/stdin": ["run", "-", "/dev/stdin"],
    "run FIFO FIFO": ["run", "fifo", "./fifo"],
    "check - -": ["check", "-", "-"],
    "check - /dev/stdin": ["check", "/dev/stdin", "-"],
    "each :::: - -": ["each", "echo", "::::", "-", "-"],
    "each :::: - /dev/stdin": ["each", "echo", "::::", "-", "/dev/stdin"],
    "each -a - :::: -": ["each", "-a", "-", "echo", "::::", "-"],
}


@pytest.mark.slow
@pytest.mark.skipif(not os.path.exists("/dev/stdin"), reason="there is no /dev/stdin here")
@pytest.mark.parametrize("words", TWICE.values(), ids=TWICE)
def test_what_can_be_read_only_once_is_not_named_twice(pqrun, tmp_path, words):
    os.mkfifo(tmp_path / "fifo")
    done = pqrun(*words, input="echo a\n")
    assert done.code == 2 and done.out == ""
    assert "only once" in done.err and "stdin" in done.err.replace("fifo", "stdin")


def test_stdin_named_twice_is_refused_for_a_file_too(pqrun, tmp_path):
    (tmp_path / "list").write_text("echo a\n")
    with (tmp_path / "list").open() as file:
        done = pqrun("run", "-", "-", stdin=file)
    assert done.code == 2 and "stdin can be read only once" in done.err


def test_nothing_can_be_read_twice_from_dev_null(pqrun):
    assert pqrun("run", "/dev/null", "/dev/null").code == 0


WINDOWS = b"x\ty\r\none\ttwo\r\nlast\tone\r"


@pytest.mark.slow
@pytest.mark.parametrize("source", [[], ["-a", "file"]], ids=["stdin", "file"])
def test_the_line_ends_of_windows_are_no_part_of_arguments(pqrun, tmp_path, source):
    (tmp_path / "file").write_bytes(b"a b\r\nc\r\r\nd")
    show = "printf '[%s]' {} | od -An -c | tr -d ' \\n'; echo"
    done = pqrun("each", "-q", "-k", *source, show, input=(tmp_path / "file").read_bytes())
    assert done.out == "[ab]\n[c\\r]\n[d]\n"
    (tmp_path / "table").write_bytes(WINDOWS)
    done = pqrun("each", "-q", "-k", "--header", "echo {x}-{y}.", "::::", "table")
    assert done.out == "one-two.\nlast-one.\n"


@pytest.mark.slow
def test_what_is_not_separated_by_lines_keeps_every_byte(pqrun):
    show = "printf '[%s]' {} | od -An -c | tr -d ' \\n'; echo"
    assert pqrun("each", "-q", "-k", "-0", show, input=b"a\r\0b\r\n").out == "[a\\r]\n[b\\r\\n]\n"
    assert pqrun("each", "-q", "-k", "-d", "\\n", show, input=b"a\r\nb").out == "[a\\r]\n[b]\n"
    assert pqrun("each", "-q", "-k", show, ":::", "a\r").out == "[a\\r]\n"
