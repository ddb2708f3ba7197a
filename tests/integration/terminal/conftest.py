# SPDX-License-Identifier: LGPL-3.0-or-later
"""A terminal to run pqrun in: a pseudo-terminal whose screen pyte draws."""

import fcntl
import importlib.util
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pyte
import pytest

ROOT = Path(__file__).parents[3]
KNOWN = {"LINES", "COLUMNS", "TMUX", "STY", "TERM_PROGRAM", "VTE_VERSION", "SSH_TTY", "WINDOWID"}


def load_picture():
    """The script that draws the picture of the live table; its simulated night serves the tests too."""
    return load_script("live_svg")


def load_script(name):
    """A script in `docs/` that draws a picture."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Terminal:
    """A window with a program in it."""

    def __init__(self, argv, columns, rows, *, env=None, cwd=None):
        self.screen = pyte.HistoryScreen(columns, rows, history=5000, ratio=0.5)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.titles = []
        self.screen.set_title = self.titles.append
        self.code = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                self._size(0, columns, rows)
                os.chdir(cwd or os.getcwd())
                environ = {k: v for k, v in os.environ.items() if k not in KNOWN}
                environ |= {"TERM": "xterm-256color", **(env or {})}
                os.execvpe(argv[0], argv, environ)
            finally:
                os._exit(127)
        os.set_blocking(self.fd, False)

    @staticmethod
    def _size(fd, columns, rows):
        fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def resize(self, columns, rows):
        self._size(self.fd, columns, rows)
        self.screen.resize(rows, columns)

    def press(self, keys):
        os.write(self.fd, keys.encode())

    def echoes(self):
        """Whether the terminal shows what is typed and waits for whole lines, as a shell leaves it."""
        modes = termios.tcgetattr(self.fd)[3]
        return bool(modes & termios.ECHO) and bool(modes & termios.ICANON)

    def listen(self, seconds=0.0):
        """Takes in what the program has written; False when it is gone."""
        ready, _, _ = select.select([self.fd], [], [], seconds)
        if not ready:
            return True
        try:
            data = os.read(self.fd, 65536)
        except BlockingIOError:
            return True
        except OSError:
            data = b""
        if not data:
            return False
        self.raw += data
        self.stream.feed(data)
        return True

    def listen_for(self, seconds):
        """Take in what is written during that time: for what must not happen, or wants time itself."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self.listen(left)

    def until(self, fact, seconds=30.0):
        end = time.monotonic() + seconds
        while not fact():
            assert time.monotonic() < end, "never so:\n" + self.text()
            if not self.listen(0.05) and not fact():
                raise AssertionError("it ended before:\n" + self.text())

    def until_shown(self, text, seconds=30.0):
        self.until(lambda: text in self.text(), seconds)

    def finish(self, seconds=30.0):
        end = time.monotonic() + seconds
        while self.listen(0.05):
            assert time.monotonic() < end, "it does not end:\n" + self.text()
        _, status = os.waitpid(self.pid, 0)
        self.code = os.waitstatus_to_exitcode(status)
        return self.code

    def lines(self):
        return [line.rstrip() for line in self.screen.display]

    def text(self):
        return "\n".join(self.lines()).rstrip()

    def scrolled_out(self):
        """Lines that have left the window at its top."""
        return [
            "".join(row[n].data for n in range(self.screen.columns)).rstrip()
            for row in self.screen.history.top
        ]

    def read_all(self):
        return "\n".join([*self.scrolled_out(), *self.lines()])

    def close(self):
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(self.fd)


@pytest.fixture
def terminal(tmp_path):
    """`terminal(columns, rows, *arguments, jobs=TEXT)`: pqrun run, in a window of that size."""
    windows = []

    def open_window(columns, rows, *arguments, jobs, env=None, name="jobs.txt"):
        (tmp_path / name).write_text(jobs)
        argv = [sys.executable, "-m", "pqrun", "run", name, "--no-journal", *arguments]
        paths = {"PYTHONPATH": str(ROOT), **(env or {})}
        windows.append(Terminal(argv, columns, rows, env=paths, cwd=tmp_path))
        return windows[-1]

    yield open_window
    for window in windows:
        window.close()


@pytest.fixture
def run(tmp_path):
    """`run(*arguments, jobs=TEXT)`: pqrun without a terminal."""

    def run_it(*arguments, jobs, env=None, cwd=tmp_path):
        argv = [sys.executable, "-m", "pqrun", "run", *arguments]
        environ = {**os.environ, "PYTHONPATH": str(ROOT), **(env or {})}
        return subprocess.run(
            argv, input=jobs.encode(), capture_output=True, cwd=cwd, env=environ, timeout=60
        )

    return run_it
