# SPDX-License-Identifier: LGPL-3.0-or-later
"""The end of a list that a run which was stopped did not come to read."""

import os

import pytest

from pqrun.core.scheduler import Scheduler
from pqrun.input.command_list import CommandList
from pqrun.input.reader import StreamReader
from pqrun.input.sources import OpenedFile


@pytest.fixture(params=["pipe", "file"])
def opened(request, tmp_path):
    """Open an input with this content: a pipe whose writer has closed it, or a file."""

    def opened(data, *, closed=True):
        if request.param == "file":
            path = tmp_path / "list"
            path.write_bytes(data)
            return os.open(path, os.O_RDONLY)
        reading, writing = os.pipe()
        os.write(writing, data)
        if closed:
            os.close(writing)
        return reading

    return opened


def reader_of(fd, *, reads, max_queue=1000):
    """A reader that has read so many times."""
    scheduler = Scheduler(max_queue=max_queue)
    reader = StreamReader(
        CommandList({}, file="x"), [OpenedFile("x", fd)], scheduler=scheduler, want_input=lambda _room: None
    )
    for _ in range(reads):
        for ask in reader.read():
            ask(scheduler, 0.0)
    return reader


def test_a_list_of_which_only_the_end_was_not_read_is_read_completely(opened):
    reader = reader_of(opened(b"a\nb\n"), reads=2)
    assert not reader.done and reader.is_at_end()


def test_a_list_whose_end_was_read_when_the_run_was_stopped_is_read_completely(opened):
    reader = reader_of(opened(b"a\nb\n"), reads=2)
    list(reader.read())  # the request that follows from it finds no room
    assert not reader.done and reader.is_at_end()


def test_a_list_with_more_jobs_is_not(opened):
    assert not reader_of(opened(b"a\nb\n"), reads=1).is_at_end()
    assert not reader_of(opened(b"a\nb\nunfinished"), reads=2).is_at_end()
    assert not reader_of(opened(b"a\nb\n"), reads=2, max_queue=1).is_at_end()


def test_a_wrong_line_that_the_run_did_not_come_to_is_no_failure(opened):
    assert not reader_of(opened(b"a\nb # pqrun: timeout=soon\n"), reads=2, max_queue=1).is_at_end()


def test_a_list_that_was_read_to_its_end_needs_no_second_look(opened):
    reader = reader_of(opened(b"a\nb\n"), reads=3)
    assert reader.done and not reader.is_at_end()


def test_a_pipe_that_is_open_may_bring_more():
    reading, writing = os.pipe()
    os.write(writing, b"a\n")
    reader = reader_of(reading, reads=2)
    assert not reader.is_at_end()
    os.write(writing, b"b\n")
    os.close(writing)
    assert not reader.is_at_end()
