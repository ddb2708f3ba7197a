# SPDX-License-Identifier: LGPL-3.0-or-later
"""What every executor promises; each is held to the same tests."""

from pqrun.core.job import AttemptId, ExitedWith, KilledBySignal, NotStarted
from pqrun.core.notices import ProcessFinished, ProcessStarted, StartRejected


def test_each_attempt_starts_once_at_most_and_ends_once(rig):
    keys = [rig.start("quick" if seq % 2 else "failing", seq) for seq in range(1, 21)]
    ends = {key.seq: rig.end_of(key).exit for key in keys}
    assert ends == {seq: ExitedWith(0) if seq % 2 else rig.failed for seq in range(1, 21)}


def test_an_end_tells_when_it_began_and_ended_and_that_nobody_stopped_it(rig):
    key = rig.start("quick")
    end = rig.end_of(key)
    assert end.began <= end.ended and not end.stopped
    # The start is told once: by a notice of its own, or with the end of a short attempt.
    starts = [(news.at, news.where) for news in rig.of(key, ProcessStarted)]
    starts += [(end.began, end.slot)] if end.slot else []
    assert [at for at, _ in starts] == [end.began]
    assert starts[0][1]


def test_news_carry_the_attempt_to_which_they_belong(rig):
    first, third = rig.start("failing", 7, attempt=1), rig.start("quick", 7, attempt=3)
    assert rig.end_of(first).exit == rig.failed
    assert rig.end_of(third).exit == ExitedWith(0)
    assert {news.key for news in rig.reports} == {AttemptId(7, 1), AttemptId(7, 3)}


def test_a_stop_ends_what_would_not_end_and_says_that_it_met_it_alive(rig):
    key = rig.begin("endless")
    rig.executor.stop(key, force=False)
    end = rig.end_of(key)
    assert end.stopped and end.exit != ExitedWith(0)


def test_to_stop_twice_is_to_stop_once(rig):
    key = rig.begin("endless")
    for force in (False, False, True, True, False):
        rig.executor.stop(key, force=force)
    assert rig.end_of(key).stopped


def test_what_does_not_listen_is_ended_by_force(rig):
    key = rig.begin("deaf")
    rig.executor.stop(key, force=False)
    for _ in range(20):
        rig.pass_time()
    assert rig.of(key, ProcessFinished, StartRejected) == []
    rig.executor.stop(key, force=True)
    assert rig.end_of(key).stopped


def test_force_needs_no_asking_before(rig):
    key = rig.begin("deaf")
    rig.executor.stop(key, force=True)
    assert rig.end_of(key).stopped


def test_what_was_asked_to_end_and_then_ends_well_was_stopped_all_the_same(rig):
    key = rig.begin("polite")
    rig.executor.stop(key, force=False)
    end = rig.end_of(key)
    assert (end.stopped, end.exit) == (True, ExitedWith(0))


def test_a_stop_is_not_lost_however_soon_it_comes(rig):
    keys = [rig.start("endless", seq) for seq in range(1, 13)]
    for key in keys:
        rig.executor.stop(key, force=bool(key.seq % 2))
    assert [rig.end_of(key).stopped for key in keys] == [True] * len(keys)


def test_a_signal_reaches_what_has_a_process_and_is_no_stop(rig):
    key = rig.begin("endless")
    has_process = key in rig.executor.pids()
    rig.executor.signal(key, "SIGUSR1")
    rig.executor.signal(AttemptId(99, 1), "SIGUSR1")
    if has_process:
        end = rig.end_of(key)
        assert (end.stopped, end.exit) == (False, KilledBySignal("SIGUSR1"))
    else:
        rig.executor.stop(key, force=True)
        assert rig.end_of(key).stopped


def test_to_stop_what_is_not_known_is_nothing(rig):
    rig.executor.stop(AttemptId(1, 1), force=False)
    rig.executor.stop(AttemptId(2, 1), force=True)
    assert rig.reports == []


def test_a_stop_before_the_start_belongs_to_nobody(rig):
    rig.executor.stop(AttemptId(1, 1), force=True)
    end = rig.end_of(rig.start("quick"))
    assert (end.exit, end.stopped) == (ExitedWith(0), False)


def test_a_stop_that_comes_too_late_changes_nothing(rig):
    key = rig.start("failing")
    rig.end_of(key)
    before = list(rig.reports)
    rig.executor.stop(key, force=False)
    rig.executor.stop(key, force=True)
    rig.end_of(rig.start("quick", 2))
    assert [news for news in rig.reports if news.key == key] == before


def test_a_stop_for_an_earlier_attempt_leaves_the_next_alone(rig):
    rig.end_of(rig.start("failing", 1, attempt=1))
    key = rig.begin("endless", 1, attempt=2)
    rig.executor.stop(AttemptId(1, 1), force=True)
    rig.end_of(rig.start("quick", 2))
    assert rig.of(key, ProcessFinished) == []
    rig.executor.stop(key, force=False)
    assert rig.end_of(key).key == key


def test_it_has_a_capacity_that_can_be_changed(rig):
    assert rig.executor.capacity() == 4
    rig.executor.resize(2)
    assert rig.executor.capacity() == 2


def test_only_what_runs_has_output_and_a_process(rig):
    key = rig.begin("endless")
    pids = rig.executor.pids()
    assert set(pids) == ({key} if rig.runs_processes else set()) and all(pids.values())
    output = rig.executor.output_of(key)
    assert output is None or (output.out.size, output.err.size) == (0, 0)
    rig.executor.stop(key, force=True)
    rig.end_of(key)
    assert rig.executor.pids() == {}
    assert rig.executor.output_of(key) is rig.executor.output_of(AttemptId(9, 9)) is None


def test_only_a_running_attempt_that_asks_for_it_has_an_open_stdin(rig):
    key = rig.begin("endless")
    assert rig.executor.stdin_of(key) is None
    rig.executor.stop(key, force=True)
    rig.end_of(key)
    assert rig.executor.stdin_of(key) is rig.executor.stdin_of(AttemptId(9, 9)) is None


def test_what_its_author_did_wrong_ends_that_attempt_and_raises_nothing(faulty):
    rig, spec = faulty
    end = rig.end_of(rig.start(spec))
    assert isinstance(end, ProcessFinished) and not end.stopped
    assert isinstance(end.exit, NotStarted) and end.exit.code in (126, 127) and end.exit.why
    rig.end_of(rig.start("quick", 2))


def test_after_closing_nothing_runs_and_nothing_is_open(rig):
    before = rig.open_descriptors()
    kinds = ["endless", *({"deaf", "polite"} - rig.lacks), "endless"]
    keys = [rig.begin(kind, seq) for seq, kind in enumerate(kinds, 1)]
    keys += [rig.start("endless", seq) for seq in range(5, 9)]
    rig.executor.close()
    assert rig.alive() == []
    assert rig.open_descriptors() == before
    assert [len(rig.of(key, ProcessFinished)) for key in keys] == [1] * len(keys)


def test_one_that_did_nothing_can_be_closed_and_closed_again(rig):
    rig.executor.close()
    rig.executor.close()
    assert rig.reports == []
