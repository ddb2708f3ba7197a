# SPDX-License-Identifier: LGPL-3.0-or-later
"""The two ways to fail on purpose; anything else that is raised is a bug."""


class UserError(Exception):
    """What the user did; shown without a traceback, exit 2."""


class OwnFailure(Exception):
    """pqrun's own part can't go on (journal, run directory, its output); exit 4, or `code`."""

    def __init__(self, message: str, code: int = 4) -> None:
        super().__init__(message)
        self.code = code
