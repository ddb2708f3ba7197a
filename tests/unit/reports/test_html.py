# SPDX-License-Identifier: LGPL-3.0-or-later
"""The HTML report: one file that nothing in it can break, whose script is that of the modules, and no secret."""

import json
import os
import re
import shutil
import subprocess
from base64 import b64encode
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
from reported import CELLS, Cell, job, play
from support.process import run_pqrun

from pqrun.core import events as ev
from pqrun.core.job import (
    NO_REPORT,
    UNKNOWN_SIZE,
    Command,
    CountedAs,
    ExitedWith,
    InputBlock,
    JobSpec,
    KilledBySignal,
    NotStarted,
    OutputPlace,
    RetryPolicy,
    StopReason,
    Usage,
)
from pqrun.core.job_row import FullRow, JobRow
from pqrun.output.store import Logs
from pqrun.reports import html
from pqrun.reports.page_data import (
    ROWS_PER_CHUNK,
    AttemptRecords,
    RecordSpool,
    RetryWait,
    attempt_record,
    chunk,
    describe_retries,
    job_record,
    script_of,
    shown_arguments,
)
from pqrun.reports.page_files import DIRECTORY, joined_modules, page_file
from pqrun.reports.report import RunInfo
from pqrun.reports.text_spool import TextSpool

ROOT = Path(__file__).parents[3]
NO_LOGS = Logs("", keep=True)
RUN = RunInfo("r1", (), 1, 0.0, lambda at: at)
MODULES = sorted(name for name in os.listdir(DIRECTORY) if name.endswith(".js"))
SCRIPT = re.compile(rb'<script type="application/json"([^>]*)>(.*?)</script>\n', re.DOTALL)


def tool(name):
    """The path of a program from npm, or of the system; skips the test without it."""
    for place in os.environ.get("NODE_PATH", "").split(os.pathsep):
        if place and os.access(path := f"{place}/.bin/{name}", os.X_OK):
            return path
    return shutil.which(name) or pytest.skip(f"{name} is not installed (npm install, and NODE_PATH)")


def parts(data):
    """The head, the chunks, and the kept outputs by element id."""
    found = [(attributes.decode(), json.loads(text)) for attributes, text in SCRIPT.findall(data)]
    outputs = {name.split('"')[1]: value for name, value in found if 'id="output-' in name}
    return found[0][1], [value for name, value in found if "chunk" in name], outputs


def values(chunks, kind, name):
    """A column of all chunks of a kind."""
    found = []
    for one in chunks:
        if one["kind"] == kind:
            column = one["columns"][name]
            if isinstance(column, list):
                found += column
            elif "all" in column:
                found += [column["all"]] * one["rows"]
            else:
                found += [column["values"][at] for at in column["at"]]
    return found


def test_no_text_ends_a_script_element():
    nasty = ["</script><script>alert(1)</script>", "<!-- <script>", "\u2028\u2029", "\udcff", "]]>", "é"]
    data = script_of(nasty, ' id="x"')
    assert data.isascii() and data.count(b"<") == 2 and data.count(b"\n") == 1
    (found,) = SCRIPT.findall(data)
    assert json.loads(found[1]) == [*nasty[:3], "\ufffd", *nasty[4:]]


def test_columns_are_short_where_values_repeat():
    records = [RetryWait(seq, 2, seq, 7 if seq % 2 else 8) for seq in range(1, 6)]
    found = chunk("waits", records)
    assert found == {
        "kind": "waits", "rows": 5,
        "columns": {"seq": (1, 2, 3, 4, 5), "attempt": {"all": 2}, "since": (1, 2, 3, 4, 5), "until": (7, 8, 7, 8, 7)},
    }  # fmt: skip
    assert values([json.loads(json.dumps(found))], "waits", "until") == [7, 8, 7, 8, 7]


def test_less_than_a_chunk_is_in_memory():
    text = TextSpool()
    spool = RecordSpool(text)
    for seq in range(ROWS_PER_CHUNK - 1):
        spool.put("waits", RetryWait(seq, 2, 0, 1))
    assert text.size == 0
    spool.put("waits", RetryWait(ROWS_PER_CHUNK, 2, 0, 1))
    assert text.size > 0 and spool._records["waits"] == []
    assert [json.loads(found[1])["rows"] for found in SCRIPT.findall(b"".join(spool.pieces()))] == [
        ROWS_PER_CHUNK
    ]


def spec_of(job_id, stdin=None, **fields):
    return JobSpec(job_id, Command("true", env=(("A", "1"), ("TOKEN", "secret")), stdin=stdin), **fields)


@pytest.mark.parametrize(
    "spec, expected",
    [
        (spec_of("test[PY=3.11]", args=("3.11", "x"), arg_names=("PY",)), (("PY", "3.11"), ("2", "x"))),
        (spec_of("x[A=1]"), ()),
        (spec_of("x", args=("y" * 2000,)), (("1", "y" * 1000),)),
        (spec_of("x", stdin=InputBlock(2, 7, 9, "/a")), (("offset", "7"), ("bytes", "9"))),
        (spec_of("x", stdin=InputBlock(2, 0, UNKNOWN_SIZE, "/a")), ()),
    ],
)  # fmt: skip
def test_arguments_are_in_the_page(spec, expected):
    assert shown_arguments(spec) == expected


def test_of_many_arguments_the_first_are_in_the_page_and_the_others_are_counted():
    row = JobRow(1, spec_of("x", args=tuple(map(str, range(20_000)))))
    record = job_record(row, RUN, last="", logs=NO_LOGS)
    assert (record.args[-1], len(record.args), record.args_left) == (("100", "99"), 100, 19_900)


@pytest.mark.parametrize("out, err, packed", [(0, 0, 0), (3, 0, 1), (0, 3, 2), (3, 4, 3)])
def test_the_page_knows_which_streams_lie_in_a_pack(out, err, packed):
    streams = (SimpleNamespace(size=2, place=OutputPlace("f", 0, pack)) for pack in (out, err))
    output = SimpleNamespace(**dict(zip(("out", "err"), streams, strict=True)))
    end = ev.AttemptEnded(
        2.0, 1, 1, CountedAs.COMPLETED, ExitedWith(0), None, 1.0, 2.0, Usage(), NO_REPORT, output
    )
    facts = {"lane": 1, "submitted": 0.0, "waited": 0.0, "priority": 1, "last": ""}
    assert attempt_record(end, JobRow(1, spec_of("x")), RUN, **facts).packed == packed


def test_the_page_tells_the_signal_that_ended_a_stopped_attempt():
    killed = KilledBySignal("SIGKILL")
    end = ev.AttemptEnded(
        2.0, 1, 1, CountedAs.TIMEOUT, killed, StopReason.TIMEOUT, 1.0, 2.0, Usage(), NO_REPORT
    )
    facts = {"lane": 1, "submitted": 0.0, "waited": 0.0, "priority": 1, "last": ""}
    assert (
        attempt_record(end, JobRow(1, spec_of("x", timeout=1.0)), RUN, **facts).how == "timeout 1s, SIGKILL"
    )


def test_an_attempt_without_a_process_takes_its_time_from_the_queue_to_its_end():
    records = AttemptRecords(RUN._replace(began=100.0))
    records.submitted(ev.AttemptSubmitted(101.0, 1, 1, 0.5), 1)
    missing = NotStarted(127, "there is no such program")
    end = ev.AttemptEnded(103.0, 1, 1, CountedAs.FAILED, missing, None, 103.0, 103.0, Usage(), NO_REPORT)
    record = records.ended(end, JobRow(1, spec_of("x")))
    assert (record.submitted, record.began, record.ended) == (1_000_000, 1_000_000, 3_000_000)


def test_the_page_has_times_of_the_wall_clock_which_goes_on_while_pqrun_is_suspended():
    run = RUN._replace(began=100.0, wall=lambda at: at if at < 102.0 else at + 60.0)
    end = ev.AttemptEnded(
        103.0, 1, 1, CountedAs.COMPLETED, ExitedWith(0), None, 101.0, 103.0, Usage(), NO_REPORT
    )
    row = FullRow(JobRow(1, spec_of("x")))
    row.queued, row.started, row.ended = 100.5, 101.0, 103.0
    records = AttemptRecords(run)
    records.submitted(ev.AttemptSubmitted(100.75, 1, 1, 0.25), 1)

    attempt, record = records.ended(end, row), job_record(row, run, last="", logs=NO_LOGS)

    # As in `show`, the attempt is as long as it ran.
    assert (attempt.submitted, attempt.began, attempt.ended) == (750_000, 61_000_000, 63_000_000)
    assert (record.queued, record.started, record.ended) == (500_000, 61_000_000, 63_000_000)
    assert record.ran == 2_000_000
    assert records.waiting(ev.JobWaiting(103.0, 1, 1, 104.0)) == RetryWait(1, 1, 63_000_000, 64_000_000)


@pytest.mark.parametrize("state, flaky", [("ok", 1), ("failed", 0)])
def test_only_a_job_that_went_well_at_last_is_flaky(state, flaky):
    row = FullRow(JobRow(1, spec_of("x")))
    row.state = state
    assert job_record(row, RUN, last="", logs=NO_LOGS).flaky == 0
    row.retries = 1
    assert job_record(row, RUN, last="", logs=NO_LOGS).flaky == flaky


def test_retries_are_said_in_words():
    assert describe_retries(RetryPolicy()) == ""
    assert (
        describe_retries(RetryPolicy(max=2))
        == "up to 2, after 1s × 2 each time, at most 1m00s; after any failure"
    )
    fixed = RetryPolicy(3, 5.0, "constant", on=frozenset({75, "timeout"}), permanent=frozenset({2}))
    assert describe_retries(fixed) == "up to 3, after 5s; after 75, timeout, never after 2"


def test_the_policy_allows_the_style_and_the_script_of_the_page_alone(tmp_path):
    play(tmp_path, CELLS["failed"])
    text = (tmp_path / "run.html").read_text(encoding="utf-8")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]+)"', text)[1]
    (style,), (script,) = (
        re.findall("<style>(.*?)</style>", text, re.S),
        re.findall('<script type="module">(.*?)</script>', text, re.S),
    )
    hashes = [f"'sha256-{b64encode(sha256(part.encode()).digest()).decode()}'" for part in (script, style)]
    assert policy == (
        f"default-src 'none'; script-src {hashes[0]}; style-src {hashes[1]}; base-uri 'none'; form-action 'none'"
    )
    assert text.index("Content-Security-Policy") < text.index("<style>")
    outside = text.replace(style, "").replace(script, "")
    assert not re.search(
        r"\ssrc=|href=\"(?!#)|\sstyle=|\son[a-z]+=|url\(", SCRIPT.sub(b"", outside.encode()).decode()
    )
    assert re.findall(r"https?://(?!www\.w3\.org/2000/svg)\S+", style + script) == []


def test_modules_can_be_joined_and_never_make_markup_of_text():
    top = re.compile(r"^(?:export )?(?:async )?(?:function|class|const|let) (\w+)", re.MULTILINE)
    lists = re.compile(r"^  ([A-Z][A-Z_]+) = ", re.MULTILINE)  # the second and later names of one `const`
    names = [
        name
        for module in MODULES
        for name in top.findall(page_file(module)) + lists.findall(page_file(module))
    ]
    assert sorted(names) == sorted(set(names))
    joined, live = joined_modules(), joined_modules("live.js")
    assert [name for name in names if name not in joined + live] == []
    assert "EventSource" in live and "fetch(" in live
    assert "EventSource" not in joined and "fetch(" not in joined  # the file asks no network
    assert not re.search(r"^(import|export) ", joined, re.MULTILINE)
    for module in MODULES:
        text = page_file(module)
        assert (
            re.findall(
                r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\b|new Function|DOMParser",
                text,
            )
            == []
        )
        assert len(text.splitlines()) <= 400, module
        wanted = re.findall(r'^import .* from "\./(\w+\.js)";', text, re.MULTILINE)
        assert set(wanted) <= set(MODULES)


@pytest.mark.slow
def test_style_of_the_modules():
    words = [tool("eslint"), "-c", str(ROOT / "eslint.config.mjs"), str(DIRECTORY)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.slow
def test_types_of_the_modules():
    done = subprocess.run([tool("tsc"), "-p", DIRECTORY], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout) == (0, "")


def test_output_is_in_the_file_for_jobs_that_failed_were_retried_or_are_few(tmp_path, monkeypatch):
    monkeypatch.setattr(html, "FEW_JOBS", 3)
    few = [job("a"), job("b", exit=ExitedWith(1)), job("c", tries=[ExitedWith(1)])]
    told = {"all": (b"out\n", b"err\n")}
    play(tmp_path, Cell(few, 1), outputs=told)
    head, _, outputs = parts((tmp_path / "run.html").read_bytes())
    assert outputs.keys() == {"output-1-1", "output-2-1", "output-3-1", "output-3-2"}
    assert outputs["output-1-1"] == {"out": "out\n", "err": "err\n", "outCut": 0, "errCut": 0}
    assert head["fewJobs"] == 3
    play(tmp_path, Cell([*few, job("d")], 1), outputs=told)
    assert parts((tmp_path / "run.html").read_bytes())[2].keys() == outputs.keys() - {"output-1-1"}


def test_long_output_is_cut_and_all_of_it_is_limited(tmp_path, monkeypatch):
    monkeypatch.setattr(html, "MAX_OUTPUT_BYTES", 150_000)
    monkeypatch.setattr(html, "MAX_REDUCED_BYTES", 205_000)
    jobs = [job(f"j{number}", exit=ExitedWith(1)) for number in range(9)]
    play(tmp_path, Cell(jobs, 1, slots=1), outputs={"all": (b"x" * 5_000_000, b"")})
    outputs = parts((tmp_path / "run.html").read_bytes())[2]
    sizes = [len(one["out"]) for one in outputs.values()]
    assert sizes == [65536, 65536, 65536, *[2048] * (len(sizes) - 3)] and 3 < len(sizes) < 9
    assert {one["outCut"] + len(one["out"]) for one in outputs.values()} == {5_000_000}


@pytest.mark.slow
def test_a_job_that_runs_again_is_reported_by_its_last_record(tmp_path):
    state = {"PQRUN_STATE_DIR": str(tmp_path / "state")}
    (tmp_path / "list").write_text("# pqrun: id=a\ntest -e there\n# pqrun: id=b\ntrue\n")
    page = str(tmp_path / "page.html")
    assert run_pqrun("run", "-q", "list", "--html", page, env=state, cwd=tmp_path).code == 1
    (tmp_path / "there").touch()
    assert run_pqrun("resume", "latest", "--failed", env=state, cwd=tmp_path).code == 0
    head, chunks, _ = parts(Path(page).read_bytes())
    found = dict(zip(values(chunks, "jobs", "seq"), values(chunks, "jobs", "state"), strict=True))
    assert found == {1: "ok", 2: "ok"} and head["code"] == 0
    assert sorted(values(chunks, "attempts", "attempt")) == [1, 1, 2]


@pytest.mark.slow
def test_values_of_variables_are_not_in_the_file(tmp_path):
    state = {"PQRUN_STATE_DIR": str(tmp_path / "state")}
    (tmp_path / "jobs.yaml").write_text('jobs: {a: {run: "exit 1", env: {PASSWORD: hunter2}}}\n')
    words = (
        "run",
        "jobs.yaml",
        "-q",
        "--env",
        "TOKEN=swordfish",
        "--env=KEY=opensesame",
        "--html",
        "page.html",
    )
    assert run_pqrun(*words, env=state, cwd=tmp_path).code == 1
    assert run_pqrun("show", "--html", "again.html", env=state, cwd=tmp_path).code == 0
    for name in ("page.html", "again.html"):
        text = (tmp_path / name).read_text()
        assert [secret for secret in ("hunter2", "swordfish", "opensesame") if secret in text] == []
        head, chunks, _ = parts(text.encode())
        assert sorted(values(chunks, "jobs", "variables")[0]) == ["KEY", "PASSWORD", "TOKEN"]
        assert head["command"] == "pqrun run jobs.yaml -q --env 'TOKEN=…' '--env=KEY=…' --html page.html"
