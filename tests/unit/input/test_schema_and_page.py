# SPDX-License-Identifier: LGPL-3.0-or-later
"""The schema, the page and the examples say what the reader does."""

import importlib.util
import json
import re
from pathlib import Path

import pytest
import yaml

from pqrun.cli.commands.check_init_schema import EXAMPLE, check_files, schema_text, write_example
from pqrun.core.errors import UserError
from pqrun.core.job_fields import HOOK_FIELDS, JOB_FIELDS, LOOP_FIELDS, RETRY_FIELDS, TOP_LEVEL_FIELDS
from pqrun.input.jobfile import load

TOP_DIRECTORY = Path(__file__).parents[3]
_found = importlib.util.spec_from_file_location("jobfile_page", TOP_DIRECTORY / "docs" / "jobfile_page.py")
_page = importlib.util.module_from_spec(_found)
_found.loader.exec_module(_page)
jobfile_page = _page.jobfile_page
SCHEMA = json.loads(schema_text())
MESSAGES = Path(__file__).with_name("mistakes.txt").read_text(encoding="utf-8")
TYPES = {
    "object": dict, "array": list, "string": str, "boolean": bool, "integer": int, "number": (int, float),
}  # fmt: skip


class Plain(yaml.SafeLoader):
    """YAML as editors read it: of the words for truth only `true` and `false`, no dates."""


Plain.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in found if not tag.endswith((":timestamp", ":bool"))]
    for first, found in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
Plain.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile("^(true|false)$"), ["t", "f"])


def accepts(shape, value):
    """Whether a value is valid, for as much of JSON Schema as ours is written in."""
    if "$ref" in shape:
        return accepts(SCHEMA["definitions"][shape["$ref"].rpartition("/")[2]], value)
    if "anyOf" in shape:
        return any(accepts(one, value) for one in shape["anyOf"])
    if "enum" in shape and value not in shape["enum"]:
        return False
    names = shape.get("type", [])
    names = [names] if isinstance(names, str) else names
    kinds = [TYPES[name] for name in names]
    truth = isinstance(value, bool)
    if kinds and not any(isinstance(value, kind) and (kind is bool or not truth) for kind in kinds):
        return False
    if isinstance(value, int | float) and not truth:
        return shape.get("minimum", value) <= value <= shape.get("maximum", value)
    if isinstance(value, str):
        long = shape.get("minLength", 0) <= len(value) <= shape.get("maxLength", len(value))
        return long and (re.search(shape["pattern"], value) is not None if "pattern" in shape else True)
    if isinstance(value, list):
        items = shape.get("items", {})
        return len(value) >= shape.get("minItems", 0) and all(accepts(items, item) for item in value)
    if isinstance(value, dict):
        return _accepts_map(shape, value)
    return True


def _accepts_map(shape, value):
    known = shape.get("properties", {})
    patterns = shape.get("patternProperties", {})
    if not set(shape.get("required", ())) <= value.keys() or len(value) < shape.get("minProperties", 0):
        return False
    for name, item in value.items():
        if not accepts(shape.get("propertyNames", {}), name):
            return False
        fits = [one for pattern, one in patterns.items() if re.search(pattern, name)]
        rest = known[name] if name in known else fits[0] if fits else shape.get("additionalProperties", {})
        if rest is False or not accepts(rest, item):
            return False
    return True


def test_the_schema_is_of_draft_07_and_describes_every_key():
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    described = {
        name: shape["description"]
        for part in (SCHEMA, *SCHEMA["definitions"].values())
        for name, shape in part["properties"].items()
    }
    assert described.keys() == {
        name
        for key in (*TOP_LEVEL_FIELDS, *JOB_FIELDS, *LOOP_FIELDS, *RETRY_FIELDS, *HOOK_FIELDS)
        for name in (key.name, *key.also)
    }
    assert all(len(description) > 20 for description in described.values())


@pytest.mark.parametrize(
    "path", sorted((TOP_DIRECTORY / "examples").glob("*.yaml")), ids=lambda path: path.name
)
def test_an_example_is_right_for_the_reader_and_for_the_schema(path, tmp_path, monkeypatch):
    for name in ("photos/a.jpg", "incoming/a.mkv", "projects/a/b", "urls.txt"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("https://example.org/a\n")
    monkeypatch.chdir(tmp_path)
    text = path.read_text(encoding="utf-8")
    assert load([str(path)], {}).warnings == ()
    assert accepts(SCHEMA, yaml.load(text, Plain))


def test_each_block_of_the_page_is_right_for_the_reader_and_for_the_schema(files, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hosts.txt").write_text("localhost\n")
    blocks = re.findall(r"```yaml\n(.*?)```", jobfile_page(), re.DOTALL)
    assert len(blocks) >= 4
    for block in blocks:
        files.load(block)
        assert accepts(SCHEMA, yaml.load(block, Plain))


SCHEMA_SEES = [
    "an unknown key", "an unknown key at the top", "an unknown key in retries", "wrong types",
    "a number in quotes",
    "null", "a tilde", "numbers out of range", "a file without jobs", "an empty list of jobs",
    "a text instead of jobs",
    "a list as a job", "a variable without a name", "a variable with an equals sign in its name",
    "words that are not known", "newcomer 1: a typo", "newcomer 8: a bad duration", "newcomer 9: yes",
    "newcomer 10: a wrong type", "needs of an unknown kind", "pools that can't be",
]  # fmt: skip


@pytest.mark.parametrize("name", SCHEMA_SEES)
def test_an_editor_sees_the_mistake_too(name):
    text = MESSAGES.partition(f"==== {name}\n")[2].partition("---- says\n")[0]
    assert text
    assert not accepts(SCHEMA, yaml.load(text, Plain))


def test_the_pages_in_docs_are_those_that_are_made():
    pages = _page.pages()
    assert {path.name for path in pages} == {"jobfile.md", "control.md", "journal.md"}
    for path, made in pages.items():
        assert path.read_text(encoding="utf-8") == made, "run: python docs/jobfile_page.py"


def test_the_page_has_every_key():
    page = jobfile_page()
    for key in (*TOP_LEVEL_FIELDS, *JOB_FIELDS, *RETRY_FIELDS):
        assert f"| `{key.name}`" in page


def test_each_example_of_a_key_is_accepted_by_the_reader(files):
    for key in JOB_FIELDS:
        text = f"pools: {{net: 4}}\njobs:\n  - {{id: fetch, run: a}}\n  - {key.name}: {key.example}\n"
        text += "" if key.name == "run" else "    run: b\n"
        files.load(text.replace("id: fetch\n", "id: other\n"))
    for key in RETRY_FIELDS:
        files.load(f"jobs:\n  - run: a\n    retries:\n      {key.name}: {key.example}\n")
    for key in TOP_LEVEL_FIELDS:
        files.load(f"{key.name}: {key.example}\n" + ("" if key.name == "jobs" else "jobs: [a]\n"))


def test_check_says_that_a_file_is_right_in_one_line(tmp_path, capsys):
    path = tmp_path / "jobs.yaml"
    path.write_text("jobs: [a, {run: b, matrix: {X: [1, 2]}}]\n")
    assert check_files([str(path)]) == 0
    assert capsys.readouterr() == (f"{path}: 3 jobs, no problems\n", "")
    path.write_text("jobs: [a]\n")
    assert check_files([str(path)]) == 0
    assert capsys.readouterr() == (f"{path}: 1 job, no problems\n", "")


def test_check_says_all_that_is_wrong_on_stderr(tmp_path, capfd):
    path = tmp_path / "jobs.yaml"
    path.write_text("jobs:\n  - run: make\n    tiemout: 90s\n")
    assert check_files([str(path)]) == 2
    assert capfd.readouterr() == (
        "",
        f"{path}:3:5: error: unknown key `tiemout`\n"
        "    3 |     tiemout: 90s\n"
        "      |     ^\n"
        "  hint: did you mean `timeout`?\n"
        f"1 error in {path}; nothing was run\n",
    )


def test_check_warns_without_failing(tmp_path, capfd):
    path = tmp_path / "jobs.yaml"
    path.write_text("jobs:\n  - echo #b\n")
    assert check_files([str(path)]) == 0
    out, err = capfd.readouterr()
    assert out == f"{path}: 1 job, no problems\n"
    assert err.startswith(f"{path}:2:5: warning: `#b` is a comment")


def test_init_writes_an_example_that_is_right_and_never_over_a_file(tmp_path):
    path = tmp_path / "jobs.yaml"
    write_example(str(path))
    assert path.read_text() == EXAMPLE
    assert EXAMPLE.startswith("# yaml-language-server: $schema=")
    assert [job.id for job in load([str(path)], {}).jobs] == [
        "1", "fetch", "test[SIZE=small]", "test[SIZE=large]", "report",
    ]  # fmt: skip
    assert accepts(SCHEMA, yaml.load(EXAMPLE, Plain))
    path.write_text("mine")
    with pytest.raises(UserError, match="exists already"):
        write_example(str(path))
    assert path.read_text() == "mine"
    with pytest.raises(UserError, match="no such file or directory"):
        write_example(str(tmp_path / "no" / "jobs.yaml"))
