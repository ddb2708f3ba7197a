# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which commands need no shell: `sleep 5` can be executed as it stands, as make does it.

Only where the outcome is the same in every respect: no character that means anything to a shell, no
builtin or keyword as its first word, and a program that the shell would find at the same place.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable

_PLAIN = re.compile(r"[ \t]*[A-Za-z0-9_./+:@%^,-]+(?:[ \t]+[A-Za-z0-9_./+:@%^,=-]+)*[ \t]*")
SHELL_BUILTINS = frozenset(
    [
        ".",
        ":",
        "[",
        "[[",
        "]]",
        "{",
        "}",
        "!",
        "alias",
        "bg",
        "bind",
        "break",
        "builtin",
        "caller",
        "case",
        "cd",
        "chdir",
        "command",
        "compgen",
        "complete",
        "compopt",
        "continue",
        "coproc",
        "declare",
        "dirs",
        "disown",
        "do",
        "done",
        "echo",
        "elif",
        "else",
        "enable",
        "esac",
        "eval",
        "exec",
        "exit",
        "export",
        "false",
        "fc",
        "fg",
        "fi",
        "for",
        "function",
        "getopts",
        "hash",
        "help",
        "history",
        "if",
        "in",
        "inherit",
        "jobs",
        "kill",
        "let",
        "local",
        "logout",
        "mapfile",
        "popd",
        "print",
        "printf",
        "pushd",
        "pwd",
        "read",
        "readarray",
        "readonly",
        "return",
        "select",
        "set",
        "shift",
        "shopt",
        "source",
        "suspend",
        "test",
        "then",
        "time",
        "times",
        "trap",
        "true",
        "type",
        "typeset",
        "ulimit",
        "umask",
        "unalias",
        "unset",
        "until",
        "wait",
        "whence",
        "while",
    ]
)
MAX_CACHED_PROGRAMS = 4096


class ShellBypass:
    """Decides for the commands of one run; what it has seen of programs it keeps in mind."""

    def __init__(self) -> None:
        self._programs: dict[tuple[str, int, int, int], bool] = {}

    def words(self, run: str, path: Callable[[], str | None], directory: str) -> list[str] | None:
        """The argument list, or `None` if it takes a shell; `path` tells the job's own PATH.

        The program is looked for as a shell in `directory` would; it may be gone a moment later, so
        that a failure to execute it is no proof of anything.
        """
        if len(run) > 2000 or not _PLAIN.fullmatch(run):
            return None
        words = run.split()
        program = words[0]
        if program in SHELL_BUILTINS or program.startswith("-"):
            return None
        if "/" in program:
            return words if self._runs(os.path.join(directory, program)) else None
        for folder in (path() or "").split(":"):
            if not folder.startswith("/"):
                return None  # an empty or relative entry: where the shell stands then is its own affair
            candidate = f"{folder}/{program}"
            try:
                os.stat(candidate)
            except OSError:
                continue
            return words if self._runs(candidate) else None
        return None

    def _runs(self, program: str) -> bool:
        """Whether the kernel itself can execute it; a script without `#!` only a shell can."""
        try:
            found = os.stat(program)
            if not stat.S_ISREG(found.st_mode) or not os.access(program, os.X_OK):
                return False
            key = (program, found.st_ino, found.st_mtime_ns, found.st_size)
            known = self._programs.get(key)
            if known is None:
                known = _is_executable_as_it_is(program)
                if len(self._programs) >= MAX_CACHED_PROGRAMS:
                    self._programs.clear()
                self._programs[key] = known
        except OSError:
            return False
        return known


def _is_executable_as_it_is(program: str) -> bool:
    with open(program, "rb") as file:
        head = file.read(256)
    if head.startswith(b"\x7fELF"):
        return True
    if not head.startswith(b"#!") or b"\n" not in head:
        return False
    interpreter = head[2 : head.index(b"\n")].split()[:1]
    return bool(interpreter) and interpreter[0].startswith(b"/") and os.access(interpreter[0], os.X_OK)
