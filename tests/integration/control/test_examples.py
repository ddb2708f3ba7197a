# SPDX-License-Identifier: LGPL-3.0-or-later
"""The examples do what they say."""

import subprocess
import sys
from configparser import ConfigParser
from pathlib import Path

import pytest
from support.process import PQRUN, environment

from pqrun.cli.main import main

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.mark.slow
def test_the_crawler_visits_each_page_once(tmp_path, state):
    site = tmp_path / "site"
    site.mkdir()
    for n in range(8):
        links = "".join(
            f'<a href="page{other}.html#x">{other}</a>' for other in (n // 2, n * 2 % 8, n * 2 % 8 + 1, n)
        )
        page = f"<html><body>{links}<a href='../outside.html'>away</a></body></html>"
        (site / f"page{n}.html").write_text(page)
    commands = tmp_path / "bin"
    commands.mkdir()
    pqrun = commands / "pqrun"
    pqrun.write_text(f'#!/bin/sh\nexec {" ".join(PQRUN)} "$@"\n')
    pqrun.chmod(0o755)
    path = {"PATH": f"{commands}:/usr/local/bin:/usr/bin:/bin"}
    done = subprocess.run(
        [sys.executable, EXAMPLES / "crawler.py", f"file://{site}/page1.html", "9"],
        capture_output=True,
        env=environment(path, state=state),
        timeout=100,
        text=True,
    )
    visited = [line.split()[1].rpartition("/")[2] for line in done.stdout.splitlines()]
    assert sorted(visited) == [f"page{n}.html" for n in range(8)], done.stderr
    assert visited[0] == "page1.html"
    assert done.returncode == 0 and "8 jobs" in done.stderr


def test_the_unit_starts_a_queue_with_options_that_there_are(monkeypatch, capfd):
    unit = ConfigParser(interpolation=None)
    unit.optionxform = str
    unit.read(EXAMPLES / "pqrun.service")
    program, *words = unit["Service"]["ExecStart"].split()
    assert program.endswith("/pqrun") and words[0] == "serve"
    monkeypatch.setattr("sys.argv", ["pqrun", *words, "--run", "not/a/name"])
    try:
        main()
    except SystemExit as ended:
        assert ended.code == 2
    assert "invalid name of a queue" in capfd.readouterr().err, "all options before that were understood"
