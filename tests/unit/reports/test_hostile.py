# SPDX-License-Identifier: LGPL-3.0-or-later
"""Whatever jobs are called and print, no report breaks, and none obeys them."""

import json
import re
import tracemalloc
import xml.etree.ElementTree as ET

import pytest
from reported import Cell, digest_of, job, play

from pqrun.core import events as ev
from pqrun.core.job import (
    AttemptId,
    Command,
    CountedAs,
    ExitedWith,
    JobSpec,
    Outcome,
    RetryPolicy,
    SelfReport,
    Usage,
)
from pqrun.core.job_table import JobTable
from pqrun.core.metrics import Metrics
from pqrun.core.settings import ReportSettings
from pqrun.core.text import replace_surrogates
from pqrun.output.store import Capture, Logs
from pqrun.reports.github import annotations
from pqrun.reports.hooks import summary_of, variables_of
from pqrun.reports.markdown import code_block, code_span
from pqrun.reports.report import Ending, RunInfo
from pqrun.reports.report_set import ReportSet
from pqrun.reports.safe_text import one_line, printed

NAMES = [
    "plain", "a|b", "a\\|b", "`tick`", "``", "<script>alert(1)</script>", "x]]>y", "::error::no",
    "%0A::error::no", "a\nb", "a\tb", "\x1b[31mred\x1b[0m", "\x00\x01\x02\x7f\x80", "\udcff\ud800",
    "\ufffe\uffff", "é·→😀", "[link](http://x)", "@somebody", "**bold** _it_ #1", "---", "</details>",
    "&amp;&#124;", "a" * 200, " ", "\u2028\u202e",
]  # fmt: skip
SHOWN = list(map(replace_surrogates, NAMES))
OUTPUT = b"".join([
    b"::error file=x::forged\n", b"::set-output name=a::b\n", b"]]>\n",
    b"\x1b[2J\x1b]0;title\x07\x1b[31mred\x1b[0m\n", bytes(range(256)),
    b"\n```\n````text\n</details>\n<b>&amp;\n| a | b |\n", b"\r\r\r10%\r100%\r\n", b"\xed\xa0\x80\xff\n",
    "\ufffe\uffff\u2028\n".encode(),
])  # fmt: skip


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """A run of jobs with such names, commands, messages and output."""
    jobs = [
        job(name, exit=ExitedWith(1), tries=[ExitedWith(2)], run=f"echo {name}\n{name}") for name in NAMES
    ]
    played = play(tmp_path_factory.mktemp("hostile"), Cell(jobs, 1), outputs={"all": (OUTPUT, OUTPUT)})
    assert played.reports.failures == []
    return played


def test_junit_is_xml_with_unique_names_and_the_output(hostile):
    junitparser = pytest.importorskip("junitparser")
    found = junitparser.JUnitXml.fromfile(str(hostile.path("junit")))
    cases = [case for suite in found for case in suite]
    assert len({(case.classname, case.name) for case in cases}) == len(cases) == len(NAMES)
    for case in cases:
        assert "]]>" in case.system_out and "\x1b" not in case.system_out and "title" not in case.system_out
        assert "::error file=x::forged" in case.system_out
    assert {case.name for case in cases} >= {
        name for name in NAMES if name.isprintable() or name in ("a\nb", "a\tb")
    }


def test_the_page_shows_each_name_in_a_cell_of_its_own(hostile):
    markdown = pytest.importorskip("markdown_it").MarkdownIt("gfm-like", {"linkify": False, "html": True})
    tokens = markdown.parse(hostile.path("summary").read_text())
    rows, cells = [], None
    for token in tokens:
        if token.type == "tr_open":
            cells = []
        elif token.type == "inline" and cells is not None:
            cells.append(shown(token))
        elif token.type == "tr_close":
            rows.append(cells)
            cells = None
    named = [row for row in rows if len(row) == 5 and row[0] != "job"]
    assert [row[0] for row in named] == [one_line(name, 200) or " " for name in NAMES]
    assert all(row[1] == "exit 1" and row[2] == "2" for row in named)
    fences = [token for token in tokens if token.type == "fence"]
    assert len(fences) == len(NAMES)
    assert all("</details>" in fence.content for fence in fences)
    assert all("::error file=x::forged" in fence.content for fence in fences)
    raw = "".join(token.content for token in tokens if token.type == "html_block")
    assert "<script>" not in raw and raw.count("<details>") == raw.count("</details>") == len(NAMES) + 1


def shown(token):
    """What a reader sees of a cell."""
    kinds = ("text", "code_inline", "text_special")
    return "".join(child.content for child in token.children if child.type in kinds)


@pytest.mark.parametrize("name", [*NAMES, "a\n```\nb", "````\n```"])
def test_a_span_and_a_block_show_text_as_it_is(name):
    markdown = pytest.importorskip("markdown_it").MarkdownIt("gfm-like", {"linkify": False})
    table = markdown.parse(f"| a | b |\n| --- | --- |\n| {code_span(name)} | x |")
    cells = [token for token in table if token.type == "inline"][2:]
    assert [shown(cell) for cell in cells] == [one_line(name, 200) or " ", "x"]
    text = printed(name.encode("utf-8", "replace"))
    (fence,) = [token for token in markdown.parse(code_block(text)) if token.type == "fence"]
    assert fence.content == text + "\n"


def test_annotations_are_at_most_ten_lines_that_begin_with_our_command(hostile):
    lines = annotations(digest_of(hostile)).splitlines()
    assert len(lines) == 10
    rule = re.compile(r"::(error|warning) [a-z]+=[^:,\r\n]*(,[a-z]+=[^:,\r\n]*)*::[^\r\n]*")
    assert all(rule.fullmatch(line) for line in lines)
    assert f"and {len(NAMES) - 9} more" in lines[-1]


def test_json_lines_are_lines_of_ascii(hostile):
    data = hostile.path("events").read_bytes()
    assert data.isascii() and len(data.splitlines()) == len(hostile.lines())
    assert [line["id"] for line in hostile.lines() if line["event"] == "job_added"] == SHOWN
    trace = json.loads(hostile.path("trace").read_text())["traceEvents"]
    assert {event["args"]["id"] for event in trace if event["ph"] == "X"} == {*SHOWN}


def test_a_hook_reads_ascii_and_gets_no_name_in_a_variable(hostile):
    found = summary_of(digest_of(hostile), hostile.run, hostile.ending)
    assert found.isascii() and [entry["id"] for entry in json.loads(found)["jobs"]] == SHOWN
    variables = variables_of(digest_of(hostile), hostile.run, hostile.ending)
    assert all(re.fullmatch(r"[\w/:,. -]*", value) for value in variables.values())


def test_numbers_for_prometheus_hold_no_name(hostile):
    parser = pytest.importorskip("prometheus_client.parser")
    text = hostile.path("metrics").read_text()
    labels = [s.labels for f in parser.text_string_to_metric_families(text) for s in f.samples]
    assert {name for found in labels for name in found} <= {"priority", "outcome", "le"}


def test_the_joblog_has_a_line_a_job(hostile):
    lines = hostile.path("joblog").read_bytes().split(b"\n")
    assert len(lines) == len(NAMES) + 2
    assert all(line.count(b"\t") >= 8 for line in lines[:-1])


class Endless:
    """Output of any size, of which the end alone is ever made."""

    def __init__(self, size):
        self.size, self.place = size, None

    def tail(self, limit):
        return b"x" * min(limit, self.size)


def test_huge_output_is_cut_to_its_end_and_that_is_said(tmp_path):
    logs = Logs(str(tmp_path / "logs"), keep=True)
    path = tmp_path / "logs" / "0000" / "1.1.out"
    path.parent.mkdir(parents=True)
    with path.open("wb") as file:
        for _ in range(100):
            file.write(b"y" * (1 << 20))
        file.write(b"\nthe end\n")
    size = path.stat().st_size
    settings = ReportSettings(
        **{name: str(tmp_path / name) for name in ("junit", "summary", "trace", "events")}
    )
    reports = ReportSet(settings, environment={})
    reports.begin(RunInfo("r", (), 1, 0.0, lambda at: at), JobTable())
    output = Capture.stored(logs, AttemptId(1, 1), size, 0)
    tracemalloc.start()
    reports.deliver(story_of_one(1, output))
    reports.finish(Ending(1, Metrics(), {"state": "ended", "ended_at": None}))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 << 20
    case = ET.parse(tmp_path / "junit").getroot().find(".//system-out")
    assert case.text.endswith("\nthe end\n") and len(case.text) < 34_000
    assert case.text.startswith(f"[{size - 32768} bytes before this are left out]\n")
    assert "the end" in (tmp_path / "summary").read_text()


@pytest.mark.slow
def test_a_million_bytes_from_each_of_many_jobs_stay_below_what_readers_take(tmp_path):
    settings = ReportSettings(**{name: str(tmp_path / name) for name in ("junit", "summary")})
    reports = ReportSet(settings, environment={})
    reports.begin(RunInfo("r", (), 1, 0.0, lambda at: at), JobTable())
    output = type("C", (), {"out": Endless(1 << 20), "err": Endless(1 << 20)})
    tracemalloc.start()
    for seq in range(1, 601):
        reports.deliver(story_of_one(seq, output))
    reports.finish(Ending(1, Metrics(), {"state": "ended", "ended_at": None}))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20
    assert (tmp_path / "junit").stat().st_size < 30_000_000
    assert len(ET.parse(tmp_path / "junit").getroot().findall(".//testcase")) == 600
    page = (tmp_path / "summary").read_bytes()
    assert len(page) <= 1 << 20 and b"and 400 more" in page


def story_of_one(seq, output):
    """A job that fails at its first attempt."""
    spec = JobSpec(f"j{seq}", Command("yes"), retry=RetryPolicy())
    return [
        ev.JobAdded(0.0, seq, spec),
        ev.JobQueued(0.0, seq, 1, spec.priority),
        ev.AttemptSubmitted(0.0, seq, 1, 0.0),
        ev.AttemptEnded(
            1.0, seq, 1, CountedAs.FAILED, ExitedWith(1), None, 0.0, 1.0, Usage(), SelfReport(), output
        ),
        ev.JobEnded(1.0, seq, Outcome.FAILED, 1),
    ]
