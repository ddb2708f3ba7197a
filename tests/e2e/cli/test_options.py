# SPDX-License-Identifier: LGPL-3.0-or-later
"""Options, their twins among the variables, and what is said of those that are wrong."""

import os
import re

import pytest

ANSI = "\033"


def workers(run, *options, **more):
    return run("--json", *options, lines=["true"], **more).document["run"]["workers"]


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="there is no affinity here")
def test_how_many_run_at_a_time_may_be_said_in_many_ways(run, side_by_side):
    usable = len(os.sched_getaffinity(0))
    few = workers(run)
    assert 1 <= few <= usable
    ways = {"auto": few, "3": 3, "+2": few + 2, "-1": max(1, few - 1), "-1000": 1, "50%": max(1, few // 2)}
    ways["400%"] = 4 * few
    assert side_by_side(lambda way: workers(run, f"-j{way}"), ways) == list(ways.values())


@pytest.mark.slow
def test_so_many_run_at_a_time_and_no_more(start, gate, until):
    live = start("-q", "-j3", lines=[f'{gate.wait}; echo "$PQRUN_SLOT"'] * 5)
    until(lambda: live.running_and_waiting() == (3, 2))
    until(lambda: gate.nudge() or live.process.poll() is not None)
    out = live.end().out.split()
    assert len(out) == 5 and set(out) == {"1", "2", "3"}


@pytest.mark.slow
@pytest.mark.parametrize("size", ["small", "medium", "large"])
def test_a_preset_sets_workers_and_a_limit_and_gives_way_to_what_is_said(run, size):
    many = {"small": 2, "medium": 10, "large": 50}[size]
    assert workers(run, "--preset", size) == many
    assert workers(run, "--preset", size, "-j3") == 3
    assert run("--preset", size, "-t", "100ms", lines=["sleep 60"]).code == 1


@pytest.mark.slow
def test_options_have_twins_among_the_variables_and_the_command_line_wins(run):
    assert workers(run, env={"PQRUN_JOBS": "3"}) == 3
    assert workers(run, "-j2", env={"PQRUN_JOBS": "3"}) == 2
    assert run(lines=["sleep 60"], env={"PQRUN_TIMEOUT": "100ms"}).code == 1
    done = run(
        lines=["exit 1"], env={"PQRUN_RETRIES": "1", "PQRUN_RETRY_DELAY": "1ms", "PQRUN_BACKOFF": "linear"}
    )
    assert "2 tries" in done.err
    assert run("-q", lines=["sleep 0.2; echo a", "echo b"], env={"PQRUN_KEEP_ORDER": "1"}).out == "a\nb\n"
    wrong = run(lines=["true"], env={"PQRUN_TIMEOUT": "soon"})
    assert wrong.code == 2 and "soon" in wrong.err


@pytest.mark.slow
def test_a_pqrun_inside_a_job_does_not_take_its_jobs_variables_for_options(run):
    """`PQRUN_PRIORITY` and others are told to jobs, so they are no options."""
    ours = {
        "PQRUN_PRIORITY": "low", "PQRUN_SLOT": "9", "PQRUN_SEQ": "9", "PQRUN_JOB_ID": "nobody",
        "PQRUN_ATTEMPT": "9", "PQRUN_MAX_ATTEMPTS": "9", "PQRUN_RUN_ID": "none", "PQRUN_REPORT": "/nowhere",
        "PQRUN_POOL_NET": "9",
    }  # fmt: skip
    show = 'echo "$PQRUN_PRIORITY $PQRUN_SLOT $PQRUN_SEQ $PQRUN_JOB_ID $PQRUN_ATTEMPT/$PQRUN_MAX_ATTEMPTS"'
    done = run("-q", lines=[f'{show}; echo "$PQRUN_POOL_NET"'], env=ours)
    assert tuple(done) == (0, "normal 1 1 1 1/1\n\n")
    assert run("-q", lines=[show], env={"PQRUN_PRIORITY": "no such level"}).code == 0


@pytest.mark.slow
def test_a_dry_run_prints_the_commands_in_starting_order_and_runs_nothing(run, tmp_path):
    lines = [
        f"touch {tmp_path}/ran # pqrun: priority=low",
        "echo 'two  words'",
        "echo plain",
        "echo first # pqrun: priority=critical",
        "echo high # pqrun: priority=high",
    ]
    done = run("--dry-run", "-j1", lines=lines)
    expected = ["echo first", "echo high", "echo 'two  words'", "echo plain", f"touch {tmp_path}/ran"]
    assert done.code == 0 and done.out.split("\n") == [*expected, ""]
    assert not (tmp_path / "ran").exists()
    assert run("--dry-run", input="echo a\0b\n").code == 2


def test_a_dry_run_with_tag_tells_the_jobs_of_a_matrix_apart(run, tmp_path):
    (tmp_path / "jobs.yaml").write_text("jobs: [{id: a, matrix: {N: [1, 2]}, run: echo $N}, echo b]")
    done = run("--dry-run", "--tag", str(tmp_path / "jobs.yaml"))
    assert done.out == "a[N=1]\techo $N\na[N=2]\techo $N\n3\techo b\n"


def test_a_dry_run_prints_a_job_with_a_short_time_limit_once_and_what_needs_it(run, tmp_path):
    (tmp_path / "jobs.yaml").write_text(
        "jobs:\n  - {id: a, run: echo a, timeout: 100ms, retries: 1}\n  - {id: b, run: echo b, needs: [a]}\n"
    )
    assert run("--dry-run", str(tmp_path / "jobs.yaml")).out == "echo a\necho b\n"


@pytest.mark.slow
def test_a_list_and_a_job_file_are_told_apart_and_format_decides(run, tmp_path):
    assert run("-q", lines=["{ echo braces; echo too; }"]).out == "braces\ntoo\n"
    assert run("-q", lines=["jobs-are-fun: 2>/dev/null || echo a command"]).out == "a command\n"
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs:").write_text("#!/bin/sh\necho runs\n")
    (tmp_path / "jobs:").chmod(0o755)
    done = run("-q", "--format", "lines", lines=["jobs:"], env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert tuple(done) == (0, "runs\n")


WRONG = [
    (["--frobnicate"], "frobnicate"),
    (["-j", "many"], "many"),
    (["-j", "0"], "0"),
    (["-t", "soon"], "soon"),
    (["-t", "-5"], "-5"),
    (["-t", "nan"], "nan"),
    (["-t", "inf"], "inf"),
    (["-r", "-1"], "-1"),
    (["-r", "1000001"], "1000001"),
    (["-r", "2.5"], "2.5"),
    (["-p", "urgent"], "urgent"),
    (["--backoff", "random"], "random"),
    (["--retry-on", "300"], "300"),
    (["--permanent", "5,,6"], "5,,6"),
    (["--signal", "BOOM"], "BOOM"),
    (["--halt", "never"], "now"),
    (["--halt", "now,fail=0"], "0"),
    (["--halt", "soon,fail=200%"], "200"),
    (["--halt", "now,fail=1", "--fail-fast"], "fail-fast"),
    (["--output", "loud"], "loud"),
    (["--show", "some"], "some"),
    (["--preset", "huge"], "huge"),
    (["--max-queue", "0"], "0"),
    (["--pool", "net"], "net"),
    (["--pool", "net=0"], "0"),
    (["--env", "novalue"], "novalue"),
    (["--env", "=x"], "=x"),
    (["--shell", ""], "shell"),
    (["--shell", "sh 'unclosed"], "shell"),
    (["-C", "no/such/directory"], "no/such/directory"),
    (["--format", "toml"], "--format"),
    (["--output", "raw", "-k"], "raw"),
    (["no-such-list"], "no-such-list"),
    (["-C", ""], "--cwd: no name of a directory"),
    (["--run-dir", ""], "--run-dir: no name of a directory"),
    (["--results", ""], "--results: no name of a directory"),
    ([""], "cannot read a file with an empty name"),
]


@pytest.mark.slow
def test_what_is_wrong_is_said_in_words_exits_with_two_and_starts_nothing(run, tmp_path, side_by_side):
    results = side_by_side(lambda case: run(*case[0], lines=[f"touch {tmp_path}/ran"]), WRONG)
    for (options, named), done in zip(WRONG, results, strict=True):
        assert (done.code, done.out) == (2, ""), (options, done)
        assert named in re.sub(r"[\s│]+", " ", done.err), (options, done.err)
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_help_names_every_option_in_panels_and_lists_nothing_that_does_not_work(pqrun, side_by_side):
    done = pqrun("run", "--help")
    assert done.code == 0 and ANSI not in done.out and "Examples" in done.out
    for name in (
        "--jobs",
        "--priority",
        "--retries",
        "--timeout",
        "--keep-order",
        "--json",
        "--dry-run",
        "--halt",
    ):
        assert name in done.out
    commands = re.findall(r"^│ (\w[\w-]*) ", pqrun("--help").out, re.MULTILINE)
    assert "run" in commands
    for helped in side_by_side(lambda command: pqrun(command, "--help"), commands):
        assert helped.code == 0 and "Usage" in helped.out, helped
        assert "--install-completion" not in helped.out  # an option of the program, not of its commands


@pytest.mark.slow
def test_every_option_that_help_lists_is_understood(run, pqrun):
    """Each with a value as its help shows it, in one run or a few."""
    listed = set(re.findall(r"--[a-z][a-z-]*", pqrun("run", "--help", env={"COLUMNS": "200"}).out))
    values = {
        "--jobs": "2", "--priority": "low", "--max-queue": "10", "--preset": "small", "--retries": "1",
        "--retry-delay": "1ms", "--max-delay": "1s", "--backoff": "linear", "--retry-on": "any",
        "--permanent": "9", "--halt": "soon,fail=5", "--timeout": "1m", "--idle-timeout": "1m",
        "--deadline": "1h", "--grace": "1s", "--signal": "INT", "--output": "line", "--show": "all",
        "--env": "A=1", "--shell": "/bin/sh -c", "--cwd": ".", "--pool": "net=1",
    }  # fmt: skip
    flags = {"--keep-order", "--tag", "--json", "--quiet", "--verbose", "--null"}
    options = [word for name in sorted(listed & set(values)) for word in (name, values[name])]
    done = run(*options, *sorted(listed & flags), input=b"echo $A\0")
    assert done.code == 0 and done.states == {"1": "ok"}


def test_it_tells_its_version(pqrun):
    done = pqrun("--version")
    assert done.code == 0 and re.fullmatch(r"pqrun \d+\.\d+\S*\n", done.out)


def test_without_a_command_it_helps(pqrun):
    done = pqrun()
    assert done.code == 2 and "Usage" in done.out + done.err


@pytest.mark.slow
def test_who_gives_a_command_where_a_file_is_expected_is_told_where_it_goes(pqrun, tmp_path):
    for words in (["echo hi"], ["echo", "hi"]):
        refused = pqrun("run", *words)
        assert refused.code == 2 and "No such file or directory (`run` reads files" in refused.err
    assert pqrun("run", "nowhere.yaml").err == "pqrun: cannot read nowhere.yaml: No such file or directory\n"
    (tmp_path / "jobs.yaml").touch()
    for typed, meant in (("jobs.ymal", "jobs.yaml"), (f"{tmp_path}/job.yaml", f"{tmp_path}/jobs.yaml")):
        told = f"pqrun: cannot read {typed}: No such file or directory (did you mean `{meant}`?)\n"
        assert pqrun("run", typed).err == told
    assert pqrun("each", ":::", "echo hi").out == "hi\n"
