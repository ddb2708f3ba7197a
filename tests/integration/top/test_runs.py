# SPDX-License-Identifier: LGPL-3.0-or-later
"""Real runs: looked at while they live and afterwards, acted on, and the command itself."""

import importlib.util
import json
import os
import pty
import shutil
import subprocess
import sys

import pytest
from support.process import environment, run_pqrun

from pqrun.control import run_view
from pqrun.control.client import NO_LIVE_RUN
from pqrun.core.errors import InternalFailure, UserError
from pqrun.journal.run_directory import RunDirectory
from pqrun.ui.top.run_source import RecordedRunSource, which_run

from .conftest import screen_of, settled

JOBS = {
    "jobs": [
        {"id": "long", "run": "echo begun; read _ < GATE; echo done", "tags": ["a"], "priority": "high"},
        {"id": "flaky", "run": "echo oops >&2; exit 3", "priority": "critical", "retries": 1},
        {"id": "next", "run": "echo next", "priority": "low"},
        {"id": "last", "run": "echo last", "needs": ["long"]},
    ]
}


def started(live_run, gate, tmp_path):
    jobs = json.loads(json.dumps(JOBS).replace("GATE", str(gate.path)))
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    return live_run("-j1", "--retry-delay", "0s", tmp_path / "jobs.json")


def test_a_question_is_asked_again_after_a_lost_connection_but_no_change(monkeypatch):
    asked = []

    class Lost:
        """A run that drops each connection after its first answer."""

        def __init__(self, path):
            self.answered = False

        def request(self, verb, **facts):
            asked.append(verb)
            if self.answered:
                raise InternalFailure("the run ended before it answered", NO_LIVE_RUN)
            self.answered = True
            return {"ok": True}

        def close(self):
            pass

    monkeypatch.setattr(run_view, "ControlClient", Lost)
    client = run_view.RunClient("/run")
    assert client.ask("ps")["ok"] and client.ask("info") == {"ok": True}
    assert asked == ["ps", "info", "info"]
    with pytest.raises(InternalFailure, match="before it answered"):
        client.change("stop")
    assert asked[3:] == ["stop"], "it may have been carried out"


@pytest.fixture
def watched(live_run, gate, tmp_path, until):
    run = started(live_run, gate, tmp_path)
    until(lambda: run.answers)
    until(lambda: run.states().get("long") == "running")
    return run


def source_of(run):
    return RecordedRunSource(RunDirectory(str(run.directory)))


@pytest.mark.slow
def test_a_source_tells_first_all_then_what_changed(watched, gate, until):
    source = source_of(watched)
    news = source.poll()
    jobs = {job.id: job for job in news.changed}
    assert news.anew and news.run.live and news.run.workers == 1
    assert (news.run.id, news.run.address) == (watched.run, str(watched.directory))  # not among the others
    assert {name: job.state for name, job in jobs.items()} == {
        "flaky": "failed", "long": "running", "next": "queued", "last": "pending",
    }  # fmt: skip
    assert jobs["flaky"].how == "exit 3" and (jobs["flaky"].attempts, jobs["flaky"].most) == (2, 2)
    assert [one.how for one in source.details(jobs["flaky"].seq).attempts] == ["exit 3", "exit 3"]
    assert source.details(jobs["last"].seq).why == "waits for long (running)"
    seqs = [job.seq for job in jobs.values()]
    until(lambda: source.read(jobs["long"].seq, 1, 1, None).data == b"begun\n")
    assert source.last_output(seqs) == {jobs["long"].seq: "begun", jobs["flaky"].seq: "oops"}
    assert not source.poll().changed
    source.act("set", jobs=["next"], seq=jobs["next"].seq, change={"priority": "high"})
    source.act("pause")
    source.act("limit", tag="x", workers=2)
    news = source.poll()
    assert [(job.id, job.priority) for job in news.changed] == [("next", 2)]
    assert news.run.paused and news.run.tag_limits == {"x": 2} and not news.anew
    with pytest.raises(InternalFailure, match="nothing was changed"):
        source.act("cancel", jobs=["all"], seq=jobs["flaky"].seq)
    assert source.act("restart", jobs=["flaky"])["count"] == 1
    source.act("unpause")
    gate.open()
    watched.end()
    changed = {job.id: job.state for job in source.poll().changed}
    assert changed == {"long": "ok", "next": "ok", "last": "ok", "flaky": "failed"}
    (again,) = [job for job in source._known.values() if job.id == "flaky"]
    assert (again.seq, again.attempts, again.priority) == (jobs["flaky"].seq, 4, 3)
    assert source.read(jobs["long"].seq, 1, 1, 6) == (b"done\n", 6, True)
    with pytest.raises(InternalFailure, match="the run has ended"):
        source.act("pause")
    shutil.rmtree(watched.directory)
    assert "cannot read" in source.poll().run.trouble or source.poll().run.trouble
    source.close()


@pytest.mark.slow
def test_the_usage_of_jobs_that_run_and_of_those_that_have_ended(watched, gate, until):
    pytest.importorskip("psutil", reason="the extra `stats` is not installed")
    source = source_of(watched)
    jobs = {job.id: job for job in source.poll().changed}
    flaky, long = jobs["flaky"], jobs["long"]
    assert (flaky.cpus, flaky.memory) == (None, None), "it was too short"
    assert (long.cpus, long.memory) == (None, None)
    until(lambda: source.poll().run.usage)
    usage = source.poll().run.usage
    assert list(usage) == [long.seq] and usage[long.seq].memory > 100_000 and 0 <= usage[long.seq].cpus < 64
    gate.open()
    watched.end()
    (long,) = [job for job in source.poll().changed if job.id == "long"]
    assert 0 <= long.cpus < 64 and long.memory > 100_000
    source.close()


@pytest.mark.slow
def test_a_job_that_waits_has_the_time_of_its_next_attempt(live_run, tmp_path, until):
    (tmp_path / "jobs.txt").write_text("exit 7  # pqrun: id=flaky retries=1 retry_delay=90s\n")
    run = live_run("-j1", tmp_path / "jobs.txt")
    until(lambda: run.answers and run.states() == {"flaky": "waiting"})
    source = source_of(run)
    (job,) = source.poll().changed
    assert (job.state, job.attempts, job.most) == ("waiting", 1, 2)
    assert 30 < job.due - job.ended < 91  # with jitter, and the longest delay
    source.close()
    run.stop()


@pytest.mark.slow
def test_a_live_run_that_has_just_begun_has_the_time_of_earlier_runs(
    live_run, state, tmp_path, monkeypatch, until
):
    monkeypatch.setenv("PQRUN_STATE_DIR", str(state))
    (tmp_path / "jobs.txt").write_text('sleep "$(cat seconds)"\n' * 30)
    (tmp_path / "seconds").write_text("0.3\n")
    assert run_pqrun("run", "-q", "-j15", "jobs.txt", cwd=tmp_path, env=environment(state=state)).code == 0
    (tmp_path / "seconds").write_text("60\n")
    run = live_run("-j1", "jobs.txt")
    until(lambda: run.answers and "running" in run.states().values())
    source = source_of(run)
    assert source.poll().run.expected is None  # the first screen does not wait for it
    expected = source.poll().run.expected
    assert 29 * 0.3 <= expected < 60
    source.close()
    run.stop()
    assert source_of(run).poll().run.expected is None


@pytest.mark.slow
def test_what_ran_when_its_run_was_killed_was_interrupted(watched, until):
    source = source_of(watched)
    source.poll()
    watched.kill()
    until(lambda: not source._run.in_use())
    news = source.poll()
    assert news.run.state == "died"
    assert {job.id: job.state for job in news.changed}["long"] == "interrupted"
    source.close()


@pytest.mark.slow
def test_which_run_is_meant(watched, state, monkeypatch):
    monkeypatch.setenv("PQRUN_STATE_DIR", str(state))
    assert which_run(None).path == str(watched.directory)
    assert which_run(watched.run[:3]).path == str(watched.directory)
    with pytest.raises(UserError, match="no run `nowhere`"):
        which_run("nowhere")


@pytest.mark.slow
def test_a_live_run_on_the_screen(play, watched, gate, state, monkeypatch):
    monkeypatch.setenv("PQRUN_STATE_DIR", str(state))

    async def script(app, pilot):
        await settled(app, pilot, 3)
        shown = "\n".join(screen_of(app))
        assert "live" in shown and "begun" in shown and "exit 3" in shown
        await pilot.press("slash", *"next", "enter")
        await settled(app, pilot)
        assert app.view.table.job.id == "next"
        await pilot.press("k", "y")
        for _ in range(100):
            await settled(app, pilot)
            if app.view.table.job.state == "cancelled":
                break
        assert app.view.table.job.state == "cancelled"
        gate.open()
        watched.end()
        await pilot.press("escape")
        await settled(app, pilot, 3)
        shown = "\n".join(screen_of(app))
        assert "the run has ended" in shown and "--failed" in shown and "last" in shown

    play(source_of(watched), script)


def test_without_a_terminal_it_says_so(state, tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "pqrun", "top"], capture_output=True, cwd=tmp_path, env=environment(state=state),
        stdin=subprocess.DEVNULL, check=False,
    )  # fmt: skip
    wanted = b"needs a terminal" if importlib.util.find_spec("textual") else b"needs textual"
    assert done.returncode == 2 and wanted in done.stderr and b"Traceback" not in done.stderr


def test_without_textual_it_says_what_to_install(state, tmp_path):
    hide = "import sys; sys.modules['textual'] = None; sys.argv = ['pqrun', 'top']; "
    hide += "import importlib.util as u; f = u.find_spec; "
    hide += "u.find_spec = lambda name, *p: None if name == 'textual' else f(name, *p); "
    hide += "from pqrun.cli.main import entry; entry()"
    done = subprocess.run(
        [sys.executable, "-c", hide],
        capture_output=True,
        cwd=tmp_path,
        env=environment(state=state),
        check=False,
    )
    assert done.returncode == 2
    assert (
        done.stderr == b"pqrun: `pqrun top` needs textual: install it with `pip install 'pqrun-cli[top]'`\n"
    )


@pytest.mark.slow
def test_no_other_command_loads_textual(state, tmp_path):
    code = "import sys; sys.argv = ['pqrun', 'top', '--help']; from pqrun.cli.main import run; run(); "
    code += "print([name for name in sys.modules if name.startswith('textual')])"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        cwd=tmp_path,
        env=environment(state=state),
        check=False,
    )
    assert done.stdout.rstrip().endswith(b"[]"), done.stdout


@pytest.mark.slow
def test_in_a_terminal_it_draws_and_leaves(watched, until):
    pytest.importorskip("textual", reason="the extra `top` is not installed")
    ours, theirs = pty.openpty()
    os.set_blocking(ours, False)
    process = subprocess.Popen(
        [sys.executable, "-m", "pqrun", "top", watched.run], stdin=theirs, stdout=theirs, stderr=theirs,
        env={**environment(state=watched.state), "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"},
    )  # fmt: skip
    os.close(theirs)
    seen = bytearray()

    def drawn():
        try:
            seen.extend(os.read(ours, 65536))
        except OSError:
            pass
        return b"flaky" in seen

    until(drawn)
    os.write(ours, b"q")
    until(lambda: drawn() and process.poll() is not None)
    os.close(ours)
    assert process.returncode == 0
