# SPDX-License-Identifier: LGPL-3.0-or-later
"""JUnit XML as its readers want it."""

import os
import tracemalloc
import xml.etree.ElementTree as ET

import pytest
from reported import CELLS, Cell, job, play

from pqrun.core import events as ev
from pqrun.core.job import (
    Command,
    CountedAs,
    ExitedWith,
    JobSpec,
    KilledBySignal,
    LostExit,
    Outcome,
    SelfReport,
    Usage,
)
from pqrun.core.job_table import JobTable
from pqrun.core.settings import ReportSettings
from pqrun.reports import write_after
from pqrun.reports.report import RunInfo
from pqrun.reports.report_set import ReportSet

TEXT = {"type", "message"}
RETRY = ["stackTrace", "system-out", "system-err"]
CASE = {
    "skipped": TEXT, "error": TEXT, "failure": TEXT, "system-out": set(), "system-err": set(),
    "rerunFailure": TEXT, "rerunError": TEXT, "flakyFailure": TEXT, "flakyError": TEXT,
}  # fmt: skip


def case_of(played, name):
    cases = ET.parse(played.path("junit")).iter("testcase")
    return next(case for case in cases if case.get("name") == name)


def only(directory, cell, **more):
    """A run of which JUnit alone is wanted."""
    return play(directory, cell, settings=ReportSettings(junit=str(directory / "junit.xml")), **more)


def test_the_rules_of_jenkins_schema_hold(cell):
    root = ET.parse(cell.path("junit")).getroot()
    assert root.tag == "testsuites" and set(root.attrib) == {"tests", "failures", "errors", "time"}
    for suite in root:
        assert suite.tag == "testsuite"
        assert set(suite.attrib) == {"name", "tests", "failures", "errors", "skipped", "time", "timestamp"}
        assert [child.tag for child in suite if child.tag != "testcase"] == ["properties"]
        for case in suite.iter("testcase"):
            assert set(case.attrib) == {"name", "classname", "time"}
            assert sum(child.tag in ("failure", "error", "skipped") for child in case) <= 1
            for child in case:
                assert set(child.attrib) <= CASE[child.tag]
                inner = [grandchild.tag for grandchild in child]
                assert inner == [tag for tag in RETRY if tag in inner]
                if child.tag.startswith(("flaky", "rerun")):
                    assert child.get("type")


def test_a_job_that_passed_at_last_keeps_its_failed_attempts_as_flaky(tmp_path):
    played = only(tmp_path, CELLS["flaky"], outputs={"all": (b"hello\n", b"")})
    case = case_of(played, "a")
    assert [child.tag for child in case] == ["flakyFailure", "flakyFailure"]
    assert [child.get("message") for child in case] == ["exit 1", "SIGKILL"]
    assert [child.get("type") for child in case] == ["exit", "signal"]
    assert case[0].find("system-out").text == "hello\n"


def test_a_job_that_was_lost_with_its_worker_is_not_flaky(tmp_path):
    played = play(tmp_path, CELLS["lost"])
    assert [child.tag for child in case_of(played, "a")] == []
    assert "flaky" not in played.path("summary").read_text()


def test_a_job_that_was_lost_and_then_failed_keeps_both_ends(tmp_path):
    lost = LostExit("its worker died", worker_lost=True)
    played = only(tmp_path, Cell([job("a", tries=[lost], exit=ExitedWith(3))], 1))
    assert [child.tag for child in case_of(played, "a")] == ["failure", "rerunError", "rerunFailure"]


def test_what_a_failure_shows_is_what_it_said_on_either_stream(tmp_path):
    played = play(tmp_path, CELLS["tried in vain"], outputs={"all": (b"what is wrong\n", b"\n \n")})
    assert case_of(played, "a")[0].text == "$ run a\nexit 3, attempt 3\nwhat is wrong"
    assert "| `what is wrong` |" in played.path("summary").read_text()


def test_the_command_of_a_failure_has_the_lines_that_it_has_in_the_job_file(tmp_path):
    spec = job("a", exit=ExitedWith(3), run="cd app\n\nmake 'a\tb'\nmake\x1b[1m check\n")
    played = only(tmp_path, Cell([spec], 1))
    assert case_of(played, "a")[0].text == "$ cd app\n$ make 'a b'\n$ make check\nexit 3"


def test_a_job_that_failed_at_last_keeps_the_attempts_before_as_reruns(tmp_path):
    played = only(tmp_path, CELLS["tried in vain"])
    case = case_of(played, "a")
    assert [(child.tag, child.get("message")) for child in case] == [
        ("failure", "exit 3"),
        ("rerunFailure", "exit 1"),
        ("rerunFailure", "exit 2"),
    ]
    assert case[0].text == "$ run a\nexit 3, attempt 3"


def test_of_very_many_attempts_the_last_are_kept(tmp_path):
    played = only(
        tmp_path, Cell([job("a", tries=[ExitedWith(n) for n in range(1, 101)], exit=ExitedWith(101))], 1)
    )
    messages = [child.get("message") for child in case_of(played, "a")]
    assert messages == ["exit 101", *(f"exit {n}" for n in range(91, 101))]


def test_what_was_not_a_failure_of_the_job_is_an_error_or_skipped_with_its_reason(tmp_path):
    cells = ["timeout", "skipped", "not started", "deadline", "allowed"]
    told = {}
    for name in cells:
        directory = tmp_path / name
        directory.mkdir()
        played = only(directory, CELLS[name])
        for case in ET.parse(played.path("junit")).getroot().iter("testcase"):
            told[name, case.get("name")] = [(child.tag, child.get("message")) for child in case]
    assert told["timeout", "a"] == [("error", "timeout 2s")]
    assert told["skipped", "b"] == [("skipped", "needs a")]
    assert told["not started", "a"] == [("error", "exit 127: cannot run nope: No such file")]
    assert told["deadline", "b"] == [("error", "interrupted")]
    assert told["deadline", "d"] == [("skipped", "not run: deadline")]
    assert told["allowed", "a"] == [("skipped", "failed, with allow_failure: exit 1")]


def test_what_was_not_run_tells_what_stopped_this_process_and_not_one_before(tmp_path):
    played = only(tmp_path, CELLS["int"])
    at = played.events[-1].at
    later = [
        ev.AttemptSubmitted(at, 4, 1, 0.0),
        ev.AttemptRefused(at, 4, 1, "no room"),
        ev.RunStopping(at, "deadline", False, False),
    ]
    settings = ReportSettings(junit=str(tmp_path / "both.xml"), summary=str(tmp_path / "both.md"))
    assert write_after(settings, played.events + later, played.run, played.ending) == []
    (case,) = (c for c in ET.parse(tmp_path / "both.xml").iter("testcase") if c.get("name") == "d")
    assert case[0].get("message") == "not run: deadline"
    assert "Stopped by `deadline`" in (tmp_path / "both.md").read_text()


def test_names_are_unique_in_a_suite_and_stay_when_a_line_is_put_before(tmp_path):
    specs = [
        JobSpec("make", Command("x"), file="a.yaml"),
        JobSpec("2", Command("make"), named=False, file="a.yaml"),
        JobSpec("3", Command("make"), named=False, file="a.yaml"),
        JobSpec("4", Command("make"), named=False, file="dir.d/b.yaml"),
        JobSpec("5", Command("make"), named=False),
    ]
    played = only(tmp_path, Cell([(spec, [ExitedWith(0)], 1.0) for spec in specs], 0))
    found = ET.parse(played.path("junit")).iter("testcase")
    cases = [(case.get("classname"), case.get("name")) for case in found]
    assert cases == [
        ("a", "make"), ("a", "make #2"), ("a", "make #3"), ("dir_d/b", "make"), ("pqrun", "make"),
    ]  # fmt: skip


def test_an_id_is_the_name_of_its_case_as_it_is(tmp_path):
    names = ["a  b", " a b ", "a b", "a\tb", "a\nb", "a\rb", " ", "  ", "x" * 200, "&<>\"'", "é·→😀"]
    jobs = [(JobSpec(name, Command("true"), file="a.yaml"), [ExitedWith(1)], 1.0) for name in names]
    played = only(tmp_path, Cell(jobs, 1))
    assert [case.get("name") for case in ET.parse(played.path("junit")).iter("testcase")] == names


def test_who_is_known_first_has_his_name_whoever_ends_first_and_no_name_is_anothers(tmp_path):
    specs = [
        (JobSpec("make #4", Command("x")), 1.0),
        (JobSpec("2", Command("make"), named=False), 9.0),
        (JobSpec("3", Command("x")), 1.0),
        (JobSpec("4", Command("make"), named=False), 1.0),
    ]
    played = only(tmp_path, Cell([(spec, [ExitedWith(0)], seconds) for spec, seconds in specs], 0))
    names = [case.get("name") for case in ET.parse(played.path("junit")).iter("testcase")]
    assert names == ["make #4", "make", "3", "make #4 #4"]


def test_a_job_that_takes_the_place_of_a_dropped_one_has_its_name(tmp_path):
    first = only(tmp_path, Cell([job("a"), job("b", exit=ExitedWith(1))], 1))
    at = first.events[-1].at
    spec = JobSpec("b", Command("y"), file="ci/jobs.yaml")
    later = [
        ev.JobAdded(at, 3, spec),
        ev.JobDropped(at, 2, Outcome.FAILED),
        ev.AttemptSubmitted(at, 3, 1, 0.0),
        ev.AttemptEnded(at, 3, 1, CountedAs.COMPLETED, ExitedWith(0), None, at, at, Usage(), SelfReport()),
        ev.JobEnded(at, 3, Outcome.OK, 1),
    ]
    settings = ReportSettings(junit=str(tmp_path / "both.xml"))
    assert write_after(settings, first.events + later, first.run, first.ending) == []
    names = [case.get("name") for case in ET.parse(tmp_path / "both.xml").iter("testcase")]
    assert names == ["a", "b"]


def test_a_job_that_runs_again_after_all_is_there_once_with_its_new_end(tmp_path):
    first = only(tmp_path, Cell([job("a", exit=ExitedWith(1)), job("b", exit=KilledBySignal("SIGKILL"))], 1))
    again = only(tmp_path, Cell([job("a"), job("b")], 0))
    at = first.events[-1].at
    specs = JobSpec("a", Command("x")), JobSpec("b", Command("x"))
    reopened = [ev.JobReopened(at, seq, Outcome.FAILED, spec) for seq, spec in enumerate(specs, 1)]
    later = [event for event in again.events if not isinstance(event, ev.JobAdded | ev.JobDropped)]
    dropped = [ev.JobDropped(again.events[-1].at, 2, Outcome.OK)]
    settings = ReportSettings(junit=str(tmp_path / "both.xml"), summary=str(tmp_path / "both.md"))
    failures = write_after(settings, first.events + reopened + later + dropped, again.run, again.ending)
    assert failures == []
    cases = list(ET.parse(tmp_path / "both.xml").iter("testcase"))
    assert [(case.get("name"), list(case)) for case in cases] == [("a", [])]
    assert "1 job: 1 ok" in (tmp_path / "both.md").read_text()


def test_of_a_run_that_died_what_ran_is_an_error_and_of_a_live_one_it_still_runs(tmp_path):
    played = only(tmp_path, CELLS["ok"])
    cut = [e for e in played.events if not isinstance(e, ev.AttemptEnded | ev.JobEnded)]
    died, lives = ("error", "interrupted: pqrun ended while it ran"), ("skipped", "still running")
    for live, expected in ((False, died), (True, lives)):
        path = tmp_path / f"{live}.xml"
        ending = played.ending._replace(live=live)
        assert write_after(ReportSettings(junit=str(path)), cut, played.run, ending) == []
        case = next(ET.parse(path).iter("testcase"))
        assert (case[0].tag, case[0].get("message")) == expected


def test_the_file_appears_when_it_is_complete_and_replaces_the_old_one(tmp_path):
    path = tmp_path / "new" / "junit.xml"
    reports = ReportSet(ReportSettings(junit=str(path)), environment={})
    reports.begin(RunInfo("r", (), 1, 0.0, lambda at: at), JobTable())
    assert path.parent.is_dir() and not path.exists()
    path.write_text("old")
    played = only(tmp_path, CELLS["ok"])
    reports.deliver(played.events)
    assert path.read_text() == "old"
    reports.finish(played.ending)
    assert path.read_text().startswith("<?xml")
    assert [file.name for file in path.parent.iterdir()] == ["junit.xml"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.slow
def test_many_jobs_take_little_memory(tmp_path):
    reports = ReportSet(ReportSettings(junit=str(tmp_path / "junit.xml")), environment={})
    reports.begin(RunInfo("r", (), 1, 0.0, lambda at: at), JobTable())
    jobs = 1500
    tracemalloc.start()
    for seq in range(1, jobs + 1):
        reports.deliver([
            ev.JobAdded(0.0, seq, JobSpec(str(seq), Command("true"), named=False)),
            ev.AttemptEnded(1.0, seq, 1, CountedAs.COMPLETED, ExitedWith(0), None, 0.0, 1.0, Usage(), SelfReport()),
            ev.JobEnded(1.0, seq, Outcome.OK, 1),
        ])  # fmt: skip
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak / jobs < 400
