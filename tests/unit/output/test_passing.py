# SPDX-License-Identifier: LGPL-3.0-or-later
"""A large stdout is passed on into a pipe while its job runs, and no output is ever printed in between."""

import os

import pytest

from pqrun.core import events as ev
from pqrun.core.job import (
    AttemptId,
    Command,
    CountedAs,
    ExitedWith,
    JobSpec,
    LostExit,
    Outcome,
    RetryPolicy,
    SelfReport,
    Usage,
)
from pqrun.core.job_row import FullRow, JobRow
from pqrun.output import writer as writers
from pqrun.output.ci_markers import CIFences
from pqrun.output.printer import OrderedOutput, OutputPrinter, OutputStyle
from pqrun.output.store import Capture, Logs
from pqrun.output.writer import StreamWriter

pytestmark = pytest.mark.skipif(not writers.CAN_SPLICE, reason="there is no splice here")
LARGE = 100_000


class Shown:
    """A printer into a pipe, and jobs that print."""

    def __init__(self, directory, **style):
        self.logs = Logs(str(directory / "logs"), keep=style.pop("keep", True))
        if self.logs.keep:
            os.mkdir(self.logs.directory)
        self.reading, self.writing = os.pipe()
        os.set_blocking(self.reading, False)
        self.err = os.open(os.devnull, os.O_WRONLY)
        self.captures = {}
        self.rows = {}
        self.printer = OutputPrinter(
            OutputStyle(**style), StreamWriter(self.writing, "standard output"),
            StreamWriter(self.err, "standard error"), CIFences(style.pop("service", "none"), str, float),
        )  # fmt: skip
        self.printer.is_alone = lambda: self.alone
        self.alone = True

    def close(self):
        for fd in (self.reading, self.writing, self.err):
            os.close(fd)

    def tell(self, event):
        handler = self.printer.handlers.get(type(event))
        if handler is not None:
            handler(event, self.rows[event.seq])

    def prints(self, seq, data, *, retries=0):
        """The job prints on its stdout, and is seen to have grown."""
        spec = JobSpec(str(seq), Command("x"), retry=RetryPolicy(max=retries))
        self.rows.setdefault(seq, FullRow(JobRow(seq, spec)))
        capture = self.captures.setdefault(seq, Capture(self.logs, AttemptId(seq, 1)))
        capture.out.put(data)
        if capture.out.place is not None:
            self.tell(ev.OutputGrew(0.0, seq, 1, 1, capture.out.size, capture.out))

    def ends(self, seq, counted=CountedAs.COMPLETED):
        capture = self.captures.pop(seq)
        capture.finish()
        exit, said = ExitedWith(0), SelfReport()
        self.tell(ev.AttemptEnded(0.0, seq, 1, counted, exit, None, 0.0, 0.0, Usage(), said, capture))
        if counted is not CountedAs.RETRIED:
            self.tell(ev.JobEnded(0.0, seq, Outcome.OK, 1))

    def read(self):
        found = b""
        while True:
            try:
                piece = os.read(self.reading, 1 << 20)
            except BlockingIOError:
                return found
            found += piece


@pytest.fixture
def shown(tmp_path):
    made = []

    def make(**style):
        made.append(Shown(tmp_path / str(len(made)), **style))
        return made[-1]

    for number in range(3):
        (tmp_path / str(number)).mkdir()
    yield make
    for one in made:
        one.close()


def test_the_last_job_is_passed_on_while_it_runs_and_nothing_is_printed_twice(shown):
    one = shown()
    one.prints(1, b"a" * LARGE)
    assert one.read() == b"a" * LARGE
    one.prints(1, b"b" * LARGE)
    assert one.read() == b"b" * LARGE
    one.captures[1].out.put(b"c")
    one.captures[1].err.put(b"complaint")
    one.ends(1)
    assert one.read() == b"c"


def test_while_other_jobs_may_end_first_nothing_is_passed_on(shown):
    one = shown()
    one.alone = False
    one.prints(1, b"a" * LARGE)
    assert one.read() == b""
    one.prints(2, b"small")
    one.ends(2)
    assert one.read() == b"small"


@pytest.mark.parametrize("keep", [True, False])
def test_what_ends_meanwhile_is_printed_behind_and_needs_no_memory(shown, keep):
    """Another job was added after the last one had begun."""
    one = shown(keep=keep)
    one.prints(1, b"a" * LARGE)
    one.prints(2, b"two")
    one.prints(3, b"3" * LARGE)
    waiting = [one.captures[2], one.captures[3]]
    one.ends(3)
    one.ends(2)
    assert one.read() == b"a" * LARGE
    assert [capture.in_memory for capture in waiting] == [0, 0]
    one.prints(1, b"b")
    one.ends(1)
    assert one.read() == b"b" + b"3" * LARGE + b"two"
    one.prints(4, b"four")
    one.ends(4)
    assert one.read() == b"four"


def test_what_is_held_behind_a_job_without_an_end_is_printed_at_the_end_of_the_run(shown):
    one = shown()
    one.prints(1, b"a" * LARGE)
    one.prints(2, b"two")
    one.ends(2)
    one.read()
    one.printer.close()
    assert one.read() == b"two"


def test_in_order_the_job_whose_turn_it_is_is_passed_on(shown):
    one = shown(keep_order=True)
    one.alone = False
    one.prints(2, b"b" * LARGE)
    assert one.read() == b""
    one.prints(1, b"a" * LARGE)
    assert one.read() == b"a" * LARGE
    one.prints(3, b"three")
    one.ends(3)
    assert one.read() == b""
    one.ends(1)
    assert one.read() == b"b" * LARGE, "its turn has come, and it is known what it has"
    one.ends(2)
    assert one.read() == b"three"


def test_a_job_of_an_earlier_turn_that_runs_again_is_not_printed_in_between(shown):
    one = shown(keep_order=True)
    one.prints(1, b"one")
    one.ends(1)
    one.prints(2, b"b" * LARGE)
    one.prints(1, b"again")
    one.ends(1)
    one.prints(2, b"!")
    one.ends(2)
    assert one.read() == b"one" + b"b" * LARGE + b"!again"


def test_what_waited_for_its_turn_is_not_printed_in_between_either(shown):
    """A job runs again and is passed on, while the turn goes from job to job."""
    one = shown(keep_order=True)
    one.prints(1, b"one")
    one.ends(1)
    one.prints(3, b"three")
    one.ends(3)
    one.prints(1, b"a" * LARGE)
    one.prints(2, b"two")
    one.ends(2)
    one.prints(1, b"!")
    one.ends(1)
    assert one.read() == b"one" + b"a" * LARGE + b"!twothree"


def test_the_end_of_a_job_whose_output_is_lost_lets_the_others_be_printed(shown):
    one = shown()
    one.prints(1, b"a" * LARGE)
    one.prints(2, b"two")
    one.ends(2)
    exit, said = LostExit("it failed"), SelfReport()
    one.tell(ev.AttemptEnded(0.0, 1, 1, CountedAs.FAILED, exit, None, 0.0, 0.0, Usage(), said, None))
    assert one.read() == b"a" * LARGE + b"two"


def test_an_attempt_that_may_be_retried_is_not_passed_on(shown):
    one = shown()
    one.prints(1, b"a" * LARGE, retries=1)
    one.ends(1, CountedAs.RETRIED)
    assert one.read() == b""


def test_a_job_that_gets_retries_later_is_shown_to_the_end_of_that_attempt(shown):
    one = shown()
    one.prints(1, b"a" * LARGE)
    one.prints(1, b"end")
    one.ends(1, CountedAs.RETRIED)
    assert one.read() == b"a" * LARGE + b"end"


def test_a_reader_that_does_not_keep_up_holds_nothing_up_and_gets_the_rest_at_the_end(shown, monkeypatch):
    monkeypatch.setattr(writers, "MAX_READER_MILLISECONDS", 1)
    one = shown()
    many = b"".join(b"%07d\n" % number for number in range(400_000))
    for start in range(0, len(many), 1_000_000):
        one.prints(1, many[start : start + 1_000_000])
    first = one.read()
    assert 0 < len(first) < len(many) and many.startswith(first)
    one.prints(1, b"more")
    assert one.read() == b"", "once it was too slow, the job is left until its end"
    out = one.captures[1].out
    assert b"".join(out.pieces(len(first))) == many[len(first) :] + b"more"


def test_a_reader_that_is_gone_is_no_fault(shown):
    one = shown()
    os.close(one.reading)
    one.reading = os.open(os.devnull, os.O_RDONLY)
    one.prints(1, b"a" * LARGE)
    one.ends(1)
    assert [writer.gone for writer in one.printer._outlets.values()] == [True, False]
    assert one.printer._outlets[1].failure == ""


@pytest.mark.parametrize(
    "style", [{"tag": True}, {"show": "failed"}, {"service": "github"}, {"service": "gitlab"}], ids=str
)
def test_output_that_is_marked_or_chosen_is_not_passed_on(tmp_path, style):
    service = style.pop("service", "none")
    reading, writing = os.pipe()
    out, err = StreamWriter(writing, "standard output"), StreamWriter(2, "standard error")
    printer = OutputPrinter(OutputStyle(**style), out, err, CIFences(service, str, float))
    assert ev.OutputGrew not in printer.handlers
    os.close(reading)
    os.close(writing)


def test_only_a_pipe_that_gets_nothing_else_is_passed_to(tmp_path):
    reading, writing = os.pipe()
    same = os.dup(writing)
    file = os.open(tmp_path / "file", os.O_WRONLY | os.O_CREAT)
    fences = CIFences("none", str, float)

    def passes(out, err):
        printer = OutputPrinter(OutputStyle(), StreamWriter(out, "out"), StreamWriter(err, "err"), fences)
        return ev.OutputGrew in printer.handlers

    assert (passes(writing, file), passes(writing, same), passes(file, writing)) == (True, False, False)
    printer = OutputPrinter(OutputStyle(), StreamWriter(writing, "out"), StreamWriter(file, "err"), fences)
    printer.stop_passing()
    assert ev.OutputGrew not in printer.handlers
    for fd in (reading, writing, same, file):
        os.close(fd)


def test_a_file_that_somebody_shortens_stops_the_copy_instead_of_being_waited_for(shown):
    one = shown()
    one.prints(1, b"a" * LARGE)
    assert one.read() == b"a" * LARGE
    with open(one.captures[1].out.path, "rb") as file:
        os.truncate(file.name, LARGE // 2)
        reached = StreamWriter(one.writing, "standard output").copy_while_read(
            file.fileno(), LARGE, 2 * LARGE
        )
    assert reached == LARGE
    one.captures[1].finish()


def test_the_rest_of_the_last_line_of_an_attempt_that_is_tried_again_is_shown_with_the_lines_before(shown):
    one = shown(mode="line")
    one.prints(1, b"one\ntw", retries=1)
    one.tell(ev.OutputGrew(0.0, 1, 1, 1, 4, one.captures[1].out))
    assert one.read() == b"one\n"
    one.ends(1, CountedAs.RETRIED)
    assert one.read() == b"tw"


def test_in_order_a_resumed_run_waits_for_no_job_that_has_ended_before():
    order = OrderedOutput()
    order.begin_with([2, 5])
    assert not order.is_turn_of(5)
    assert list(order.ended(2)) == [(None, [])] * 3
    assert order.is_turn_of(5)


def test_what_still_waits_for_its_turn_at_the_end_of_the_run_is_printed_in_order(shown):
    one = shown(keep_order=True)
    one.printer.begin_with([2, 4, 5, 7])
    for seq in (7, 2, 5):
        one.prints(seq, b"%d\n" % seq)
        one.ends(seq)
    assert one.read() == b"2\n"
    one.printer.close()
    assert one.read() == b"5\n7\n"
