# SPDX-License-Identifier: LGPL-3.0-or-later
"""Runs by the program itself, with all reports: one for every way in which a run can end."""

import json
import signal
import subprocess
import time
from dataclasses import dataclass, field
from pathlib import Path

from reported import FILES, Written
from support.process import PQRUN, environment, run_pqrun, shell_code, start_pqrun


@dataclass
class Asked:
    """What is run, and how it is to end; `by`: the signal that it gets once a job says that it has begun."""

    jobs: list
    code: int
    options: tuple = ()
    by: str = ""


LONG = [{"id": "a", "run": "echo a"}, {"id": "b", "run": "sleep 1; echo > begun; exec sleep 60"}, {"id": "c", "run": "sleep 60"},
        {"id": "d", "run": "echo d"}]  # fmt: skip
HOOKS = ("--on-finish", "cat > finish.json; env > finish.env", "--on-failure", "cat > failure.json")
RUNS = {
    "really ok": Asked([{"id": "a", "run": "echo a"}, {"id": "b", "run": "echo b >&2", "priority": "high"}], 0),
    "really failed": Asked(
        [{"id": "a", "run": "true"}, {"id": "b", "run": "echo no; exit 3"}, {"id": "c", "run": ["/no/such"]},
         {"id": "d", "run": "kill -9 $$"}], 1,
    ),
    "really flaky": Asked(
        [{"id": "a", "run": '[ "$PQRUN_ATTEMPT" = 3 ]', "retries": {"max": 2, "delay": 0.05}}, {"id": "b", "run": "true"}], 0
    ),
    "really allowed": Asked(
        [{"id": "a", "run": "exit 1", "allow_failure": True}, {"id": "b", "run": "true", "needs": "a"}], 0
    ),
    "really timeout": Asked([{"id": "a", "run": "sleep 60", "timeout": 0.2}, {"id": "b", "run": "true"}], 1),
    "really skipped": Asked(
        [{"id": "a", "run": "exit 1"}, {"id": "b", "run": "true", "needs": "a"}, {"id": "c", "run": "true", "needs": "b"}], 1
    ),
    "really halt": Asked(
        [{"id": "a", "run": "sleep 0.3; exit 1"}, {"id": "b", "run": "sleep 60"}, {"id": "c", "run": "true"}], 1,
        ("--halt", "now,fail=1"),
    ),
    "really halt in the end": Asked(
        [{"id": "a", "run": "exit 1"}, {"id": "b", "run": "sleep 0.3"}, {"id": "c", "run": "true"}], 1,
        ("--halt", "soon,fail=1"),
    ),
    "really cancelled": Asked(
        [{"id": "a", "run": f"{' '.join(PQRUN)} cancel b c"}, {"id": "b", "run": "sleep 60"},
         {"id": "c", "run": "true"}, {"id": "d", "run": "true"}], 1,
    ),
    "really deadline": Asked(LONG, 3, ("--deadline", "2s")),
    "really int": Asked(LONG, 130, by="SIGINT"),
    "really int while one waits": Asked(
        [{"id": "a", "run": "echo no; exit 1", "retries": {"max": 5, "delay": 60}},
         {"id": "b", "run": "echo > begun; exec sleep 60", "needs": "c"},
         {"id": "c", "run": "sleep 0.5"}], 130, by="SIGINT",
    ),
    "really term": Asked(LONG, 143, by="SIGTERM"),
    "really nothing": Asked([], 0),
}  # fmt: skip
# Of a run that was killed, all that there is comes from `show`.
KILLED = {"really killed": Asked(LONG, 3, by="SIGKILL")}


@dataclass
class Real(Written):
    """What such a run has left; read as those that are played."""

    directory: Path
    document: dict
    code: int
    said: str
    step: str
    batches: list = field(default_factory=list)

    def show(self, *arguments):
        """`pqrun show` of it."""
        return run_pqrun("show", "./record", *arguments, cwd=self.directory)


def run(directory, *arguments, stdin=b"", **more):
    """Run pqrun in a directory to its end."""
    return run_pqrun(*arguments, cwd=directory, input=stdin, **more)


def start(directory, *arguments, stdin, stderr=subprocess.DEVNULL, **more):
    """Start pqrun in a directory; `stdin` is all of its input."""
    process = start_pqrun(
        *arguments, cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=stderr, **more
    )
    process.stdin.write(stdin)
    process.stdin.close()
    return process


def reports(directory=""):
    """The options for all reports that are files."""
    return [word for name, file in FILES.items() for word in (f"--{name}", f"{directory}{file}")]


def really(directory, asked):
    """Runs it, on what looks like GitHub."""
    source = ["-"]
    if asked.jobs:
        (directory / "jobs.yaml").write_text(json.dumps({"jobs": asked.jobs}))
        source = ["jobs.yaml"]
    step = directory / "step.md"
    step.touch()
    github = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(step)}
    words = [
        "run",
        *source,
        "-j2",
        "--json",
        "--run-dir",
        "record",
        *reports(),
        *HOOKS,
        *asked.options,
    ]
    process = start_pqrun(
        *words, cwd=directory, env=environment(github), stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    until = time.monotonic() + 30
    while asked.by and not (directory / "begun").exists() and time.monotonic() < until:
        time.sleep(0.01)
    if asked.by:
        process.send_signal(signal.Signals[asked.by])
    out, err = process.communicate(timeout=60)
    if asked.by == "SIGKILL":
        return _shown(Real(directory, {}, asked.code, err, ""))
    code = shell_code(process.returncode)
    assert code == asked.code, err
    return Real(directory, json.loads(out), code, err, step.read_text())


def _shown(real):
    """A run that was killed, as `show` tells it once the last of its jobs is gone."""
    until = time.monotonic() + 30
    while "interrupted" not in real.show("--json").out and time.monotonic() < until:
        time.sleep(0.02)
    done = real.show("--json", *reports())
    assert done.code == 0, done.err
    real.document = done.document
    return real
