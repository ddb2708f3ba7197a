# SPDX-License-Identifier: LGPL-3.0-or-later
"""The small mixed batch whose system calls are made to fail, and what must hold whatever failed."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

# Talks to the run, if that listens and answers.
CLIENT = """\
import contextlib, os, socket
with contextlib.suppress(OSError, KeyError):
    s = socket.socket(socket.AF_UNIX); s.connect(os.environ["PQRUN_SOCKET"])
    s.sendall(b'{"pqrun": 1, "verb": "ps"}\\n'); s.recv(65536)
"""
RETRIED = "retried"


def batch(ran: Path, python: str) -> dict[str, object]:
    """A job file; each attempt of a job adds `NAME.ATTEMPT` to the file `ran`."""

    def tell(name: str) -> str:
        return f"echo {name}.$PQRUN_ATTEMPT >> {ran}; echo out-{name}"

    return {
        "jobs": {
            "plain": tell("plain"),
            "big": f"{tell('big')}; head -c 300000 /dev/zero | tr '\\0' x",
            "leaves": {"run": f"{tell('leaves')}; (trap '' TERM; exec sleep 60) & setsid sleep 60 &", "grace": 0.2},
            RETRIED: {"run": f"{tell(RETRIED)}; test $PQRUN_ATTEMPT != 1", "retries": {"max": 1, "delay": 0.01}},
            "reads": {"run": f"{tell('reads')}; cat", "stdin": "one\ntwo\n"},
            "typed": {"run": f"{tell('typed')}; test -t 0", "pty": True},
            "open": {"run": f"{tell('open')}; head -c0", "stdin": "open"},
            "needs": {"run": f"{tell('needs')}; echo status=there >> $PQRUN_REPORT; sleep 0.05", "needs": ["plain"]},
            "direct": {"run": ["/bin/sh", "-c", tell("direct")], "grace": 0.2},
            "late": {"run": f"{tell('late')}; exec sleep 60", "timeout": 0.2, "allow_failure": True},
            "asks": {"run": [python, "-I", "-S", "-c", f"open({str(ran)!r}, 'a').write('asks.1\\n')\n{CLIENT}"],
                     "allow_failure": True},
        },
    }  # fmt: skip


NAMES = frozenset(
    {"plain", "big", "leaves", RETRIED, "reads", "typed", "open", "needs", "direct", "late", "asks"}
)
PRINTS = NAMES - {"asks"}


def marks(ran: Path) -> list[str]:
    """What has run, in order."""
    return ran.read_text().split() if ran.exists() else []


def all_have_run(ran: list[str]) -> bool:
    """Whether each job has, and the one that is to be tried again was."""
    return {mark.partition(".")[0] for mark in ran} == NAMES and sum(RETRIED in mark for mark in ran) >= 2


def twice(ran: list[str]) -> list[str]:
    """What ran twice in one run."""
    return [mark for mark, count in Counter(ran).items() if count > 1]


def recorded_ends(journal: Path) -> set[str]:
    """The jobs that are recorded as ended `ok`; a torn last line says nothing."""
    ids: dict[int, str] = {}
    ended: set[str] = set()
    for line in journal.read_bytes().splitlines() if journal.exists() else ():
        try:
            event = json.loads(line)
        except ValueError:
            break
        if event.get("e") == "add":
            ids[event["s"]] = event["job"]["id"]
        elif event.get("e") == "end" and event.get("o") == "ok":
            ended.add(ids.get(event["s"], ""))
    return ended
