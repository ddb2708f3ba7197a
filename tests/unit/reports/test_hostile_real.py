# SPDX-License-Identifier: LGPL-3.0-or-later
"""A real run of jobs with hostile names that print what could break a reader, 100 MB among it, into all reports."""

import json
import re
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
from real import HOOKS, Real, reports
from support.process import PQRUN
from test_hostile import NAMES, OUTPUT

from pqrun.reports.safe_text import one_line

pytestmark = pytest.mark.slow

SCHEMAS = Path(__file__).parents[3] / "docs" / "schema"
MEGABYTES = 100
IDS = [name for name in NAMES if name.isprintable()]
OURS = {"group", "endgroup", "error", "warning", "stop-commands"}


class Runner:
    """GitHub's runner, as it reads one stream: what it would obey."""

    def __init__(self, data):
        self.obeyed, self.lines, token = [], [], None
        for line in re.split(rb"\r\n|\r|\n", data):
            found = re.match(rb"\s*::([^ :]+)[^:]*(?::(?!:)[^:]*)*::", line.lstrip(b"\x00\xa0\x85"))
            if token is not None:
                token = None if line.strip() == b"::%b::" % token else token
            elif found or b"##[" in line:
                name = found[1].decode() if found else "##["
                self.obeyed.append(name)
                self.lines.append(line)
                if name == "stop-commands":
                    token = line.rpartition(b"::")[2].strip()
        assert token is None, "what was stopped never goes on"


def largest_size(pid):
    try:
        found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    except OSError:
        return 0
    return int(found[1]) if found else 0


@pytest.fixture(scope="module")
def hostile(tmp_path_factory):
    """Such a run on GitHub: its directory, streams, document and the most memory that it took, in KiB."""
    directory = tmp_path_factory.mktemp("hostile")
    (directory / "output").write_bytes(OUTPUT)
    many = f"head -c {MEGABYTES}000000 /dev/zero | tr '\\0' x; printf '\\n::error::the end\\n'; exit 1"
    run = "cat output; cat output >&2; exit 1"
    listed = [{"id": name, "run": f"{run}\n::error::{name}\n##[error]"} for name in IDS]
    listed.append({"id": "100 MB", "run": many, "priority": "high"})
    (directory / "jobs.json").write_text(json.dumps({"jobs": listed}))
    step = directory / "step.md"
    step.touch()
    environment = {"GITHUB_ACTIONS": "true", "GITHUB_STEP_SUMMARY": str(step), "PATH": "/usr/bin:/bin"}
    words = ["run", "jobs.json", "-j4", "--run-dir", "record", "--results", "out", *reports(), *HOOKS]
    with (directory / "stdout").open("wb") as out, (directory / "stderr").open("wb") as err:
        process = subprocess.Popen([*PQRUN, *words], cwd=directory, stdout=out, stderr=err, env=environment)
        peak = 0
        while process.poll() is None:
            peak = max(peak, largest_size(process.pid))
            time.sleep(0.01)
    assert process.returncode == 1, (directory / "stderr").read_bytes()[-2000:]
    shown = subprocess.run([*PQRUN, "show", "./record", "--json"], cwd=directory, capture_output=True)
    real = Real(directory, json.loads(shown.stdout), 1, "", step.read_text())
    return real, peak


@pytest.mark.skipif(sys.platform != "linux", reason="sizes are read from /proc")
def test_it_stays_out_of_memory(hostile):
    real, peak = hostile
    assert 5_000 < peak < 150_000
    assert real.jobs()["100 MB"]["stdout_bytes"] == MEGABYTES * 1_000_000 + len("\n::error::the end\n")
    sizes = {
        name: real.path(name).stat().st_size for name in ("junit", "summary", "trace", "events", "joblog")
    }
    assert max(sizes.values()) < 3_000_000, sizes


def test_junit_is_read_and_has_them_all(hostile):
    junitparser = pytest.importorskip("junitparser")
    real, _ = hostile
    found = junitparser.JUnitXml.fromfile(str(real.path("junit")))
    cases = {case.name: case for suite in found for case in suite}
    assert cases.keys() == {one_line(name) or name for name in (*IDS, "100 MB")}
    assert found.failures == len(real.document["jobs"])
    assert "\x1b" not in real.path("junit").read_text()
    big = cases["100 MB"].system_out
    assert big.endswith("x\n::error::the end\n") and len(big) < 34_000
    assert re.match(r"\[\d+ bytes before this are left out\]\n", big)


def test_githubs_runner_obeys_us_alone(hostile):
    real, _ = hostile
    assert (real.directory / "stderr").read_bytes() == b"", "the runner knows one token for two streams"
    runner = Runner((real.directory / "stdout").read_bytes())
    assert set(runner.obeyed) <= OURS
    assert runner.obeyed.count("group") == runner.obeyed.count("endgroup") > 0
    notes = [line for line in runner.lines if line.startswith((b"::error ", b"::warning "))]
    assert len(notes) == 10
    assert not [line for line in notes if not re.search(rb"[ ,]title=", line)]
    assert notes[-1].startswith(b"::error title=pqrun::and %d more; " % (len(IDS) + 1 - 9))


def test_the_runner_of_this_test_obeys_what_is_not_fenced():
    assert Runner(OUTPUT).obeyed == ["error", "set-output"]
    assert Runner(b"x\r  ::a b=c::d\n##[e]\n").obeyed == ["a", "##["]
    assert Runner(b"::stop-commands::t\n::error::\n::t::\n::error::\n").obeyed == ["stop-commands", "error"]


def test_pages_are_small_and_balanced(hostile):
    real, _ = hostile
    for page in (real.path("summary").read_text(), real.step):
        assert len(page.encode()) <= 1 << 20
        outside = re.sub(r"`[^`\n]*`", "", re.sub(r"(?ms)^(`{3,})text\n.*?^\1$", "", page))
        assert outside.count("<details>") == outside.count("</details>") == len(IDS) + 2
        assert "<script>" not in outside and "\x1b" not in page


def test_json_is_as_its_schemas_say(hostile, tmp_path):
    if find_spec("check_jsonschema") is None:
        pytest.skip("needs check-jsonschema")
    real, _ = hostile
    (tmp_path / "document.json").write_text(json.dumps(real.document))
    schema = json.loads((SCHEMAS / "events.json").read_text())
    line = {name: schema.pop(name) for name in ("oneOf", "type", "required")}
    (tmp_path / "lines.json").write_text(json.dumps({**schema, "type": "array", "items": line}))
    (tmp_path / "events.json").write_text(json.dumps(real.lines()))
    for file, against in (
        (tmp_path / "document.json", SCHEMAS / "document.json"), (tmp_path / "events.json", tmp_path / "lines.json"),
        (real.path("trace"), SCHEMAS / "trace.json"), (real.directory / "finish.json", SCHEMAS / "hook.json"),
    ):  # fmt: skip
        command = [sys.executable, "-m", "check_jsonschema", "--schemafile", str(against), str(file)]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout


def test_all_of_them_name_the_same_jobs(hostile):
    real, _ = hostile
    names = [*IDS, "100 MB"]
    assert [entry["id"] for entry in real.document["jobs"]] == names
    assert real.path("events").read_bytes().isascii()
    assert [line["id"] for line in real.lines() if line["event"] == "job_added"] == names
    spans = json.loads(real.path("trace").read_text())["traceEvents"]
    assert sorted(span["args"]["id"] for span in spans if span["ph"] == "X") == sorted(names)
    hook = json.loads((real.directory / "finish.json").read_text())
    assert sorted(entry["id"] for entry in hook["jobs"]) == sorted(names)
    assert real.path("joblog").read_bytes().count(b"\n") == len(names) + 1
    metas = sorted((real.directory / "out").glob("*/meta.json"))
    assert sorted(json.loads(meta.read_text())["id"] for meta in metas) == sorted(names)


def test_prometheus_is_told_no_name(hostile):
    parser = pytest.importorskip("prometheus_client.parser")
    real, _ = hostile
    text = real.path("metrics").read_text()
    samples = [s for f in parser.text_string_to_metric_families(text) for s in f.samples]
    assert {label for sample in samples for label in sample.labels} <= {"priority", "outcome", "le"}
    failed = sum(s.value for s in samples if s.name == "pqrun_jobs_ended_total")
    assert failed == len(IDS) + 1


def test_show_writes_the_same(hostile, tmp_path):
    real, _ = hostile
    done = real.show(*reports(f"{tmp_path}/"))
    assert (done.code, done.out, done.err) == (0, "", "")
    for name in ("junit", "joblog"):
        assert (tmp_path / real.path(name).name).read_bytes() == real.path(name).read_bytes()


def test_gitlab_gets_sections_that_are_closed(tmp_path):
    (tmp_path / "output").write_bytes(OUTPUT)
    listed = [{"id": name, "run": "cat output; exit 1"} for name in IDS]
    (tmp_path / "jobs.json").write_text(json.dumps({"jobs": listed}))
    done = subprocess.run(
        [*PQRUN, "run", "jobs.json", "--no-journal", "--ci", "gitlab"], cwd=tmp_path, capture_output=True
    )
    assert done.returncode == 1
    for kind in ("start", "end"):
        found = re.findall(rb"(?m)^\x1b\[0Ksection_%b:\d+:(pqrun_[0-9a-f]{24})" % kind.encode(), done.stdout)
        assert len(found) == len(set(found)) == len(IDS)
