# SPDX-License-Identifier: LGPL-3.0-or-later
"""The most memory that a whole run needs: little for each job that waits, and none for those that have ended."""

import subprocess
import sys

import pytest

MEASURED = """\
import re, sys
from pqrun.cli.main import main
try:
    main()
finally:
    print(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read()).group(1), file=sys.stderr)
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux", reason="sizes are read from /proc"),
]


@pytest.fixture
def peak_of(tmp_path, surroundings):
    """`peak_of(*words)`: the most memory in MB of a run that ends by itself, of its own process alone."""

    def measure(*words, **more):
        command = [sys.executable, "-c", MEASURED, "run", "-q", *words]
        done = subprocess.run(
            command, cwd=tmp_path, env=surroundings, stderr=subprocess.PIPE, timeout=300, check=False, **more
        )
        return int(done.stderr.split()[-1]) * 1024 / 1e6

    return measure


def test_100_000_jobs_of_a_job_file_wait_in_little_memory(tmp_path, peak_of):
    """About 145 MB; 204 MB with a whole row for each, and all their lines of the journal at once."""
    jobs = "".join(f"  - {{id: j{n}, run: 'true {n}', priority: low}}\n" for n in range(100_000))
    (tmp_path / "jobs.yaml").write_text(f"jobs:\n{jobs}")
    assert peak_of("-j1", "--halt", "now,done=1", "jobs.yaml", stdin=subprocess.DEVNULL) < 160


def test_memory_does_not_grow_with_the_lines_of_a_list(tmp_path, peak_of):
    (few, many) = (tmp_path / "few", tmp_path / "many")
    few.write_text("true\n" * 1_500)
    many.write_text("true\n" * 6_000)
    with few.open() as first, many.open() as second:
        sizes = [peak_of("-j4", stdin=lines) for lines in (first, second)]
    assert sizes[1] < sizes[0] + 1.5
