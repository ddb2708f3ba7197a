# SPDX-License-Identifier: LGPL-3.0-or-later
"""The README does not lie: its console blocks are run, and their output compared.

Times, run ids and counts are masked. Where jobs run side by side their lines may come in any order.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pqrun.cli.lazy import MODULES

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```console\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
MASKS = [
    (r"\d\d:\d\d:\d\d \[[\d-]+/[\d-]+\]", "TIME [COUNT]"),
    (r"\b\d+(\.\d+)?(ms|s|m\d\ds)\b", "SECONDS"),
    (r"(pqrun (?:logs|show|resume)) [0-9a-z]{6}\b", r"\1 RUN"),
    (r"[ \t]+", " "),
]


def commands(block):
    """Its commands, each with the output that is promised."""
    for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
        command, _, output = part.partition("\n")
        yield command, output


def masked(output):
    for pattern, mask in MASKS:
        output = re.sub(pattern, mask, output)
    return sorted(line.strip() for line in output.split("\n"))


@pytest.fixture
def shell(tmp_path, surroundings):
    """Runs a command as in a clone's directory, with pqrun on the path; both of its streams."""
    shutil.copytree(ROOT / "examples", tmp_path / "examples")
    program = tmp_path / "bin" / "pqrun"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m pqrun "$@"\n')
    program.chmod(0o755)
    environment = {**surroundings, "PATH": f"{program.parent}:{surroundings['PATH']}"}

    def run(command):
        done = subprocess.run(
            ["sh", "-c", f"exec 2>&1; {command}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=tmp_path,
            env=environment,
            timeout=60,
            check=False,
        )
        return done.stdout.decode()

    return run


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n", 1)[0].removeprefix("$ ")[:40])
def test_what_the_readme_shows_is_what_happens(shell, block):
    for command, output in commands(block):
        assert masked(shell(command)) == masked(output), command


def test_it_is_not_too_long_and_its_links_lead_somewhere():
    assert len(README.splitlines()) <= 400
    for target in re.findall(r"\]\(([^)#]+)\)", README):
        assert target.startswith("https://") or (ROOT / target).exists(), target


def test_each_of_its_two_commands_is_one_line_of_a_block():
    blocks = re.findall(r"^```sh\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    assert [block.count("\n") for block in blocks] == [1, 1]
    assert "pqrun run examples/" in blocks[0] and "-m pytest" in blocks[1]
    assert all(block.startswith("python3 -m venv .venv && ") for block in blocks)


def test_options_and_fields_that_it_names_are_there(pqrun):
    from pqrun.jobfile.keys import IN_COMMENT

    helped = pqrun("run", "--help", env={"COLUMNS": "200"}).out
    for option in set(re.findall(r"`(--?[a-z][a-z-]*)", README)):
        assert option in helped or option in ("--failed",), option
    fields = re.search(r"`(id priority [^`]*)`", README)[1].split()
    assert sorted(fields) == sorted(key.name for key in IN_COMMENT)


def test_commands_that_it_names_are_there():
    assert set(re.findall(r"`pqrun ([a-z]+)", README)) - set(MODULES) == set()
