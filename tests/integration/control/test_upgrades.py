# SPDX-License-Identifier: LGPL-3.0-or-later
"""Another pqrun: a queue that an older one has left, and requests that an older run does not know."""

import json
import re
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from pqrun.cli.commands.ps import document, shown
from pqrun.cli.console import Console
from pqrun.control.client import ControlClient
from pqrun.control.protocol import listen
from pqrun.core.errors import InternalFailure
from pqrun.journal.format import VERSION, append_checksum

DATA = Path(__file__).parents[1] / "journal" / "data"
OLD_QUEUES = [f"queue-{version}" for version in range(1, VERSION + 1)]
"""A queue as a pqrun of each format left it: used in every way, stopped, started again, killed."""
RECORDED_AS_ENDED = {"ended", "broken", "upload", "quiet", "flaky", "away", "gone", "two", "front"}


def write_journal(directory: Path, lines: list[dict]) -> None:
    directory.mkdir(mode=0o700, parents=True)
    crc, sealed = 0, b""
    for line in lines:
        facts = {name: value for name, value in line.items() if name != "c"}
        text, crc = append_checksum(json.dumps(facts, separators=(",", ":")), crc)
        sealed += text
    (directory / "journal.jsonl").write_bytes(sealed)


@pytest.fixture
def left(tmp_path, state):
    """`left(change)` puts an old queue in place, its jobs in the test's directory. `change`: of its lines."""

    def leave(change=lambda lines: lines, old="queue-1"):
        text = (DATA / old / "journal.jsonl").read_text().replace("/srv/queue", str(tmp_path))
        directory = state / "runs" / "queue"
        write_journal(directory, change([json.loads(line) for line in text.splitlines()]))
        if (DATA / old / "logs").exists():
            shutil.copytree(DATA / old / "logs", directory / "logs")
        (tmp_path / "mended").touch()

    return leave


def marks(tmp_path) -> Counter:
    path = tmp_path / "marks"
    return Counter(path.read_text().split() if path.exists() else ())


def settled(one) -> bool:
    """Whether nothing is left but the held job, and those that wait for a time or for their next attempt."""
    jobs = one.jobs()
    states = {name: job["state"] for name, job in jobs.items()}
    states.pop("later", None)
    return states == {"held": "held", "wrong": "waiting"} and jobs["wrong"]["attempts"] >= 2


@pytest.mark.slow
@pytest.mark.parametrize("old", OLD_QUEUES)
def test_a_queue_of_an_older_pqrun_is_shown_and_restored_as_it_was(left, pqrun, queue, until, tmp_path, old):
    left(old=old)
    shown = pqrun("show", "queue", "--json").document
    states = {job["id"]: job["state"] for job in shown["jobs"]}
    assert states.pop("later", "waiting") == "waiting"
    assert states == {
        "ended": "ok", "broken": "failed", "upload": "skipped", "quiet": "failed", "flaky": "failed",
        "away": "ok", "gone": "cancelled", "two": "ok", "front": "ok", "held": "held", "child": "pending",
        "once": "queued", "15": "queued", "wrong": "waiting", "one": "interrupted", "running": "interrupted",
    }  # fmt: skip
    one = queue()
    until(lambda: settled(one))
    assert marks(tmp_path) == Counter(["one", "running", "child", "once", "wrong"])
    assert one.jobs()["wrong"]["attempts"] == 2
    one.ask("release", jobs=["held"])
    until(lambda: marks(tmp_path)["held"] == 1)
    one.ask("cancel", jobs=["wrong"])
    one.ask("pool", pool="gpu", size=2)
    assert one("restart", "broken").code == 0, "jobs that ended in the older pqrun are known"
    until(lambda: marks(tmp_path)["broken"] == 1)


@pytest.mark.slow
def test_a_queue_with_packs_keeps_its_outputs_its_limits_and_its_times(left, pqrun, queue, until):
    left(old="queue-2")
    assert pqrun("logs", "queue", "away").out == "output of away\n"
    one = queue()
    until(lambda: settled(one))
    assert pqrun("logs", "queue", "away", "child", "flaky").out.count("output of") == 3
    answer = one.ask("ps")
    assert answer["tag_limits"] == {"later": 1}
    assert one.jobs()["later"]["not_before"] == 4102444800.0
    one.ask("release", jobs=["held"])
    one.ask("set", jobs=["later"], change={"not_before": 0})
    until(lambda: set(one.states()) == {"wrong"})
    assert pqrun("logs", "queue", "later").out == "output of later\n"


@pytest.mark.slow
@pytest.mark.parametrize("old", OLD_QUEUES)
def test_killed_in_the_middle_of_taking_over_a_queue_loses_no_job(left, queue, until, tmp_path, state, old):
    left(old=old)
    for _ in range(4):
        queue("-j1").kill()  # before its first line, between two jobs, or in the middle of one
    one = queue("-j1")
    until(lambda: settled(one))
    ran = marks(tmp_path)
    assert {"one", "running", "child", "wrong"} <= ran.keys()
    assert not ran.keys() & RECORDED_AS_ENDED
    assert ran["once"] <= 1, "it must not run again"
    one.kill()
    lines = [
        json.loads(line) for line in (state / "runs" / "queue" / "journal.jsonl").read_text().splitlines()
    ]
    ended: set[int] = set()
    for line in lines:
        if line.get("e") == "end" and "o" in line and line["o"] != "interrupted":
            ended.add(line["s"])
        ended -= {line["s"]} if line.get("e") == "again" else set()
        assert not (line.get("e") == "start" and line["s"] in ended), line


OLDEST = {
    "e",
    "t",
    "s",
    "n",
    "w",
    "job",
    "as",
    "x",
    "b",
    "f",
    "o",
    "until",
    "why",
    "on",
    "p",
    "name",
    "size",
    "workers",
}
ALWAYS = {"pqrun", "run", "listed", "token", "version", "at", "files", "cwd", "options", "serve"}


def as_the_oldest(lines: list[dict]) -> list[dict]:
    """What the oldest pqrun wrote: without later kinds of lines, and each line with the least that it may have."""
    found = []
    for line in lines:
        kind = line.get("e")
        if kind in ("hold", "change", "pool", "close", "workers", "stop", "pause"):
            continue
        if kind == "remove":
            continue
        kept = {name: value for name, value in line.items() if name in OLDEST | ALWAYS}
        if kind == "add" and line.get("q"):
            kept["q"] = True
        if kind == "end":
            kept |= {"u": 0.0, "y": 0.0}
        if kind == "again":
            kept["by"] = ""
        found.append(kept)
    return found


@pytest.mark.slow
def test_the_oldest_form_of_a_queue_is_taken_over_too(left, queue, until, tmp_path):
    left(as_the_oldest)
    queue("-j1").kill()
    one = queue("-j1")
    until(lambda: one.states() == {"wrong": "waiting"} and one.jobs()["wrong"]["attempts"] >= 2)
    ran = marks(tmp_path)
    assert {"one", "running", "child", "held", "wrong"} <= ran.keys()
    assert not ran.keys() & (RECORDED_AS_ENDED - {"gone"})


@pytest.mark.slow
def test_what_a_later_pqrun_adds_to_a_queue_is_left_out(left, queue, until, tmp_path):
    def with_news(lines):
        news = {"e": "weather", "t": lines[1]["t"], "s": 1, "sun": True}
        return [*({**line, "mood": "good"} for line in lines), news]

    left(with_news)
    one = queue()
    until(lambda: settled(one))
    assert {"one", "running", "child", "once"} <= marks(tmp_path).keys()


@pytest.mark.slow
def test_a_queue_of_a_newer_format_is_refused_and_left_as_it_is(left, pqrun, state):
    left(lambda lines: [{**lines[0], "pqrun": VERSION + 1}, *lines[1:]])
    journal = state / "runs" / "queue" / "journal.jsonl"
    before = journal.read_bytes()
    answer = pqrun("serve", "--detach")
    assert (answer.code, "written by a newer pqrun" in answer.err, "update pqrun" in answer.err) == (
        4,
        True,
        True,
    )
    assert journal.read_bytes() == before


@pytest.mark.parametrize(
    ("facts", "directory", "cure"),
    [
        (
            {"serve": "queue"},
            "runs/queue",
            "`pqrun stop --run queue`, then `pqrun serve --detach --run queue`",
        ),
        ({"serve": "queue"}, "other", "`pqrun stop --run DIR`, then `pqrun serve --detach --run-dir DIR`"),
        ({}, "other", "`pqrun stop --run DIR`, then `pqrun resume DIR`"),
    ],
)
def test_what_an_older_run_does_not_know_is_told_with_the_commands_that_mend_it(
    tmp_path, monkeypatch, facts, directory, cure
):
    where = tmp_path / directory
    write_journal(where, [{"pqrun": 1, "run": "queue", **facts}])
    monkeypatch.setenv("PQRUN_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("PQRUN_SOCKET", f"{where}/control.sock")
    listening = listen(f"{where}/control.sock")
    listening.setblocking(True)

    def old_run():
        for error in ("unknown verb 'hold'", "a job has no `weather`"):
            connection, _ = listening.accept()
            with connection, connection.makefile("rb") as lines:
                assert json.loads(lines.readline())["pqrun"] == 1
                answer = {"ok": False, "error": error, "code": 2, "pqrun": 1}
                connection.sendall(json.dumps(answer).encode() + b"\n")

    told = []
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(old_run)
        for verb, request in (("hold", {"jobs": ["1"]}), ("add", {"add": [{"run": "true", "weather": 1}]})):
            with ControlClient() as client, pytest.raises(InternalFailure) as failure:
                client.request(verb, **request)
            told.append((failure.value.code, str(failure.value)))
        run.result()
    listening.close()
    text = (
        "the run is of an older pqrun, which cannot take this `{}`: restart the run with the pqrun that you "
        f"call ({cure.replace('DIR', str(where))}), or call the older one"
    )
    assert told == [(2, text.format("hold")), (2, text.format("add"))]


def test_the_answers_of_an_older_run_are_shown():
    answer = {"jobs": [], "paused": False, "stopping": False}
    info = {"run": {"id": "queue"}, "metrics": {}}
    listed = json.loads(document(answer, info))
    assert (listed["tag_limits"], listed["seconds_left"]) == ({}, None)
    assert shown(answer, Console(), None, most=None) == "no unfinished jobs"


@pytest.mark.parametrize("old", OLD_QUEUES)
def test_an_old_queue_has_every_kind_of_line_that_a_queue_has(old):
    lines = (DATA / old / "journal.jsonl").read_text()
    assert lines.startswith(f'{{"pqrun":{old[-1]},')
    assert ('"out_at":' in lines) == ('"e":"delay"' in lines) == (old != "queue-1"), (
        "packs and times came later"
    )
    assert set(re.findall(r'^\{"e":"(\w+)"', lines, re.MULTILINE)) - {"delay"} == {
        "resume", "close", "add", "queue", "start", "end", "done", "wait", "remove", "again", "change", "workers",
        "pool", "pause", "stop", "hold",
    }  # fmt: skip
