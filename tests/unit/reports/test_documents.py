# SPDX-License-Identifier: LGPL-3.0-or-later
"""The documents tell the truth: every name in them exists, and none is missing."""

import json
import re
from configparser import ConfigParser
from pathlib import Path
from typing import get_args

import pytest
import yaml
from reported import CELLS, play

from pqrun.cli.options import RunOptions
from pqrun.core import events as ev
from pqrun.core.settings import ReportSettings
from pqrun.reports.hooks import variables_of

ROOT = Path(__file__).parents[3]
EVENTS = (ROOT / "docs" / "events.md").read_text()
CI = (ROOT / "docs" / "ci.md").read_text()
LINES = json.loads((ROOT / "docs" / "schema" / "events.json").read_text())
OPTIONS = {name for one in RunOptions.declared().values() for name in one.flag.names}


def names_of(text):
    return set(re.findall(r"`([a-z_]+)`", text))


def test_every_event_and_every_key_of_it_is_described():
    rows = dict(re.findall(r"^\| `([a-z_]+)` \|(.*)$", EVENTS, re.MULTILINE))
    spoken = {ref["$ref"].rpartition("/")[2] for ref in LINES["oneOf"]}
    assert spoken <= rows.keys()
    assert (
        len(spoken) == len(get_args(ev.Event)) - 1 + 2
    )  # of OutputGrew nobody is told; begin and end are ours
    for name in spoken - {"job_changed"}:
        keys = LINES["$defs"][name]["properties"].keys() - {"schema", "event", "at", "seq", "id"}
        assert keys <= names_of(rows[name]), name


def test_every_option_and_example_of_the_page_exists():
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", CI)) - OPTIONS <= {
        "--data-binary", "--collector", "--failed", "--from",
    }  # fmt: skip
    for option in OPTIONS & {"--junit", "--trace", "--summary", "--metrics", "--metrics-listen", "--events",
                             "--joblog", "--on-finish", "--on-failure", "--ci"}:  # fmt: skip
        assert option in CI
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", CI + EVENTS):
        assert (ROOT / "docs" / link).exists(), link


def test_every_variable_of_a_hook_is_described(tmp_path):
    played = play(tmp_path, CELLS["ok"], settings=ReportSettings(**{"on_finish": "true", "on_failure": None}))
    variables = variables_of(played.reports.digest, played.run, played.ending).keys()
    assert variables == set(re.findall(r"`(PQRUN_[A-Z_]+)`", CI)) - {"PQRUN_JUNIT", "PQRUN_ON_FINISH"}


def test_every_metric_is_described(tmp_path):
    parser = pytest.importorskip("prometheus_client.parser", reason="needs prometheus-client")
    played = play(tmp_path, CELLS["ok"])
    families = parser.text_string_to_metric_families(played.path("metrics").read_text())
    written = {f.name + ("_total" if f.type == "counter" else "") for f in families}
    assert written == set(re.findall(r"`(pqrun_[a-z_]+)(?:\{[^}]*\})?`", CI))


@pytest.mark.parametrize("name", ["github-workflow.yml", "gitlab-ci.yml"])
def test_the_recipes_are_yaml_and_name_options_that_exist(name):
    text = (ROOT / "examples" / name).read_text()
    assert yaml.safe_load(text)
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text)) - {"--from"} <= OPTIONS


def test_the_nightly_units_are_units_and_run_an_example_with_options_that_exist():
    units = {}
    for name in ("nightly-backup.service", "nightly-backup.timer"):
        unit = ConfigParser(interpolation=None, strict=True)
        unit.optionxform = str
        unit.read_string((ROOT / "examples" / name).read_text())
        units[name] = unit
    words = units["nightly-backup.service"]["Service"]["ExecStart"].split()
    assert words[1] == "run" and (ROOT / "examples" / Path(words[2]).name).exists()
    assert {word for word in words if word.startswith("--")} <= OPTIONS
    assert "OnCalendar" in units["nightly-backup.timer"]["Timer"]
