# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which job goes first."""

from random import Random

import pytest

LEVELS = ("critical", "high", "normal", "low")


def shuffled(count, seed, command):
    """Lines of mixed priority, and their numbers in the promised order."""
    random = Random(seed)
    levels = [random.choice(LEVELS) for _ in range(count)]
    lines = [f"{command(n)} # pqrun: priority={level}" for n, level in enumerate(levels)]
    return lines, sorted(range(count), key=lambda n: (LEVELS.index(levels[n]), n))


def held_back(start, gate, until, lines, *options):
    """A run in which the first job waits until all the others are queued."""
    first = f"{gate.wait} # pqrun: priority=critical"
    live = start("-q", "--max-queue", 1_000_000, *options, lines=[first, *lines])
    until(lambda: live.running_and_waiting()[1] == len(lines), what=lambda: live.err)
    gate.open()
    return live


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_ten_thousand_jobs_of_mixed_priority_run_one_by_one_in_exactly_the_promised_order(start, gate, until):
    lines, promised = shuffled(10_000, 1, lambda n: f"echo {n}")
    done = held_back(start, gate, until, lines, "-j1").end(timeout=240)
    assert done.code == 0
    assert [int(line) for line in done.out.split()] == promised


@pytest.mark.slow
def test_with_eight_slots_no_job_starts_while_a_higher_one_is_ready(start, gate, until, tmp_path):
    slots = 8
    log = tmp_path / "log"
    lines, promised = shuffled(2000, 2, lambda n: f"echo {n} >> {log}")
    first = [f"{gate.wait} # pqrun: priority=critical"] * slots
    live = start("-q", "-j", slots, "--max-queue", 1_000_000, lines=[*first, *lines])
    until(lambda: live.running_and_waiting() == (slots, len(lines)), what=lambda: live.err)
    gate.open()
    assert live.end().code == 0
    started = [int(line) for line in log.read_text().split()]
    assert sorted(started) == sorted(promised)
    # Of the jobs that go before it, only those that run beside it may write after it.
    place = {n: at for at, n in enumerate(promised)}
    unwritten = set(promised)
    for n in started:
        unwritten.discard(n)
        assert sum(place[m] < place[n] for m in unwritten) < slots


@pytest.mark.slow
def test_a_high_job_that_comes_later_goes_before_every_queued_lower_one(start, gate, until):
    live = start("-q", "-j1")
    lines = [gate.wait, "echo one", "echo two", "echo low # pqrun: priority=low"]
    live.stdin.write("".join(f"{line}\n" for line in lines).encode())
    live.stdin.flush()
    until(lambda: live.running_and_waiting() == (1, 3))
    live.stdin.write(b"echo high # pqrun: priority=high\necho critical # pqrun: priority=critical\n")
    live.stdin.flush()
    until(lambda: live.running_and_waiting() == (1, 5))
    gate.open()
    assert live.end().out.split() == ["critical", "high", "one", "two", "low"]


def test_a_retry_keeps_its_priority_and_goes_behind_its_equals(start, gate, until, tmp_path):
    flaky = f"echo flaky >> {tmp_path}/log; test -e {tmp_path}/twice || {{ touch {tmp_path}/twice; false; }}"
    lines = [f"{flaky} # pqrun: priority=high retries=1 retry_delay=0"]
    lines += [f"echo {name} >> {tmp_path}/log # pqrun: priority=high" for name in ("one", "two")]
    lines += [f"echo normal >> {tmp_path}/log"]
    assert held_back(start, gate, until, lines, "-j1").end().code == 0
    assert (tmp_path / "log").read_text().split() == ["flaky", "one", "two", "flaky", "normal"]


def test_while_a_retry_waits_it_holds_no_worker(run, tmp_path):
    lines = [f"test -e {tmp_path}/other # pqrun: retries=1 retry_delay=100ms", f"touch {tmp_path}/other"]
    assert run("-j1", lines=lines).code == 0


def test_a_job_that_cannot_run_yet_holds_back_nobody_of_lower_priority(run):
    lines = [
        "sleep 0.05; echo need # pqrun: id=a priority=low",
        "echo urgent # pqrun: needs=a priority=critical",
        "echo low # pqrun: priority=low",
    ]
    assert run("-q", "-j2", lines=lines).out.split() == ["low", "need", "urgent"]


@pytest.mark.slow
def test_jobs_that_share_a_pool_do_not_run_together_and_others_do(run, tmp_path):
    alone = f"mkdir {tmp_path}/alone && sleep 0.02 && rmdir {tmp_path}/alone"
    lines = [f"{alone} # pqrun: pools=net", f"{alone} # pqrun: pools=net", f"{alone} # pqrun: pools=net:2"]
    done = run("-j3", "--pool", "net=2", "--json", lines=lines[2:] * 3)
    assert done.code == 0
    assert run("-j3", "--pool", "net=1", lines=lines[:2] * 2).code == 0


@pytest.mark.slow
def test_a_job_of_many_slots_runs_alone(run, tmp_path):
    alone = f"test ! -e {tmp_path}/small && sleep 0.02 && test ! -e {tmp_path}/small"
    small = f"touch {tmp_path}/small; sleep 0.01; rm {tmp_path}/small"
    lines = [f"{alone} # pqrun: slots=2", "true", f"{alone} # pqrun: slots=9"]
    assert run("-j2", lines=lines).code == 0
    assert run("-j2", lines=[small, f"{alone} # pqrun: slots=2"]).code == 0
