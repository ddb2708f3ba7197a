# SPDX-License-Identifier: LGPL-3.0-or-later
"""The file that a job creates, when the job fails, was stopped, or need not run."""

import os

import pytest

from pqrun.core.job import NO_REPORT, Attempt, AttemptId, Command, ExitedWith, JobSpec, KilledBySignal
from pqrun.executors.local.created_file import Creation, already_created, move_aside, was_changed_since

SPEC = JobSpec("a", Command("make out"))
FINE, BAD = ExitedWith(0), ExitedWith(3)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "out"


@pytest.mark.parametrize("before", [None, "old"], ids=["made", "changed"])
@pytest.mark.parametrize(
    ("exit", "stopped", "keeps"),
    [
        (FINE, False, True),
        (FINE, True, False),
        (BAD, False, False),
        (KilledBySignal("SIGSEGV"), False, False),
    ],
)
def test_what_a_failed_attempt_made_or_changed_is_moved_aside(path, before, exit, stopped, keeps):
    if before:
        path.write_text(before)
    creation = Creation("out", str(path))
    path.write_text("half")
    said = creation.settle(SPEC, exit, NO_REPORT, stopped=stopped)
    if keeps:
        assert (said, os.listdir(path.parent)) == (NO_REPORT, ["out"])
        return
    assert (said.moved, said.message) == ("moved out to out.failed",) * 2
    assert os.listdir(path.parent) == ["out.failed"]


def test_the_codes_of_success_are_those_of_the_job(path):
    creation = Creation("out", str(path))
    path.touch()
    found = creation.settle(SPEC._replace(success_codes=(0, 3)), BAD, NO_REPORT, stopped=False)
    assert (found, path.exists()) == (NO_REPORT, True)


def test_what_was_not_touched_stays_and_what_the_job_said_is_kept(path):
    said = NO_REPORT._replace(message="no luck")
    assert Creation("out", str(path)).settle(SPEC, BAD, said, stopped=False) == said
    path.touch()
    creation = Creation("out", str(path))
    assert creation.settle(SPEC, BAD, said, stopped=False) == said
    path.unlink()
    assert (
        creation.settle(SPEC, BAD, said, stopped=False) == said
    )  # the job has removed it: there is nothing to move
    path.write_text("new")
    assert creation.settle(SPEC, BAD, said, stopped=False).message == "no luck; moved out to out.failed"


def test_an_earlier_file_is_replaced_and_an_earlier_directory_is_not(path):
    for text in ("first", "second"):
        path.write_text(text)
        assert move_aside("out", str(path)) == "moved out to out.failed"
    assert path.with_name("out.failed").read_text() == "second"
    path.with_name("out.failed").unlink()
    for number in range(3):
        path.mkdir()
        (path / str(number)).touch()
        suffix = f".failed.{number + 1}" if number else ".failed"
        assert move_aside("./out/", f"{path}/") == f"moved ./out/ to ./out{suffix}"
        assert os.listdir(f"{path}{suffix}") == [str(number)]


def test_what_can_not_be_moved_is_told(path):
    told = move_aside("out", str(path))
    assert told == "cannot move out aside (No such file or directory): the next run will skip the job"


def test_only_the_first_attempt_is_spared_if_the_file_exists(path):
    def end(attempt, **spec):
        attempt = Attempt(AttemptId(1, attempt), SPEC._replace(**spec), 2)
        return already_created(attempt, Creation("out", str(path)), 5.0)

    assert end(1) is None
    path.touch()
    found = end(1)
    assert (found.exit, found.began, found.ended, found.said.message) == (
        FINE,
        5.0,
        5.0,
        "cached: out exists",
    )
    assert end(1, success_codes=(4, 0)).exit == FINE and end(1, success_codes=(4, 5)).exit == ExitedWith(4)
    assert end(2) is None


def test_a_file_of_before_was_not_changed_since(path):
    assert not was_changed_since(str(path), 0.0)
    path.touch()
    os.utime(path, (100.0, 100.0))
    assert [was_changed_since(str(path), moment) for moment in (99.0, 100.0, 100.04, 101.0)] == [
        True, True, True, False
    ]  # fmt: skip
