# SPDX-License-Identifier: LGPL-3.0-or-later
"""The other end of the socket: finds a live run, asks it, and gives back what it answers."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from pqrun.control.address import short_path
from pqrun.control.protocol import VERSION, encode
from pqrun.errors import OwnFailure, UserError
from pqrun.journal.rundir import SOCKET, RunDirectory, find_run, run_directories

NO_LIVE_RUN = 6
HOW_TO_START = "`pqrun serve --detach` starts a queue"


def find_socket(run: str | None) -> str:
    """The socket of the run that is meant: by name, the one that this job belongs to, or the only live one."""
    if run is not None:
        directory = _by_name(run)
        if not _is_live(directory):
            raise OwnFailure(f"run {run} is not live", NO_LIVE_RUN)
        return f"{directory.path}/{SOCKET}"
    if inherited := os.environ.get("PQRUN_SOCKET"):
        return inherited
    live = [directory for directory in run_directories() if _is_live(directory)]
    if not live:
        raise OwnFailure(f"no run is live: {HOW_TO_START}", NO_LIVE_RUN)
    if len(live) > 1:
        names = ", ".join(sorted(os.path.basename(directory.path) for directory in live))
        raise UserError(f"several runs are live ({names}): say which one with --run")
    return f"{live[0].path}/{SOCKET}"


def _by_name(run: str) -> RunDirectory:
    try:
        return find_run(run)
    except UserError as error:
        raise OwnFailure(str(error), NO_LIVE_RUN) from None


def _is_live(directory: RunDirectory) -> bool:
    return os.path.exists(f"{directory.path}/{SOCKET}") and directory.in_use()


class Talk:
    """A conversation with a live run; closes with its `with` block."""

    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            with short_path(path) as name:
                self._socket.connect(name)
        except OSError as error:
            self._socket.close()
            raise OwnFailure(
                f"no run answers at {path} ({error.strerror}): {HOW_TO_START}", NO_LIVE_RUN
            ) from None
        self._file = self._socket.makefile("rb")

    def __enter__(self) -> Talk:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()
        self._socket.close()

    def ask(self, verb: str, *, timeout: float | None = None, **facts: Any) -> dict[str, Any]:
        """The answer; `OwnFailure` with the fitting exit code for a refusal, TimeoutError after `timeout` seconds."""
        self._socket.settimeout(timeout)
        try:
            self._socket.sendall(encode({"pqrun": VERSION, "verb": verb, "by": _who(), **facts}))
            line = self._file.readline()
        except TimeoutError:
            raise
        except OSError as error:
            raise OwnFailure(f"the run does not answer: {error.strerror}", NO_LIVE_RUN) from None
        if not line:
            raise OwnFailure("the run ended before it answered", NO_LIVE_RUN)
        answer: dict[str, Any] = json.loads(line)
        if not answer.get("ok"):
            raise OwnFailure(str(answer.get("error")), int(answer.get("code", 2)))
        return answer


def _who() -> str:
    """Who asks, for the record: a job by its id, else the process."""
    job = os.environ.get("PQRUN_JOB_ID")
    return f"job {job}" if job else f"pid {os.getpid()}"
