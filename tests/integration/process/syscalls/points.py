# SPDX-License-Identifier: LGPL-3.0-or-later
"""Which calls of which thread can be made to fail, and how: points, found by tracing a run that goes well."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import NamedTuple

SLOT = "pqrun-slot-1"
ALONE = "warden-alone"  # pqrun is killed in the midst of the run
RESUMED = "resume"  # the main thread of a run that goes on with one that was killed so
ROLES = ("main", SLOT, "pqrun-dispatcher", "pqrun-journal", "warden", ALONE, RESUMED)

FILE, PIPE, SOCKET, PROC, OTHER = "file", "pipe", "socket", "proc", "other"
# What each call can really give, by what its descriptor is; `None`: whatever that is.
ERRORS: dict[str, dict[str | None, tuple[str, ...]]] = {
    "pipe2": {None: ("EMFILE", "ENFILE")},
    "openat": {None: ("EMFILE", "EIO", "EACCES", "ENOMEM")},
    "read": {FILE: ("EIO", "EINTR"), PROC: ("ENOMEM", "EIO"), PIPE: ("EINTR",)},
    "write": {FILE: ("ENOSPC", "EIO", "EINTR"), PROC: ("EACCES",), PIPE: ("EINTR", "EAGAIN")},
    "pread64": {FILE: ("EIO",), PROC: ("ENOMEM", "EIO")},
    "pwrite64": {FILE: ("ENOSPC", "EIO")},
    "lseek": {},
    "close": {FILE: ("EIO", "EINTR")},
    "fcntl": {PIPE: ("EPERM",), FILE: ("EMFILE",)},
    "flock": {None: ("ENOLCK", "EINTR", "EAGAIN")},
    "mkdir": {None: ("ENOSPC", "EACCES", "EIO")},
    "rmdir": {None: ("EACCES", "EIO")},
    "unlink": {None: ("EACCES", "EIO")},
    "rename": {None: ("ENOSPC", "EIO", "EACCES")},
    "chmod": {None: ("EPERM", "EIO")},
    "ftruncate": {None: ("EIO",)},
    "fsync": {None: ("EIO", "ENOSPC")},
    "fdatasync": {None: ("EIO", "ENOSPC")},
    "newfstatat": {None: ("EACCES", "EIO", "ENOMEM")},
    "statx": {None: ("EACCES", "EIO")},
    "getdents64": {FILE: ("EIO",), PROC: ("ENOMEM",)},
    "mmap": {None: ("ENOMEM",)},
    "clone": {None: ("EAGAIN", "ENOMEM")},
    "clone3": {None: ("EAGAIN", "ENOMEM")},
    "vfork": {None: ("EAGAIN", "ENOMEM")},
    "pidfd_open": {None: ("EMFILE", "ENOMEM", "ENOSYS", "EPERM")},
    "poll": {None: ("ENOMEM", "EINTR")},
    "waitid": {None: ("EINTR",)},
    "wait4": {None: ("ECHILD", "EINTR")},
    "kill": {None: ("EPERM",)},
    "pidfd_send_signal": {None: ("EPERM",)},
    "prctl": {None: ("EPERM", "EINVAL")},
    "setsid": {None: ("EPERM",)},
    "socket": {None: ("EACCES", "EMFILE", "ENFILE")},
    "bind": {None: ("EACCES", "EADDRINUSE", "ENOSPC")},
    "listen": {None: ("EADDRINUSE", "EACCES")},
    "accept4": {None: ("EMFILE", "ENFILE", "ENOMEM", "EAGAIN", "EINTR")},
    "splice": {PIPE: ("ENOSPC", "EIO", "ENOMEM", "EINTR")},
    "sendfile": {None: ("EIO", "ENOMEM", "ENOSPC", "EAGAIN", "EINTR")},
    "ioctl": {OTHER: ("EIO",), FILE: ("EIO",)},
}
TRACED = ",".join(name for name in ERRORS if ERRORS[name])
# With O_CREAT a file system without room refuses as well.
CREATING = "ENOSPC"

_CALL = re.compile(r"^(?:\d+ +)?(\w+)\((.*)")
_STACK = re.compile(r'^(?:\d+ +)?access\("/@/([^"]*)"')
_FD = re.compile(r"^\d+<([^>]*)>")


class Point(NamedTuple):
    """The `number`th `call` of the thread `role` fails with `error`; `stack` says where that is."""

    role: str
    call: str
    number: int
    error: str
    stack: str
    text: str

    def __str__(self) -> str:
        return f"{self.role}:{self.call}:{self.error}:{self.number}"


def kind_of(arguments: str) -> str:
    """What the first descriptor of a call is."""
    found = _FD.match(arguments)
    if found is None:
        return FILE
    name = found[1]
    if name.startswith("pipe:"):
        return PIPE
    if name.startswith(("socket:", "UNIX", "anon_inode")):
        return SOCKET
    if name.startswith("/proc"):
        return PROC
    return OTHER if name.startswith("/dev") else FILE


def errors_of(call: str, arguments: str) -> tuple[str, ...]:
    """How it can fail."""
    kinds = ERRORS.get(call, {})
    errors = kinds.get(kind_of(arguments), kinds.get(None, ()))
    if call == "openat" and "O_CREAT" in arguments:
        errors = (*errors, CREATING)
    if call == "fcntl" and not ("F_SETPIPE_SZ" in arguments or "F_DUPFD" in arguments):
        errors = ()
    if call == "ioctl" and "TCGETS" not in arguments:
        errors = ()
    if call == "poll" and re.search(
        r", 0\) = [1-9]", arguments
    ):  # the kernel looks for signals only after that
        errors = tuple(error for error in errors if error != "EINTR")
    if call == "write" and '"\\0", 1)' in arguments:  # the bell, which is never full when it is rung
        errors = tuple(error for error in errors if error != "EAGAIN")
    return errors


def points_in(role: str, log: Iterable[str], seen: set[tuple[str, str, str]]) -> Iterator[Point]:
    """All that a traced thread has shown, less what was `seen`: of equal stacks, the first call of each name."""
    stack = ""
    counts: dict[str, int] = {}
    for line in log:
        if found := _STACK.match(line):
            stack = found[1]
        elif (found := _CALL.match(line)) and found[1] in ERRORS:
            call, arguments = found[1], found[2]
            counts[call] = counts.get(call, 0) + 1
            if stack == "import":  # the interpreter loads the program: nothing of ours can deal with that
                continue
            place = stack if call != "mmap" else stack.rpartition(",")[0]  # memory may be asked for anywhere
            for error in errors_of(call, arguments):
                if (call, place, error) not in seen:
                    seen.add((call, place, error))
                    yield Point(role, call, counts[call], error, stack, line.strip())
