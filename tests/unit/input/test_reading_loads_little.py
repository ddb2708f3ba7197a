# SPDX-License-Identifier: LGPL-3.0-or-later
"""What reading jobs must not load: a run has to start fast."""

import subprocess
import sys

import pytest

HEAVY = ("yaml", "pydantic", "hypothesis", "rich", "typer", "durationpy", "difflib", "shlex", "json")


@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import pqrun.input.jobfile", ()),
        ("import pqrun.input.command_list, pqrun.core.values, pqrun.input", ()),
        (
            "from pqrun.input.command_list import CommandList; l = CommandList({}); l.feed(b'echo a\\n'); l.take()",
            (),
        ),
        (
            "from pqrun.input.jobfile import load; load(['x'], {}, read=lambda path: b'jobs: [a]')",
            ("yaml", "difflib", "shlex"),
        ),
    ],
)
def test_reading_jobs_loads_little(code, allowed):
    tell = f"import sys; print(*[name for name in {HEAVY!r} if name in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", f"{code}\n{tell}"], capture_output=True, text=True, check=True, timeout=60
    )
    assert set(done.stdout.split()) <= set(allowed)
