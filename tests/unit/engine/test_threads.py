# SPDX-License-Identifier: LGPL-3.0-or-later
"""Threads that can't be had: tried again where that helps, done without where that is possible."""

import json
import os
import threading
from threading import Thread

import pytest

from pqrun.core.errors import InternalFailure
from pqrun.core.job import Attempt, AttemptId, JobSpec
from pqrun.core.notices import StartRejected
from pqrun.engine.clock import SystemClock
from pqrun.engine.threads import NoThread, start_thread
from pqrun.executors.thread_pool import ThreadPoolExecutor
from pqrun.journal.writer import JournalWriter
from pqrun.library.runtime import Subscribers


@pytest.fixture
def no_room(monkeypatch):
    """As many starts of threads are refused as is said."""
    start = Thread.start

    def refuse(count):
        left = [count]

        def limited(thread):
            if left[0] > 0:
                left[0] -= 1
                raise RuntimeError("can't start new thread")
            start(thread)

        monkeypatch.setattr(Thread, "start", limited)

    return refuse


def test_a_thread_that_can_not_be_had_is_a_failure_that_names_the_limit(no_room):
    no_room(1)
    with pytest.raises(NoThread, match="cannot start a thread: .*; see `ulimit -u`") as raised:
        start_thread(Thread(target=lambda: None))
    assert isinstance(raised.value, InternalFailure) and isinstance(raised.value, RuntimeError)


def test_it_is_tried_again_for_a_while(no_room):
    no_room(2)
    ran = threading.Event()
    start_thread(Thread(target=ran.set), patience=60)
    assert ran.wait(10)


def test_a_thread_that_was_started_before_is_a_mistake_of_ours():
    thread = Thread(target=lambda: None)
    start_thread(thread)
    with pytest.raises(RuntimeError, match="once"):
        start_thread(thread)


def test_a_slot_without_a_thread_refuses_and_asks_others_to_spare_theirs(no_room):
    no_room(1)
    posted, spared = [], []

    class Reporter:
        def post(self, *news, urgent=True):
            posted.extend(news)

    slots = ThreadPoolExecutor(1, lambda attempt: None, Reporter(), lambda: spared.append(True))
    slots.start(Attempt(AttemptId(1, 1), JobSpec("a", None), 1, ()))
    assert posted == [StartRejected(AttemptId(1, 1), os.strerror(11))]
    assert spared == [True]


@pytest.mark.parametrize("when", ["none to be had", "spared later"])
def test_a_journal_without_a_thread_syncs_in_each_turn(no_room, monkeypatch, tmp_path, when):
    synced = []
    monkeypatch.setattr("pqrun.journal.writer._fdatasync", synced.append)
    no_room(1 if when == "none to be had" else 0)
    journal = JournalWriter(str(tmp_path / "journal.jsonl"), SystemClock())
    journal.start({"pqrun": 1})
    if when == "spared later":
        syncer = journal._keeper
        journal.spare()
        syncer.join(10)
        assert not syncer.is_alive()
    before = len(synced)
    journal.record(())
    from pqrun.core.events import JobRemoved

    journal.record([JobRemoved(0.0, 1)])
    assert len(synced) == before + 1
    journal.close()
    assert [json.loads(line).get("e") for line in (tmp_path / "journal.jsonl").open()] == [None, "remove"]


@pytest.mark.slow
def test_who_could_not_listen_for_want_of_a_thread_may_try_again(no_room):
    no_room(1000)
    subscribers = Subscribers(lambda: None)
    with pytest.raises(NoThread):
        subscribers.add(lambda events: None)
    assert subscribers.thread is None and not subscribers.backlogged
    no_room(0)
    heard = []
    subscribers.add(heard.extend)
    subscribers.put(["something"])
    subscribers.end()
    assert heard == ["something"]
