# SPDX-License-Identifier: LGPL-3.0-or-later
"""Makes the pictures of docs/report.md, of a night that is made up, and of docs/web.md, of real runs. Needs playwright and Chromium.

The times of real runs differ each time. So the pictures of them are taken only if this script or the page has changed.

python docs/page_pictures.py [DIRECTORY]
"""

from __future__ import annotations

import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from hashlib import sha256
from itertools import product
from pathlib import Path
from random import Random
from typing import Any
from zlib import crc32

from pqrun.core import events as ev
from pqrun.core.job import (
    Attempt,
    AttemptId,
    Command,
    Exit,
    ExitedWith,
    JobSpec,
    KilledBySignal,
    Need,
    Priority,
    RetryPolicy,
    Usage,
)
from pqrun.core.metrics import MetricsCollector
from pqrun.core.scheduler import Scheduler
from pqrun.core.settings import ReportSettings
from pqrun.output.store import Capture, Logs
from pqrun.reports import write_after
from pqrun.reports.json_document import run_facts
from pqrun.reports.report import Ending, RunInfo
from pqrun.testing import FakeClock, Fate, RecordedRun, SimulatedExecutor, simulate

BEGAN = 1_795_831_200.0  # 28 November 2026, 02:00 UTC
WORKERS = 4
RUN = "k3f9q2"
TRACEBACK = """\
    def test_workers_follow_the_limit(pool):
        pool.resize(3)
>       assert pool.active == 3
E       AssertionError: expected 3 workers, got 4
E       assert 4 == 3
E        +  where 4 = <Pool mysql://ci@localhost:3306/shop>.active

tests/test_pool.py:88: AssertionError
=========== short test summary info ============
FAILED tests/test_pool.py::test_workers_follow_the_limit
====== 1 failed, 611 passed in 46.92s =======
"""
RSYNC = """\
rsync: [sender] safe_write failed to write 4 bytes to socket: Broken pipe (32)
rsync error: received SIGINT, SIGTERM, or SIGHUP (code 20) at rsync.c(716)
"""
SOURCES = ("orders", "customers", "invoices", "stock", "weather", "clicks", "returns", "exchange-rates")
OK = ExitedWith(0)


class Night:
    """The jobs of the night: how each of its attempts ends, how long it takes, and what it prints."""

    def __init__(self) -> None:
        self.specs: list[JobSpec] = []
        self.fates: dict[str, tuple[float, Sequence[Exit]]] = {}
        self.printed: dict[str, tuple[str, str]] = {}
        self._random = Random(7)

    def add(
        self, job_id: str, run: str, seconds: float, *ends: Exit, out: str = "", err: str = "",
        env: Sequence[tuple[str, str]] = (), needs: Sequence[str] = (), **fields: Any,
    ) -> None:  # fmt: skip
        """Add a job that takes about so many seconds."""
        work = Command(run, env=tuple(env))
        wanted = tuple(Need(name) for name in needs)
        line = 10 + 3 * len(self.specs)
        of_matrix = [(name, value) for name, value in env if f"{name}={value}" in job_id]
        names, values = tuple(name for name, _ in of_matrix), tuple(value for _, value in of_matrix)
        spec = JobSpec(
            job_id, work, needs=wanted, arg_names=names, file="nightly.yaml", args=values, line=line
        )
        self.specs.append(spec._replace(**fields))
        self.fates[job_id] = (seconds * self._random.uniform(0.6, 1.5), ends or (OK,))
        self.printed[job_id] = (out, err)

    def matrix(
        self, name: str, axes: dict[str, Sequence[str]]
    ) -> Iterator[tuple[str, list[tuple[str, str]]]]:
        """Yield the id and the variables of each job of a matrix."""
        for values in product(*axes.values()):
            pairs = list(zip(axes, values, strict=True))
            yield f"{name}[{','.join(f'{axis}={value}' for axis, value in pairs)}]", pairs


def night() -> Night:
    """Return the jobs: fetch, clean and train, tests beside them, and what is to be cleaned up."""
    jobs, high, low = Night(), Priority.HIGH, Priority.LOW
    again = RetryPolicy(3, 20.0)
    for source in SOURCES:
        flaky = [ExitedWith(22), ExitedWith(22), OK] if source == "exchange-rates" else [OK]
        jobs.add(
            f"fetch[{source}]", f"curl -fsS https://data.example.org/{source} -o raw/{source}.csv", 40, *flaky,
            out="51.8 MB, HTTP 200\n", priority=high, retry=again,
        )  # fmt: skip
        jobs.add(
            f"clean[{source}]", f"python clean.py {source}", 100 if source == "clicks" else 45,
            needs=[f"fetch[{source}]"], out="kept 99.2 % of the rows\n",
        )  # fmt: skip
    jobs.add("lint", "ruff check .", 12, out="All checks passed!\n")
    jobs.add("typecheck", "mypy --strict", 40, out="Success: no issues found\n")
    for name, pairs in jobs.matrix("test", {"PY": ["3.11", "3.12", "3.13"], "DB": ["sqlite", "pg", "mysql"]}):
        bad = name == "test[PY=3.13,DB=mysql]"
        jobs.add(
            name, 'tox -e "py$PY-$DB"', 70, ExitedWith(1) if bad else OK, env=pairs,
            out=TRACEBACK if bad else "612 passed in 58.20s\n",
        )  # fmt: skip
    clean = [f"clean[{source}]" for source in SOURCES]
    for name, pairs in jobs.matrix(
        "train", {"LR": ["0.001", "0.003", "0.01", "0.03"], "DEPTH": ["2", "4", "6", "8"]}
    ):
        bad = name == "train[LR=0.03,DEPTH=8]"
        jobs.add(
            name, 'python train.py --lr "$LR" --depth "$DEPTH"', 70, KilledBySignal("SIGKILL") if bad else OK,
            env=pairs, needs=clean, out="epoch 40/40 loss 0.113 acc 0.928\n", err="Killed\n" if bad else "",
            allow_failure=True,
        )  # fmt: skip
    trained = [spec.id for spec in jobs.specs if spec.id.startswith("train")]
    jobs.add("evaluate", "python evaluate.py models/", 80, needs=trained, out="best: lr 0.003, depth 6\n")
    jobs.add("select", "python select_model.py", 4, needs=["evaluate"])
    for name in ("clicks", "orders", "stock"):
        jobs.add(f"report[{name}]", f"python report.py {name}", 50, needs=["select"], out="12 pages\n")
    for region in ("us-east", "eu-west", "ap-south"):
        bad = region == "eu-west"
        jobs.add(
            f"sync[{region}]", f"rsync -a --partial out/ backup@{region}.example.org:/srv/nightly/", 60 if not bad else 200,
            out="sending incremental file list\nout/customers.pdf\n", err=RSYNC if bad else "", priority=high,
            timeout=60.0 if bad else None, retry=RetryPolicy(2, 30.0), env=[("RSYNC_RSH", "ssh")],
        )  # fmt: skip
    jobs.add(
        "audit[licenses]",
        "licensecheck --fail",
        8,
        ExitedWith(2),
        err="licenses: AGPL-3.0 in vendor/zlibng (not on the list)\n",
        priority=low,
    )
    jobs.add("publish", "twine upload dist/*", 10, needs=["test[PY=3.13,DB=mysql]"])
    jobs.add("notify", "mail -s nightly team < summary", 2, needs=["publish"])
    for number in range(1, 13):
        jobs.add(
            f"render/chapter-{number:02}",
            f"make chapter-{number:02}",
            60,
            priority=low,
            out="Saved: frame 239\n",
        )
    for number in range(1, 25):
        jobs.add(f"thumbs/{number:02}", f"convert img/{number:02}.png", 9, priority=low)
    for name in ("orders", "users", "billing", "audit"):
        jobs.add(f"backup[{name}]", f"pg_dump {name}", 50, out="pg_dump: dumped 32 tables\n", priority=low)
    return jobs


class WithOutput(RecordedRun):
    """A recorded run whose attempts have printed something."""

    def __init__(self, jobs: Night, logs: Logs) -> None:
        super().__init__()
        self._jobs = jobs
        self._logs = logs
        self._random = Random(3)

    def put(self, events: Sequence[ev.Event]) -> None:
        """Record the events, those of ended attempts with their output and what they used."""
        super().put([self._told(event) for event in events])

    def _told(self, event: ev.Event) -> ev.Event:
        if not isinstance(event, ev.AttemptEnded):
            return event
        capture = Capture(self._logs, AttemptId(event.seq, event.attempt))
        for stream, text in zip(
            (capture.out, capture.err), self._jobs.printed[self._jobs.specs[event.seq - 1].id], strict=True
        ):
            stream.put(text.encode())
        took = event.ended - event.began
        usage = Usage(
            took * self._random.uniform(0.1, 0.95), took * 0.03, self._random.randrange(12, 2400) << 20
        )
        return event._replace(output=capture, usage=usage)


def write_page(path: Path) -> None:
    """Write the page of the night."""
    jobs, clock = night(), FakeClock(BEGAN)
    scheduler = Scheduler()
    scheduler.add(jobs.specs, BEGAN)
    scheduler.end_input(BEGAN)

    def fate(attempt: Attempt) -> Fate:
        seconds, ends = jobs.fates[attempt.spec.id]
        return Fate(seconds=seconds, exit=ends[min(attempt.key.attempt, len(ends)) - 1])

    with tempfile.TemporaryDirectory() as directory:
        run = simulate(
            scheduler, SimulatedExecutor(clock, WORKERS, fate), WithOutput(jobs, Logs(directory, keep=False))
        )
        metrics = MetricsCollector(BEGAN)
        metrics.fold(run.events)
        os.environ["PQRUN_STATE_DIR"] = "/home/ci/.local/state/pqrun"  # so that the run has a name
        place = f"{os.environ['PQRUN_STATE_DIR']}/runs/{RUN}"
        facts = run_facts(
            RUN, state="ended", files=["nightly.yaml"], workers=WORKERS, began=BEGAN, ended=clock.now(),
            input_complete=True, directory=place,
        )  # fmt: skip
        info = RunInfo(
            RUN, ("nightly.yaml",), WORKERS, BEGAN, clock.wall, place, "/srv/shop",
            "pqrun run nightly.yaml -j4 --html nightly.html",
        )  # fmt: skip
        failures = write_after(
            ReportSettings(html=str(path)), run.events, info, Ending(1, metrics.snapshot(clock.now()), facts)
        )
    if failures:
        sys.exit("\n".join(failures))


def take(page_path: Path, directory: Path) -> None:
    """Take the pictures: wide and narrow, light and dark."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
        for theme, width, height in product(("light", "dark"), (1440, 390), (1000,)):
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme=theme,
                timezone_id="UTC",
                locale="en-GB",
            )
            page = context.new_page()
            page.goto(page_path.as_uri())
            page.wait_for_selector("html[data-ready]", state="attached")
            page.wait_for_timeout(300)
            page.screenshot(path=directory / f"page-{theme}-{width}.png")
            if width == 1440 or "--all" in sys.argv:
                page.locator(".row", has_text="sync[eu-west]").first.click()
                page.wait_for_timeout(300)
                if theme == "light" or "--all" in sys.argv:
                    page.screenshot(path=directory / f"page-job-{theme}-{width}.png")
            if "--all" in sys.argv:
                page.keyboard.press("Escape")
                page.evaluate("scrollTo(0, 0)")
                page.screenshot(path=directory / f"page-whole-{theme}-{width}.png", full_page=True)
            context.close()
        browser.close()


LIVE = {
    "jobs": [
        {"id": "fetch", "run": "sleep 1; echo '51.8 MB, HTTP 200'", "priority": "high"},
        {"id": "lint", "run": "sleep 0.5; echo 'licenses: AGPL-3.0 in vendor/zlibng (not on the list)' >&2; exit 2"},
        {
            "id": "clean", "run": "sleep 1.$((RANDOM % 9)); echo 'kept 99.2 % of the rows'", "needs": "fetch",
            "matrix": {"SOURCE": ["clicks", "customers", "invoices", "orders", "returns", "stock"]},
        },
        {"id": "sync", "run": "sleep 1; echo 'rsync: Broken pipe (32)' >&2; exit 12", "retries": 3},
        {
            "id": "train", "run": "for n in $(seq 40); do echo epoch $n/40 loss 0.$((900 - 20 * n)); sleep 1; done",
            "matrix": {"DEPTH": ["2", "4", "6", "8"]}, "needs": "clean",
        },
        {"id": "thumbs", "run": "sleep 1", "priority": "low", "matrix": {"N": [f"{n:02}" for n in range(24)]}},
        {"id": "publish", "run": "true", "needs": "train"},
    ]
}  # fmt: skip


LIVE_PICTURES = ("web-light-1440.png", "web-dark-1440.png", "web-light-390.png", "web-runs-dark-1440.png")
LAST_CHUNK_BYTES = 12


def digest() -> bytes:
    """Return a digest of the files from which the pictures of the live page are made."""
    package = Path(__file__).parents[1] / "pqrun"
    made_of = [
        *package.glob("reports/page/*"),
        *package.glob("app/web/*.py"),
        package / "reports/page_data.py",
    ]
    texts = [path.read_bytes() for path in (Path(__file__), *sorted(made_of)) if path.is_file()]
    return sha256(b"\0".join(texts)).hexdigest()[:16].encode()


def mark(picture: Path, text: bytes) -> None:
    """Add a text to a PNG file, before its last chunk."""
    data, chunk = picture.read_bytes(), b"tEXtComment\0" + text
    framed = struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", crc32(chunk))
    picture.write_bytes(data[:-LAST_CHUNK_BYTES] + framed + data[-LAST_CHUNK_BYTES:])


def has_mark(picture: Path, text: bytes) -> bool:
    """Return whether `mark` has added this text."""
    return picture.exists() and text in picture.read_bytes()[-LAST_CHUNK_BYTES - 64 :]


def update_live(directory: Path) -> None:
    """Take the pictures of the live page, unless there are some of the present page."""
    present = digest()
    pictures = [directory / name for name in LIVE_PICTURES]
    if "--all" not in sys.argv and all(has_mark(picture, present) for picture in pictures):
        return
    take_live(directory)
    for picture in pictures:
        mark(picture, present)


def take_live(directory: Path) -> None:
    """Take the pictures of the live page: real runs, of which one is under way."""
    from playwright.sync_api import sync_playwright

    program = shutil.which("chromium") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as place, ExitStack() as processes:
        env = {**os.environ, "PQRUN_STATE_DIR": f"{place}/state"}
        Path(place, "nightly.yaml").write_text(json.dumps(LIVE))

        def start(*words: str) -> subprocess.Popen[str]:
            process = subprocess.Popen(
                [sys.executable, "-m", "pqrun", *words], cwd=place, env=env, text=True,
                stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            )  # fmt: skip
            processes.callback(process.wait)
            processes.callback(process.terminate)
            return process

        for past in ("exit {}", "sleep 0.{}", "test {} -lt 3"):
            start("each", "-q", past, ":::", "0", "1", "2", "3").wait()
        start("run", "-q", "-j6", "--retry-delay", "3s", "nightly.yaml")
        server = start("web", "--listen", "127.0.0.1:0")
        assert server.stdout is not None
        address = server.stdout.readline().strip()
        with sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=program, args=["--no-sandbox"])
            for theme, width in (("light", 1440), ("dark", 1440), ("light", 390), ("dark", 390)):
                context = browser.new_context(
                    viewport={"width": width, "height": 1000}, color_scheme=theme, locale="en-GB"
                )
                page = context.new_page()
                page.set_default_timeout(90_000)
                page.goto(address)
                page.wait_for_selector("table.runs")
                if (theme, width) == ("dark", 1440) or "--all" in sys.argv:
                    page.screenshot(path=directory / f"web-runs-{theme}-{width}.png")
                page.locator("table.runs a").first.click()
                page.locator("[data-count=ok] b", has_text=re.compile(r"^[7-9]|^\d\d")).wait_for()
                page.wait_for_timeout(500)
                if (theme, width) != ("dark", 390) or "--all" in sys.argv:
                    page.screenshot(path=directory / f"web-{theme}-{width}.png")
                if "--all" in sys.argv:
                    page.screenshot(path=directory / f"web-whole-{theme}-{width}.png", full_page=True)
                    page.locator(".row", has_text="train[DEPTH=2]").first.click()
                    page.locator("#pane .output", has_text="epoch").wait_for()
                    page.screenshot(path=directory / f"web-job-{theme}-{width}.png")
                context.close()
            browser.close()


if __name__ == "__main__":
    given = [word for word in sys.argv[1:] if not word.startswith("-")]
    to = Path(given[0] if given else Path(__file__).parent)
    with tempfile.TemporaryDirectory() as place:
        written = Path(place, "nightly.html")
        write_page(written)
        take(written, to)
    update_live(to)
