# SPDX-License-Identifier: LGPL-3.0-or-later
"""The number of jobs of a file is known before they are read, and equals the number that is read."""

import os
import time
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pqrun.core.errors import UserError
from pqrun.core.settings import Each, InputSettings
from pqrun.engine.threads import NoThread
from pqrun.input import job_count, open_input
from pqrun.input.command_list import CommandList
from pqrun.input.job_count import JobCount
from pqrun.input.sources import open_file

LINES = st.sampled_from(
    [
        b"true", b"", b" ", b"# a comment", b"  # one more", b"a \\", b"a \\\\", b"b\r", b"c \\\r", b"\r", b"#\\",
        b"x # pqrun: id=one", b"d # pqrun: timeout=1s \\", "é".encode(), b"\xff",
    ]
)  # fmt: skip


def jobs_in(pieces, parser):
    found = 0
    try:
        for piece in pieces:
            parser.feed(piece)
            while parser.take() is not None:
                found += 1
        parser.end()
        while parser.take() is not None:
            found += 1
    except UserError:
        return None
    return found


@given(
    st.lists(LINES), st.sampled_from([b"\n", b"\0", b"\n\n"]), st.booleans(), st.integers(1, 9), st.booleans()
)
def test_as_many_jobs_are_counted_as_are_read(lines, between, null, size, ends):
    data = between.join(lines) + (between if ends else b"")
    data = data.replace(b"id=one", b"timeout=9")  # ids must be unique
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    read = jobs_in(pieces, CommandList({}, null=null))
    if read is not None:
        assert jobs_in(pieces, CommandList({}, null=null).counter()) == read


def number_of(count, seconds=20.0):
    """The number, once the count has ended."""
    end = time.monotonic() + seconds
    while count.number() is None and count._thread.is_alive():
        assert time.monotonic() < end
        time.sleep(0.002)
    return count.number()


def read_all(source):
    return len(source.read_all())


@pytest.mark.slow
@pytest.mark.parametrize("lines", [1, 3000, 200_000])
def test_a_file_is_counted_in_another_thread_and_stays_where_it_is(tmp_path, lines):
    path = tmp_path / "jobs.txt"
    path.write_text("# pages\n\n" + "".join(f"echo {n}\n" for n in range(lines)))
    source = open_input(InputSettings(files=(str(path), str(path))))
    before = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    count = source.job_count()
    assert count is not None and count._thread is None, "nothing is counted before somebody asks"
    assert number_of(count) == 2 * lines
    count._thread.join()
    if before:
        assert len(os.listdir("/proc/self/fd")) == before
    if lines < 200_000:
        assert read_all(source) == 2 * lines


def test_what_was_read_before_the_count_is_counted_too(tmp_path):
    path = tmp_path / "jobs.txt"
    path.write_bytes(b"echo 0\necho 1\n# pages\necho 2\necho 3")
    part = open_file(str(path), sniff=True)
    count = JobCount(5, CommandList({}).counter(), [part])
    os.lseek(part.fd, 0, os.SEEK_END)  # the reader of the jobs goes on meanwhile
    assert number_of(count) == 5 + 4
    os.close(part.fd)


def test_a_list_with_a_wrong_line_has_no_number(tmp_path):
    path = tmp_path / "jobs.txt"
    path.write_bytes(b"echo 0\n" * 2000 + b"echo \0\n" + b"echo 1\n" * 2000)
    count = open_input(InputSettings(files=(str(path),))).job_count()
    assert number_of(count) is None
    assert count.number() is None


def test_a_count_that_nobody_waits_for_ends(tmp_path):
    path = tmp_path / "jobs.txt"
    path.write_text("true\n")
    never, begun = (open_input(InputSettings(files=(str(path),))).job_count() for _ in "12")
    never.close()
    assert never.number() is None and never._parts == []
    begun.number()
    begun.close()
    begun._thread.join(20.0)
    assert not begun._thread.is_alive() and begun._parts == []


def test_without_room_for_a_thread_the_number_stays_unknown(tmp_path, monkeypatch):
    path = tmp_path / "jobs.txt"
    path.write_text("true\n")
    count = open_input(InputSettings(files=(str(path),))).job_count()
    fds = [part.fd for part in count._parts]

    def no_thread(thread):
        raise NoThread("no room")

    monkeypatch.setattr(job_count, "start_thread", no_thread)
    assert (count.number(), count.number()) == (None, None)
    for fd in fds:
        with pytest.raises(OSError):
            os.fstat(fd)


def test_the_files_of_a_count_that_is_closed_stay_open_while_it_reads(tmp_path):
    reads, go_on = Event(), Event()

    class SlowCounter(CommandList):
        """A counter that the test holds up."""

        def feed(self, data):
            reads.set()
            assert go_on.wait(20)
            super().feed(data)

    path = tmp_path / "jobs.txt"
    path.write_text("true\n")
    part = open_file(str(path), sniff=True)
    count = JobCount(0, SlowCounter({}), [part])
    try:
        assert count.number() is None and reads.wait(20)
        count.close()
        assert all(os.fstat(part.fd) for part in count._parts) and count._parts
    finally:
        go_on.set()
        count._thread.join(20)
        os.close(part.fd)


def test_only_regular_files_are_counted():
    reading, writing = os.pipe()
    os.write(writing, b"true\n")
    kept = os.dup(0)
    os.dup2(reading, 0)
    try:
        source = open_input(InputSettings(files=("-",), format="lines"))
        assert source.job_count() is None
    finally:
        os.dup2(kept, 0)
        for fd in (kept, reading, writing):
            os.close(fd)


@pytest.mark.parametrize(
    "words",
    [
        "", "echo {}", "echo {} ::: a b c", "echo {1} {2} {3} ::: a b ::: c d e", "echo {} {2} :::+ a b",
        "echo {} {2} {3} :::+ a b ::: c d",
    ],
)  # fmt: skip
def test_the_jobs_of_each_are_counted(tmp_path, words):
    path = tmp_path / "arguments.txt"
    path.write_text("one\n\n two\r\n   \nthree")
    each = Each(words=tuple(words.split()), files=(str(path),))
    count = open_input(InputSettings(each=each)).job_count()
    assert number_of(count) == read_all(open_input(InputSettings(each=each))) > 1


def test_the_many_combinations_of_each_are_known_at_once():
    letters = tuple("abcdefghijklmnopqrstuvwxyz")
    each = Each(words=("echo", ":::", *letters, ":::", *letters, ":::", *letters))
    assert open_input(InputSettings(each=each)).job_count().number() == 26**3
