# SPDX-License-Identifier: LGPL-3.0-or-later
"""`each` against GNU parallel, argument by argument: as it was written down, and where it is installed."""

import os
import shutil
import subprocess

import pytest
from cases import SEEDS, by_gnu_parallel, case, put, recorded

INSTALLED = shutil.which("parallel") is not None and b"GNU parallel" in (
    subprocess.run(["parallel", "--version"], capture_output=True).stdout
)
needs_it = pytest.mark.skipif(not INSTALLED, reason="GNU parallel is not installed here")


def rendered(found, commands, directory):
    """The commands that `each` makes of a case."""
    put(found, directory)
    (directory / "stdin").write_text(found.stdin, encoding="utf-8", newline="")
    sources = ["stdin" if word == "-" and found.sources[at - 1].startswith("::::") else word
               for at, word in enumerate(found.sources)]  # fmt: skip
    options = found.options
    return commands(
        *found.command,
        *sources,
        null="-0" in options,
        colsep=options[options.index("--colsep") + 1] if "--colsep" in options else None,
        header="--header" in options,
    )


def printed(commands, directory):
    """What they print, one after the other."""
    script = "\n".join(commands) + "\n"
    done = subprocess.run(["/bin/sh"], input=script.encode(), capture_output=True, cwd=directory, check=True)
    return done.stdout.decode()


def test_a_few_hundred_cases_are_recorded_as_they_are_made():
    found = [made for made, _ in recorded()]
    assert len(found) >= 300
    assert [found[n] for n in (0, 7, 299)] == [case(SEEDS[n]) for n in (0, 7, 299)]


@pytest.mark.slow
def test_every_recorded_case_gives_the_same_arguments(commands, tmp_path):
    wrong = []
    for found, expected in recorded():
        for old in tmp_path.iterdir():
            old.unlink()
        got = printed(rendered(found, commands, tmp_path), tmp_path)
        if got != expected:
            wrong.append((found, expected, got))
    assert wrong == []


@pytest.mark.slow
@needs_it
@pytest.mark.parametrize("seed", range(1000, 1005))
def test_gnu_parallel_itself_gives_the_same_arguments(seed, commands, tmp_path):
    found = case(seed, rows=6)
    (tmp_path / "home").mkdir()
    expected = by_gnu_parallel(found, tmp_path)
    assert printed(rendered(found, commands, tmp_path), tmp_path) == expected


@pytest.mark.slow
@pytest.mark.parametrize("number", [2, 11, 60])
def test_the_program_does_what_its_templates_say(number, each, tmp_path):
    found, expected = list(recorded())[number]
    put(found, tmp_path)
    done = each(*found.options, *found.command, *found.sources, input=found.stdin)
    assert (done.code, done.out) == (0, expected)


@pytest.mark.slow
def test_a_dry_run_prints_what_the_shell_would_be_given(commands, each, tmp_path):
    found = case(5)
    expected = rendered(found, commands, tmp_path)
    done = each("--dry-run", *found.options, *found.command, *found.sources, input=found.stdin)
    assert done.lines == expected
    assert os.listdir(os.environ["PQRUN_STATE_DIR"]) == []
