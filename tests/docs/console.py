# SPDX-License-Identifier: LGPL-3.0-or-later
"""Runs the console blocks of a page, and compares what they print with what the page shows.

Times, run ids and counts are masked; `…` stands for anything in a line. Where jobs run side by side their
lines may come in any order.
"""

import re
import subprocess
import sys

PATIENCE = 60
MASKS = [
    (r"\d\d:\d\d:\d\d \[ *[\d-]+/[\d-]+\]", "TIME [COUNT]"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", "MOMENT"),
    (r"<?\b\d+(\.\d+)?(ms|s|m\d\ds)\b", "SECONDS"),
    (r"(pqrun (?:logs|show|resume)|^run) [0-9a-z]{6}\b", r"\1 RUN"),
    (r"slowest .*", "slowest"),
    (r"^.*\bKilled\b.*$", "Killed"),
    (r"[ \t]+", " "),
]


def commands(block):
    """Its commands, each with the output that is promised."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def masked(output):
    """Its lines, sorted, without what differs each time."""
    for pattern, mask in MASKS:
        output = re.sub(pattern, mask, output, flags=re.MULTILINE)
    return sorted(line.strip() for line in output.split("\n"))


def same(printed, promised):
    """Whether that was printed which the page shows."""
    found, shown = masked(printed), masked(promised)
    if "…" not in promised:
        return found == shown
    patterns = (re.escape(line).replace("…", ".*") for line in shown)
    return len(found) == len(shown) and all(
        any(re.fullmatch(pattern, line) for line in found) for pattern in patterns
    )


class Console:
    """A shell in a directory, with pqrun on its path; a command that ends in ` &` goes on meanwhile."""

    def __init__(self, directory, surroundings, until):
        self.directory = directory
        self._until = until
        self._behind = []
        program = directory / ".bin" / "pqrun"
        program.parent.mkdir()
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m pqrun "$@"\n')
        program.chmod(0o755)
        self.environment = {**surroundings, "PATH": f"{program.parent}:{surroundings['PATH']}"}

    def run(self, command):
        """What it prints, on both streams."""
        if command == "wait":
            while self._behind:
                self._behind.pop().wait(PATIENCE)
            return ""
        if command.endswith(" &"):
            self._behind.append(self._start(command.removesuffix(" &"), subprocess.DEVNULL))
            self._until(self._all_read, what=command)
            return ""
        process = self._start(command, subprocess.PIPE)
        return process.communicate(timeout=PATIENCE)[0].decode()

    def _all_read(self):
        """Whether a run is live, and has nothing new to tell."""
        seen = [masked(self.run("pqrun ps")) for _ in range(2)]
        return seen[0] == seen[1] and any(" running" in line for line in seen[0])

    def check(self, block):
        """Runs a block; what it prints is what the block shows."""
        for command, promised in commands(block):
            printed = self.run(command)
            if not same(printed, promised):
                assert masked(printed) == masked(promised), f"$ {command}\n{printed}"
                raise AssertionError(f"$ {command}\n{printed}")

    def _start(self, command, stdout):
        return subprocess.Popen(
            ["sh", "-c", f"exec 2>&1; {command}"],
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            cwd=self.directory,
            env=self.environment,
        )

    def close(self):
        """Nothing is left."""
        self.run("pqrun stop --now --run queue")
        for process in self._behind:
            process.kill()
            process.wait()
