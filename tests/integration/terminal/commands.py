# SPDX-License-Identifier: LGPL-3.0-or-later
"""`pqrun` as in a terminal, at a fixed time, on a machine with 8 CPUs, and with a live run that is only told of.

Usage: commands.py ARGUMENTS…
"""

import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from pqrun.cli.main import entry
from pqrun.control import client
from pqrun.engine import machine_load

NOW = 1_795_912_862.0  # a Sunday in November 2026, 00:41:02 UTC
PRIORITIES = {"H": "high", "N": "normal", "L": "low"}
JOBS = (
    ("clean[weather]", "running", "N", 1, 1, 51.0, ()),
    ("sync[東京]", "running", "H", 1, 3, 34.0, ()),
    ("train[LR=0.0003,DEPTH=4,OPTIMIZER=adam,BATCH=128]", "running", "N", 1, 1, 32.0, ()),
    ("thumbs/00", "queued", "L", 0, 1, 662.0, ()),
    ("sync[eu-west]", "waiting", "H", 2, 3, 28.0, ()),
    *((f"thumbs/{number:02}", "queued", "L", 0, 1, 662.0, ()) for number in range(1, 60)),
    ("evaluate", "pending", "H", 0, 1, None, ("train", "clean[weather]")),
    ("notify", "pending", "H", 0, 1, None, ("publish",)),
)
PRINTED = {
    1: "station 04 of 12: 8760 hours",
    3: "epoch 12/90  loss 0.4071  val_loss 0.5219  lr 0.0003  eta 41m",
}


class ToldRun:
    """A client of a run that is only told of."""

    def __init__(self, run):
        self.run = run

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def request(self, verb, *, last_output=False, **_):
        """Return what a run would answer."""
        if verb == "info":
            facts = {"id": "k3f9q2", "files": ["nightly.yaml"], "started_at": "2026-11-29T00:30:00.000000Z"}
            return {"run": {**facts, "workers": 4}, "metrics": {}, "seconds_left": 1530.0}
        jobs = [
            {
                "id": name, "seq": seq, "state": state, "priority": PRIORITIES[priority], "attempts": attempts,
                "max_attempts": most, "seconds": seconds, "needs": list(needs), "tags": [], "timeout": None,
                "run": "convert --resize 128x128 in.png out.png --quality 85 --strip --interlace plane",
                **({"last_output": PRINTED[seq]} if last_output and seq in PRINTED else {}),
            }
            for seq, (name, state, priority, attempts, most, seconds, needs) in enumerate(JOBS, 1)
        ]  # fmt: skip
        return {"jobs": jobs, "paused": True, "stopping": False}


if __name__ == "__main__":
    os.environ["TZ"] = "UTC"
    time.tzset()
    time.time = lambda: NOW
    machine_load.usable_cpus = lambda: 8
    client.ControlClient = ToldRun
    entry()
