# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a line may say about its own job."""

import subprocess

import pytest


def test_a_comment_at_its_end_sets_the_fields_of_a_job(run):
    show = 'echo "$PQRUN_JOB_ID $PQRUN_PRIORITY $PQRUN_ATTEMPT/$PQRUN_MAX_ATTEMPTS"'
    lines = [
        f"{show} # pqrun: id=docs priority=high timeout=10m retries=5",
        f"{show} # an other comment",
        show,
    ]
    assert tuple(run("-q", "-k", lines=lines)) == (0, "docs high 1/6\n2 normal 1/1\n3 normal 1/1\n")


def test_the_command_line_counts_for_jobs_that_do_not_say_otherwise(run):
    show = 'echo "$PQRUN_PRIORITY $PQRUN_MAX_ATTEMPTS"'
    done = run(
        "-q", "-k", "-p", "low", "-r", "2", lines=[show, f"{show} # pqrun: retries=0 priority=critical"]
    )
    assert done.out == "low 3\ncritical 1\n"


def test_what_is_quoted_is_command(run):
    lines = [
        "echo 'a # pqrun: id=x'",
        'echo "b # pqrun: id=x"',
        "echo c\\ # pqrun: id=x",
        "echo d#pqrun: id=x",
    ]
    done = run("-q", "-k", "--tag", lines=lines)
    assert done.out.split("\n") == [
        "1\ta # pqrun: id=x",
        "2\tb # pqrun: id=x",
        "3\tc # pqrun: id=x",
        "4\td#pqrun: id=x",
        "",
    ]


def test_the_list_still_runs_in_a_shell(run, tmp_path):
    listed = (
        "# all\necho one # pqrun: id=a priority=low\n\necho two \\\n  and more # pqrun: needs=a retries=1\n"
    )
    (tmp_path / "list").write_text(listed)
    by_shell = subprocess.run(
        ["/bin/sh", "list"], cwd=tmp_path, capture_output=True, text=True, check=True
    ).stdout
    assert run("-q", "-k", "list").out == by_shell == "one\ntwo and more\n"


@pytest.mark.slow
def test_each_field_does_what_it_says(run, tmp_path):
    (tmp_path / "words").write_text("from a file\n")
    (tmp_path / "sub").mkdir()
    lines = [
        "sleep 60 # pqrun: id=late timeout=100ms",
        "sleep 60 # pqrun: id=silent idle_timeout=100ms",
        "trap '' TERM; sleep 60 # pqrun: id=deaf timeout=600ms grace=50ms",
        "trap 'echo usr1; exit 3' USR1; sleep 60 & wait # pqrun: id=asked timeout=600ms signal=USR1",
        "exit 5 # pqrun: id=fine success_codes=0,5",
        "exit 1 # pqrun: id=may_fail allow_failure=true",
        "cat # pqrun: id=reads stdin=words",
        "pwd # pqrun: id=elsewhere cwd=sub",
        "exit 1 # pqrun: id=again retries=2 retry_delay=0 backoff=constant",
        "exit 4 # pqrun: id=for_good retries=2 permanent=4",
        "exit 4 # pqrun: id=not_on retries=2 retry_on=5,timeout",
        "true # pqrun: id=tagged tags=a,b",
    ]
    done = run("--json", "-j8", lines=lines)
    jobs = done.jobs
    assert {
        name: (job["state"], job["exit"], job["signal"], job["attempts"]) for name, job in jobs.items()
    } == {
        "late": ("timeout", None, "SIGTERM", 1),
        "silent": ("timeout", None, "SIGTERM", 1),
        "deaf": ("timeout", None, "SIGKILL", 1),
        "asked": ("timeout", 3, None, 1),
        "fine": ("ok", 5, None, 1),
        "may_fail": ("failed", 1, None, 1),
        "reads": ("ok", 0, None, 1),
        "elsewhere": ("ok", 0, None, 1),
        "again": ("failed", 1, None, 3),
        "for_good": ("failed", 4, None, 1),
        "not_on": ("failed", 4, None, 1),
        "tagged": ("ok", 0, None, 1),
    }
    assert jobs["tagged"]["tags"] == ["a", "b"]
    assert jobs["reads"]["stdout_bytes"] == len("from a file\n")
    assert jobs["elsewhere"]["stdout_bytes"] == len(f"{tmp_path}/sub\n")


def test_a_job_runs_only_when_what_it_needs_went_well(run):
    lines = [
        "false # pqrun: id=bad",
        "false # pqrun: id=may_fail allow_failure=true",
        "true # pqrun: id=good",
        "echo skipped # pqrun: id=a needs=bad,good",
        "echo skipped too # pqrun: id=b needs=a",
        "echo runs # pqrun: id=c needs=may_fail,good",
        "true",
        "echo by number # pqrun: id=d needs=7",
    ]
    done = run("--json", lines=lines)
    assert done.code == 1
    assert list(done.states.items()) == [
        ("bad", "failed"),
        ("may_fail", "failed"),
        ("good", "ok"),
        ("a", "skipped"),
        ("b", "skipped"),
        ("c", "ok"),
        ("7", "ok"),
        ("d", "ok"),
    ]
    assert done.metrics["jobs_skipped"] == 2
