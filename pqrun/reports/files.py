# SPDX-License-Identifier: LGPL-3.0-or-later
"""Files that appear when they are complete, in place of what was there."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable

from pqrun.reports.pipes import Growing
from pqrun.reports.target import Target, is_special


class Whole(Target):
    """A file that appears when it is complete, in place of what was there."""

    def write(self, pieces: Iterable[bytes]) -> None:
        """All of it at once."""
        if is_special(self.path):
            growing = Growing(self.option, self.path)
            growing.patience, growing.wanted_to_stop = self.patience, self.wanted_to_stop
            growing.open()
            for piece in pieces:
                growing.write(piece)
            growing.close()
            self.failure = growing.failure
            return
        path = os.path.realpath(self.path)
        name = os.fsencode(os.path.basename(path))[:100].decode("ascii", "replace").replace("\ufffd", "_")
        unfinished = f"{os.path.dirname(path)}/.{name}.{os.getpid()}"
        try:
            try:
                with open(unfinished, "wb") as file:
                    file.writelines(pieces)
                os.replace(unfinished, path)
                self.failure = ""  # what could not be written earlier is in it now
            finally:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(unfinished)
        except OSError as error:
            self.failed(error)
