# SPDX-License-Identifier: LGPL-3.0-or-later
"""However a run ends, each report is complete, and says what the final document says, number by number."""

import json
import re
from collections import Counter
from datetime import datetime

import pytest
from real import RUNS, reports
from reported import CELLS, FILES, play, write_again
from test_html import parts, values

from pqrun.core.metrics import CORE_METRICS
from pqrun.journal.format import VERSION
from pqrun.journal.recovery import recover
from pqrun.journal.run_directory import RunDirectory
from pqrun.journal.writer import JournalWriter
from pqrun.testing import FakeClock

ERRORS = ("timeout", "interrupted")


def how_many(played):
    """Jobs by state, with those that never ended as `left`; allowed failures apart."""
    counts = Counter()
    for entry in played.document["jobs"]:
        state = entry["state"]
        counts["left" if state in ("queued", "pending", "waiting") else state] += 1
    return counts


def in_order(found, *, but=None):
    """Comparable, whatever the order."""
    return sorted(json.dumps(one, sort_keys=True) for one in found if one.get("ph") != but or but is None)


def epoch(text):
    return datetime.fromisoformat(text).timestamp()


def test_junit_has_every_job_once_with_what_became_of_it(cell):
    junitparser = pytest.importorskip("junitparser")
    found = junitparser.JUnitXml.fromfile(str(cell.path("junit")))
    cases = {case.name: case for suite in found for case in suite}
    assert cases.keys() == cell.jobs().keys()
    counts = Counter(type(case.result[0]).__name__ if case.result else "ok" for case in cases.values())
    states = how_many(cell)
    allowed = states["failed"] if cell.code == 0 else 0
    not_started = sum(entry["exit"] == 127 for entry in cell.document["jobs"])
    assert counts["ok"] == states["ok"]
    assert counts["Failure"] == states["failed"] - allowed - not_started == found.failures
    assert counts["Error"] == sum(states[state] for state in ERRORS) + not_started == found.errors
    assert counts["Skipped"] == states["skipped"] + states["cancelled"] + states["left"] + allowed
    assert found.tests == len(cell.document["jobs"])
    for name, entry in cell.jobs().items():
        assert cases[name].time == pytest.approx(entry["run_s"] or 0.0, abs=0.0006)


def test_html_has_every_job_with_the_numbers_of_the_document(cell):
    head, chunks, _ = parts(cell.path("html").read_bytes())
    assert (head["run"], head["code"]) == (cell.document["run"], cell.code)
    assert head["metrics"] == cell.document["metrics"]
    names = ("id", "state", "attempts", "max_attempts", "exit", "signal", "ran", "waited", "user", "system",
             "out_bytes", "err_bytes", "allowed")  # fmt: skip
    columns = [values(chunks, "jobs", name) for name in names]
    found = dict(zip(values(chunks, "jobs", "seq"), zip(*columns, strict=True), strict=True))
    assert found.keys() - set(head["dropped"]) == {entry["seq"] for entry in cell.document["jobs"]}

    def micros(seconds):
        return None if seconds is None else round(seconds * 1e6)

    for entry in cell.document["jobs"]:
        assert found[entry["seq"]][:-1] == (
            entry["id"], entry["state"], entry["attempts"], entry["max_attempts"], entry["exit"], entry["signal"],
            micros(entry["run_s"]), micros(entry["wait_s"]), micros(entry["user_s"]), micros(entry["sys_s"]),
            entry["stdout_bytes"], entry["stderr_bytes"],
        )  # fmt: skip
    attempts = Counter(values(chunks, "attempts", "counted"))
    metrics = cell.document["metrics"]
    for name in ("completed", "failed", "timeout", "retried"):
        assert attempts[name] == metrics[f"jobs_{name}"]


def test_joblog_has_every_job_that_ended_by_itself_or_by_its_limit(cell):
    lines = [line.split("\t") for line in cell.path("joblog").read_text().splitlines()]
    assert lines[0] == [
        "Seq",
        "Host",
        "Starttime",
        "JobRuntime",
        "Send",
        "Receive",
        "Exitval",
        "Signal",
        "Command",
    ]
    expected = {
        e["seq"]: e
        for e in cell.document["jobs"]
        if e["state"] in ("ok", "failed", "timeout") or (e["state"] == "cancelled" and e["attempts"])
    }
    assert {int(line[0]) for line in lines[1:]} == expected.keys()
    for line in lines[1:]:
        entry = expected[int(line[0])]
        if entry["started_at"]:
            assert float(line[2]) == pytest.approx(epoch(entry["started_at"]), abs=0.001)
            assert float(line[3]) == pytest.approx(entry["run_s"], abs=0.001)
        assert int(line[5]) == entry["stdout_bytes"]
        assert line[8] == (entry["run"] if isinstance(entry["run"], str) else " ".join(entry["run"]))


def test_trace_has_every_attempt_in_a_lane_of_its_own(cell):
    found = json.loads(cell.path("trace").read_text())
    spans = [event for event in found["traceEvents"] if event["ph"] == "X"]
    begun = [event for event in found["traceEvents"] if event["ph"] == "B"]
    assert Counter(span["args"]["id"] for span in spans + begun) == Counter(
        {e["id"]: e["attempts"] for e in cell.document["jobs"] if e["attempts"]}
    )
    last = {(span["args"]["id"], span["args"]["attempt"]): span for span in spans}
    for entry in cell.document["jobs"]:
        if entry["attempts"] and entry["run_s"] is not None:
            span = last[entry["id"], entry["attempts"]]
            assert span["dur"] == pytest.approx(entry["run_s"] * 1e6, abs=1)
            assert (span["args"]["exit"], span["args"]["signal"]) == (entry["exit"], entry["signal"])
    lanes = {}
    for span in sorted(spans, key=lambda span: span["ts"]):
        assert span["ts"] >= lanes.get(span["tid"], 0), "two attempts in a lane at once"
        lanes[span["tid"]] = span["ts"] + span["dur"]
    assert set(lanes) <= {1, 2}
    named = {event["tid"] for event in found["traceEvents"] if event["name"] == "thread_name"}
    assert set(lanes) <= named
    opened = Counter(event["id"] for event in found["traceEvents"] if event["ph"] == "b")
    assert opened == Counter(event["id"] for event in found["traceEvents"] if event["ph"] == "e")
    counters = [event for event in found["traceEvents"] if event["ph"] == "C"]
    if counters:
        finally_ = {event["name"]: event["args"]["count"] for event in counters}
        metrics = cell.document["metrics"]
        assert finally_ == {
            "jobs queued": metrics["current_queue_size"], "active workers": metrics["active_workers"],
        }  # fmt: skip
    assert found["otherData"] == {"run": cell.document["run"], "metrics": cell.document["metrics"]}


def test_summary_has_the_totals_and_the_ten_metrics(cell):
    text = cell.path("summary").read_text()
    totals = re.search(r"\n\| jobs (.*)\n\| ---.*\n(.*)\n", text)
    names = ["jobs", *(name.strip() for name in totals[1].split("|") if name.strip())]
    numbers = [int(number) for number in totals[2].split("|") if number.strip()]
    found = dict(zip(names, numbers, strict=True))
    states = how_many(cell)
    assert found.pop("jobs") == len(cell.document["jobs"])
    assert found.pop("not run", 0) == states["left"]
    ends = [line for line in cell.lines() if line["event"] == "attempt_ended"]
    lost = {end["seq"] for end in ends if end["exit"] is None and end["signal"] is None}
    assert found.pop("flaky", 0) == sum(
        e["state"] == "ok" and e["attempts"] > 1 and e["seq"] not in lost for e in cell.document["jobs"]
    )
    assert found.pop("failed (allowed)", 0) == (states["failed"] if cell.code == 0 else 0)
    assert found == {state: states[state] for state in found}
    assert sum(found.values()) + states["left"] == len(cell.document["jobs"])
    for name in CORE_METRICS:
        assert f"| `{name}` | {cell.document['metrics'][name]} |" in text


def test_prometheus_adds_up_to_the_metrics(cell):
    parser = pytest.importorskip("prometheus_client.parser")
    families = {
        family.name: family
        for family in parser.text_string_to_metric_families(cell.path("metrics").read_text())
    }

    def total(name, **labels):
        samples = [sample for family in families.values() for sample in family.samples if sample.name == name]
        return sum(s.value for s in samples if labels.items() <= s.labels.items())

    metrics = cell.document["metrics"]
    assert total("pqrun_jobs_enqueued_total") == metrics["jobs_enqueued"]
    assert total("pqrun_jobs_dequeued_total") == metrics["jobs_dequeued"]
    for outcome in ("completed", "failed", "timeout", "retried"):
        assert total("pqrun_attempts_ended_total", outcome=outcome) == metrics[f"jobs_{outcome}"]
    assert total("pqrun_attempts_ended_total", outcome="stopped") == metrics["attempts_stopped"]
    for state, count in how_many(cell).items():
        assert total("pqrun_jobs_ended_total", outcome=state) == (0 if state == "left" else count)
    assert total("pqrun_queue_size") == metrics["current_queue_size"]
    for level, size in metrics["queue_by_priority"].items():
        assert total("pqrun_queue_size", priority=level) == size
    assert total("pqrun_workers_active") == metrics["active_workers"]
    ends = total("pqrun_job_processing_seconds_count")
    assert total("pqrun_job_wait_seconds_count") == ends
    if ends:
        assert total("pqrun_job_wait_seconds_sum") / ends == pytest.approx(
            metrics["average_wait_time"], abs=1e-5
        )
        average = total("pqrun_job_processing_seconds_sum") / ends
        assert average == pytest.approx(metrics["average_processing"], abs=1e-5)
    assert total("pqrun_run_exit_code") == cell.code
    assert ("pqrun_run_last_success_timestamp_seconds" in families) == (cell.code == 0)
    labels = {label for family in families.values() for sample in family.samples for label in sample.labels}
    assert labels <= {"priority", "outcome", "le"}


def test_events_tell_the_same_story_and_how_it_ended(cell):
    lines = cell.lines()
    assert lines[0]["event"] == "run_started"
    assert lines[-1]["event"] == "run_ended"
    assert lines[-1]["exit"] == cell.code
    assert lines[-1]["metrics"] == cell.document["metrics"]
    moments = [line["at"] for line in lines if line["event"] != "attempt_started"]  # which is told late
    assert moments == sorted(moments)
    counts = Counter(line["event"] for line in lines)
    metrics = cell.document["metrics"]
    assert counts["job_queued"] == metrics["jobs_enqueued"]
    assert counts["attempt_submitted"] + counts["job_removed"] == metrics["jobs_dequeued"]
    ended = {line["id"]: line for line in lines if line["event"] == "job_ended"}
    last = {line["id"]: line for line in lines if line["event"] == "attempt_ended"}
    for name, entry in cell.jobs().items():
        if name in ended:
            assert (ended[name]["state"], ended[name]["attempts"]) == (entry["state"], entry["attempts"])
        if name in last:
            for key in ("exit", "signal", "run_s", "user_s", "sys_s", "stdout_bytes", "stderr_bytes"):
                assert last[name][key] == entry[key]


def test_annotations_and_the_steps_summary_count_the_same(really_run, name):
    real = really_run(name)
    states = how_many(real)
    bad = sum(states[state] for state in ("failed", *ERRORS))
    errors = len(re.findall("(?m)^::error ", real.said))
    warnings = len(re.findall("(?m)^::warning ", real.said))
    flaky = sum(entry["state"] == "ok" and entry["attempts"] > 1 for entry in real.document["jobs"])
    allowed = states["failed"] if real.code == 0 else 0
    assert (errors, warnings) == (bad - allowed, flaky + allowed)
    page = real.path("summary").read_text()
    assert real.step.split("\n")[0] == page.split("\n")[0]
    assert ("✅" in page.split("\n")[0]) == (real.code == 0)


def test_hooks_are_told_the_same(really_run, name):
    real = really_run(name)
    found = json.loads((real.directory / "finish.json").read_text())
    headline = found["run"].pop("headline")
    assert found["run"] == {**real.document["run"], "exit": real.code}
    assert found["metrics"] == real.document["metrics"]
    assert real.path("summary").read_text().partition("\n")[0][6:] == headline
    bad = [entry for entry in real.document["jobs"] if entry["state"] in ("failed", *ERRORS)]
    assert sorted(found["jobs"], key=lambda entry: entry["seq"]) == bad and found["jobs_left_out"] == 0
    if real.code == 0:
        assert not (real.directory / "failure.json").exists()
    else:
        assert json.loads((real.directory / "failure.json").read_text())["jobs"] == found["jobs"]
    variables = dict(line.split("=", 1) for line in (real.directory / "finish.env").read_text().splitlines())
    states = how_many(real)
    for state in ("ok", "failed", "timeout", "cancelled", "skipped", "interrupted", "left"):
        assert variables[f"PQRUN_JOBS_{state.upper()}"] == str(states[state])
    assert variables["PQRUN_JOBS_TOTAL"] == str(len(real.document["jobs"]))
    assert (variables["PQRUN_EXIT_CODE"], variables["PQRUN_HEADLINE"]) == (str(real.code), headline)


def test_show_writes_the_same_and_tells_the_same(really_run, name, tmp_path):
    real = really_run(name)
    done = real.show(*reports(f"{tmp_path}/"))
    if not real.document["jobs"]:  # such a run leaves no record
        assert done.code == 2 and not (real.directory / "record").exists()
        return
    assert (done.code, done.out, done.err) == (0, "", "")
    assert json.loads(real.show("--json").stdout) == real.document
    for report in {"junit", "summary", "joblog"}:
        assert (tmp_path / FILES[report]).read_text() == real.path(report).read_text(), report
    told = [json.loads(line) for line in (tmp_path / FILES["events"]).read_text().splitlines()]
    lost = ("attempt_started", "attempt_stopping")
    assert in_order(told) == in_order(line for line in real.lines() if line["event"] not in lost)
    trace = json.loads((tmp_path / FILES["trace"]).read_text())
    assert trace["otherData"] == {"run": real.document["run"], "metrics": real.document["metrics"]}
    if "metrics" in FILES:
        again, first = ((d / FILES["metrics"]).read_text().splitlines() for d in (tmp_path, real.directory))
        assert [line.split()[:-1] for line in again] == [line.split()[:-1] for line in first]
        numbers = [[float(line.split()[-1]) for line in lines if line[0] != "#"] for lines in (again, first)]
        assert numbers[0] == pytest.approx(numbers[1], abs=1e-5)


@pytest.fixture(params=CELLS)
def played(request, tmp_path):
    """A run on a fake clock."""
    return play(tmp_path, CELLS[request.param], outputs={"all": (b"some output\n", b"and an error\n")})


@pytest.fixture(
    params=[pytest.param(name, marks=pytest.mark.slow) for name in RUNS],
    ids=lambda name: name.replace(" ", "-"),
)
def name(request):
    """Of a run by the program itself."""
    return request.param


def test_all_of_them_can_be_written_afterwards_from_the_journal(played, tmp_path):
    directory = RunDirectory(str(tmp_path))
    journal = JournalWriter(directory.journal, FakeClock(played.run.began), crc=0, size=0)
    journal.start({"pqrun": VERSION, "run": "r1", "listed": 0, "token": "t", "at": played.run.began})
    for batch in played.batches:
        journal.record(batch)
    journal.close()
    again = tmp_path / "again"
    assert write_again(played, again, recover(directory).events) == []
    for name in {"junit", "summary", "joblog", "metrics"} & FILES.keys():
        assert (again / played.path(name).name).read_bytes() == played.path(name).read_bytes(), name
    told = [json.loads(line) for line in (again / "events.jsonl").read_text().splitlines()]
    lost = ("attempt_started", "attempt_stopping")
    # A journal may change the order of what happened at one moment.
    assert in_order(told) == in_order(line for line in played.lines() if line["event"] not in lost)
    trace, kept = (
        json.loads((d / "trace.json").read_text())["traceEvents"] for d in (played.directory, again)
    )
    assert in_order(kept, but="C") == in_order((e for e in trace if e.get("cat") != "stop"), but="C")
