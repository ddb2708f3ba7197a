# SPDX-License-Identifier: LGPL-3.0-or-later
"""`--notify`: who is told what, how often, and through what."""

import io
import os
import pty
import subprocess
import time

import pytest
from support.process import PQRUN, environment, run_pqrun

from pqrun.core import events as ev
from pqrun.core.job import Command, ExitedWith, JobSpec, Outcome
from pqrun.core.job_table import JobTable
from pqrun.core.metrics import Metrics
from pqrun.reports.desktop import DesktopNotifier, NoDesktop, NotifySend, TerminalNotification, desktop_of
from pqrun.reports.report import Ending, RunInfo

FAKE = '#!/bin/sh\necho "$@" >> "$TOLD"\n'


class Screen:
    """A desktop that keeps what it was told."""

    def __init__(self) -> None:
        self.told = []

    def tell(self, text):
        self.told.append(text)

    def close(self):
        self.told.append("closed")


class Told:
    """A notifier of a run whose clock the test moves."""

    def __init__(self, *, endless: bool) -> None:
        self.time = 0.0
        self.began = time.time() + 100
        self.table = JobTable()
        self.screen = Screen()
        run = RunInfo("nightly", (), 1, 0.0, lambda at: self.began + at, endless=endless)
        self.notifier = DesktopNotifier(self.screen, run, self.table, lambda: self.time)
        self.count = 0

    def put(self, event):
        row = self.table.fold(event)
        if (handler := self.notifier.handlers.get(type(event))) is not None:
            handler(event, row)

    def add(self, name="make") -> int:
        self.count += 1
        self.put(ev.JobAdded(0.0, self.count, JobSpec(id=name, work=Command("true"), named=True)))
        return self.count

    def end(self, seq, outcome=Outcome.FAILED, *, at=0.0, allowed=False):
        self.put(ev.AttemptSubmitted(at, seq, 1, 0.0))
        self.table.rows[seq].exit = ExitedWith(3)
        self.put(ev.JobEnded(at, seq, outcome, 1, allowed))

    def finish(self, code):
        self.notifier.finish(Ending(code, Metrics(), {}))
        return self.screen.told


def test_the_first_failure_is_told_soon_and_the_next_ones_together():
    told = Told(endless=False)
    for name in ("one", "two", "three", "four", "five", "six"):
        told.add(name)
    told.end(1)
    assert told.notifier.tick() == 1.0
    told.time = 1.0
    assert (told.notifier.tick(), told.screen.told) == (float("inf"), ["failed: one: exit 3"])
    told.time = 4.0
    for seq in (2, 3, 4, 5):
        told.end(seq)
    assert (told.notifier.tick(), len(told.screen.told)) == (7.0, 1)
    told.time = 11.0
    told.notifier.tick()
    assert told.screen.told[1:] == ["failed: two: exit 3, three: exit 3, four: exit 3, and 1 other job"]


def test_the_end_of_a_run_is_told_with_its_counts():
    told = Told(endless=False)
    for outcome in (Outcome.OK, Outcome.FAILED):
        told.end(told.add(), outcome)
    told.add()
    assert told.finish(1) == ["exit 1: 3 jobs: 1 ok, 1 failed, 1 not run", "closed"]


def test_a_failure_shortly_before_the_end_is_told_once():
    told = Told(endless=False)
    told.end(told.add())
    told.notifier.tick()
    assert told.finish(1) == ["exit 1: 1 job: 1 failed", "closed"]


def test_a_run_without_failures_is_ok():
    told = Told(endless=False)
    told.end(told.add(), Outcome.OK)
    assert told.finish(0) == ["ok: 1 job: 1 ok", "closed"]


def test_the_failures_of_a_queue_that_is_empty_are_told_with_its_counts_and_not_again():
    told = Told(endless=True)
    told.end(told.add())
    told.time = 1.0
    assert told.notifier.tick() == float("inf")
    assert told.finish(1) == ["nightly is empty: 1 job: 1 failed", "closed"]


def test_a_queue_is_finished_when_it_has_had_nothing_to_do_for_a_moment():
    told = Told(endless=True)
    told.end(told.add(), Outcome.OK)
    assert told.notifier.tick() == 1.0
    told.time = 0.5
    told.end(told.add(), Outcome.CANCELLED)
    assert told.notifier.tick() == 1.0, "a job that came meanwhile begins the moment anew"
    told.time = 1.5
    told.notifier.tick()
    assert told.screen.told == ["nightly is empty: 2 jobs: 1 ok, 1 cancelled"]
    told.time = 50.0
    told.end(told.add(), Outcome.OK)
    told.time = 51.0
    told.notifier.tick()
    assert told.screen.told[1:] == ["nightly is empty: 1 job: 1 ok"]
    assert told.finish(0)[2:] == ["closed"], "who stops a queue knows it"


def test_jobs_that_may_fail_and_jobs_of_an_earlier_process_are_not_told():
    told = Told(endless=True)
    told.add()
    told.end(told.add(), allowed=True)
    told.end(told.add(), at=-1000.0)
    assert (told.notifier.tick(), told.screen.told) == (float("inf"), [])


def test_what_a_job_is_called_steers_no_terminal():
    told = Told(endless=False)
    told.end(told.add("a\x1b]0;b\x07" + "x" * 400))
    told.time = 1.0
    told.notifier.tick()
    assert "\x1b" not in told.screen.told[0] and "\x07" not in told.screen.told[0]
    assert len(told.screen.told[0]) <= 200


@pytest.fixture
def fake(tmp_path):
    """An environment with a session bus and a `notify-send` that notes its arguments."""
    (tmp_path / "notify-send").write_text(FAKE)
    (tmp_path / "notify-send").chmod(0o755)
    path = f"{tmp_path}:/usr/bin:/bin"
    return {"PATH": path, "TOLD": str(tmp_path / "told"), "DBUS_SESSION_BUS_ADDRESS": "unix:"}


def test_notify_send_gets_a_text_that_is_no_markup(fake, tmp_path):
    desktop = desktop_of(fake)
    assert isinstance(desktop, NotifySend)
    desktop.tell("a <b> & c")
    desktop.tell("--help")
    desktop.close()
    assert (tmp_path / "told").read_text().splitlines() == [
        "--app-name=pqrun -- pqrun a &lt;b> &amp; c",
        "--app-name=pqrun -- pqrun --help",
    ]


def test_a_notify_send_that_hangs_holds_up_nobody(fake, tmp_path):
    (tmp_path / "notify-send").write_text("#!/bin/sh\nexec sleep 600\n")
    desktop = desktop_of(fake)
    for _ in range(2000):
        desktop.tell("x" * 100)
    process = desktop._shell
    os.killpg(process.pid, 9)
    desktop.close()


@pytest.mark.parametrize(
    "without",
    [{"DBUS_SESSION_BUS_ADDRESS": ""}, {"SSH_CONNECTION": "a 1 b 2"}, {"PATH": "/nowhere"}],
)
def test_without_this_desktop_and_without_a_terminal_nobody_is_told(fake, without, monkeypatch):
    monkeypatch.setattr("os.isatty", lambda fd: False)
    assert isinstance(desktop_of({**fake, **without, "TERM": "xterm"}), NoDesktop)


@pytest.mark.parametrize(
    ("variables", "sequence"),
    [
        ({}, "\x1b]777;notify;pqrun;done\a"),
        ({"TERM_PROGRAM": "iTerm.app"}, "\x1b]9;pqrun: done\a"),
        ({"WT_SESSION": "1"}, "\x1b]9;pqrun: done\a"),
        ({"TMUX": "/tmp/x"}, "\x1bPtmux;\x1b\x1b]777;notify;pqrun;done\a\x1b\\"),
    ],
)
def test_a_terminal_gets_the_sequence_that_it_knows(variables, sequence):
    drawn = io.StringIO()
    stream = type("Stream", (), {"draw": staticmethod(drawn.write)})
    TerminalNotification(stream, variables).tell("done")
    assert drawn.getvalue() == sequence


@pytest.mark.slow
def test_a_run_notifies_and_ends_nothing_of_it(fake, tmp_path):
    jobs = "true\nexit 3 # pqrun: id=bad\nsleep 3\n"
    done = run_pqrun("run", "--notify", "-j1", "-", input=jobs, env=environment(fake, state=tmp_path / "s"))
    assert done.code == 1
    told = (tmp_path / "told").read_text().splitlines()
    assert told == [
        "--app-name=pqrun -- pqrun failed: bad: exit 3",
        "--app-name=pqrun -- pqrun exit 1: 3 jobs: 2 ok, 1 failed",
    ]
    by_variable = {**fake, "PQRUN_NOTIFY": "1"}
    assert run_pqrun("each", "echo", ":::", "a", env=environment(by_variable, state=tmp_path / "s")).code == 0
    assert (tmp_path / "told").read_text().splitlines()[2:] == ["--app-name=pqrun -- pqrun ok: 1 job: 1 ok"]


def test_nothing_is_written_into_a_pipe(tmp_path):
    env = environment({"TERM": "xterm", "DBUS_SESSION_BUS_ADDRESS": ""}, state=tmp_path)
    done = run_pqrun("run", "--notify", "-", input="true\n", env=env)
    assert (done.code, "\x1b" in done.out + done.err) == (0, False)


def test_a_terminal_is_told_though_stdout_is_a_pipe(tmp_path):
    ours, theirs = pty.openpty()
    env = environment({"TERM": "xterm", "DBUS_SESSION_BUS_ADDRESS": "", "TMUX": ""}, state=tmp_path)
    for name in ("TERM_PROGRAM", "WT_SESSION", "KITTY_WINDOW_ID", "CI"):
        env.pop(name, None)
    done = subprocess.run(
        [*PQRUN, "run", "-q", "--notify", "-"],
        input=b"true\n",
        stdout=subprocess.PIPE,
        stderr=theirs,
        env=env,
        timeout=60,
        check=True,
    )
    os.close(theirs)
    seen = os.read(ours, 10_000)
    os.close(ours)
    assert done.stdout == b""
    assert b"\x1b]777;notify;pqrun;ok: 1 job: 1 ok\a" in seen


@pytest.mark.slow
def test_wait_tells_when_the_jobs_have_ended(fake, tmp_path):
    env = environment(fake, state=tmp_path / "state")
    run_pqrun("serve", "--detach", "-q", env=env)
    try:
        assert run_pqrun("add", "--id", "a", "exit 1", env=env).code == 0
        assert run_pqrun("wait", "--notify", "a", env=env).code == 1
    finally:
        run_pqrun("stop", "--now", env=env)
    assert (tmp_path / "told").read_text() == "--app-name=pqrun -- pqrun 1 job ended, 1 failed\n"
