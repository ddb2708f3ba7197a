# SPDX-License-Identifier: LGPL-3.0-or-later
"""What the documents show is what happens."""

import json
import re
import subprocess
from functools import partial
from pathlib import Path

import pytest
from support.fake_run import FakeRun
from support.process import PQRUN, environment

from pqrun.cli.commands import MODULES
from pqrun.cli.foreign_verbs import TOOLS
from pqrun.control.connection import verbs_of

from .conftest import call
from .door import Door

ROOT = Path(__file__).parents[3]
DOCS = ROOT / "docs"
QUEUE = (DOCS / "queue.md").read_text(encoding="utf-8")
CONTROL = (DOCS / "control.md").read_text(encoding="utf-8")

STRANGERS = {word for verbs in TOOLS.values() for verb in verbs if verb.means for word in verb.words}


def blocks(document: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", document, re.DOTALL | re.MULTILINE)


def like(promised: str) -> str:
    """A pattern for that output, in which `…` stands for anything in a line."""
    return re.escape(promised).replace("…", ".*")


@pytest.fixture
def shell(tmp_path, state):
    program = tmp_path / "bin" / "pqrun"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec {" ".join(PQRUN)} "$@"\n')
    program.chmod(0o755)
    (tmp_path / "home").mkdir()

    def run(command):
        path = f"{program.parent}:/usr/local/bin:/usr/bin:/bin"
        done = subprocess.run(
            ["sh", "-c", f"exec 2>&1; {command}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            cwd=tmp_path / "home",
            env=environment({"PATH": path}, state=state),
            timeout=60,
            text=True,
        )
        return done.stdout

    yield run
    call(["stop", "--now"], state=state, cwd=tmp_path)


@pytest.mark.slow
def test_a_day_with_a_queue_goes_as_it_is_told(shell):
    for block in blocks(QUEUE, "console"):
        for part in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, promised = part.partition("\n")
            said = shell(command)
            assert re.fullmatch(like(promised), said), f"$ {command}\n{said}"


def test_a_conversation_goes_as_it_is_told(tmp_path):
    door = Door(tmp_path / "s")
    [talk] = blocks(CONTROL, "text")
    with door.call() as caller:
        for line in talk.splitlines():
            if line.startswith(">"):
                caller.send(line[2:].encode() + b"\n")
            else:
                assert caller.answer() == json.loads(line[2:]), line
    door.close()


@pytest.mark.slow
def test_the_python_example_adds_a_job(tmp_path, monkeypatch, capsys, queue):
    one = queue()
    monkeypatch.setenv("PQRUN_SOCKET", str(one.directory / "control.sock"))
    [example] = blocks(CONTROL, "python")
    exec(compile(example, "docs/control.md", "exec"), {})
    assert capsys.readouterr().out == "['1']\n"


def test_every_verb_is_described_and_no_other():
    described = set(
        re.findall(r"`([a-z]+)`", "".join(re.findall(r"^\| (`[a-z`, ]+) \|", CONTROL, re.MULTILINE)))
    )
    verbs = verbs_of(FakeRun())
    assert described == set(verbs)


TELLS = {"job_editor": "edit", "job_messages": "add"}
"""Modules beside the commands that send the request of a command."""


@pytest.mark.slow
def test_each_verb_is_one_file_on_each_side_and_stands_in_every_document():
    sources = [path for path in (ROOT / "pqrun" / "cli").rglob("*.py") if path.name != "declarations.py"]
    sent = {
        (TELLS.get(path.stem, path.stem), verb)
        for path in sources
        for verb in re.findall(r'request\((?:run, )?"(\w+)"', path.read_text())
    }
    pages = {name: (DOCS / name).read_text() for name in ("cli.md", "pqrun.1", "queue.md")}
    help_text = call(["--help"], state=DOCS, cwd=DOCS).out
    for verb, function in verbs_of(FakeRun()).items():
        while isinstance(function, partial):
            function = function.func
        package, _, module = function.__module__.rpartition(".")
        assert package == "pqrun.control.commands", verb
        senders = {command for command, what in sent if what == verb}
        if verb in ("info", "output"):  # parts of `ps` and of `logs -f`
            assert senders, verb
            continue
        assert senders == {module}, verb
        command = verb if verb in MODULES else {"signal": "cancel"}.get(verb, "set")
        assert MODULES[command] == module, verb
        assert f"\n### {command}\n" in pages["cli.md"]
        assert f'\n.SS "{command}"\n' in pages["pqrun.1"]
        assert re.search(rf"`?pqrun {command}\b|`{command}\b", pages["queue.md"]), verb
        assert re.search(rf"^\W*{command}\s", help_text, re.MULTILINE), verb


def test_commands_that_the_documents_name_are_there():
    for document in (QUEUE, CONTROL):
        assert set(re.findall(r"`pqrun ([a-z]+)", document)) - set(MODULES) <= {*STRANGERS}
        for target in re.findall(r"\]\(([^)#]+)\)", document):
            assert (DOCS / target).exists(), target
