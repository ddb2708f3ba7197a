# SPDX-License-Identifier: LGPL-3.0-or-later
"""The exceptions for expected failures, and the exit codes of a run. Any other exception is a bug."""

from __future__ import annotations

from errno import EAGAIN, EBADF, EFAULT, EINVAL, EMFILE, ENOTSOCK
from types import ModuleType

OK, SOME_FAILED, USAGE, NOT_ALL_RUN, OWN_FAILURE, BUG = 0, 1, 2, 3, 4, 70


class UserError(Exception):
    """A mistake of the user: shown without a traceback, exit code 2."""


class Rejected(Exception):
    """A request to a live run that cannot be carried out. `code` is the exit code of the client."""

    def __init__(self, message: str, code: int = USAGE) -> None:
        super().__init__(message)
        self.code = code


class InternalFailure(Exception):
    """A failure of pqrun's own part (journal, run directory, its output), exit code 4 or `code`."""

    def __init__(self, message: str, code: int = OWN_FAILURE) -> None:
        super().__init__(message)
        self.code = code


MISUSE = frozenset({EBADF, EFAULT, EINVAL, ENOTSOCK})
"""The error numbers of system calls that pqrun itself called wrongly: a bug, not the machine's fault."""
CURES = {EMFILE: "see `ulimit -n`", EAGAIN: "see `ulimit -u`"}


def refusal(error: BaseException) -> InternalFailure | None:
    """Return what the machine refused, as an `InternalFailure`; return None if the error is a bug of pqrun.

    A failed system call and a module that can't be read are facts about the machine and the disk. They are
    reported in one line, and end the run with exit code 4 unless they were handled before.
    """
    if isinstance(error, InternalFailure):
        return _with_cure(error)
    if isinstance(error, ImportError):
        failure = InternalFailure(f"cannot load {error.name or 'a part of pqrun'}: {error}")
    elif isinstance(error, AttributeError) and (hollow := _hollow(error.obj)):
        failure = InternalFailure(f"cannot load {hollow}: its files can't be read")
    elif isinstance(error, OSError) and error.errno is not None and error.errno not in MISUSE:
        where = "" if error.filename is None else f" ({error.filename})"
        cure = f"; {CURES[error.errno]}" if error.errno in CURES else ""
        failure = InternalFailure(f"cannot continue: {error.strerror}{where}{cure}")
    else:
        return None
    failure.__cause__ = error
    return failure


def _with_cure(failure: InternalFailure) -> InternalFailure:
    """Return the failure with the cure for its system call's error, unless the text names it already."""
    cure = CURES.get(failure.__cause__.errno or 0, "") if isinstance(failure.__cause__, OSError) else ""
    if not cure or cure in str(failure):
        return failure
    cured = InternalFailure(f"{failure}; {cure}", failure.code)
    cured.__cause__ = failure.__cause__
    return cured


def _hollow(module: object) -> str:
    """Return the name of a package without code, or an empty text if the object is something else.

    The interpreter imports a package as an empty namespace if it can't read the package's files.
    """
    is_package = isinstance(module, ModuleType) and hasattr(module, "__path__")
    return (
        str(getattr(module, "__name__", "")) if is_package and not getattr(module, "__file__", None) else ""
    )
