# SPDX-License-Identifier: LGPL-3.0-or-later
"""Kills pqrun 500 times at random moments and goes on each time; then says what became of the jobs.

    python benchmarks/crash_loop.py [--kills 500] [--jobs 12000] [--slots 4] [--seed 1] [--durable]

Exit 1 if a job is lost, if one that was recorded as ended ran again, or if more jobs ran twice than
there were kills times slots. It takes some minutes.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[1]


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--jobs", type=int, default=12000)
    parser.add_argument("--slots", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--durable", action="store_true")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="crash-loop-") as directory:
        return Loop(Path(directory), given).run()


class Loop:
    """One run, killed and gone on with until enough kills are done or its jobs are."""

    def __init__(self, here: Path, given: argparse.Namespace) -> None:
        self.here = here
        self.given = given
        self.random = random.Random(given.seed)
        self.environment = {**os.environ, "PYTHONPATH": str(ROOT)}

    def run(self) -> int:
        jobs = [f"echo {n} >> ran; sleep 0.0{n % 4}" for n in range(1, self.given.jobs + 1)]
        (self.here / "jobs.json").write_text(json.dumps({"jobs": jobs}))
        words = ["run", "jobs.json", "--run-dir", "rd"]
        began = time.monotonic()
        kills = 0
        while kills < self.given.kills:
            code = self.kill_after_a_moment(words)
            if code is not None:
                break
            kills += 1
            words = ["resume", "./rd"]
            if kills % 50 == 0:
                print(f"{kills} kills, {len(self.ran())} of {self.given.jobs} jobs have run", flush=True)
        code = subprocess.run(self.command("resume", "./rd"), cwd=self.here, env=self.environment).returncode
        return self.identify_owner(kills, code, time.monotonic() - began)

    def command(self, *words: str) -> list[str]:
        options = ["-q", "-j", str(self.given.slots), *(["--durable"] if self.given.durable else [])]
        return [sys.executable, "-m", "pqrun", *words, *options]

    def kill_after_a_moment(self, words: list[str]) -> int | None:
        """None if it was killed; its exit code if it had ended before."""
        process = subprocess.Popen(
            self.command(*words), cwd=self.here, env=self.environment, stderr=subprocess.DEVNULL
        )
        before = self.size()
        while self.size() == before and process.poll() is None:
            time.sleep(0.002)
        time.sleep(self.random.uniform(0, 0.3))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()
            return None
        return process.returncode

    def size(self) -> int:
        path = self.here / "ran"
        return path.stat().st_size if path.exists() else 0

    def ran(self) -> Counter[str]:
        return Counter((self.here / "ran").read_text().split()) if self.size() else Counter()

    def identify_owner(self, kills: int, code: int, seconds: float) -> int:
        counts = self.ran()
        lost = self.given.jobs - len(counts)
        repeats = counts.total() - len(counts)
        ended: set[int] = set()
        again = 0
        for text in (self.here / "rd" / "journal.jsonl").read_text().splitlines():
            line = json.loads(text)
            if line.get("e") == "start":
                again += line["s"] in ended
            elif line.get("e") == "end" and line["as"] == "completed":
                again += line["s"] in ended
                ended.add(line["s"])
        most = kills * self.given.slots
        print(
            f"{kills} kills in {seconds:.0f} s, exit {code}: {lost} lost, {again} recorded ends run again, "
            f"{repeats} repeats (at most {most} allowed), {len(ended)} ended"
        )
        good = code == 0 and not lost and not again and repeats <= most and len(ended) == self.given.jobs
        return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
