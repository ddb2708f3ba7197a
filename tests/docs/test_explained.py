# SPDX-License-Identifier: LGPL-3.0-or-later
"""What there is, a page explains: flags, keys, exit codes, numbers, variables."""

import ast
import importlib
import json
import re

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pqrun.core.errors import InternalFailure
from pqrun.core.job_fields import HOOK_FIELDS, JOB_FIELDS, LOOP_FIELDS, RETRY_FIELDS, TOP_LEVEL_FIELDS
from pqrun.core.metrics import Metrics

from .pages import ROOT, explained, page, script

EXITING = ("InternalFailure", "Rejected", "Exit", "exit", "_exit", "SystemExit")
RETURNING = ("run.py", "main.py", "daemon.py")
REFERENCE = page("cli.md")
CODE = re.compile(r"^\| ([\d, ]+) \| \S.* \|$", re.MULTILINE)


def test_every_flag_is_in_the_reference_and_says_what_it_is_for():
    found = script("cli").program()
    options = [*found.options, *found.of_a_run, *(o for command in found.commands for o in command.own)]
    known = explained(REFERENCE) | set(
        re.findall(r"`(--?[A-Za-z-]+)`", REFERENCE.partition("## Commands")[0])
    )
    assert [o.names for o in options if len(o.about) < 5 or not known.issuperset(o.names)] == []
    assert [c.name for c in found.commands if not c.about or any(not about for _, about in c.arguments)] == []


def test_every_key_of_the_job_file_is_explained():
    known = explained(page("jobfile.md"))
    keys = [
        name
        for table in (TOP_LEVEL_FIELDS, JOB_FIELDS, RETRY_FIELDS, LOOP_FIELDS, HOOK_FIELDS)
        for key in table
        for name in (key.name, *key.also)
    ]
    assert [name for name in keys if name not in known] == []


def branches(value):
    """What an expression may be, if it is one thing or another."""
    if isinstance(value, ast.IfExp):
        return [*branches(value.body), *branches(value.orelse)]
    return [value]


def exit_codes():
    """Numbers that some part of pqrun ends with or hands on as an exit code, each with its place."""
    for path in sorted((ROOT / "pqrun").rglob("*.py")):
        module = importlib.import_module(
            ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        )
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            values = []
            if isinstance(node, ast.Call):
                name = getattr(node.func, "id", getattr(node.func, "attr", ""))
                values = [*node.args, *(k.value for k in node.keywords)] if name in EXITING else []
            elif isinstance(node, ast.Return | ast.AnnAssign | ast.Assign) and path.name in RETURNING:
                values = [node.value]
            for value in values:
                for part in branches(value):
                    number = (
                        getattr(module, part.id, None)
                        if isinstance(part, ast.Name)
                        else getattr(part, "value", None)
                    )
                    if type(number) is int and 0 <= number <= 255:
                        yield number, f"{path.relative_to(ROOT)}:{node.lineno}"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_every_exit_code_is_in_the_table():
    table = REFERENCE.partition("## Exit codes")[2].partition("\n## ")[0]
    known = {int(code) for codes in CODE.findall(table) for code in codes.split(", ")}
    found = dict(exit_codes())
    assert {0, 1, 2, 3, 4, 5, 6, 70, 75} <= set(found), "the search for codes finds those that there are"
    assert {code: place for code, place in found.items() if code not in known} == {}
    assert InternalFailure("").code in known


def test_every_number_of_a_run_is_explained():
    assert set(Metrics._fields) - explained(page("metrics.md")) == set()


@pytest.mark.slow
def test_every_number_for_prometheus_is_explained(tmp_path, run):
    run("--metrics", "numbers.prom", lines=["true"])
    families = text_string_to_metric_families((tmp_path / "numbers.prom").read_text())
    names = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    known = {name.partition("{")[0] for name in explained(page("ci.md"))}
    assert len(names) > 10 and names - known == set()


@pytest.mark.slow
def test_every_variable_that_jobs_get_is_explained(tmp_path, pqrun, surroundings):
    (tmp_path / "jobs.json").write_text(
        json.dumps({"pools": {"gpu": [0]}, "jobs": [{"run": "env -0", "pools": ["gpu"]}]})
    )
    variables = pqrun("run", "-q", "jobs.json").out.split("\0")
    given = {variable.partition("=")[0] for variable in variables[:-1]} - set(surroundings) - {"PWD"}
    assert len(given) > 10
    table = REFERENCE.partition("## Variables that jobs get")[2]
    known = {name.replace("<NAME>", "GPU") for name in re.findall(r"`([A-Z_<>]+)`", table)}
    assert given - known == set()


def test_every_variable_that_hooks_get_is_explained(tmp_path, run, surroundings):
    run("--on-finish", f"env > {tmp_path}/hook", lines=["true"])
    given = {
        line.partition("=")[0]
        for line in (tmp_path / "hook").read_text().splitlines()
        if line.startswith("PQRUN")
    }
    assert len(given) > 5 and given - set(surroundings) - explained(page("ci.md")) == set()


def test_every_variable_that_is_read_is_explained():
    reading = re.compile(r"""environ(?:ment)?b?(?:\.get\(|\[)b?["']([A-Z_]+)["']""")
    read = set()
    for path in (ROOT / "pqrun").rglob("*.py"):
        read.update(reading.findall(path.read_text(encoding="utf-8")))
    usual = {"PATH", "PWD", "TERM"}
    assert len(read) > 5
    assert read - usual - set(re.findall(r"[A-Z_]{2,}", REFERENCE)) == set()
