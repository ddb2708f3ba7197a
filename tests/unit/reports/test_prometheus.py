# SPDX-License-Identifier: LGPL-3.0-or-later
"""Numbers for Prometheus: names, the file while a run lives, the address to ask, alerts."""

import json
import re
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml
from reported import CELLS, play
from support.process import PQRUN

from pqrun.core import events as ev
from pqrun.core.errors import UserError
from pqrun.core.job import JobSpec, Outcome, Priority
from pqrun.core.job_table import JobTable
from pqrun.core.settings import OutputSettings, ReportSettings
from pqrun.reports import report_set as wanted
from pqrun.reports.prometheus import PrometheusTotals
from pqrun.reports.report_set import ReportSet

parser = pytest.importorskip("prometheus_client.parser", reason="needs prometheus-client")
exposing = pytest.importorskip("pqrun.reports.prometheus", reason="needs prometheus-client")

ALERTS = Path(__file__).parents[3] / "examples" / "alerts.yml"


def families(text):
    return {family.name: family for family in parser.text_string_to_metric_families(text)}


def value(text, name):
    return next(
        (
            sample.value
            for family in families(text).values()
            for sample in family.samples
            if sample.name == name
        ),
        None,
    )


def only(directory, cell, **more):
    played = play(
        directory, CELLS[cell], settings=ReportSettings(metrics=str(directory / "run.prom")), **more
    )
    return played, (directory / "run.prom").read_text()


def test_names_have_units_and_counters_end_in_total(tmp_path):
    _, text = only(tmp_path, "failed")
    assert {family.type for family in families(text).values()} == {"counter", "gauge", "histogram"}
    for family in families(text).values():
        assert re.fullmatch(r"pqrun(_[a-z]+)+", family.name)
        assert family.documentation and family.type in ("counter", "gauge", "histogram")
        if family.type == "counter":
            assert all(sample.name.endswith("_total") for sample in family.samples)
        if family.type == "histogram":
            assert family.name.endswith("_seconds")
    assert "_created" not in text


def test_histograms_count_what_took_so_long(tmp_path):
    _, text = only(tmp_path, "ok")
    buckets = [
        (sample.labels["le"], sample.value)
        for sample in families(text)["pqrun_job_processing_seconds"].samples
        if sample.name.endswith("_bucket") and sample.labels["priority"] == "normal"
    ]
    assert dict(buckets)["0.1"] == 0 and dict(buckets)["0.5"] == 1 and dict(buckets)["1.0"] == 2
    counts = [count for _, count in buckets]
    assert counts == sorted(counts) and buckets[-1] == ("+Inf", 2)
    bounds = (
        "0.01 0.05 0.1 0.5 1.0 5.0 15.0 60.0 300.0 900.0 3600.0 14400.0 +Inf"  # as in the dashboards of users
    )
    assert [bound for bound, _ in buckets] == bounds.split()


def test_a_run_that_went_wrong_keeps_the_last_success_of_an_earlier_one(tmp_path):
    name = "pqrun_run_last_success_timestamp_seconds"
    _, first = only(tmp_path, "ok")
    then = value(first, name)
    assert then == pytest.approx(1_700_000_001.25)
    for cell in ("failed", "int", "deadline"):
        _, text = only(tmp_path, cell, began=1_700_100_000.0)
        assert value(text, name) == then
    _, text = only(tmp_path, "ok", began=1_700_200_000.0)
    assert value(text, name) == pytest.approx(1_700_200_001.25)


def test_the_file_is_there_from_the_beginning_and_now_and_then(tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr(exposing, "monotonic", lambda: now[0])
    played = play(tmp_path, CELLS["ok"], settings=ReportSettings())
    reports = ReportSet(ReportSettings(metrics=str(tmp_path / "run.prom")), environment={})
    reports.begin(played.run, JobTable())
    assert reports.tick() == 15.0
    assert value((tmp_path / "run.prom").read_text(), "pqrun_jobs") == 0
    reports.deliver(played.events)
    now[0] += 14.0
    assert reports.tick() == 1.0
    assert value((tmp_path / "run.prom").read_text(), "pqrun_jobs") == 0
    now[0] += 1.0
    reports.tick()
    text = (tmp_path / "run.prom").read_text()
    assert value(text, "pqrun_jobs") == 3 and value(text, "pqrun_run_exit_code") is None
    reports.finish(played.ending)
    assert value((tmp_path / "run.prom").read_text(), "pqrun_run_exit_code") == 0


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.slow
def test_an_address_answers_while_the_run_lives(tmp_path):
    address = f"127.0.0.1:{free_port()}"
    played = play(tmp_path, CELLS["failed"], settings=ReportSettings())
    reports = ReportSet(ReportSettings(metrics_listen=address), environment={})
    reports.begin(played.run, JobTable())
    half = next(n for n, event in enumerate(played.events) if isinstance(event, ev.AttemptEnded))
    reports.deliver(played.events[:half])
    with urllib.request.urlopen(f"http://{address}/metrics") as answer:
        text = answer.read().decode()
    assert value(text, "pqrun_workers_active") == 2
    reports.deliver(played.events[half:])
    assert reports.finish(played.ending) == 1
    with pytest.raises(OSError):
        urllib.request.urlopen(f"http://{address}/metrics", timeout=2).close()


@pytest.mark.slow
def test_a_job_may_ask_for_the_numbers_of_its_own_run(tmp_path):
    address = f"127.0.0.1:{free_port()}"
    ask = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
    jobs = [
        {"id": "bad", "run": "exit 1", "priority": "high"},
        {"id": "ask", "run": [sys.executable, "-c", ask, f"http://{address}/metrics"]},
        {"id": "later", "run": "true", "priority": "low"},
    ]
    (tmp_path / "jobs.json").write_text(json.dumps({"jobs": jobs}))
    words = [*PQRUN, "run", "jobs.json", "-j1", "-q", "--run-dir", "r", "--metrics-listen", address]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stderr
    names = ("pqrun_jobs", "pqrun_workers_active", "pqrun_run_exit_code")
    assert [value(done.stdout, name) for name in names] == [3, 1, None]
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in families(done.stdout).values()
        for sample in family.samples
    }
    assert found["pqrun_queue_size", "low"] == 1
    assert found["pqrun_jobs_ended_total", "failed", "high"] == 1


def test_an_address_that_is_taken_or_none_is_known_before_anything_starts():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(UserError, match=r"cannot listen on .*: Address already in use"):
            exposing.check_address(f"127.0.0.1:{taken.getsockname()[1]}")
    with pytest.raises(UserError, match="cannot listen on"):
        exposing.check_address(f"{'a' * 80}:9464")
    for wrong in (":9464", "x", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:99999", ""):
        with pytest.raises(UserError, match="not an address"):
            exposing.host_and_port(wrong)
    assert exposing.host_and_port("9464") == ("127.0.0.1", 9464)
    assert exposing.host_and_port("[::1]:9464") == ("::1", 9464)


def test_without_the_library_it_is_said_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setattr(wanted, "find_spec", lambda name: None)
    for settings in ({"metrics": str(tmp_path / "x")}, {"metrics_listen": "9464"}):
        with pytest.raises(
            UserError, match="needs prometheus-client: install it with `pip install 'pqrun-cli\\[metrics\\]'`"
        ):
            wanted.ReportRequest(ReportSettings(**settings), OutputSettings(), {})


def tell(totals, *events):
    """Fold the events, and count them."""
    for event in events:
        row = totals.table.fold(event)
        if handler := totals.handlers.get(type(event)):
            handler(event, row)


def test_a_refused_start_never_makes_a_counter_go_down():
    totals = PrometheusTotals(JobTable(), 1)
    seen = []
    spec = JobSpec("a", None)
    for event in (
        ev.JobAdded(0.0, 1, spec),
        ev.JobQueued(0.0, 1, 1, Priority.NORMAL),
        ev.AttemptSubmitted(0.0, 1, 1, 0.0),
        ev.AttemptRefused(0.0, 1, 1, "no room"),
        ev.AttemptSubmitted(1.0, 1, 1, 1.0),
        ev.AttemptRefused(1.0, 1, 1, "no room"),
    ):
        tell(totals, event)
        seen.append(totals.dequeued[Priority.NORMAL])
    assert seen == [0, 0, 1, 1, 1, 1]
    totals.close(live=False)
    assert totals.dequeued[Priority.NORMAL] == 0


def test_a_job_that_runs_again_after_all_is_not_counted_twice():
    totals = PrometheusTotals(JobTable(), 1)
    spec = JobSpec("a", None, priority=Priority.HIGH)
    ended = ev.JobEnded(1.0, 1, Outcome.FAILED, 1)
    tell(totals, ev.JobAdded(0.0, 1, spec), ended, ev.JobReopened(2.0, 1, Outcome.FAILED, spec), ended)
    assert dict(totals.jobs) == {(Priority.HIGH, "failed"): 1}
    tell(totals, ev.JobDropped(3.0, 1, Outcome.FAILED))
    assert totals.jobs.total() == 0


def test_every_metric_of_the_alerts_exists(tmp_path):
    _, text = only(tmp_path, "ok")
    known = {sample.name for family in families(text).values() for sample in family.samples}
    rules = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]
    assert rules
    for rule in rules:
        used = set(re.findall(r"pqrun_\w+", rule["expr"]))
        assert used and used <= known
        assert (
            set(rule) <= {"alert", "expr", "for", "labels", "annotations"} and rule["annotations"]["summary"]
        )
