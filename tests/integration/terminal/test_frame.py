# SPDX-License-Identifier: LGPL-3.0-or-later
"""The table on a screen: golden at four sizes, and what must hold at any size."""

import io
import os
import re
import time
from pathlib import Path

import pyte
import pytest
from rich.console import Console

from pqrun.core.job import Command, ExitedWith, JobSpec, Outcome, Priority, RetryPolicy, SelfReport
from pqrun.core.scheduler import Scheduler
from pqrun.testing import FakeClock, Fate, SimulatedExecutor, simulate
from pqrun.ui.live.cells import AnsiPainter, width_of
from pqrun.ui.live.keys import question_of_drain
from pqrun.ui.live.layout import frame, max_waiting, progress, room
from pqrun.ui.live.state import RunningJob, WaitingJob

from .conftest import load_picture

GOLDEN = Path(__file__).parent / "golden"
SIZES = [(56, 20), (80, 24), (110, 40), (200, 50)]
night = load_picture()


@pytest.fixture(scope="module")
def events():
    return night.simulated_events(night.RETRIED)


def last_retry():
    """The events of a run of thirty jobs of which the last one waits for its sixth try after 134 s."""
    why = SelfReport(message="curl: (7) Failed to connect to dl.example.org port 443: No route to host")
    scheduler = Scheduler()
    jobs = [JobSpec(f"page-{n}", Command("make")) for n in range(1, 30)]
    tries = RetryPolicy(max=5, delay=4.0)
    jobs.insert(3, JobSpec("flaky-download", Command("curl …"), retry=tries, priority=Priority.HIGH))
    scheduler.add(jobs, 0.0)
    scheduler.end_input(0.0)

    def fate(attempt):
        failing = attempt.spec.id == "flaky-download"
        return Fate(2.0, ExitedWith(7), said=why) if failing else Fate(9.0, ExitedWith(0))

    return list(simulate(scheduler, SimulatedExecutor(FakeClock(), 4, fate)).events)


def screen_of(table, columns, rows):
    """What a terminal shows of the table, drawn as the program draws it."""
    screen = pyte.Screen(columns, rows)
    painter = AnsiPainter(Console(file=io.StringIO(), force_terminal=True, color_system="256"))
    pyte.Stream(screen).feed("\r\n".join(table.painted(painter)))
    return [line.rstrip() for line in screen.display]


def scene(name, columns, rows, events):
    if name == "mixed":
        facts = night.facts_at(night.MOMENT, rows, events)
        loads = [(1.83, 890 << 20), (0.12, 22 << 20), (1.94, 1638 << 20), (None, None)]
        measured = [job._replace(cpus=c, memory=m) for job, (c, m) in zip(facts.running, loads, strict=False)]
        return frame(facts._replace(running=tuple(measured), measured=True), columns, rows)
    return frame(night.facts_at(100.0, rows, last_retry()), columns, rows)


SCENES = [(name, *size) for name in ("mixed", "waiting") for size in SIZES]


@pytest.mark.parametrize(("name", "columns", "rows"), SCENES)
def test_the_screen_looks_as_it_did(events, name, columns, rows):
    lines = screen_of(scene(name, columns, rows, events), columns, rows)
    shown = "\n".join(lines).rstrip("\n") + "\n"
    path = GOLDEN / f"{name}-{columns}x{rows}.txt"
    if os.environ.get("GOLDEN"):
        path.write_text(shown)
    assert shown == path.read_text()


@pytest.mark.parametrize(("name", "columns", "rows"), SCENES)
def test_the_terminal_breaks_no_line_and_no_word_of_a_golden_screen(events, name, columns, rows):
    table = scene(name, columns, rows, events)
    told = [line.rstrip() for line in str(table).split("\n")]
    assert all(width_of(line) < columns for line in told)
    assert screen_of(table, columns, rows)[: len(told)] == told
    whole = str(scene(name, 400, rows, events))
    known = set(re.findall(r"[^\s…]+", whole)) | {"2m", "-", "…"}
    first = told.index("") if "" in told else 3
    for line in (*told[:first], told[-1]):  # all but names and output, whose cuts are marked
        assert not [
            word for word in line.split() if "━" not in word and "─" not in word and word not in known
        ]


@pytest.mark.slow
def test_no_line_ever_reaches_the_last_column_and_no_table_takes_the_whole_window(events):
    for moment in (0.0, 1.0, 60.0, 205.0, 500.0):
        for rows in (1, 2, 3, 5, 9, 12, 15, 16, 23, 24, 31, 39, 40, 70):
            facts = night.facts_at(moment, rows, events)
            for help in (False, True):
                for columns in (1, 2, 10, 30, 55, 56, 57, 79, 80, 81, 109, 110, 111, 200):
                    table = frame(facts._replace(help=help), columns, rows)
                    lines = str(table).split("\n")
                    assert len(lines) <= room(rows)
                    assert max(width_of(line) for line in lines) < max(columns, 2)
                    painted = sum(
                        width_of(text) for line in table.lines for text, _ in line.within(table.width)
                    )
                    assert painted <= table.width * len(table.lines)


def test_columns_and_sections_fall_away(events):
    def words(columns, rows):
        return str(frame(night.facts_at(205.0, rows, events), columns, rows))

    assert "median run" in words(110, 40) and "median run" not in words(109, 40)
    assert "last output" in words(80, 30) and "last output" not in words(79, 30)
    assert "progress" in words(56, 24) and "progress" not in words(55, 24)
    assert "queue size" in words(80, 40) and "queue size" not in words(110, 39)
    assert "failed   " in words(110, 20) and "failed   " not in words(110, 19).replace("2 failed", "")
    assert "queue  critical 0  high 0  normal 31  low 12\n" in words(56, 16)
    assert "normal 31  low 12  workers 4/4\n" in words(80, 16)
    assert "queue" not in words(110, 15).replace("43 queued", "")
    assert "+ - workers" in words(80, 24) and "? keys" in words(56, 20) and "+ -" not in words(56, 20)


@pytest.mark.parametrize(
    ("cpus", "memory", "shown"),
    [
        (0.0, 812 << 10, "   0%   812K"), (1.25, 57 << 20, " 125%    57M"), (31.999, 1280 << 20, "3200%   1.2G"),
        (None, None, " " * 12), (999.0, 700 << 30, None),
    ],
)  # fmt: skip
def test_what_jobs_take_is_shown_where_somebody_looks_and_there_is_room(events, cpus, memory, shown):
    job = RunningJob(1, "name", Priority.NORMAL, 1, 1, 3.0, line="said", cpus=cpus, memory=memory)
    facts = night.facts_at(205.0, 24, events)
    facts = facts._replace(running=(job,), waiting=(), has_progress=False, measured=True)
    wide = str(frame(facts, 110, 24)).split("\n")
    head = next(n for n, line in enumerate(wide) if "last output" in line)
    assert "  cpu    mem  last output" in wide[head]
    if shown is not None:
        assert f"3s  {shown}  said" in wide[head + 1]
    assert wide[head + 1].index("said") == wide[head].index("last output")
    assert " mem " not in str(frame(facts, 109, 24))
    assert " mem " not in str(frame(facts._replace(measured=False), 110, 24))


def test_jobs_that_do_not_fit_are_counted(events):
    facts = night.facts_at(205.0, 24, events)
    jobs = tuple(RunningJob(n, f"job-{n}", Priority.NORMAL, 1, 1, 3.0) for n in range(1, 13))
    shown = str(frame(facts._replace(running=jobs, more_running=88), 80, 24))
    first_hidden = next(n for n in range(1, 14) if f"job-{n} " not in shown)
    assert first_hidden > 4
    assert f"… and {101 - first_hidden} more running" in shown
    assert "again in 14s" in shown


@pytest.mark.slow
def test_a_retry_that_waits_is_seen_at_every_size(events):
    """Its countdown where there is a row for it, else at least that it waits, before any other count."""
    alone = night.facts_at(100.0, 60, last_retry())
    busy = night.facts_at(205.0, 60, events)
    busy = busy._replace(running=tuple(busy.running[0]._replace(seq=n) for n in range(70)), reserve=70)
    for facts in (alone, busy):
        for columns in (20, 30, 40, 56, 79, 80, 109, 110, 200):
            for rows in range(5, 60):
                lines = str(frame(facts, columns, rows)).split("\n")
                (counted,) = [line for line in lines if line.startswith("1 waiting to retry")]
                assert lines.index(counted) in (2, 3)
                assert not any("no job runs" in line for line in lines)
                if rows > 8 or (facts is alone and rows > 6):
                    assert any(re.search("in (14|34)s", line) for line in lines), (columns, rows, lines)


def test_a_retry_tells_its_try_and_why_the_last_one_failed(events):
    facts = night.facts_at(205.0, 40, events)
    (row,) = [line for line in str(frame(facts, 200, 40)).split("\n") if "again in" in line]
    assert row.split(maxsplit=6)[:3] == ["110", "H", "fetch[exchange-rates]"]
    assert "2/4" in row and row.endswith("exit 22: curl: (22) The requested URL returned error: 503")
    lines = str(frame(facts, 56, 40)).split("\n")
    (at,) = [n for n, line in enumerate(lines) if "again in" in line]
    assert lines[at + 1].startswith("        exit 22: curl: (22) The requested URL")


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.0, "again now"), (0.2, "again in 1s"), (59.0, "again in 59s"), (60.0, "again in 1m"),
        (251.3, "again in 4m12s"), (700.0, "again in 12m"), (7500.0, "again in 2h05m"),
    ],
)  # fmt: skip
def test_a_countdown_never_says_0s(events, seconds, shown):
    waiting = WaitingJob(7, "a", Priority.LOW, 2, 3, seconds, "exit 1")
    facts = night.facts_at(205.0, 24, events)._replace(waiting=(waiting,))
    for columns in (56, 80, 110):
        assert shown in str(frame(facts, columns, 24))


def test_retries_that_do_not_fit_are_counted_and_the_soonest_are_shown(events):
    waiting = tuple(WaitingJob(n, f"job-{n}", Priority.LOW, 2, 3, float(n), "exit 1") for n in range(1, 40))
    facts = night.facts_at(205.0, 24, events)._replace(waiting=waiting, more_waiting=61)
    for columns, running in ((56, facts.running), (80, facts.running), (80, ())):
        shown = str(frame(facts._replace(running=running), columns, 24))
        assert "100 waiting to retry" in shown and "again in 1s" in shown
        assert f"… and {100 - shown.count('again in')} more waiting" in shown
    few = facts._replace(waiting=waiting[: max_waiting(40)], more_waiting=92, running=())
    assert "… and 92 more waiting" in str(frame(few, 80, 40))


def test_a_name_that_does_not_fit_keeps_its_end(events):
    job = RunningJob(1, "train[LR=0.0003,DEPTH=4,WIDTH=日本,SEED=17]", Priority.HIGH, 1, 1, 3.0)
    shown = str(frame(night.facts_at(205.0, 24, events)._replace(running=(job,)), 80, 24))
    assert "train[LR=0.0003,D…SEED=17]" in shown


def test_what_the_state_of_the_run_is_can_be_seen(events):
    facts = night.facts_at(205.0, 24, events)
    assert "PAUSED" in str(frame(facts._replace(state="paused"), 80, 24))
    assert "p go on" in str(frame(facts._replace(state="paused"), 80, 24))
    assert "DRAINING" in str(frame(facts._replace(state="draining"), 80, 24))
    assert "show output" in str(frame(facts._replace(output_hidden=True), 80, 24))
    assert "one worker more or less" in str(frame(facts._replace(help=True), 80, 24))
    assert str(frame(facts._replace(keys=False), 80, 24)).endswith("^C stop")


QUESTION = "q again within 2s: start no more jobs, let the 4 running finish  Esc: no"


def test_the_question_counts_the_jobs_that_may_finish():
    assert question_of_drain(4) == QUESTION
    assert question_of_drain(0) == "q again within 2s: start no more jobs  Esc: no"


@pytest.mark.parametrize(
    ("columns", "asked"),
    [
        (56, "q again within 2s: start no more jobs, let …  Esc: no"),
        (80, QUESTION),
        (110, QUESTION),
        (200, QUESTION),
    ],
)
def test_a_question_replaces_the_keys_and_nothing_else_moves(events, columns, asked):
    facts = night.facts_at(205.0, 40, events)
    table = frame(facts._replace(prompt=QUESTION), columns, 40)
    before = str(frame(facts, columns, 40)).split("\n")
    assert str(table).split("\n") == [*before[:-1], f" {asked}"]
    ((text, style),) = table.lines[-1].pieces
    assert (width_of(text), style) == (columns - 1, "prompt")


def test_a_list_that_is_still_read_has_no_percentage(events):
    facts = night.facts_at(205.0, 24, events)
    assert "62/110+" in str(frame(facts._replace(complete=False), 80, 24))
    assert "%" not in str(frame(facts._replace(complete=False, running=()), 80, 24))


def test_wide_characters_keep_columns_straight(events):
    facts = night.facts_at(205.0, 24, events)
    job = RunningJob(
        1, "日本語の仕事の名前はとても長いですから切られる", Priority.HIGH, 1, 1, 3.0, line="進む"
    )
    plain = job._replace(name="x" * 60)
    one, other = (str(frame(facts._replace(running=(j,)), 80, 24)).split("\n")[6] for j in (job, plain))
    assert width_of(one.partition("1/1")[0]) == width_of(other.partition("1/1")[0])


def test_a_frame_of_thirty_running_jobs_costs_little(events):
    facts = night.facts_at(205.0, 60, events)
    job = RunningJob(
        1, "a job of a usual name", Priority.NORMAL, 1, 3, 61.0, 120.0, line="some line of output"
    )
    facts = facts._replace(running=tuple(job._replace(seq=n) for n in range(30)), reserve=30)
    painter = AnsiPainter(Console(file=io.StringIO(), force_terminal=True, color_system="256"))
    costs = []
    for _ in range(30):
        began = time.thread_time()
        assert len(frame(facts, 120, 60).painted(painter)) > 36
        costs.append(time.thread_time() - began)
    assert min(costs) < 0.003  # half a millisecond where it was written; a rich.Table costs twenty


def test_what_holds_back_starts_stands_below_the_running_jobs(events):
    facts = night.facts_at(205.0, 30, events)._replace(
        more_running=0, reserve=12, hold_reason="load 9 (--load)"
    )
    assert "no job starts: load 9 (--load)" in str(frame(facts, 80, 30))


def test_the_bar_is_full_only_when_all_jobs_have_ended(events):
    facts = night.facts_at(205.0, 24, events)._replace(total=100_000, running=[], more_running=0)

    def bar(number):
        return "".join(text for text, _ in progress(facts._replace(outcomes={Outcome.OK: number}), 80).pieces)

    assert "─" in bar(99_999)
    assert "─" not in bar(100_000)
    assert "━" in bar(1)
