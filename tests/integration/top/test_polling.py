# SPDX-License-Identifier: LGPL-3.0-or-later
"""The objects below the screen, each alone: the wanted changes, the poller, and the output follower."""

import asyncio

import pytest

from pqrun.control.run_view import OutputPiece
from pqrun.core.errors import InternalFailure
from pqrun.ui.top.polling import MAX_PIECES, OutputFollower, RunPoller, WantedChanges
from pqrun.ui.top.widgets import LogText

from .conftest import Fake, attempts, job, nightly


class Log:
    """A log view without a terminal."""

    def __init__(self):
        self.text, self.searched, self.border_title, self.redrawn = LogText(), "", "", 0

    def begin(self):
        self.text = LogText()

    def changed(self):
        self.redrawn += 1

    def lines(self):
        return [line.text for line in self.text.lines]


class CountingSource(Fake):
    """A source that counts the questions, and gives output in pieces of `size` bytes."""

    size = 1_000

    def __init__(self, jobs, **facts):
        super().__init__(jobs, **facts)
        self.asked = []

    def last_output(self, seqs):
        self.asked.append(("last output", tuple(seqs)))
        return super().last_output(seqs)

    def details(self, seq):
        self.asked.append(("details", seq))
        return super().details(seq)

    def read(self, seq, attempt, stream, offset):
        self.asked.append(("read", stream, offset))
        data = self.output.get((seq, attempt, stream), b"")
        start = max(0, len(data) - self.size) if offset is None else offset
        piece = data[start : start + self.size]
        over = self.jobs[seq].state != "running" and start + len(piece) == len(data)
        return OutputPiece(piece, start, over)


@pytest.fixture
def polled():
    """`polled(source, script)` runs `script(poller)` after the first poll; gives what that gives."""

    def begin(source, script):
        async def main():
            poller = RunPoller(source, every=60)
            assert await poller.poll()
            try:
                return await script(poller)
            finally:
                poller.close()

        return asyncio.run(main())

    return begin


def test_a_second_press_steps_on_from_the_wanted_value_until_the_run_shows_it():
    source = Fake(nightly(), workers=4)
    news, wanted = source.poll(), WantedChanges()
    run, queued = news.run, source.jobs[6]
    assert (wanted.workers(run), wanted.limit("net", run), wanted.priority(queued)) == (4, 0, 2)
    wanted.want_workers(5)
    wanted.want_limit("net", 3)
    wanted.want_priority(queued, 3)
    wanted.settle(source.poll())  # the run shows nothing of it yet
    assert (wanted.workers(run), wanted.limit("net", run), wanted.priority(queued)) == (5, 3, 3)
    wanted.settle(news._replace(run=run._replace(workers=5, tag_limits={"net": 3}), changed=[queued]))
    assert (wanted.workers(run), wanted.limit("net", run), wanted.priority(queued)) == (4, 0, 2)


def test_a_limit_that_is_taken_away_is_wanted_until_the_run_has_none():
    source = Fake(nightly())
    source.limits["net"] = 2
    news, wanted = source.poll(), WantedChanges()
    wanted.want_limit("net", 0)
    wanted.settle(news)
    assert wanted.limit("net", news.run) == 0
    wanted.settle(news._replace(run=news.run._replace(tag_limits={})))
    assert wanted.limit("net", news.run) == 2


def test_after_a_refusal_nothing_is_wanted():
    source = Fake(nightly(), workers=4)
    run, wanted = source.poll().run, WantedChanges()
    wanted.want_workers(9)
    wanted.want_limit("net", 3)
    wanted.want_priority(source.jobs[6], 0)
    wanted.clear()
    assert (wanted.workers(run), wanted.limit("net", run), wanted.priority(source.jobs[6])) == (4, 0, 2)


def test_a_poll_says_whether_the_run_has_changed(polled):
    source = Fake(nightly())

    async def script(poller):
        assert len(poller.jobs) == 9 and poller.now() == source.now and poller.usage() == source.usage
        assert not await poller.poll()
        source.jobs[7] = job(7, "ok")
        assert await poller.poll() and poller.jobs.all[7].state == "ok"
        del source.jobs[7]
        assert await poller.poll() and 7 not in poller.jobs.all

    polled(source, script)


def test_the_last_output_is_asked_for_once_in_each_state_and_again_after_the_end(polled):
    source = CountingSource([job(1, "ok"), job(2, "queued")])

    async def script(poller):
        shown = list(poller.jobs.all.values())
        assert await poller.ask_last_output(shown) and poller.last_output == {1: "line of 1"}
        assert not await poller.ask_last_output(shown)
        source.jobs[2] = job(2, "ok")
        await poller.poll()
        assert await poller.ask_last_output(list(poller.jobs.all.values()))
        source.live = False
        await poller.poll()
        assert await poller.ask_last_output(list(poller.jobs.all.values()))
        return [seqs for kind, seqs in source.asked if kind == "last output"]

    assert polled(source, script) == [(1, 2), (2,), (1, 2)]


def test_the_details_are_asked_for_when_another_job_is_selected(polled):
    source = CountingSource(nightly())
    source.attempts[5] = attempts("exit 3", "running")

    async def script(poller):
        assert not await poller.ask_details(None)
        assert await poller.ask_details(source.jobs[4]) and await poller.ask_details(source.jobs[5])
        await poller.poll()
        assert not await poller.ask_details(source.jobs[5])  # too soon after the last time
        return poller.details

    assert polled(source, script) == (5, source.attempts[5], source.why)


def test_a_pause_ends_when_the_poller_is_woken_and_the_next_one_waits_again(polled):
    async def script(poller):
        poller.wake()
        await poller.pause()
        pause = asyncio.ensure_future(poller.pause())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not pause.done()
        poller.wake()
        await pause
        return poller.rounds

    assert polled(Fake(nightly()), script) == 2


def test_a_closed_poller_asks_nothing_and_closes_its_source(until):
    source = Fake(nightly())
    source.refuses = "the run is ending"

    async def script():
        poller = RunPoller(source, every=60)
        with pytest.raises(InternalFailure, match="the run is ending"):
            await poller.act("pause", {})
        poller.close()
        with pytest.raises(asyncio.CancelledError):
            await poller.poll()

    asyncio.run(script())
    until(lambda: source.closed)


def test_output_is_read_from_its_last_part_on_until_it_is_over(polled):
    source, log = CountingSource([job(1, "running", name="a[b]", most=2)]), Log()
    source.output[1, 1, 1] = b"x" * 2_000 + b"\nlast\n"

    async def script(poller):
        output = OutputFollower(poller, log)
        await output.read(source.jobs[1])
        assert log.lines()[0] == "… 1,006 bytes before this: pqrun logs k3f9 'a[b]'"
        assert log.lines()[2] == "last" and log.redrawn == 1
        assert log.border_title == "1 a\\[b] · try 1/2 · stdout+stderr"
        source.output[1, 1, 1] += b"more\n"
        await output.read(source.jobs[1])
        assert log.lines()[3] == "more" and log.redrawn == 2
        source.jobs[1] = job(1, "ok", name="a[b]", most=2)
        await output.read(source.jobs[1])  # the end of both streams
        source.asked.clear()
        await output.read(source.jobs[1])
        return source.asked

    assert polled(source, script) == []


def test_a_round_reads_a_bounded_number_of_pieces(polled):
    source, log = CountingSource([job(1, "running")]), Log()

    async def script(poller):
        output = OutputFollower(poller, log)
        output.choose_next_streams()  # stdout alone
        await output.read(source.jobs[1])
        source.output[1, 1, 1] = b"x\n" * 500 * (MAX_PIECES + 1)
        await output.read(source.jobs[1])
        assert len(log.text.lines) == 500 * MAX_PIECES
        await output.read(source.jobs[1])
        return len(log.text.lines)

    assert polled(source, script) == 500 * (MAX_PIECES + 1)


def test_another_attempt_and_other_streams_are_chosen(polled):
    source, log = CountingSource([job(1, "running", attempts=2)]), Log()
    for attempt in (1, 2):
        for stream in (1, 2):
            source.output[1, attempt, stream] = f"attempt {attempt} stream {stream}\n".encode()

    async def script(poller):
        output = OutputFollower(poller, log)

        async def shown():
            await output.read(source.jobs[1])
            return log.lines()

        assert await shown() == ["attempt 2 stream 1", "attempt 2 stream 2"]
        output.choose_attempt_before(source.jobs[1])
        output.choose_next_streams()
        assert await shown() == ["attempt 1 stream 1"]
        output.choose_next_streams()
        assert await shown() == ["attempt 1 stream 2"]
        output.choose_attempt_before(source.jobs[1])  # after the first one the last
        output.choose_next_streams()
        assert await shown() == ["attempt 2 stream 1", "attempt 2 stream 2"]
        output.choose_attempt_before(source.jobs[1])
        output.choose_last_attempt()
        assert await shown() == ["attempt 2 stream 1", "attempt 2 stream 2"]

    polled(source, script)


def test_a_job_that_has_not_started_and_no_job_leave_the_log_without_output(polled):
    source, log = CountingSource([job(1), job(2, "skipped", attempts=0)]), Log()

    async def script(poller):
        output = OutputFollower(poller, log)
        await output.read(source.jobs[1])
        assert log.lines() == ["it has not started yet"]
        await output.read(source.jobs[2])
        assert log.lines() == ["it was never started"]
        await output.read(None)
        assert log.lines() == [] and log.border_title == "" and source.asked == []

    polled(source, script)
