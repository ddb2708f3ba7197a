# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a job gets, and what it does not."""

import os
import signal
import sys

import pytest


def test_a_job_is_told_who_it_is(run):
    names = """
        PQRUN PQRUN_JOB_ID PQRUN_SEQ PQRUN_SLOT PQRUN_ATTEMPT PQRUN_MAX_ATTEMPTS PQRUN_PRIORITY
        PQRUN_POOL_NET PARALLEL_SEQ PARALLEL_JOBSLOT
    """
    show = "echo " + " ".join(f'"${{{name}-}}"' for name in names.split())
    lines = [f"{show} # pqrun: id=docs priority=high retries=2 pools=net:2", show]
    done = run("-q", "-k", "-j1", "--pool", "net=2", lines=lines)
    assert done.out == "1 docs 1 1 1 3 high 2 1 1\n1 2 2 1 1 1 normal  2 1\n"


def test_the_attempt_is_told_and_each_attempt_has_a_report_of_its_own(run, tmp_path):
    tell = 'echo "$PQRUN_ATTEMPT/$PQRUN_MAX_ATTEMPTS $PQRUN_REPORT" >> log'
    lines = [f'{tell}; echo status=x >> "$PQRUN_REPORT"; false']
    assert run("-r2", "--retry-delay", "0", lines=lines).code == 1
    told = [line.split() for line in (tmp_path / "log").read_text().splitlines()]
    assert [attempt for attempt, _ in told] == ["1/3", "2/3", "3/3"]
    assert len({path for _, path in told}) == 3
    assert not any(os.path.exists(path) for _, path in told)


@pytest.mark.slow
def test_variables_of_the_caller_are_inherited_and_those_of_the_command_line_added(run):
    lines = ['echo "$INHERITED-$A-$B-$PQRUN_JOB_ID"']
    done = run("-q", "--env", "A=1", "--env", "B=x = y", "--env", "PQRUN_JOB_ID=mine", lines=lines,
               env={"INHERITED": "yes", "A": "0"})  # fmt: skip
    assert done.out == "yes-1-x = y-1\n"


@pytest.mark.slow
def test_it_starts_where_pqrun_was_started_or_where_it_was_told_to(run, tmp_path):
    (tmp_path / "sub" / "deeper").mkdir(parents=True)
    where = f"{tmp_path}".replace("/private", "")
    assert run("-q", lines=["pwd"]).out == f"{where}\n"
    assert run(
        "-q", "-C", "sub", lines=["pwd", "pwd # pqrun: cwd=deeper"], env={"PQRUN_KEEP_ORDER": "1"}
    ).out == (f"{where}/sub\n{where}/sub/deeper\n")


@pytest.mark.slow
def test_another_shell_may_be_had(run):
    assert run(
        "-q", "--shell", f"{sys.executable} -c", lines=["import sys; print(sys.version_info > (3,))"]
    ).out == ("True\n")
    assert run("--shell", "/bin/sh -e -c", lines=["false; true"]).code == 1


@pytest.mark.slow
def test_it_reads_nothing_and_not_the_list(run):
    assert run("-q", "-j1", lines=["cat; echo end", "echo second"]).out == "end\nsecond\n"


def test_it_has_a_session_and_a_group_of_its_own(run):
    script = "import os; print(os.getsid(0) == os.getpid() == os.getpgrp())"
    assert run("-q", "--shell", f"{sys.executable} -c", lines=[script]).out == "True\n"


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="there is no /proc here")
def test_it_gets_no_descriptor_of_pqruns(run, tmp_path):
    looking = "import os; print(sorted(int(n) for n in os.listdir('/proc/self/fd'))[:-1])"
    for options in (["-j4"], ["-j1", "--output", "raw"], ["--no-journal"]):
        assert (
            run("-q", "--shell", f"{sys.executable} -c", *options, lines=[looking] * 3).out
            == "[0, 1, 2]\n" * 3
        )


def test_signals_are_as_by_default_whatever_the_caller_made_of_them(run):
    looking = "; ".join(
        [
            "from signal import *",
            "ours = {SIGPIPE, SIGXFSZ}",  # Python itself ignores these
            "ignored = [s for s in valid_signals() - ours if getsignal(s) is SIG_IGN]",
            "print(ignored, list(pthread_sigmask(SIG_BLOCK, ())))",
        ]
    )

    def spoiled():
        for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGUSR2, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR1})

    done = run("-q", "--shell", f"{sys.executable} -c", lines=[looking], preexec_fn=spoiled)
    assert tuple(done) == (0, "[] []\n")


@pytest.mark.slow
def test_an_exit_code_is_kept_although_the_caller_ignores_the_ends_of_children(run):
    done = run("--json", lines=["exit 7"], preexec_fn=lambda: signal.signal(signal.SIGCHLD, signal.SIG_IGN))
    assert done.jobs["1"]["exit"] == 7


@pytest.mark.slow
def test_closed_streams_at_the_start_make_no_difference_to_jobs(pqrun, tmp_path):
    (tmp_path / "list").write_text("echo a > one; cat > two; echo done >> one\necho e >&2\n")
    pqrun("run", "list", stdin=None, preexec_fn=lambda: [os.close(fd) for fd in (0, 1, 2)])
    assert (tmp_path / "one").read_text() == "a\ndone\n"
    assert (tmp_path / "two").read_text() == ""


def test_commands_are_never_templates(run):
    assert run("-q", lines=["echo '{print $1} {} {#} {%}'; echo a b | awk '{print $2}'"]).out == (
        "{print $1} {} {#} {%}\nb\n"
    )


def test_a_command_of_two_hundred_kilobytes_runs(run):
    long = "x" * 200_000
    done = run("-q", "-k", lines=[f"printf %s {long} | wc -c", "echo fine"])
    assert done.code == 0 and done.out.split() == ["200000", "fine"]
