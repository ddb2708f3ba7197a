# SPDX-License-Identifier: LGPL-3.0-or-later
"""Recipes and examples: what they have pqrun do, it would do."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml
from support.process import PQRUN

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "examples"
CI = (ROOT / "docs" / "ci.md").read_text(encoding="utf-8")


def commands_of(lines):
    """The command lines of `pqrun run` in them, as words after these two."""
    found = []
    for line in lines:
        if "pqrun run " in line and not line.lstrip().startswith("#"):
            words = shlex.split(line[line.index("pqrun run ") :], comments=True)[2:]
            found.append([word for word in words if word not in ("||", "true")])
    return found


def steps_of(value):
    """All texts that are steps of a CI file: `run:` of GitHub, `script:` of GitLab."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "run" and isinstance(inner, str):
                yield inner
            elif key == "script":
                yield from inner
            else:
                yield from steps_of(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from steps_of(inner)


def would_run(words, directory):
    """What pqrun says to such a command line, if it is to run nothing: its job files are there."""
    for number, word in enumerate(words):
        if word.endswith((".yaml", ".yml")):
            known, file = EXAMPLES / Path(word).name, directory / Path(word).name
            file.write_text(known.read_text() if known.exists() else "jobs: [{id: a, run: echo a}]\n")
            words[number] = file.name
    return subprocess.run(
        [*PQRUN, "run", "--dry-run", *words], cwd=directory, capture_output=True, text=True, timeout=60
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["github-workflow.yml", "gitlab-ci.yml"])
def test_a_ci_file_runs_what_there_is(name, tmp_path):
    commands = commands_of(steps_of(yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))))
    assert commands
    for words in commands:
        done = would_run(words, tmp_path)
        assert done.returncode == 0 and "tox run" in done.stdout, done.stderr


@pytest.mark.parametrize("name", ["ci.yaml", "nightly-backup.yaml"])
def test_a_job_file_is_right_and_a_shell_can_read_its_commands(name):
    done = subprocess.run([*PQRUN, "check", EXAMPLES / name], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    file = yaml.safe_load((EXAMPLES / name).read_text(encoding="utf-8"))
    hooks = [hook for key, hook in file.get("hooks", {}).items() if key.startswith("on_")]
    for command in [*hooks, *(job["run"] for job in file["jobs"])]:
        assert subprocess.run(["/bin/sh", "-nc", command]).returncode == 0


@pytest.mark.slow
def test_every_run_in_the_page_would_run(tmp_path):
    blocks = re.findall(r"```(?:sh|yaml)\n(.*?)```", CI, re.DOTALL)
    commands = commands_of(line for block in blocks for line in block.splitlines())
    commands += commands_of(re.findall(r"sh '(pqrun run [^']*)'", CI))
    assert len(commands) >= 7
    for words in commands:
        done = would_run(words, tmp_path)
        assert done.returncode == 0 and done.stdout, (words, done.stderr)
