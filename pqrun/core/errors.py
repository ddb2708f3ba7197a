# SPDX-License-Identifier: LGPL-3.0-or-later
"""The two ways to fail on purpose; anything else that is raised is a bug. And the exit codes of a run."""

from __future__ import annotations

from errno import EAGAIN, EBADF, EFAULT, EINVAL, EMFILE, ENOTSOCK
from types import ModuleType

OK, SOME_FAILED, USAGE, NOT_ALL_RUN, OWN_FAILURE, BUG = 0, 1, 2, 3, 4, 70


class UserError(Exception):
    """What the user did; shown without a traceback, exit 2."""


class Rejected(Exception):
    """A request to a live run that cannot be carried out; `code` is the exit code of the client."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code


class InternalFailure(Exception):
    """pqrun's own part can't go on (journal, run directory, its output); exit 4, or `code`."""

    def __init__(self, message: str, code: int = OWN_FAILURE) -> None:
        super().__init__(message)
        self.code = code


MISUSE = frozenset({EBADF, EFAULT, EINVAL, ENOTSOCK})
"""Errors of a system call that this program has called wrongly."""
CURES = {EMFILE: "see `ulimit -n`", EAGAIN: "see `ulimit -u`"}


def refusal(error: BaseException) -> InternalFailure | None:
    """Return what the machine refused, as a failure of our own part; None if the error is a bug of ours.

    A system call that fails and a module that can't be read are facts about the machine and the disk. They
    are told in one line, and end the run with exit 4 wherever they were not dealt with.
    """
    if isinstance(error, InternalFailure):
        return error
    if isinstance(error, ImportError):
        failure = InternalFailure(f"cannot load {error.name or 'a part of pqrun'}: {error}")
    elif isinstance(error, AttributeError) and (hollow := _hollow(error.obj)):
        failure = InternalFailure(f"cannot load {hollow}: its files can't be read")
    elif isinstance(error, OSError) and error.errno is not None and error.errno not in MISUSE:
        where = "" if error.filename is None else f" ({error.filename})"
        cure = f"; {CURES[error.errno]}" if error.errno in CURES else ""
        failure = InternalFailure(f"cannot go on: {error.strerror}{where}{cure}")
    else:
        return None
    failure.__cause__ = error
    return failure


def _hollow(module: object) -> str:
    """The name of a package without its code: what the interpreter makes of one whose files it can't look at."""
    is_package = isinstance(module, ModuleType) and hasattr(module, "__path__")
    return (
        str(getattr(module, "__name__", "")) if is_package and not getattr(module, "__file__", None) else ""
    )
