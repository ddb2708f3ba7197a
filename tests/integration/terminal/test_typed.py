# SPDX-License-Identifier: LGPL-3.0-or-later
"""Commands typed on the terminal on which the live table is going to be."""

import os
import sys

import pytest

from .conftest import ROOT, Terminal

RUN = f"{sys.executable} -m pqrun run --no-journal"
ERASE = "\x7f"
END = "\x04"


@pytest.fixture
def typing(tmp_path):
    """`typing(shell)`: a window in which a shell's command waits for what is typed."""
    windows = []
    os.mkfifo(tmp_path / "go")

    def open_window(shell):
        windows.append(
            Terminal(["/bin/sh", "-c", shell], 90, 30, env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path)
        )
        return windows[-1]

    yield open_window
    for window in windows:
        window.close()


FROM = {
    "the terminal": f"{RUN} -",
    "the terminal by name": f"{RUN} /dev/tty",
    "a pipe": f"cat | {RUN}",
    "a loop": f"while read -r line; do echo \"$line\"; done | {RUN} -",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("shell", FROM.values(), ids=FROM)
def test_typed_commands_are_shown_edited_and_ended_as_in_a_shell(typing, tmp_path, shell):
    window = typing(shell)
    window.press("echo onX" + ERASE + "e $((41 + 1))\n")
    window.until_shown("one 42")  # it runs while the next one is typed
    assert window.echoes()
    assert "q drain" not in window.text()
    window.press("read x < go; echo went $x\n")
    window.press("echo last\n" + END)
    window.until_shown("q drain")  # now the table has the keyboard
    assert not window.echoes()
    (tmp_path / "go").write_text("on\n")
    assert window.finish() == 0
    assert "went on" in window.read_all()
    assert "3 jobs" in window.read_all()
    assert "not found" not in window.read_all() and "^D" not in window.read_all()


@pytest.mark.slow
def test_a_list_from_a_file_has_the_keys_at_once(typing, tmp_path):
    (tmp_path / "list").write_text("read x < go\n")
    window = typing(f"{RUN} list")
    window.until_shown("q drain")
    assert not window.echoes()
    (tmp_path / "go").write_text("on\n")
    assert window.finish() == 0
