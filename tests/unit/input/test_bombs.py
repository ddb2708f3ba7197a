# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a file must not be able to do: use up the memory or the time, or crash the parser."""

import re
import subprocess
import sys
import textwrap

import pytest

WATCHED = textwrap.dedent("""\
    import os, resource, sys
    from pqrun.input.jobfile import JobFileError, load
    resource.setrlimit(resource.RLIMIT_CPU, (20, 20))
    try:
        load(["x.yaml"], {}, read=lambda path: eval(sys.stdin.read()))
        print("no error")
    except JobFileError as error:
        print(str(error).splitlines()[0][:200])
    lines = open("/proc/self/status") if os.path.exists("/proc/self/status") else ["VmHWM: 0"]
    print(*[int(line.split()[1]) // 1024 for line in lines if line.startswith("VmHWM")])
""")


def watched(expression):
    """What is said about the file that an expression stands for, and the peak of memory in MiB."""
    done = subprocess.run(
        [sys.executable, "-c", WATCHED],
        input=expression,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-500:]
    said, memory = done.stdout.splitlines()
    return said, int(memory)


LAUGHS = "x-a0: &a0 [lol, lol, lol]\n" + "".join(
    f"x-a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 10)
)
MERGES = "x-a0: &a0 {k0: 1}\n" + "".join(
    f"x-a{n}: &a{n}\n  <<: [{', '.join([f'*a{n - 1}'] * 9)}]\n  k{n}: 1\n" for n in range(1, 10)
)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("expression", "said"),
    [
        ("b'jobs: ' + b'[' * 100000", r"x.yaml:1:(46|1006): error: nesting deeper than 40 levels"),
        ("b'{\"a\":' * 100000", "x.yaml:1:201: error: nesting deeper than 40 levels"),
        ("b'- ' * 100000", "x.yaml:1:81: error: nesting deeper than 40 levels"),
        ("b'? ' * 100000", "x.yaml:1:81: error: nesting deeper than 40 levels"),
        (repr((LAUGHS + "jobs: *a9\n").encode()), "x.yaml:7:22: error: aliases that expand to"),
        (repr((MERGES + "jobs: [{<<: *a9}]\n").encode()), "x.yaml:18:23: error: aliases that expand to"),
        ("b'jobs: [a]\\n' + b'#' * (64 * 1024 * 1024)", "x.yaml: error: larger than 64 MiB"),
    ],
    ids=["brackets", "braces", "dashes", "question marks", "billion laughs", "merge bomb", "size"],
)
def test_a_bomb_is_refused_in_little_memory(expression, said):
    found, memory = watched(expression)
    assert re.match(said, found)
    assert "error" in found
    assert memory < 200


def test_aliases_may_stand_for_as_much_as_many_jobs_need(files):
    text = "x-base: &base {timeout: 5, env: {A: 1, B: 2, C: 3}, tags: [a, b]}\njobs:\n" + (
        "  - {<<: *base, run: make}\n" * 3000
    )
    assert len(files.load(text).jobs) == 3000


@pytest.mark.slow
def test_many_unknown_needs_do_not_take_long(files):
    text = "jobs:\n" + "".join(
        f"  - {{id: job-number-{n}, run: x, needs: [job-nunber-{n}]}}\n" for n in range(3000)
    )
    said = files.says(text)
    assert said.splitlines()[-1] == "and 2980 more"


@pytest.mark.slow
def test_many_combinations_in_one_file_are_refused(files):
    text = "x-m: &m [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\njobs:\n" + (
        "  - {run: a, matrix: {A: *m, B: *m, C: *m, D: *m}}\n" * 11
    )
    assert "error: `matrix`: more than 100,000 combinations in the file" in files.says(text)


def test_many_maps_under_exclude_are_refused(files):
    text = f"jobs: [{{run: a, matrix: {{A: [1], exclude: [{', '.join(['{A: 2}'] * 1001)}]}}}}]"
    assert "more than 1,000 maps under `exclude`" in files.says(text)


def test_defaults_can_not_multiply_what_every_job_has(files):
    matrix = "x-m: &m [0, 1, 2, 3, 4, 5, 6, 7, 8, 9]\ndefaults: {matrix: {A: *m, B: *m, C: *m, D: *m}}\n"
    said = files.says(matrix + "jobs:\n" + "  - make\n" * 11)
    assert said.startswith("jobs.yaml:14:5: error: more than 100,000 combinations in all\n")
    jobs = "".join(f"  - {{id: a{n}, run: x}}\n  - {{id: b{n}, run: x}}\n" for n in range(1000))
    said = files.says("defaults: {needs: 'a*'}\njobs:\n" + jobs)
    assert said.startswith("jobs.yaml:1:11: error: more than 1,000,000 needs in total\n")
