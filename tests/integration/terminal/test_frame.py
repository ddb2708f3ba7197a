# SPDX-License-Identifier: LGPL-3.0-or-later
"""The table as text: golden at five sizes, and what must hold at any size."""

import io
import os
import time
from pathlib import Path

import pytest
from rich.console import Console

from pqrun.core.job import Outcome, Priority
from pqrun.ui.live.cells import AnsiPainter, width_of
from pqrun.ui.live.layout import frame, progress, room
from pqrun.ui.live.state import RunningJob

from .conftest import load_picture

GOLDEN = Path(__file__).parent / "golden"
SIZES = [(110, 40), (80, 30), (80, 24), (56, 24), (110, 16)]
night = load_picture()


@pytest.fixture(scope="module")
def events():
    return night.simulated_events()


@pytest.mark.parametrize(("columns", "rows"), SIZES)
def test_the_table_of_a_night_looks_as_it_did(events, columns, rows):
    shown = str(frame(night.facts_at(night.MOMENT, rows, events), columns, rows)) + "\n"
    path = GOLDEN / f"{columns}x{rows}.txt"
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(shown)
    assert shown == path.read_text()


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
    assert "limit" in words(56, 24) and "limit" not in words(55, 24)
    assert "queue size" in words(110, 40) and "queue size" not in words(110, 39)
    assert "enqueued 111" in words(110, 24) and "enqueued" not in words(110, 23)
    assert "recent failures" in words(110, 24) and "recent failures" not in words(110, 23)
    assert "queue  C" in words(110, 16) and "queue  C" not in words(110, 15)


@pytest.mark.parametrize(
    ("cpus", "memory", "shown"),
    [
        (0.0, 812 << 10, "   0%    812K"), (1.25, 57 << 20, " 125%     57M"), (31.999, 1280 << 20, "3200%   1.25G"),
        (None, None, " " * 13), (999.0, 700 << 30, None),
    ],
)  # fmt: skip
def test_what_jobs_take_is_shown_where_somebody_looks_and_there_is_room(events, cpus, memory, shown):
    job = RunningJob(1, "name", Priority.NORMAL, 1, 1, 3.0, line="said", cpus=cpus, memory=memory)
    facts = night.facts_at(205.0, 24, events)._replace(running=(job,), limits=False, measured=True)
    wide = str(frame(facts, 110, 24)).split("\n")
    head = next(n for n, line in enumerate(wide) if "last output" in line)
    assert "  cpu     mem  last output" in wide[head]
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
    assert f"… and {101 - first_hidden} more" in shown


def test_what_the_state_of_the_run_is_can_be_seen(events):
    facts = night.facts_at(205.0, 24, events)
    assert "PAUSED" in str(frame(facts._replace(state="paused"), 80, 24))
    assert "p go on" in str(frame(facts._replace(state="paused"), 80, 24))
    assert "DRAINING" in str(frame(facts._replace(state="draining"), 80, 24))
    assert "show output" in str(frame(facts._replace(output_hidden=True), 80, 24))
    assert "one worker more or less" in str(frame(facts._replace(help=True), 80, 24))
    assert str(frame(facts._replace(keys=False), 80, 24)).endswith("^C stop now")


def test_a_list_that_is_still_read_has_no_percentage(events):
    facts = night.facts_at(205.0, 24, events)
    assert "65/109+" in str(frame(facts._replace(complete=False), 80, 24))
    assert "%" not in str(frame(facts._replace(complete=False, running=()), 80, 24))


def test_wide_characters_keep_columns_straight(events):
    facts = night.facts_at(205.0, 24, events)
    job = RunningJob(
        1, "日本語の仕事の名前はとても長いですから切られる", Priority.HIGH, 1, 1, 3.0, line="進む"
    )
    plain = job._replace(name="x" * 60)
    one, other = (str(frame(facts._replace(running=(j,)), 80, 24)).split("\n")[5] for j in (job, plain))
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
