# SPDX-License-Identifier: LGPL-3.0-or-later
"""Run pqrun with one of its threads under strace, from the moment at which that thread begins our code.

Usage: traced.py ROLE GATE MAP ARGUMENTS…, where ROLE is `main`, `warden` or the name of a thread. The
thread writes its number into the file GATE and waits until it is traced, so strace counts from the first
call that it makes for us: what the interpreter does before is never hit, by this rule and not by a list.
With MAP = 1 the thread also calls `access("/@/STACK")` whenever its Python stack has changed before a
call into C that may enter the kernel: the log of strace then tells which stack made which call.
"""

import faulthandler
import os
import signal
import sys
import threading
import time

MODULES = {
    "posix", "io", "_io", "fcntl", "select", "socket", "_socket", "_thread", "_posixsubprocess", "_signal",
    "signal", "_ctypes", "mmap", "termios", "resource", "marshal",
}  # fmt: skip
LONGEST_STACK = 3000


def gate(path: str) -> None:
    """Waits until the calling thread is traced; makes no call itself that is counted afterwards."""
    thread = threading.get_native_id()
    traced = threading.Event()

    def look() -> None:
        with open(f"{path}.new", "w") as file:
            file.write(str(thread))
        os.rename(f"{path}.new", path)
        while True:
            with open(f"/proc/self/task/{thread}/status") as file:
                if "TracerPid:\t0\n" not in file.read():
                    break
            time.sleep(0.002)
        traced.set()

    threading.Thread(target=look, daemon=True).start()
    traced.wait()


class Stacks:
    """A profile function that tells strace the stack, by the name of a file that is not there."""

    def __init__(self) -> None:
        self._last = ""

    def __call__(self, frame, event, function) -> None:
        if event != "c_call":
            return
        owner = getattr(function, "__module__", None) or type(getattr(function, "__self__", None)).__module__
        if owner not in MODULES:
            return
        stack = stack_of(frame)
        if stack != self._last:
            self._last = stack
            os.access(f"/@/{stack}", 0)


def stack_of(frame) -> str:
    """The callers, outermost first, with lines; all that an import does is one place, that of the import."""
    frames = []
    while frame is not None:
        frames.append(frame)
        frame = frame.f_back
    parts = []
    for frame in reversed(frames):
        code = frame.f_code
        if code.co_filename == __file__:
            continue
        if code.co_filename.startswith("<frozen importlib"):
            parts.append("import")
            break
        name = os.path.basename(code.co_filename).removesuffix(".py")
        parts.append(f"{name}.{code.co_name}.{frame.f_lineno}")
    return ",".join(parts).replace("/", ":")[:LONGEST_STACK]


def main() -> None:
    role, path, mapping, *arguments = sys.argv[1:]
    faulthandler.register(signal.SIGUSR2, all_threads=True)
    sys.argv = ["pqrun", *arguments]

    def enter() -> None:
        gate(path)
        if mapping == "1":
            sys.setprofile(Stacks())

    if role == "main":
        enter()
    elif role == "warden":
        import pqrun.executors.local.watchdog as watchdogs

        keep_watch = watchdogs.run

        def traced_watch(*arguments) -> None:
            if arguments[2] == 0:  # the other one is to take over if this one fails
                enter()
            keep_watch(*arguments)

        watchdogs.run = traced_watch
    else:
        run = threading.Thread.run

        def traced_run(thread: threading.Thread) -> None:
            if thread.name == role and not os.path.exists(path):
                enter()
            run(thread)

        threading.Thread.run = traced_run
    from pqrun.cli.main import entry

    entry()


main()
