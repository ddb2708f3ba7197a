# SPDX-License-Identifier: LGPL-3.0-or-later
"""Ten thousand messages that nobody should send: each is answered, and the run goes on as it should."""

import json
import os
import socket
from random import Random

import pytest
from core.test_simulation import check_metrics_add_up

from pqrun.control.protocol import VERSION
from pqrun.core.job import ExitedWith

from .door import Door

MESSAGES = 10_000
ODD = [
    None, True, False, 0, 1, -1, 2, 7, 10**6, 10**30, -(10**30), 0.5, 1e308, "", "a", "all", "j1", "j*", "[", "*" * 50,
    "a" * 300, "\0", "\ud800", "\x1b[2J", "💥", "1", "007", "tag:", "state:queued", [], [[]], ["a"], ["a", "ok"], [None],
    {}, {"a": 1}, {"max": 2}, {"id": "x"}, [["a", "b", "c"]], [["net", 1]], "SIGTERM", "SIGNOTHING", "high", "ok", "open",
]  # fmt: skip
VERBS = [
    "add",
    "ps",
    "set",
    "cancel",
    "pool",
    "workers",
    "pause",
    "unpause",
    "wait",
    "output",
    "send",
    "info",
    "nothing",
]
FIELDS = [
    "add", "jobs", "change", "front", "pool", "size", "workers", "seq", "stream", "offset", "job", "wait", "any", "why",
    "more", "lines", "if_absent", "once", "by", "pqrun", "verb", "data", "end",
]  # fmt: skip
JOB = [
    "id", "run", "named", "line", "priority", "timeout", "idle_timeout", "grace", "retry", "retries", "needs", "slots",
    "pools", "tags", "success_codes", "allow_failure", "rerun", "creates", "file", "cwd", "env", "shell", "stdin",
    "signal", "keep_leftovers", "pty", "tiemout",
]  # fmt: skip
GOOD = {
    "add": [{"run": "true"}], "jobs": ["all"], "change": {"priority": "low"}, "pool": "net", "size": 2, "workers": 2,
    "seq": 1, "stream": 1, "offset": 0, "job": "j1", "data": "eA==",
}  # fmt: skip


def odd_value(random: Random, depth: int = 0):
    match random.randrange(6):
        case 0 if depth < 4:
            return [odd_value(random, depth + 1) for _ in range(random.randrange(4))]
        case 1 if depth < 4:
            return {
                random.choice([*JOB, *FIELDS]): odd_value(random, depth + 1)
                for _ in range(random.randrange(4))
            }
        case _:
            return random.choice(ODD)


def odd_job(random: Random):
    job = {"id": f"j{random.randrange(20)}", "run": random.choice(["true", ["echo", "a"]])}
    for name in random.sample(JOB, random.randrange(4)):
        job[name] = odd_value(random)
    if random.random() < 0.3:
        job["needs"] = [f"j{random.randrange(20)}"]
    return job


def odd_request(random: Random) -> dict:
    verb = random.choice(VERBS)
    request = {"pqrun": VERSION, "verb": verb, **GOOD}
    if verb == "add":
        request["add"] = [odd_job(random) for _ in range(random.randrange(1, 4))]
    elif random.random() < 0.5:
        request["jobs"] = [random.choice(["all", f"j{random.randrange(20)}", "j1*", "tag:a", "state:queued"])]
    if verb == "set" and random.random() < 0.7:
        request["change"] = {name: odd_value(random) for name in random.sample(JOB, random.randrange(1, 3))}
    for name in random.sample(FIELDS, random.choice([0, 0, 1, 2])):
        request[name] = odd_value(random)
    return request


def odd_line(random: Random) -> bytes:
    """A message in one line, in any of the ways in which one can be wrong; sometimes it is right."""
    line = json.dumps(odd_request(random)).encode()
    match random.randrange(12):
        case 0:
            line = random.randbytes(random.randrange(1, 200))
        case 1:
            line = line[: random.randrange(1, len(line))]
        case 2:
            at = random.randrange(len(line))
            line = line[:at] + bytes([random.randrange(256)]) + line[at + 1 :]
        case 3:
            line = json.dumps(odd_value(random)).encode()
        case 4:
            line = b"[" * random.randrange(1, 3000)
    return line.replace(b"\n", b" ").strip() or b"x"


@pytest.mark.slow
def test_ten_thousand_odd_messages_are_answered_and_harm_nobody(tmp_path):
    random = Random(2718)
    door = Door(tmp_path / "s", slots=2, max_queue=2)
    door.ask("pool", pool="net", size=2)
    codes: dict = {}
    callers = [door.call() for _ in range(5)]
    for number in range(MESSAGES):
        caller = callers[number % 5]
        line = odd_line(random)
        caller.send(line + b"\n")
        answer = caller.answer(turns=12)
        while answer is None:  # it waits for jobs, which end by and by
            door.engine.turn(request=lambda scheduler, now: scheduler.pause(paused=False, now=now))
            for key in list(door.slots.running):
                door.slots.end(key)
            door.turn(3)
            caller.send(b"\n")  # ends a message with `lines`; elsewhere an empty line means nothing
            answer = caller.answer(turns=2)
            assert not caller.hung_up, line
        assert isinstance(answer["ok"], bool), line
        codes[answer.get("code", 0)] = codes.get(answer.get("code", 0), 0) + 1
        if random.random() < 0.2:
            door.clock.time += random.random()
            for key in list(door.slots.running)[:1]:
                door.slots.end(key, ExitedWith(random.choice([0, 0, 1, 75])))
        if random.random() < 0.01:
            caller.socket.close()
            callers[number % 5] = door.call()
    assert codes.keys() >= {0, 1, 2, 75} and min(codes[0], codes[2]) > 1000, codes
    check_metrics_add_up(door.story)
    for caller in callers:
        caller.socket.close()
    door.close()


def test_streams_of_bytes_without_an_end_of_line_harm_nobody(tmp_path):
    random = Random(1)
    door = Door(tmp_path / "s")
    for _ in range(40):
        with door.call() as caller:
            for _ in range(random.randrange(6)):
                caller.send(random.randbytes(random.randrange(1, 300_000)), patience=20)
                door.turn()
        assert door.ask("ps")["ok"] is True
    door.turn(5)
    assert not door.server._clients
    door.close()


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1])
def test_a_run_in_a_process_of_its_own_bears_a_thousand_of_them(seed, queue):
    random = Random(seed)
    served = queue()
    served.add(*["sleep 0.01"] * 20)
    path = f"{served.directory}/control.sock"
    caller = None
    for number in range(1000):
        if caller is None:
            caller = socket.socket(socket.AF_UNIX)
            caller.settimeout(0.2)
            caller.connect(path)
        line = odd_line(random)
        if b'"stop"' in line:
            continue
        try:
            caller.sendall(line + b"\n" * (number % 3))
            if number % 3 and number % 10 == 1:
                caller.recv(1 << 16)
        except OSError:
            pass
        if number % 7 == 0:
            caller.close()
            caller = None
    if caller is not None:
        caller.close()
    served.ask("unpause")
    served.ask("cancel", jobs=["all"])
    served.add("true", id="last")
    assert served.ask("wait", jobs=["last"])["failed"] == 0
    assert os.path.exists(path)
    assert served.stop() in (0, 1, 3)
