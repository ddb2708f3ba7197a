# SPDX-License-Identifier: LGPL-3.0-or-later
"""Files, pipes and descriptors that reports go to, and what is said when they can't be written."""

import json
import os
import subprocess
import sys
import threading
import time
from importlib import import_module

import pytest
from reported import CELLS, FILES, play, settings_for

from pqrun.core import events as ev
from pqrun.core.errors import UserError
from pqrun.core.job_table import JobTable
from pqrun.core.settings import OutputSettings, ReportSettings, Settings
from pqrun.reports import reports_of
from pqrun.reports.report import REPORTS, NoReports
from pqrun.reports.report_set import ReportRequest, ReportSet
from pqrun.reports.targets import AtomicFile, StreamingFile

NAMES = [name for name in FILES if name != "metrics"]


def wanted(json=False, **settings):
    return ReportRequest(ReportSettings(**settings), OutputSettings(json=json), {})


@pytest.mark.parametrize("name", NAMES)
def test_what_can_not_be_written_is_known_before_anything_starts(name, tmp_path):
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "x", "", "a\0b", "/dev/fd/999"):
        with pytest.raises(UserError) as told:
            wanted(**{name: str(path)})
        assert str(told.value).startswith(f"--{name}")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_directory_without_permission_is_known_too(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(UserError, match="Permission denied"):
        wanted(junit=str(tmp_path / "x"))


def test_two_reports_do_not_go_to_one_file(tmp_path):
    with pytest.raises(UserError, match="--junit and --events name the same file"):
        wanted(junit=str(tmp_path / "x"), events=f"{tmp_path}/./x")
    wanted(junit="/dev/null", events="/dev/null")
    (tmp_path / "one").touch()
    os.link(tmp_path / "one", tmp_path / "other")
    (tmp_path / "link").symlink_to("new")
    os.mkfifo(tmp_path / "fifo")
    for one, other in (("one", "other"), ("link", "new"), ("fifo", "fifo")):
        with pytest.raises(UserError, match="--summary and --joblog name the same file"):
            wanted(summary=str(tmp_path / one), joblog=str(tmp_path / other))


def test_one_report_to_a_stream_not_two(tmp_path):
    with (tmp_path / "file").open("wb") as file:
        path = f"/dev/fd/{file.fileno()}"
        with pytest.raises(UserError, match=f"--trace and --summary name the same file: {path}"):
            wanted(trace=path, summary=f"/proc/self/fd/{file.fileno()}")
    for path in ("-", "/dev/stdout", "/dev/fd/1"):
        with pytest.raises(UserError, match="--json and --junit both write to standard output"):
            wanted(junit=path, json=True)
        wanted(junit=path, json=False)


def test_a_run_without_reports_gets_none(tmp_path):
    played = play(tmp_path, CELLS["ok"], settings=ReportSettings())
    assert (played.code, played.said, os.listdir(tmp_path)) == (0, "", ["stderr"])
    reports = reports_of(Settings())
    assert isinstance(reports, NoReports)
    reports.begin(played.run, JobTable())
    reports.close()
    assert reports.finish(played.ending, err=None, hurry=True) == 0 and not reports.failures


def test_each_option_brings_reports(tmp_path, monkeypatch):
    for name in set(ReportSettings._fields) - {"results"}:
        if name.startswith("metrics"):
            pytest.importorskip("prometheus_client")
        value = {"metrics_listen": "127.0.0.1:1", "hooks": {"on_finish": "true"}}.get(
            name, str(tmp_path / name)
        )
        assert isinstance(reports_of(Settings(reports=ReportSettings(**{name: value}))), ReportSet), name
    assert isinstance(reports_of(Settings(output=OutputSettings(ci="github"))), ReportSet)
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    assert isinstance(reports_of(Settings()), ReportSet)


@pytest.mark.parametrize("name", FILES)
def test_a_full_disk_is_exit_4_and_says_which_file(name, tmp_path):
    if name == "metrics":
        pytest.importorskip("prometheus_client")
    played = play(tmp_path, CELLS["failed"], settings=ReportSettings(**{name: "/dev/full"}))
    assert played.code == 4
    assert played.said == f"pqrun: cannot write /dev/full (--{name}): No space left on device\n"


@pytest.mark.parametrize("name", NAMES[:3])
def test_a_directory_that_went_away_is_exit_4_too(name, tmp_path):
    where = tmp_path / "reports"

    def sabotage(scheduler, now):
        where.rmdir()

    cell = CELLS["ok"]
    cell = type(cell)(cell.jobs, cell.code, asks=[(0.5, sabotage)])
    played = play(tmp_path, cell, settings=ReportSettings(**{name: str(where / "x")}))
    assert played.code == 4
    assert f"cannot write {where}/x (--{name}): No such file or directory" in played.said


def test_a_signal_stays_the_exit_code_when_a_report_fails_too(tmp_path):
    played = play(tmp_path, CELLS["int"], settings=ReportSettings(junit="/dev/full"))
    assert played.code == 130
    assert "No space left on device" in played.said


def test_what_fails_in_a_report_costs_that_report_and_is_told(tmp_path, capsys):
    reports = ReportSet(settings_for(tmp_path), environment={})
    played = play(tmp_path, CELLS["ok"])
    reports.begin(played.run, JobTable())
    reports.deliver([ev.RunPaused("no time", True, "x")])
    reports.deliver(played.events)
    assert reports.finish(played.ending) == 4
    assert "the report of --events failed and was dropped" in reports.failures
    assert "Traceback" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [kind for kind in REPORTS if kind.name in FILES], ids=lambda kind: kind.name)
@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(28, "No space left on device"), "cannot write the report of --{}: No space left on device"),
        (ZeroDivisionError("a bug"), "the report of --{} failed and was dropped"),
    ],
    ids=["full", "bug"],
)
def test_a_report_that_fails_is_named_and_the_others_are_written(
    tmp_path, monkeypatch, capsys, kind, error, said
):
    def fail(_self, _ending):
        raise error

    monkeypatch.setattr(getattr(import_module(kind.module), kind.class_name), "finish", fail)
    played = play(tmp_path, CELLS["ok"])
    assert (played.code, played.said) == (4, f"pqrun: {said.format(kind.name)}\n")
    assert ("ZeroDivisionError: a bug" in capsys.readouterr().err) == isinstance(error, ZeroDivisionError)
    missing = {name for name in FILES if not played.path(name).exists()}
    assert missing <= {kind.name}


def test_events_go_into_a_pipe_as_they_happen(tmp_path):
    reader, writer = os.pipe()
    reports = ReportSet(ReportSettings(events=f"/dev/fd/{writer}"), environment={})
    played = play(tmp_path, CELLS["ok"])
    reports.begin(played.run, JobTable())
    os.close(writer)
    reports.deliver(played.events[:3])
    reports.tick()
    first = os.read(reader, 1 << 20)
    assert len(first.splitlines()) == 4
    reports.deliver(played.events[3:])
    assert reports.finish(played.ending) == 0
    lines = (first + os.read(reader, 1 << 20)).splitlines()
    assert os.read(reader, 1) == b""
    os.close(reader)
    assert lines == played.path("events").read_bytes().splitlines()


def test_the_log_has_what_happened_before_output_is_printed_which_may_block(tmp_path):
    played = play(tmp_path, CELLS["ok"])
    reports = ReportSet(ReportSettings(events=str(tmp_path / "log")), environment={})
    reports.begin(played.run, JobTable())
    last_lines = []
    for event in played.events:
        reports.deliver([event])
        if isinstance(event, ev.AttemptEnded):
            last_lines.append(json.loads((tmp_path / "log").read_text().splitlines()[-1])["event"])
    reports.finish(played.ending)
    assert set(last_lines) == {"attempt_ended"}


def test_a_named_pipe_may_get_its_reader_later(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    played = play(tmp_path, CELLS["ok"])
    reports = ReportSet(ReportSettings(events=str(path)), environment={})
    reports.begin(played.run, JobTable())
    reports.deliver(played.events)
    found = []
    thread = threading.Thread(target=lambda: found.extend(path.read_bytes().splitlines()))
    thread.start()
    assert reports.finish(played.ending) == 0
    thread.join()
    assert [json.loads(line) for line in found] == played.lines()


def test_a_reader_that_goes_away_is_no_failure(tmp_path):
    reader, writer = os.pipe()
    os.close(reader)
    played = play(tmp_path, CELLS["ok"], settings=ReportSettings(events=f"/dev/fd/{writer}"))
    os.close(writer)
    assert (played.code, played.said) == (0, "")


@pytest.mark.parametrize("make", [os.mkfifo, None], ids=["that nobody opens", "that nobody reads"])
def test_a_pipe_costs_its_report_in_the_end_never_the_run(make, tmp_path, monkeypatch):
    monkeypatch.setattr("pqrun.reports.targets.MAX_PENDING_BYTES", 100_000)
    path, reader = str(tmp_path / "fifo"), -1
    os.mkfifo(path)
    if make is None:
        reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    target = StreamingFile("--events", path)
    target.patience = 0.2
    target.open()
    began = time.monotonic()
    for _ in range(100):
        target.write(b"x" * 10_000)
    target.close()
    assert 0.2 <= time.monotonic() - began < 5
    assert target.failure.startswith(f"cannot write {path} (--events): ")
    if reader >= 0:
        os.close(reader)


@pytest.mark.slow
def test_a_reader_of_a_real_run_hears_at_once_what_a_job_does_and_says(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    os.mkfifo(tmp_path / "go")
    job = "echo status=half >> $PQRUN_REPORT; echo progress=0.5 >> $PQRUN_REPORT; read x < go\n"
    process = subprocess.Popen(
        [sys.executable, "-m", "pqrun", "run", "-q", "--events", "fifo"], cwd=tmp_path, stdin=subprocess.PIPE
    )
    process.stdin.write(job.encode())
    process.stdin.close()
    killer = threading.Timer(20, process.kill)
    killer.start()
    heard = []
    with (tmp_path / "fifo").open() as lines:
        for line in map(json.loads, lines):
            heard.append(line["event"])
            if line["event"] == "job_said":
                assert (line["status"], line["progress"]) == ("half", 0.5)
                (tmp_path / "go").write_text("\n")
    assert process.wait(20) == 0, heard
    killer.cancel()
    assert heard[-5:] == ["attempt_started", "job_said", "attempt_ended", "job_ended", "run_ended"]


def test_a_slow_reader_gets_everything(tmp_path):
    reader, writer = os.pipe()
    target = StreamingFile("--events", f"/dev/fd/{writer}")
    target.open()
    os.close(writer)
    data = bytes(range(256)) * 2000
    found = []

    def read():
        while piece := os.read(reader, 5000):
            found.append(piece)
            time.sleep(0.001)

    thread = threading.Thread(target=read)
    thread.start()
    for start in range(0, len(data), 10_000):
        target.write(data[start : start + 10_000])
    target.close()
    thread.join()
    os.close(reader)
    assert b"".join(found) == data and not target.failure


def test_a_descriptor_of_a_file_is_written_from_where_it_is(tmp_path):
    path = tmp_path / "out"
    with path.open("wb") as file:
        file.write(b"before\n")
        file.flush()
        target = StreamingFile("--events", f"/dev/fd/{file.fileno()}")
        target.open()
        target.write(b"line\n")
        target.close()
    assert path.read_bytes() == b"before\nline\n"


def test_the_name_of_a_file_may_be_as_long_as_the_system_takes_it(tmp_path):
    path = tmp_path / ("日" * 83 + ".xml")
    assert play(tmp_path, CELLS["ok"], settings=ReportSettings(junit=str(path))).said == ""
    assert path.stat().st_size


def test_what_the_teller_had_no_time_for_is_in_the_reports_all_the_same(tmp_path):
    played = play(tmp_path, CELLS["int"])
    settings = settings_for(tmp_path / "late")
    reports = ReportSet(settings, environment={})
    reports.begin(played.run, JobTable())
    reports.deliver(played.events[:5])
    code = reports.finish(played.ending, untold=played.events[5:], hurry=True)
    reports.deliver(played.events)  # the teller wakes up too late
    assert code == 130
    for name, file in FILES.items():
        assert (tmp_path / "late" / file).read_bytes() == played.path(name).read_bytes()


def test_somebody_who_wants_to_stop_at_the_end_is_not_kept_by_a_reader(tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    began = time.monotonic()
    played = play(
        tmp_path, CELLS["ok"], settings=ReportSettings(events=str(path)), wait=lambda _seconds: True
    )
    assert time.monotonic() - began < 5
    assert (played.code, played.said) == (4, f"pqrun: cannot write {path} (--events): it has no reader\n")


def test_what_could_not_be_written_for_a_while_is_no_failure_in_the_end(tmp_path):
    target = AtomicFile("--metrics", str(tmp_path / "dir" / "x"))
    target.write([b"1"])
    assert target.failure.endswith("(--metrics): No such file or directory")
    (tmp_path / "dir").mkdir()
    target.write([b"2"])
    assert target.failure == "" and (tmp_path / "dir" / "x").read_bytes() == b"2"
