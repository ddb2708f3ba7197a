# SPDX-License-Identifier: LGPL-3.0-or-later
"""A queue in the terminal where it was started."""

import re
import subprocess
import sys

import pytest

from .conftest import ROOT, Terminal


@pytest.mark.slow
def test_a_queue_says_that_it_serves_and_how_it_is_started_again(tmp_path):
    env = {"PYTHONPATH": str(ROOT), "PQRUN_STATE_DIR": str(tmp_path / "state")}
    pqrun = [sys.executable, "-m", "pqrun"]

    def one(*words):
        done = subprocess.run([*pqrun, *words], env=env, cwd=tmp_path, capture_output=True, text=True)
        return done.stdout

    window = Terminal([*pqrun, "serve", "--run", "night"], 200, 24, env=env, cwd=tmp_path)
    try:
        window.until_shown("`pqrun add` adds jobs, `pqrun stop` ends it")
        assert re.match(r"pqrun: serving \S+/runs/night \(pid \d+\): ", window.text())
        assert one("add", "--id", "long", "echo begun; sleep 600") == "long\n"
        window.until_shown("pqrun serve  night")  # the first line of the table
        window.until_shown("begun")
        window.press("\x03")
        window.finish()
        assert "  continue  pqrun serve --run night" in window.lines()
    finally:
        window.close()
    assert one("show", "latest").endswith("\ncontinue: pqrun serve --run night\n")
    assert "queue  (pqrun serve --run night)" in one("runs")
