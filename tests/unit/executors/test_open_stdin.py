# SPDX-License-Identifier: LGPL-3.0-or-later
"""The open standard input of a job: what is sent is taken at once, or waits in memory up to a limit."""

import errno
import os
import select
from collections.abc import Iterator

import pytest

from pqrun.core.errors import Rejected
from pqrun.executors.local.open_stdin import ENDS_OF_INPUT, MAX_WAITING_BYTES, OpenStdin

PIPE_BYTES = 64 * 1024


class Job:
    """The other end of an open stdin, and the worker's thread that writes to it."""

    def __init__(self, *, terminal: bool = False) -> None:
        self.stdin = OpenStdin(terminal=terminal)
        self.reads, self.writes = os.pipe()
        os.set_blocking(self.reads, False)
        self.poll = select.poll()
        self.begun = False

    def begin(self) -> None:
        self.stdin.attach(self.writes, *os.pipe())
        self.stdin.register(self.poll)
        self.begun = True

    def turn(self) -> None:
        """What the worker's thread does with all that is ready."""
        for fd, _ in self.poll.poll(0):
            assert fd in self.stdin
            self.stdin.advance(fd, self.poll)

    def read(self) -> bytes:
        """What the job gets until there is nothing more."""
        found = b""
        try:
            while data := os.read(self.reads, 1 << 20):
                found += data
                self.turn()
        except BlockingIOError:
            return found
        return found + b"<end>"

    def close(self) -> None:
        self.stdin.close()
        for fd in (self.reads, *([] if self.begun else [self.writes])):
            if fd >= 0:
                os.close(fd)


@pytest.fixture
def job() -> Iterator[Job]:
    one = Job()
    yield one
    one.close()


def test_what_is_sent_before_the_start_is_read_after_it(job: Job) -> None:
    assert job.stdin.send(b"early\n") == 6
    job.begin()
    assert job.read() == b"early\n"
    assert job.stdin.send(b"late\n") == 0
    assert job.read() == b"late\n"


def test_the_end_comes_after_all_that_was_sent(job: Job) -> None:
    job.begin()
    data = os.urandom(5 * PIPE_BYTES)
    assert job.stdin.send(data, end=True) == 4 * PIPE_BYTES
    job.turn()
    assert job.read() == data + b"<end>"
    with pytest.raises(Rejected, match="its standard input has ended") as refused:
        job.stdin.send(b"more")
    assert refused.value.code == 1


def test_an_end_before_the_start_is_an_empty_input(job: Job) -> None:
    job.stdin.send(b"", end=True)
    job.begin()
    assert job.read() == b"<end>"


def test_a_job_that_does_not_read_fills_its_buffer_and_all_or_nothing_is_taken(job: Job) -> None:
    job.begin()
    job.stdin.send(bytes(PIPE_BYTES))
    assert job.stdin.send(bytes(MAX_WAITING_BYTES)) == MAX_WAITING_BYTES
    with pytest.raises(Rejected, match="it has not read 1,048,576 bytes") as refused:
        job.stdin.send(b"x")
    assert refused.value.code == 75
    job.turn()
    assert len(job.read()) == PIPE_BYTES + MAX_WAITING_BYTES
    assert job.stdin.send(b"x") == 0
    assert job.read() == b"x"


def test_a_job_that_has_closed_its_stdin_gets_no_more(job: Job) -> None:
    job.begin()
    os.close(job.reads)
    job.reads = -1
    for _ in range(2):
        with pytest.raises(Rejected, match="it has closed its standard input"):
            job.stdin.send(b"lost")
    job.turn()
    assert job.poll.poll(0) == [], "nothing is left that wakes the thread again and again"


def test_after_the_end_of_the_job_everything_is_refused(job: Job) -> None:
    job.begin()
    job.stdin.close()
    with pytest.raises(Rejected, match="it has ended"):
        job.stdin.send(b"x")


@pytest.mark.parametrize(("text", "ends"), [(b"", 0), (b"line\n", 0), (b"part", 1)])
def test_the_end_of_a_terminals_input_is_a_key_that_first_ends_the_line(text: bytes, ends: int) -> None:
    job = Job(terminal=True)
    job.begin()
    job.stdin.send(text, end=True)
    assert job.read() == text + b"\x04" * (ENDS_OF_INPUT + ends)
    job.close()


def test_the_worker_is_woken_although_a_write_to_its_pipe_fails(job: Job, monkeypatch) -> None:
    job.begin()
    write, refused = os.write, []

    def refusing(fd: int, data: bytes) -> int:
        if fd != job.writes and not refused:
            refused.append(fd)
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return write(fd, data)

    monkeypatch.setattr(os, "write", refusing)
    job.stdin.send(bytes(2 * PIPE_BYTES), end=True)
    assert refused
    assert job.poll.poll(0), "the worker's thread has something to do"
    job.turn()
    assert job.read() == bytes(2 * PIPE_BYTES) + b"<end>"
