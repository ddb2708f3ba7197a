# SPDX-License-Identifier: LGPL-3.0-or-later
"""The two ways to fail on purpose; anything else that is raised is a bug. And the exit codes of a run."""

OK, SOME_FAILED, USAGE, NOT_ALL_RUN, OWN_FAILURE, BUG = 0, 1, 2, 3, 4, 70


class UserError(Exception):
    """What the user did; shown without a traceback, exit 2."""


class OwnFailure(Exception):
    """pqrun's own part can't go on (journal, run directory, its output); exit 4, or `code`."""

    def __init__(self, message: str, code: int = OWN_FAILURE) -> None:
        super().__init__(message)
        self.code = code
