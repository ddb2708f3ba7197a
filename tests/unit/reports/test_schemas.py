# SPDX-License-Identifier: LGPL-3.0-or-later
"""What is JSON is as its published schema says, in the eyes of a tool that isn't ours."""

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from real import KILLED, RUNS
from reported import CELLS, digest_of, play

from pqrun.reports.hooks import summary_of

SCHEMAS = Path(__file__).parents[3] / "docs" / "schema"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(find_spec("check_jsonschema") is None, reason="needs check-jsonschema"),
]


def check(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "check_jsonschema", *map(str, arguments)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def played_cells(tmp_path_factory):
    """Each way in which a run can end, on a fake clock."""
    return [
        play(tmp_path_factory.mktemp("cell"), cell, outputs={"all": (b"x\n", b"y\n")})
        for cell in CELLS.values()
    ]


@pytest.fixture(scope="module")
def all_cells(played_cells, really_run):
    """Those, and the same by the program itself."""
    return [*played_cells, *map(really_run, [*RUNS, *KILLED])]


def test_the_schemas_are_schemas():
    check("--check-metaschema", *sorted(SCHEMAS.glob("*.json")))


def test_every_line_of_events(all_cells, tmp_path):
    schema = json.loads((SCHEMAS / "events.json").read_text())
    line = {name: schema.pop(name) for name in ("oneOf", "type", "required")}
    (tmp_path / "schema.json").write_text(json.dumps({**schema, "type": "array", "items": line}))
    for number, played in enumerate(all_cells):
        (tmp_path / f"{number}.json").write_text(json.dumps(played.lines()))
    check("--schemafile", tmp_path / "schema.json", *tmp_path.glob("[0-9]*.json"))


def test_the_final_document(all_cells, tmp_path):
    for number, played in enumerate(all_cells):
        (tmp_path / f"{number}.json").write_text(json.dumps(played.document))
    check("--schemafile", SCHEMAS / "document.json", *tmp_path.glob("*.json"))


def test_traces(all_cells):
    check("--schemafile", SCHEMAS / "trace.json", *(played.path("trace") for played in all_cells))


def test_what_hooks_read(played_cells, tmp_path):
    for number, played in enumerate(played_cells):
        found = summary_of(digest_of(played), played.run, played.ending)
        (tmp_path / f"{number}.json").write_bytes(found)
        bad = [e["id"] for e in played.document["jobs"] if e["state"] in ("failed", "timeout", "interrupted")]
        assert [entry["id"] for entry in json.loads(found)["jobs"]] == bad
    check("--schemafile", SCHEMAS / "hook.json", *tmp_path.glob("*.json"))
