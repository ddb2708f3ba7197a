# SPDX-License-Identifier: LGPL-3.0-or-later
"""Commands that pqrun tells people to type work as they stand, in bash and other shells."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

import pqrun as package
from pqrun.core.text import command, original_bytes, quoted_word

SHELLS = [shell for shell in ("bash", "zsh", "ksh", "mksh") if shutil.which(shell)]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A directory in which `pqrun` is the one that is tested."""
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin" / "pqrun"
    script.write_text(f'#!/bin/sh\nexec {sys.executable} -m pqrun "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(Path(package.__file__).parents[1]))
    return tmp_path


def typed(place, text):
    done = subprocess.run(
        ["bash", "-c", text], cwd=place, capture_output=True, stdin=subprocess.DEVNULL, timeout=60
    )
    assert b"Traceback" not in done.stderr
    return done


def run(place, *words, jobs):
    (place / "jobs.yaml").write_text(jobs)
    return subprocess.run(
        ["pqrun", "run", *words, "jobs.yaml"], cwd=place, capture_output=True, stdin=subprocess.DEVNULL
    )


def hints(data):
    """The commands at the end of what it said, by what they are for."""
    lines = data.decode().splitlines()
    return dict(
        re.split(r" {2,}", line.strip(), maxsplit=1) for line in lines if re.search(r"  pqrun [a-z]+ ", line)
    )


RECORDS = [b"plain", b"-dash", b"with space", b"it's", b"latin-\xe9", b"-\xff'\n\\x41", b"$HOME"]


@pytest.mark.slow
@pytest.mark.parametrize("record", RECORDS, ids=ascii)
@pytest.mark.parametrize("name", ["plain", "-x", "--failed", "it's $HOME", "-é\u200d"], ids=ascii)
def test_the_last_page_can_be_copied(place, record, name):
    done = run(
        place,
        "--run-dir=" + os.fsdecode(record),
        jobs=f'jobs: [{{id: "{name}", run: "echo printed; test -e good"}}]',
    )
    assert done.returncode == 1
    found = hints(done.stderr)
    shown = typed(place, found["see a log"])
    assert (shown.returncode, shown.stdout) == (0, b"printed\n"), (found, shown.stderr)
    (place / "good").touch()
    again = typed(place, found["run failed jobs again"])
    assert again.returncode == 0, (found, again.stderr)
    assert typed(place, hints(again.stderr)["see more"]).returncode == 0


@pytest.mark.slow
def test_a_record_that_is_there_already_and_the_page_of_show(place):
    record = b"-\xe9"
    run(place, b"--run-dir=-\xe9", jobs="jobs: ['false']")
    done = run(place, b"--run-dir=-\xe9", jobs="jobs: ['false']")
    assert done.returncode == 2
    told = re.search(r"continue it with `(.*)`", done.stderr.decode())[1]
    assert told == r"pqrun resume -- $'-\351'"
    shown = subprocess.run(["pqrun", "show", "--", record], cwd=place, capture_output=True)
    line = next(
        line for line in shown.stdout.decode().splitlines() if line.startswith("run failed jobs again: ")
    )
    assert line == r"run failed jobs again: pqrun resume --failed -- $'-\351'"
    assert typed(place, line.partition(": ")[2]).returncode == 1


def test_words_that_need_nothing_are_left_alone():
    assert command("logs", "k3f9", "fetch") == "pqrun logs k3f9 fetch"
    assert command("resume", "k3f9", options="--failed") == "pqrun resume k3f9 --failed"
    assert command("resume", "-r", options="--failed") == "pqrun resume --failed -- -r"
    assert quoted_word("test[PY=3.11]") == "'test[PY=3.11]'"
    assert [quoted_word(text) for text in ("=ls", "a=b")] == [
        "'=ls'",
        "a=b",
    ]  # zsh reads `=ls` as the path of `ls`


@pytest.mark.parametrize("shell", SHELLS)
@settings(deadline=None, max_examples=20)
@given(
    words=some.lists(some.binary(max_size=20).filter(lambda data: b"\0" not in data), min_size=1, max_size=20)
)
def test_each_word_arrives_as_it_is(shell, words):
    texts = [word.decode("utf-8", "surrogateescape") for word in words]
    script = "printf '%s\\0' " + " ".join(map(quoted_word, texts))
    out = subprocess.run([shell, "-c", original_bytes(script)], capture_output=True, check=True).stdout
    assert out == b"".join(word + b"\0" for word in words)
