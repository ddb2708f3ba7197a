# SPDX-License-Identifier: LGPL-3.0-or-later
"""Draw docs/top.svg, the picture of `pqrun top` in docs/queue.md, of an invented run.

python docs/top_svg.py [COLUMNS ROWS FILE]
"""

from __future__ import annotations

import asyncio
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from random import Random
from typing import Any

from pqrun.control.run_view import MeasuredUsage, OutputPiece
from pqrun.core.metrics import Metrics
from pqrun.ui.top.app import TopApp
from pqrun.ui.top.jobs import ListedJob
from pqrun.ui.top.run_source import JobDetails, PastAttempt, RunState, RunUpdate

PICTURE = Path(__file__).with_name("top.svg")
COLUMNS, ROWS = 126, 38
NOW, BEGAN = 1_000_205.0, 1_000_000.0
WORKERS = 4
SAYS = {
    63: "frame 1482/2000",
    66: "pg_dump: dumping table orders (62%)",
    67: "tests/test_queue.py ....... [ 48%]",
    68: "thumbs: 12 of 40",
}
USAGE = {
    63: MeasuredUsage(1.94, 1638 << 20),
    66: MeasuredUsage(0.12, 22 << 20),
    67: MeasuredUsage(0.97, 310 << 20),
    68: MeasuredUsage(0.88, 96 << 20),
}
LOG = b"""pg_dump: last built-in OID is 16383
pg_dump: reading extensions
pg_dump: reading schemas
pg_dump: reading user-defined tables
pg_dump: dumping table customers (100%)
pg_dump: dumping table invoices (100%)
pg_dump: dumping table orders (62%)
"""


def jobs() -> list[ListedJob]:
    """Return jobs that have ended, that run, and that wait."""
    random = Random(7)
    found = []
    for seq in range(1, 63):
        ended = BEGAN + 3.2 * seq + random.uniform(0, 3)
        began = max(BEGAN, ended - random.uniform(5, 15))
        name = f"page-{seq:02}"
        found.append(
            ListedJob(
                seq,
                name,
                name,
                f"make {name}",
                "ok",
                attempts=1,
                queued=BEGAN,
                began=began,
                ended=ended,
                cpus=random.uniform(0.4, 1.0),
                memory=random.randrange(30, 90) << 20,
            )
        )

    def put(seq: int, name: str, state: str, priority: int = 1, **facts: Any) -> None:
        job = ListedJob(
            seq, name, name, facts.pop("command", f"make {name}"), state, priority, queued=BEGAN, **facts
        )
        found[:] = [*(one for one in found if one.seq != seq), job]

    put(41, "test[PY=3.12,OS=mac]", "failed", attempts=1, began=NOW - 90, ended=NOW - 68, timeout=600.0,
        how="exit 1", message="E  AssertionError: expected 3 workers, got 4")  # fmt: skip
    put(37, "sync:eu-west", "timeout", 2, attempts=3, most=3, began=NOW - 130, ended=NOW - 100, timeout=30.0,
        how="timeout 30s", message="ssh: connect to host eu-west port 22: Connection timed out")  # fmt: skip
    put(63, "render/chapter-07", "running", 2, attempts=1, most=3, began=NOW - 84, timeout=120.0)
    put(66, "db:backup --full", "running", 2, attempts=2, most=3, began=NOW - 31, timeout=300.0,
        tags=("nightly", "db"), command="pg_dump --verbose --format=custom shop > shop.dump")  # fmt: skip
    put(67, "test[PY=3.13,OS=linux]", "running", attempts=1, began=NOW - 9, timeout=600.0)
    put(68, "thumbs/img_0090", "running", 0, attempts=1, began=NOW - 4)
    put(69, "mirror", "waiting", attempts=1, most=4, began=NOW - 30, ended=NOW - 20, due=NOW + 28, how="exit 75",
        message="the server is busy")  # fmt: skip
    put(70, "render/chapter-08", "queued", 2)
    put(71, "pack", "queued")
    for seq in range(72, 121):
        put(seq, f"thumbs/img_{seq + 20:04}", "queued", 0)
    return found


class Night:
    """A source that always returns the same run."""

    def __init__(self) -> None:
        self._jobs = jobs()
        self._told = False

    def poll(self) -> RunUpdate:
        """Return all jobs at the first call."""
        ended = sum(not job.unfinished for job in self._jobs)
        queued = sum(job.state == "queued" for job in self._jobs)
        numbers = Metrics(
            jobs_enqueued=121, jobs_dequeued=121 - queued, jobs_completed=60, jobs_failed=1, jobs_timeout=1,
            jobs_retried=4, current_queue_size=queued, active_workers=WORKERS, average_wait_time=41.3,
            average_processing=12.6,
        )  # fmt: skip
        run = RunState(
            "k3f9mw",
            "nightly.yaml",
            "live",
            True,
            BEGAN,
            NOW,
            WORKERS,
            numbers,
            len(self._jobs),
            ended,
            usage=USAGE,
        )
        changed, self._told = ([] if self._told else self._jobs), True
        return RunUpdate(run, changed, (), bool(changed))

    def details(self, seq: int) -> JobDetails:
        """Return the attempts of the backup."""
        tries = (PastAttempt(1, "exit 75", 12.0, "the server is busy"), PastAttempt(2, "running", None))
        return JobDetails(seq, tries if seq == 66 else (), "runs for 31s, attempt 2" if seq == 66 else "")

    def last_output(self, seqs: Iterable[int]) -> dict[int, str]:
        """Return the last lines that jobs printed."""
        return {seq: SAYS.get(seq, "") for seq in seqs}

    def read(self, seq: int, attempt: int, stream: int, offset: int | None) -> OutputPiece:
        """Return what the backup printed."""
        data = LOG[offset or 0 :] if (seq, stream) == (66, 1) else b""
        return OutputPiece(data, offset or 0)

    def act(self, verb: str, **facts: Any) -> dict[str, Any]:
        """Do nothing."""
        return {}

    def close(self) -> None:
        """Do nothing."""


async def _drawn(columns: int, rows: int) -> str:
    app = TopApp(Night(), every=0.05)
    async with app.run_test(size=(columns, rows)) as pilot:
        while app.poller.rounds < 2:
            await pilot.pause(0.02)
        await pilot.press("down")
        rounds = app.poller.rounds + 30
        while app.poller.rounds < rounds and "pg_dump" not in "".join(
            line.text for line in app.view.log_view.text.lines
        ):
            await pilot.pause(0.02)
        await pilot.pause(0.1)
        return app.export_screenshot(title="pqrun top")


def picture(columns: int = COLUMNS, rows: int = ROWS) -> str:
    """Return the SVG, with installed fonts instead of one that would have to be fetched."""
    svg = asyncio.run(_drawn(columns, rows))
    svg = re.sub(r"@font-face\s*\{.*?\}", "", svg, flags=re.DOTALL)
    svg = re.sub(r"terminal-\d+", "top", svg)
    svg = svg.replace("Fira Code", "DejaVu Sans Mono, Menlo, Consolas")
    return "\n".join(line.rstrip() for line in svg.splitlines() if line.strip()) + "\n"


if __name__ == "__main__":
    size = [int(word) for word in sys.argv[1:3]]
    path = Path(sys.argv[3]) if len(sys.argv) > 3 else PICTURE
    path.write_text(picture(*size), encoding="utf-8")
