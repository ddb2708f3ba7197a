# SPDX-License-Identifier: LGPL-3.0-or-later
"""Commands that need no shell: `sleep 5` can be executed directly, as make does it.

A command qualifies only if the result is the same in every respect: it has no character that a shell
interprets, its first word is no builtin or keyword, and the shell would find the same program.
"""

from __future__ import annotations

import os
import stat

_PLAIN = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./+:@%^,=- \t"
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
    """The shell-or-not decision for the commands of one run, with a cache of the programs seen."""

    def __init__(self) -> None:
        self._programs: dict[tuple[str, int, int, int], bool] = {}

    def words(self, run: str, path: str | None, directory: str) -> list[str] | None:
        """Return the argument list of a command, None if it needs a shell.

        `path` is the job's own PATH. The program is searched as a shell in `directory` would search it.
        It may be gone a moment later, so the exec can still fail.
        """
        if len(run) > 2000 or run.strip(_PLAIN) or not (words := run.split()):
            return None
        program = words[0]
        if program in SHELL_BUILTINS or program.startswith("-") or "=" in program:
            return None
        if "/" in program:
            return words if self._runs(os.path.join(directory, program)) else None
        for folder in (path or "").split(":"):
            if not folder.startswith("/"):
                return (
                    None  # an empty or relative entry depends on the shell's directory: leave it to the shell
                )
            candidate = f"{folder}/{program}"
            try:
                os.stat(candidate)
            except OSError:
                continue
            return words if self._runs(candidate) else None
        return None

    def _runs(self, program: str) -> bool:
        """Say whether the kernel can execute the program.

        A script without `#!` returns False, because only a shell can run it.
        """
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
