# SPDX-License-Identifier: LGPL-3.0-or-later
"""`docs/from-gnu-parallel.md` says what is so: its commands are tried, its table is made again."""

import re
import shlex
import subprocess
from pathlib import Path

import pytest

from pqrun.cli.app import app
from pqrun.core.errors import UserError
from pqrun.input.each import split_sources
from pqrun.input.each.template import Template

PAGE = (Path(__file__).parents[3] / "docs" / "from-gnu-parallel.md").read_text(encoding="utf-8")


def rows(head):
    """The rows of the table that begins so, their cells apart."""
    table = PAGE[PAGE.index(head) :].split("\n\n")[0]
    found = [re.split(r" (?<!\\)\| ", row[2:-2].replace(" |", " | ")) for row in table.splitlines()[2:]]
    assert found, head
    return found


def codes(cell):
    return [code.replace(r"\|", "|") for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", cell)]


def idioms():
    return [
        code
        for row in rows("| GNU parallel, xargs | pqrun |")
        for code in codes(row[-1])
        if "pqrun each" in code or "pqrun run" in code
    ]


TAKE_APART = "pqrun() { printf '%s\\0' \"$@\"; echo; }\n"


@pytest.mark.slow
def test_every_idiom_is_understood(tmp_path, monkeypatch):
    """Each is taken apart by a shell, and goes through the command line up to where a run would begin."""
    for name in ("a.log", "b c.log", "x.jpg", "list", "table", "commands", "pooled"):
        (tmp_path / name).touch()
    (tmp_path / "dir").mkdir()
    found = idioms()
    assert len(found) > 25
    script = TAKE_APART + "".join(f"({command})\n" for command in found)
    done = subprocess.run(["/bin/sh"], input=script, text=True, capture_output=True, cwd=tmp_path, check=True)
    words = [line.split("\0")[:-1] for line in done.stdout.splitlines()]
    assert len(words) == len(found)
    asked = []
    monkeypatch.setenv("SHELL", "/bin/sh")
    monkeypatch.setattr("pqrun.app.run.run", lambda settings: asked.append(settings) or 0)
    for arguments in words:
        app(arguments, standalone_mode=False)
    assert len(asked) == len(found)
    for settings in asked:
        each = settings.input.each
        if each is not None and not each.header:
            command, sources = split_sources(each.words, each.files)
            assert sources or "-a" not in each.words
            if command:
                Template(command)


def test_the_table_of_placeholders_is_right():
    shown = [cells for cells in rows("| placeholder | stands for |") if len(cells) == 3 and cells[2].strip()]
    assert shown
    for cells in shown:
        made = Template(*codes(cells[0])).command(("dir/my file.tar.gz",), 1)
        assert [made] == codes(cells[2])


def test_what_is_to_be_written_instead_is_accepted_and_the_other_is_not():
    for refused, accepted in rows("| instead of | write |"):
        wrong = re.findall(r"`+('.*?'|\".*?\")`+", refused)[0]
        with pytest.raises(UserError):
            Template(shlex.split(wrong)[0])
        Template(shlex.split(codes(accepted)[0])[0])
