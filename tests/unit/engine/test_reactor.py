# SPDX-License-Identifier: LGPL-3.0-or-later
"""The main thread's wait."""

import errno
import os
import signal
import time
from threading import Thread

import pytest

from pqrun.core.errors import InternalFailure
from pqrun.engine.reactor import Reactor


@pytest.fixture
def reactor():
    reactor = Reactor()
    yield reactor
    reactor.close()


class Pipe:
    """A source of single bytes, which are its asks."""

    def __init__(self, *, wanted=True):
        self.reading, self.writing = os.pipe()
        self.is_wanted = wanted
        self.kept = []

    def fileno(self):
        return self.reading

    def wanted(self):
        return self.is_wanted

    def pending(self):
        return bool(self.kept)

    def read(self):
        if self.kept:
            return [self.kept.pop(0)]
        return list(os.read(self.reading, 1))

    def close(self):
        os.close(self.reading)
        os.close(self.writing)


@pytest.fixture
def pipe():
    pipe = Pipe()
    yield pipe
    pipe.close()


def test_a_bell_rung_by_another_thread_ends_the_wait(reactor):
    began = time.monotonic()
    thread = Thread(target=lambda: (time.sleep(0.05), reactor.wake()))
    thread.start()
    assert reactor.wait(60) == []
    thread.join()
    assert time.monotonic() - began < 30


def test_a_bell_rung_before_the_wait_is_not_missed_and_rings_once(reactor):
    for _ in range(100_000):
        reactor.wake()
    assert reactor.wait(60) == []
    began = time.monotonic()
    reactor.wait(0.02)
    assert time.monotonic() - began >= 0.02


def test_a_ring_in_the_midst_of_hearing_another_does_not_silence_the_bell(reactor, monkeypatch):
    read = os.read

    def read_and_ring(fd, count):
        reactor.wake()  # as another thread may, while this one waits for the kernel
        return read(fd, count)

    monkeypatch.setattr(os, "read", read_and_ring)
    reactor.wake()
    reactor.wait(60)
    monkeypatch.undo()
    reactor.wake()
    began = time.monotonic()
    reactor.wait(60)
    assert time.monotonic() - began < 30


def refuse_writes(monkeypatch, times):
    """Let the next `times` writes fail."""
    write, left = os.write, [times]

    def refusing(fd, data):
        if left[0] > 0:
            left[0] -= 1
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return write(fd, data)

    monkeypatch.setattr(os, "write", refusing)


def test_a_wake_up_whose_write_fails_is_written_again(reactor, monkeypatch):
    refuse_writes(monkeypatch, 3)
    for _ in range(2):
        reactor.wake()
        began = time.monotonic()
        assert reactor.wait(60) == []
        assert time.monotonic() - began < 30


def test_a_wake_up_that_cannot_be_written_ends_the_wait_with_an_error(reactor, monkeypatch):
    refuse_writes(monkeypatch, 10**9)
    Thread(target=lambda: (time.sleep(0.05), reactor.wake())).start()
    with pytest.raises(InternalFailure, match="cannot wake the main thread: Input/output error"):
        reactor.wait(60)
    reactor.wake()
    began = time.monotonic()
    assert reactor.wait(0.02) == []
    assert time.monotonic() - began >= 0.02, "the broken pipe makes no later wait spin"


def test_it_does_not_return_before_the_alarm(reactor):
    for seconds in (0.0004, 0.0015, 0.01):
        began = time.monotonic()
        reactor.wait(seconds)
        assert time.monotonic() - began >= seconds


def test_a_wait_for_the_past_or_for_ever_is_no_error(reactor):
    assert reactor.wait(-5.0) == []
    reactor.wake()
    assert reactor.wait(float("inf")) == []


def test_what_can_be_read_becomes_asks(reactor, pipe):
    reactor.add(pipe)
    os.write(pipe.writing, b"ab")
    assert [reactor.wait(60), reactor.wait(60)] == [[ord("a")], [ord("b")]]


def test_a_source_that_is_not_wanted_is_not_read(reactor, pipe):
    pipe.is_wanted = False
    reactor.add(pipe)
    os.write(pipe.writing, b"a")
    assert reactor.wait(0.01) == []
    pipe.is_wanted = True
    assert reactor.wait(60) == [ord("a")]


def test_what_a_source_has_kept_is_taken_without_a_look_at_its_descriptor(reactor, pipe):
    reactor.add(pipe)
    pipe.kept = ["kept"]
    assert reactor.wait(60) == ["kept"]


def test_a_removed_source_is_forgotten(reactor, pipe):
    reactor.add(pipe)
    os.write(pipe.writing, b"a")
    reactor.remove(pipe)
    reactor.remove(pipe)
    assert reactor.wait(0) == []


def test_a_signal_becomes_what_follows_from_it(reactor):
    reactor.on_signal(signal.SIGUSR2, lambda number: [("ask", number)])
    reactor.listen()
    os.kill(os.getpid(), signal.SIGUSR2)
    assert reactor.wait(60) == [("ask", signal.SIGUSR2)]


def test_closing_puts_back_what_signals_did_before():
    before = signal.getsignal(signal.SIGUSR2)
    reactor = Reactor()
    reactor.on_signal(signal.SIGUSR2, lambda number: [])
    reactor.listen()
    assert signal.getsignal(signal.SIGUSR2) is not before
    reactor.close()
    assert signal.getsignal(signal.SIGUSR2) is before
    assert signal.set_wakeup_fd(-1) == -1


def test_closing_leaves_no_descriptor_open():
    before = set(os.listdir("/proc/self/fd"))
    Reactor().close()
    assert set(os.listdir("/proc/self/fd")) == before
