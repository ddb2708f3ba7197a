# SPDX-License-Identifier: LGPL-3.0-or-later
"""Annotations and the step's summary on GitHub, and silence elsewhere."""

import pytest
from reported import CELLS, Cell, digest_of, job, play

from pqrun.core.job import ExitedWith, HaltRule
from pqrun.reports.digest import MAX_SLOWEST

GITHUB = {"GITHUB_ACTIONS": "true"}


def on_github(directory, cell, *, ci="auto", **more):
    environment = {**GITHUB, "GITHUB_STEP_SUMMARY": str(directory / "step.md")}
    return play(directory, cell, ci=ci, environment=environment, **more)


def test_each_failure_is_an_error_at_its_line_with_how_it_ended_and_its_last_words(tmp_path):
    cell = Cell([job("a: b,c", exit=ExitedWith(3), tries=[ExitedWith(2)]), job("ok")], 1)
    played = on_github(tmp_path, cell, outputs={"all": (b"100% lost\n", b"")})
    assert played.said == (
        "::error file=ci/jobs.yaml,line=3,title=a%3A b%2Cc::exit 3, after 2 attempts: 100%25 lost\n"
    )


def test_what_may_fail_and_what_is_flaky_are_warnings_after_the_errors(tmp_path):
    cell = Cell(
        [
            job("flaky", tries=[ExitedWith(1)]),
            job("may", exit=ExitedWith(1), allow_failure=True),
            job("bad", exit=ExitedWith(9)),
        ],
        1,
    )
    lines = on_github(tmp_path, cell).said.splitlines()
    assert [line.partition("file")[0] for line in lines] == ["::error ", "::warning ", "::warning "]
    assert lines[2].endswith("title=flaky::passed only at attempt 2")


def test_of_many_failures_nine_are_shown_and_the_others_counted(tmp_path):
    cell = Cell([job(f"j{n}", exit=ExitedWith(1)) for n in range(30)], 1)
    played = on_github(tmp_path, cell)
    lines = played.said.splitlines()
    assert len(lines) == 10
    assert lines[-1] == "::error title=pqrun::and 21 more; 30 jobs: 30 failed"
    ten = Cell(cell.jobs[:10], 1)
    assert (
        on_github(tmp_path, ten).said.splitlines()[-1]
        == "::error title=pqrun::and 1 more; 10 jobs: 10 failed"
    )


def test_the_steps_summary_is_added_to_what_the_step_wrote_before(tmp_path):
    (tmp_path / "step.md").write_text("before\n")
    on_github(tmp_path, CELLS["failed"])
    text = (tmp_path / "step.md").read_text()
    assert text.startswith("before\n### ❌ 3 jobs: 1 ok, 2 failed\n")
    (tmp_path / "step.md").write_text("no end of a line")
    on_github(tmp_path, CELLS["failed"])
    assert (tmp_path / "step.md").read_text().startswith("no end of a line\n### ❌")


def test_the_summary_says_what_stopped_the_run_if_that_left_jobs_undone(tmp_path):
    def told(cell):
        on_github(tmp_path, cell)
        return (tmp_path / "step.md").read_text()

    assert "\nStopped by `signal SIGINT` before all jobs had ended.\n" in told(CELLS["int"])
    (tmp_path / "step.md").unlink()
    rule = HaltRule("now", "fail", 1)
    assert "Stopped" not in told(Cell([job("a"), job("last", 2.0, exit=ExitedWith(1))], 1, {"halt": rule}))


def test_the_slowest_jobs_are_known_the_slowest_first(tmp_path):
    seconds = [3.0, 9.0, 1.0, 7.0, *(0.5 for _ in range(MAX_SLOWEST)), 8.0]
    played = on_github(tmp_path, Cell([job(f"j{n}", took) for n, took in enumerate(seconds)], 0))
    slowest = digest_of(played).slowest
    assert [took for took, _ in slowest] == sorted(seconds, reverse=True)[:MAX_SLOWEST]
    assert [row.spec.id for _, row in slowest[:3]] == ["j1", f"j{len(seconds) - 1}", "j3"]


@pytest.mark.slow
def test_the_steps_summary_stays_below_a_mebibyte(tmp_path):
    (tmp_path / "step.md").write_bytes(b"x" * 1_040_000)
    cell = Cell([job("long" * 40 + str(n), exit=ExitedWith(1)) for n in range(300)], 1)
    on_github(tmp_path, cell, outputs={"all": (b"y" * 9000 + b"\n", b"")})
    data = (tmp_path / "step.md").read_bytes()
    assert 1_040_000 < len(data) <= 1 << 20
    assert "The page is full: more was left out" in data.decode()
    (tmp_path / "step.md").write_bytes(b"x" * (1 << 20))
    played = on_github(tmp_path, CELLS["failed"])
    assert "pqrun: the step's summary is full" in played.said


def test_a_guessed_summary_that_is_not_there_is_told_but_changes_nothing(tmp_path):
    environment = {**GITHUB, "GITHUB_STEP_SUMMARY": str(tmp_path / "no" / "step.md")}
    guessed = play(tmp_path, CELLS["ok"], ci="auto", environment=environment)
    assert guessed.code == 0 and "cannot write the step's summary" in guessed.said
    asked = play(tmp_path, CELLS["ok"], ci="github", environment=environment)
    assert asked.code == 4 and "No such file or directory" in asked.said


def test_other_places_get_neither(tmp_path):
    for ci, environment in (
        ("auto", {}),
        ("none", GITHUB),
        ("gitlab", GITHUB),
        ("auto", {"GITLAB_CI": "true"}),
    ):
        environment = {**environment, "GITHUB_STEP_SUMMARY": str(tmp_path / "step.md")}
        played = play(tmp_path, CELLS["failed"], ci=ci, environment=environment)
        assert played.said == "" and not (tmp_path / "step.md").exists()
