# SPDX-License-Identifier: LGPL-3.0-or-later
"""What contributors are told exists: files, names in files, sessions, markers."""

import re
import tomllib

import pytest

from .pages import DOCS, ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
STEPS = re.findall(r"^\| \d \| (.*?) \| (.*) \|$", TEXT, re.MULTILINE)


def test_files_that_it_names_are_there():
    named = set(re.findall(r"`((?:pqrun|tests|docs|\.ci|completions|benchmarks)/[\w./-]*)`", TEXT))
    assert len(named) > 40
    assert [name for name in named if not (ROOT / name).exists()] == []


@pytest.mark.parametrize(("files", "what"), STEPS, ids=lambda text: re.sub(r"\W+", "_", text)[:40])
def test_names_in_upper_case_are_in_the_files_of_their_step(files, what):
    text = ""
    for name in re.findall(r"`([\w./-]+)`", files + what):
        path = ROOT / name
        text += path.read_text(encoding="utf-8") if path.is_file() else ""
    names = re.findall(r"`(_?[A-Z][A-Z_]{3,})`", what)
    assert [name for name in names if name not in text] == []


def test_every_generator_is_named():
    scripts = {f"docs/{path.name}" for path in DOCS.glob("*.py")}
    assert {name for name in scripts if name not in TEXT} == set()
    sessions = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    assert {path.stem for path in DOCS.glob("*.py") if f'"{path.stem}"' not in sessions} == set()


def test_sessions_and_markers_that_it_names_are_there():
    sessions = (ROOT / "noxfile.py").read_text(encoding="utf-8")
    assert [name for name in re.findall(r"`nox -s (\w+)", TEXT) if f"def {name}(" not in sessions] == []
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    markers = {marker.partition(":")[0] for marker in settings["tool"]["pytest"]["ini_options"]["markers"]}
    assert markers == {"slow", "cluster", "browser", "exhaustive", "timeout(seconds)"}
    (quick,) = set(re.findall(r'"(not [a-z ]+)"', TEXT)) & set(re.findall(r'"(not [a-z ]+)"', sessions))
    assert {"slow", "cluster", "browser"} == set(quick.replace("not ", "").split(" and "))
