# SPDX-License-Identifier: LGPL-3.0-or-later
"""Small outputs lie in packs, each where its place says, whatever else happens."""

import errno
import os
from threading import Thread

import pytest

from pqrun.core.errors import InternalFailure
from pqrun.core.job import AttemptId, OutputPlace
from pqrun.output import pack as module
from pqrun.output import store
from pqrun.output.pack import Packs
from pqrun.output.store import MAX_IN_MEMORY_BYTES, Capture, Logs


@pytest.fixture
def logs(tmp_path):
    return Logs(str(tmp_path), keep=True)


def printed(logs, seq, out=b"", err=b""):
    capture = Capture(logs, AttemptId(seq, 1))
    for stream, data in ((capture.out, out), (capture.err, err)):
        if data:
            stream.put(data)
    capture.finish()
    return capture


def read(place, size):
    with open(place.file, "rb") as file:
        return os.pread(file.fileno(), size, place.offset)


def test_each_output_lies_where_its_place_says(logs, tmp_path):
    first, second = printed(logs, 1, b"one\n", b"oh\n"), printed(logs, 2, b"two\n")
    pack = f"{tmp_path}/pack.1"
    assert (first.out.place, first.err.place) == (OutputPlace(pack, 0, 1), OutputPlace(pack, 4, 1))
    assert (second.out.place, second.err.place) == (OutputPlace(pack, 7, 1), None)
    assert [capture.out.path for capture in (first, second)] == [None, None]
    assert (tmp_path / "pack.1").read_bytes() == b"one\noh\ntwo\n"
    assert os.listdir(tmp_path) == ["pack.1"]


def test_the_tail_of_a_short_output_is_all_of_it_and_nothing_of_the_one_before(logs):
    printed(logs, 1, b"one\n")
    second = printed(logs, 2, b"two\n").out
    second.forget()
    assert (second.tail(100), second.tail(2)) == (b"two\n", b"o\n")


def test_a_file_that_a_killed_pqrun_left_is_replaced(logs, tmp_path):
    (tmp_path / "0000").mkdir()
    (tmp_path / "0000" / "1.1.out").write_bytes(b"of an earlier process")
    large = b"x" * (MAX_IN_MEMORY_BYTES + 1)
    assert read(printed(logs, 1, large).out.place, len(large) + 1) == large


def test_silence_makes_no_pack(logs, tmp_path):
    printed(logs, 1)
    assert os.listdir(tmp_path) == []


def test_large_output_has_a_file_of_its_own_and_small_output_beside_it_does_not(logs, tmp_path):
    large = b"x" * (MAX_IN_MEMORY_BYTES + 1)
    capture = printed(logs, 1, large, b"small")
    assert capture.out.place == OutputPlace(f"{tmp_path}/0000/1.1.out")
    assert capture.err.place == OutputPlace(f"{tmp_path}/pack.1", 0, 1)
    assert capture.on_disk == len(large) + 5


def test_a_journal_of_version_1_gets_no_packs(tmp_path):
    capture = printed(Logs(str(tmp_path), keep=True, packed=False), 1, b"one\n")
    assert capture.out.path == f"{tmp_path}/0000/1.1.out"
    assert (tmp_path / "0000" / "1.1.out").read_bytes() == b"one\n"


def test_threads_write_side_by_side_and_packs_are_rolled(logs, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "MAX_PACK_BYTES", 5000)
    captures = {}

    def work(worker):
        for number in range(200):
            seq = worker * 1000 + number
            captures[seq] = printed(logs, seq, b"out %d\n" % seq * (seq % 7), b"err %d\n" % seq)

    threads = [Thread(target=work, args=(worker,)) for worker in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for seq, capture in captures.items():
        for stream, data in ((capture.out, b"out %d\n" % seq * (seq % 7)), (capture.err, b"err %d\n" % seq)):
            assert (read(stream.place, len(data)) if data else stream.place) == (data or None)
    sizes = [path.stat().st_size for path in tmp_path.iterdir()]
    assert len(sizes) > 3 and max(sizes) < 5000 + 100, "a pack is bounded, but no output is split"


def test_output_that_was_moved_out_of_memory_is_read_from_its_pack_even_if_that_was_deleted(logs, tmp_path):
    printed(logs, 1, b"before")
    capture = printed(logs, 2, b"0123456789")
    capture.out.forget()
    assert capture.in_memory == 0
    (tmp_path / "pack.1").unlink()
    assert (b"".join(capture.out.pieces()), b"".join(capture.out.pieces(2, 5))) == (b"0123456789", b"234")
    assert capture.out.tail(3) == b"789"
    target = os.open(tmp_path / "target", os.O_RDWR | os.O_CREAT)
    capture.out.copy_to(target, 1, 9)
    assert os.pread(target, 100, 0) == b"12345678"
    os.close(target)


def test_a_full_disk_is_told_and_what_was_written_before_stays(logs, tmp_path, monkeypatch):
    first = printed(logs, 1, b"first")
    real, calls = os.pwrite, []

    def full(fd, data, offset):
        calls.append(offset)
        if len(calls) == 1:
            return real(fd, data[:2], offset)
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(InternalFailure, match=r"cannot write .*/pack\.1: No space left on device"):
        printed(logs, 2, b"second")
    monkeypatch.undo()
    third = printed(logs, 3, b"third")
    assert [read(capture.out.place, 5) for capture in (first, third)] == [b"first", b"third"]


def test_a_short_write_is_continued(logs, monkeypatch):
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, data, offset: real(fd, data[:3], offset))
    assert read(printed(logs, 1, b"0123456789").out.place, 10) == b"0123456789"


def test_without_a_directory_there_is_no_pack(tmp_path):
    with pytest.raises(InternalFailure, match="cannot create .*/gone: No such file"):
        printed(Logs(f"{tmp_path}/gone", keep=True), 1, b"x")
    assert Packs(f"{tmp_path}/gone").closed() == frozenset()


def test_another_process_begins_another_pack_and_follows_no_link(tmp_path):
    printed(Logs(str(tmp_path), keep=True), 1, b"first")
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "pack.7").symlink_to(tmp_path / "victim")
    (tmp_path / "pack.x").touch()
    capture = printed(Logs(str(tmp_path), keep=True), 2, b"second")
    assert capture.out.place == OutputPlace(f"{tmp_path}/pack.8", 0, 8)
    assert ((tmp_path / "pack.1").read_bytes(), (tmp_path / "victim").read_bytes()) == (b"first", b"precious")


def test_a_pack_is_closed_once_no_output_in_it_may_be_unrecorded(logs, monkeypatch):
    monkeypatch.setattr(module, "MAX_PACK_BYTES", 1)
    captures = [printed(logs, seq, b"x") for seq in range(1, 5)]
    assert logs.packs.closed() == frozenset(), "any of them may be on its way to the journal"
    del captures[0], captures[1]
    assert logs.packs.closed() == {1, 3}
    captures.clear()
    assert logs.packs.closed() == {1, 2, 3}, "the present one gets more"
    assert Packs(logs.directory).closed() == {1, 2, 3}, "or its number would be given again"
    logs.packs.remove(frozenset({1, 3}))
    assert sorted(os.listdir(logs.directory)) == ["pack.2", "pack.4"]


def test_a_reader_is_told_of_a_pack_that_is_too_short_or_gone(logs, tmp_path):
    printed(logs, 1, b"first")
    stored = Capture.stored(Logs(str(tmp_path), keep=True), AttemptId(1, 1), 5, 0, (1, 0))
    assert b"".join(stored.out.pieces()) == b"first"
    os.truncate(tmp_path / "pack.1", 4)
    with pytest.raises(OSError, match="it ends before this output"):
        b"".join(stored.out.pieces())
    (tmp_path / "pack.1").unlink()
    with pytest.raises(FileNotFoundError):
        stored.out.tail()


def test_a_reader_is_told_of_an_own_file_that_is_too_short(logs, tmp_path):
    large = b"x" * (MAX_IN_MEMORY_BYTES + 1)
    capture = printed(logs, 1, large)
    os.truncate(capture.out.path, 10)
    with pytest.raises(OSError, match="it ends before this output"):
        b"".join(capture.out.pieces())


def test_output_that_found_no_room_on_the_disk_is_as_long_as_its_file(logs, tmp_path, monkeypatch):
    def write(fd, data):
        os.write(fd, data[:1000])
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store, "write_all", write)
    capture = Capture(logs, AttemptId(1, 1))
    with pytest.raises(OSError, match="No space left"):
        capture.out.put(b"x" * (MAX_IN_MEMORY_BYTES + 1))
    capture.finish()
    stored = Capture.stored(logs, AttemptId(1, 1), capture.out.size, 0)
    assert b"".join(stored.out.pieces()) == b"".join(capture.out.pieces()) == b"x" * 1000


def test_the_descriptor_of_a_pack_is_closed_with_the_last_reference(logs, monkeypatch):
    monkeypatch.setattr(module, "MAX_PACK_BYTES", 1)
    capture = printed(logs, 1, b"x")
    fd = capture.out._pack.fd
    printed(logs, 2, b"x")
    os.fstat(fd)
    del capture
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(fd)
