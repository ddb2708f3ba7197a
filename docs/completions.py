# SPDX-License-Identifier: LGPL-3.0-or-later
"""The files in completions/: `python docs/completions.py` writes them anew. A test compares them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

DIRECTORY = Path(__file__).parents[1] / "completions"
FILES = {"pqrun.bash": "bash", "_pqrun": "zsh", "pqrun.fish": "fish"}
PROGRAM = "import sys; sys.argv[0] = 'pqrun'; from pqrun.cli.main import main; main()"
# zsh loads the file on the first TAB as a function, which has to complete then and there.
FIRST_TAB = 'if [[ ${funcstack[1]} == _pqrun ]]; then _pqrun_completion "$@"; fi\n'


def script(shell: str) -> str:
    """What the program itself prints for that shell, without its blank lines around it."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, "--show-completion", shell],
        env={**os.environ, "_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION": "1"},
        capture_output=True,
        text=True,
        check=True,
    )
    text = done.stdout.strip() + "\n"
    return text + FIRST_TAB if shell == "zsh" else text


if __name__ == "__main__":
    DIRECTORY.mkdir(exist_ok=True)
    for name, shell in FILES.items():
        (DIRECTORY / name).write_text(script(shell))
