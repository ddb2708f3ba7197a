# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a running job has printed so far: small outputs are still in its run's memory, so that is asked."""

from __future__ import annotations

import base64
from collections.abc import Iterator

from pqrun.control.talk import Talk
from pqrun.errors import OwnFailure, UserError
from pqrun.journal.rundir import RunDirectory
from pqrun.model import Key


class LiveOutput:
    """Asks a live run, as long as it answers."""

    def __init__(self, run: RunDirectory) -> None:
        self._run = run
        self._talk: Talk | None = None
        self._silent = False

    def pieces(self, key: Key, stream: int, offset: int) -> Iterator[bytes]:
        """What there is from that byte on; nothing if that attempt is over, or nobody answers."""
        while data := self._ask(key, stream, offset):
            offset += len(data)
            yield data

    def _ask(self, key: Key, stream: int, offset: int) -> bytes:
        if self._silent:
            return b""
        try:
            self._talk = self._talk or Talk(self._run.path)
            answer = self._talk.ask("output", seq=key.seq, stream=stream, offset=offset)
        except (OwnFailure, UserError):
            self._silent = True  # it has just ended: the rest is in files
            return b""
        if answer.get("attempt") != key.attempt:
            return b""
        return base64.b64decode(answer.get("data", ""))
