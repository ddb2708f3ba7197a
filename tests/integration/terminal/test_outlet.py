# SPDX-License-Identifier: LGPL-3.0-or-later
"""What could not be written is told, and so is what could not be read to be written."""

import errno
import fcntl
import os
import pty
import struct
import termios

import pytest

from pqrun.core.job import AttemptId
from pqrun.output.store import Logs, Stream
from pqrun.output.writer import StreamWriter


def failing(call, error, monkeypatch):
    def fail(*_arguments):
        raise OSError(error, os.strerror(error))

    monkeypatch.setattr(os, call, fail)


@pytest.fixture
def writer(tmp_path):
    fd = os.open(tmp_path / "out", os.O_RDWR | os.O_CREAT)
    yield StreamWriter(fd, "standard output")
    os.close(fd)


@pytest.fixture
def printed(tmp_path):
    """A stream that lies in a file."""
    (tmp_path / "logs").mkdir()
    stream = Stream(Logs(str(tmp_path / "logs"), keep=True), AttemptId(1, 1), 1)
    stream.put(b"x" * 100_000)
    stream.finish()
    return stream


def test_a_disk_that_fails_is_told_and_only_a_terminal_hangs_up(writer, monkeypatch):
    failing("write", errno.EIO, monkeypatch)
    writer.say("hello")
    assert writer.failure == "cannot write to standard output: Input/output error"


def test_a_copy_that_the_kernel_fails_at_is_made_by_hand(writer, printed, monkeypatch):
    failing("sendfile", errno.EIO, monkeypatch)
    writer.copy_from(printed.copy_to)
    assert writer.failure == ""
    assert os.pread(writer.fd, 200_000, 0) == b"x" * 100_000


def test_output_that_can_not_be_read_back_is_no_fault_of_stdout(writer, printed, monkeypatch):
    failing("sendfile", errno.EIO, monkeypatch)
    failing("pread", errno.EIO, monkeypatch)
    writer.copy_from(printed.copy_to)
    assert writer.failure == "cannot read the output of a job to print it: Input/output error"


def test_a_message_is_broken_between_words_on_a_terminal_alone(writer):
    text = "the socket was removed; the run continues, but `add` and similar commands can't reach it\nsecond line"
    outer, inner = pty.openpty()
    fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", 20, 40, 0, 0))
    StreamWriter(inner, "standard error").note(text)
    lines = os.read(outer, 4096).decode().split("\r\n")
    os.close(inner)
    os.close(outer)
    assert max(map(len, lines)) <= 40 and lines[0].startswith("pqrun: the socket was removed; the run")
    assert " ".join(" ".join(lines).split()) == " ".join(f"pqrun: {text}".split())
    assert all(line.startswith("  ") for line in lines[1:-2]) and lines[-2] == "second line"
    writer.note(text)
    assert os.pread(writer.fd, 4096, 0).decode() == f"pqrun: {text}\n"
