# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the web server tells of runs, live and past, and what it does with them."""

import asyncio
import json

import pytest
from journal.records import BEGAN, Record
from support.process import environment, run_pqrun

from pqrun.app.web.feeds import PolledSource, RunFeeds
from pqrun.app.web.run_feed import POLL_SECONDS, RunFeed
from pqrun.app.web.site import whole_lines
from pqrun.control.run_view import OutputPiece
from pqrun.core import events as ev
from pqrun.core.errors import UserError
from pqrun.core.job import Command, JobSpec, Priority
from pqrun.core.metrics import CORE_METRICS

JOBS = {
    "jobs": [
        {"id": "ok", "run": "echo fine"},
        {"id": "flaky", "run": "test -e once || { touch once; echo oops >&2; exit 3; }", "retries": 1},
        {"id": "bad", "run": "exit 5", "tags": ["x"]},
        {"id": "after", "run": "true", "needs": ["bad"]},
        {"id": "may", "run": "exit 1", "allow_failure": True},
    ]
}


@pytest.fixture
def past(tmp_path, state):
    """A run that has ended: its document."""
    (tmp_path / "jobs.json").write_text(json.dumps(JOBS))
    done = run_pqrun(
        "run", "-q", "--retry-delay", "0s", "--json", "jobs.json", cwd=tmp_path, env=environment(state=state)
    )
    assert done.code == 1
    return done.document


def check(told, document):
    """All that both tell of a run is the same."""
    assert {name: told.head["metrics"][name] for name in CORE_METRICS} == {
        name: document["metrics"][name] for name in CORE_METRICS
    }
    jobs = {entry["seq"]: entry for entry in document["jobs"]}
    assert told.jobs.keys() == jobs.keys()
    for seq, job in told.jobs.items():
        entry = jobs[seq]
        for name in ("id", "state", "attempts", "exit", "signal"):
            assert job[name] == entry[name]
        assert (job["out_bytes"], job["err_bytes"]) == (entry["stdout_bytes"], entry["stderr_bytes"])
        assert job["ran"] == (None if entry["run_s"] is None else pytest.approx(entry["run_s"] * 1e6, abs=1))
    assert len(told.attempts) == sum(entry["attempts"] for entry in jobs.values())


@pytest.mark.slow
def test_a_past_run_is_told_as_its_document_says(server, past):
    told = server.told(past["run"]["id"]).until(lambda _: True)
    assert (told.head["live"], told.head["code"], told.head["run"]["state"]) == (False, 1, "ended")
    check(told, past)
    assert told.jobs[2]["flaky"] == 1 and told.attempts[2, 1]["counted"] == "retried"
    assert told.attempts[2, 1]["last"] == "oops" and (2, 2) in told.waits


@pytest.mark.slow
def test_runs_are_listed(server, past, queue):
    queue("-j2")

    def found():
        for _, kind, data in server.events("/events"):
            assert kind == "runs"
            if len(data["runs"]) == 2:
                return {run["id"]: run for run in data["runs"]}

    runs = found()
    assert runs["queue"]["state"] == "live"
    mine = runs[past["run"]["id"]]
    assert (mine["state"], mine["jobs"], mine["failed"]) == ("ended", 5, 2)
    assert mine["outcomes"] == {"ok": 2, "failed": 2, "skipped": 1}


@pytest.mark.slow
def test_a_live_run_is_told_as_it_goes_on(server, queue, gate):
    run = queue("-j1")
    told = server.told(run.run)
    run.add(gate.wait, id="first")
    run.add("true", id="second")
    told.until(lambda told: told.states == {"first": "running", "second": "queued"})
    assert told.head["live"] and told.attempts[1, 1]["ended"] is None
    told.close()
    gate.open()
    # A browser that comes back reads on where it was; another one reads all.
    again = server.told(run.run, **{"Last-Event-ID": told.mark})
    again.until(lambda told: told.states.get("second") == "ok")
    assert "anew" not in again.kinds
    anew = server.told(run.run).until(lambda told: set(told.states.values()) == {"ok"})
    assert anew.kinds[0] == "anew" and anew.attempts.keys() == {(1, 1), (2, 1)}
    stranger = server.told(run.run, **{"Last-Event-ID": "12345678-000000000001"}).until(lambda _: True)
    assert stranger.kinds[0] == "anew" and stranger.states == anew.states
    run.stop()
    assert anew.until(lambda told: not told.head["live"]).head["run"]["state"] == "stopped"


@pytest.mark.slow
def test_a_live_run_has_the_time_left_by_earlier_runs(server, live_run, state, tmp_path):
    (tmp_path / "jobs.txt").write_text('sleep "$(cat seconds)"\n' * 30)
    (tmp_path / "seconds").write_text("0.3\n")
    assert run_pqrun("run", "-q", "-j15", "jobs.txt", cwd=tmp_path, env=environment(state=state)).code == 0
    (tmp_path / "seconds").write_text("60\n")
    run = live_run("-j1", "jobs.txt")
    told = server.told(run.run).until(lambda told: told.head["secondsLeft"] is not None)
    assert 29 * 0.3 <= told.head["secondsLeft"] < 60
    run.stop()
    assert told.until(lambda told: not told.head["live"]).head["secondsLeft"] is None


@pytest.mark.slow
def test_a_run_that_is_killed_leaves_its_jobs_interrupted(server, queue, gate):
    run = queue("-j1")
    run.add(gate.wait, id="first")
    told = server.told(run.run).until(lambda told: told.states == {"first": "running"})
    run.kill()
    told.until(lambda told: not told.head["live"])
    assert told.states == {"first": "interrupted"} and told.attempts[1, 1]["counted"] == "stopped"


@pytest.mark.slow
def test_a_page_acts_on_a_run_and_its_jobs(server, queue, gate):
    run = queue("-j1")
    name = run.run
    told = server.told(name)
    assert server.do(name, "add", {"add": [{"run": gate.wait, "id": "first"}]})[0] == 200
    for job in ("one", "two", "three"):
        assert server.do(name, "add", {"add": [{"run": "true", "id": job}]})[0] == 200
    told.until(lambda told: told.states.get("first") == "running" and told.states.get("three") == "queued")
    seq = {job["id"]: number for number, job in told.jobs.items()}
    assert server.do(name, "hold", {"jobs": ["one"], "seq": seq["one"]}) == (200, {"ok": True, "count": 1})
    assert server.do(
        name, "set", {"jobs": ["two"], "seq": seq["two"], "change": {"priority": "high"}}
    ) == (200, {"ok": True, "count": 1})  # fmt: skip
    assert server.do(name, "cancel", {"jobs": ["three"], "seq": seq["three"]})[0] == 200
    assert server.do(name, "workers", {"workers": 3})[0] == 200
    assert server.do(name, "limit", {"tag": "x", "workers": 2}) == (
        200,
        {"ok": True, "workers": 2, "count": 0},
    )
    assert server.do(name, "pause")[0] == 200
    told.until(lambda told: told.head["paused"] and told.head["run"]["workers"] == 3)
    assert told.head["tagLimits"] == {"x": 2}
    assert server.do(name, "limit", {"tag": "x", "workers": None})[0] == 200
    told.until(lambda told: told.head["tagLimits"] == {})
    told.until(lambda told: told.states.get("one") == "held" and told.states["three"] == "cancelled")
    assert told.jobs[seq["two"]]["priority"] == 2
    assert server.do(name, "unpause")[0] == 200
    assert server.do(name, "release", {"jobs": ["one"], "seq": seq["one"]})[0] == 200
    told.until(lambda told: told.states["one"] == told.states["two"] == "ok")
    assert server.do(name, "restart", {"jobs": ["one"]})[1]["count"] == 1
    told.until(lambda told: told.jobs[seq["one"]]["attempts"] == 2 and told.states["one"] == "ok")
    assert server.get(f"/run/{name}/why?seq={seq['first']}")[1].startswith(b'{"why": "runs for')
    assert server.do(name, "cancel", {"jobs": ["one"], "seq": seq["one"]})[0] == 409  # it has ended
    assert server.do(name, "stop", {"now": True})[0] == 200
    told.until(lambda told: not told.head["live"])
    status, answer = server.do(name, "pause")
    assert status == 409 and "has ended" in answer["error"]


def output(server, run, offset="", *, seq=1, stream=1):
    more = f"&offset={offset}" if offset != "" else ""
    status, body = server.get(f"/run/{run}/output?seq={seq}&attempt=1&stream={stream}{more}")
    assert status == 200
    return json.loads(body)


@pytest.mark.slow
def test_the_output_of_a_job_is_followed(server, queue, gate, until):
    run = queue("-j1")
    run.add(f"printf 'one\\ntw'; {gate.wait}; printf 'o \\303\\244\\n\\033[31mred\\n'", id="first")
    server.told(run.run).until(lambda told: told.states == {"first": "running"})
    first = until(lambda: (found := output(server, run.run))["text"] and found)
    assert first == {"start": 0, "next": 4, "text": "one\n", "over": False}
    gate.open()
    rest = until(lambda: (found := output(server, run.run, 4))["over"] and found)
    assert rest == {"start": 4, "next": 20, "text": "two ä\nred\n", "over": True}
    for wrong in (
        "",
        "seq=1",
        "seq=-1&attempt=1&stream=1",
        "seq=1&attempt=1&stream=3",
        "seq=1e9&attempt=1&stream=1",
    ):
        assert server.get(f"/run/{run.run}/output?{wrong}")[0] == 400
    assert output(server, run.run, seq=99)["over"]


@pytest.mark.slow
def test_an_interrupted_run_that_is_resumed_goes_on_on_the_page(server, queue, gate):
    run = queue("-j1")
    run.add("true", id="first")
    told = server.told(run.run).until(lambda told: told.states == {"first": "ok"})
    run.stop()
    told.until(lambda told: not told.head["live"])
    queue("-j1").add("true", id="second")
    told.until(lambda told: told.states == {"first": "ok", "second": "ok"} and told.head["live"])


@pytest.mark.slow
def test_a_journal_that_can_not_be_read_is_told(server, past, state, tmp_path):
    run = past["run"]["id"]
    (state / "runs" / run / "journal.jsonl").write_text("nonsense\n")
    told = next(data for _, kind, data in server.events(f"/run/{run}/events") if kind == "trouble")
    assert "damaged" in told["error"]


@pytest.mark.parametrize(
    ("data", "over", "shown"),
    [
        (b"one\ntw", False, b"one\n"), (b"one\ntw", True, b"one\ntw"), (b"name: ", False, b"name: "),
        ("é? ü".encode(), False, "é? ü".encode()), ("é€".encode()[:-1], False, "é".encode()),
        ("𝄞".encode()[:-1], False, b""), (b"\xff\x80\x80\x80\x80", False, b"\xff\x80\x80\x80\x80"),
    ],
)  # fmt: skip
def test_no_character_of_an_output_is_cut_and_a_prompt_is_shown_at_once(data, over, shown):
    assert whole_lines(OutputPiece(data, 0, over)) == shown


@pytest.fixture
def recorded(tmp_path, monkeypatch):
    """`recorded(name, *events)`: a run of the state directory that never ran."""
    monkeypatch.setenv("PQRUN_STATE_DIR", str(tmp_path / "recorded"))

    def make(name, *events):
        record = Record(tmp_path / "recorded" / "runs" / name)
        record.tell(ev.JobAdded(BEGAN, 1, JobSpec("a", Command("true"))), *events)
        return record

    (tmp_path / "recorded" / "runs").mkdir(mode=0o700, parents=True)
    return make


QUEUED, SUBMITTED = ev.JobQueued(BEGAN, 1, 1, Priority.NORMAL), ev.AttemptSubmitted(BEGAN, 1, 1, 0.0)


def polled(record):
    """The head of a run's page, and its records by kind."""
    feed = RunFeed(record.run, read_only=True)
    feed.poll()
    events = [event.split(b"data: ", 1)[1] for event in feed.file.read(0).split(b"\n\n") if event]
    return json.loads(feed.file.head.split(b"data: ", 1)[1]), {
        one["kind"]: one["columns"] for one in map(json.loads, events)
    }


def test_an_attempt_whose_start_was_refused_is_not_on_the_page(recorded):
    head, records = polled(recorded("aaaaa2", QUEUED, SUBMITTED, ev.AttemptRefused(BEGAN, 1, 1, "no room")))
    assert (head["lanes"], records.keys()) == (1, {"jobs"})
    head, records = polled(recorded("bbbbb2", QUEUED, SUBMITTED))
    assert (head["lanes"], records["attempts"]["counted"]) == (1, {"all": "stopped"})


def test_a_journal_that_could_not_be_read_for_a_moment_is_read_again(recorded, monkeypatch):
    feed = RunFeed(recorded("aaaaa2", QUEUED).run, read_only=True)

    def no_descriptor(*_):
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as moment:
        moment.setattr("pqrun.app.web.run_feed.fold_journal", no_descriptor)
        assert feed.poll() == POLL_SECONDS
    assert b"event: trouble\ndata: " in feed.file.head and b"Too many open files" in feed.file.head
    assert feed.poll() == POLL_SECONDS
    assert b"event: head\n" in feed.file.head and b'"kind":"jobs"' in feed.file.read(0)


def test_a_job_that_is_no_part_of_the_run_any_more_is_dropped_from_the_page(recorded):
    assert polled(recorded("aaaaa2", ev.JobDropped(BEGAN, 1, None)))[0]["dropped"] == [1]


def test_only_limits_of_tags_are_told_and_only_of_a_live_run(recorded):
    record = recorded("aaaaa2", ev.PoolChanged(BEGAN, "net", 3, ""), ev.PoolChanged(BEGAN, "tag:x", 2, ""))
    assert polled(record)[0]["tagLimits"] == {}
    record.run.lock()
    assert polled(record)[0]["tagLimits"] == {"x": 2}
    record.run.unlock()


def test_a_feed_that_is_watched_again_stays_and_others_have_a_bound(recorded, monkeypatch):
    monkeypatch.setattr("pqrun.app.web.feeds.MAX_FEEDS", 1)
    for name in ("aaaaa2", "bbbbb2"):
        recorded(name)

    async def browse():
        feeds = RunFeeds(read_only=True)
        async with feeds.watching("aaaaa2") as watched:
            feeds._leave("aaaaa2", watched)  # the timer of a browser that has gone before
            with pytest.raises(UserError, match="1 runs are open in browsers"):
                async with feeds.watching("bbbbb2"):
                    pass
            async with feeds.watching("aaaaa2") as again:
                assert again is watched
        await feeds.close()

    asyncio.run(browse())


def test_a_source_is_closed_once_however_many_close_it():
    async def watch():
        source, ends = PolledSource("test", lambda: 60.0), []
        await source.call(lambda: None)
        await asyncio.gather(*(source.close(lambda: ends.append(1)) for _ in range(2)))
        await source.close(lambda: ends.append(1))
        source._thread.shutdown()
        assert ends == [1]

    asyncio.run(watch())


def test_a_browser_hears_in_time_that_nothing_has_changed(monkeypatch):
    monkeypatch.setattr("pqrun.app.web.feeds.HEARTBEAT_SECONDS", 0.01)

    async def watch():
        source = PolledSource("test", lambda: 60.0)
        assert await source.call(lambda: 7) == 7
        assert await source.changed() is False
        monkeypatch.setattr("pqrun.app.web.feeds.HEARTBEAT_SECONDS", 60.0)
        source.poll_soon()
        assert await source.changed() is True
        await source.close()

    asyncio.run(watch())
