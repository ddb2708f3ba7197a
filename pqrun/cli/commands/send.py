# SPDX-License-Identifier: LGPL-3.0-or-later
"""The command `send`."""

from __future__ import annotations

import base64
import os
import time
from typing import TYPE_CHECKING, Annotated

from pqrun.cli.commands.live_run import PANEL, RunName
from pqrun.cli.declarations import ArgumentSpec, CommandSpec, WrongUsage, switch
from pqrun.core.errors import InternalFailure

if TYPE_CHECKING:
    from pqrun.control.client import ControlClient

NO_ROOM = 75

MAX_PIECE_BYTES = 256 * 1024
MIN_PAUSE_SECONDS, MAX_PAUSE_SECONDS = 0.05, 1.0


def send(
    job: Annotated[str, ArgumentSpec("JOB", "The id of a running job with `stdin: open`", "jobs")],
    text: Annotated[
        list[str] | None, ArgumentSpec("[TEXT]...", "The text, to which a line end is added; - is stdin")
    ] = None,
    no_newline: Annotated[bool, switch("-n", "--no-newline", help="Add no line end to the text")] = False,
    eof: Annotated[bool, switch("--eof", help="End the job's standard input after the text")] = False,
    run: RunName = None,
) -> int:
    """Send text to the standard input of a running job that asked for it with `stdin: open`."""
    from pqrun.control.client import ControlClient

    if not text and not eof:
        raise WrongUsage("give a text to send, or --eof")
    with ControlClient(run) as client:
        if text == ["-"]:
            _send_stdin(client, job)
            text, no_newline = [], True
            if not eof:
                return 0
        line_end = "\n" if text and not no_newline else ""
        _send(client, job, f"{' '.join(text or ())}{line_end}".encode("utf-8", "surrogateescape"), end=eof)
    return 0


def _send(client: ControlClient, job: str, data: bytes, *, end: bool = False) -> None:
    client.request("send", job=job, data=base64.b64encode(data).decode(), end=end)


def _send_stdin(client: ControlClient, job: str) -> None:
    """Send our own stdin as it comes, and wait while the job does not read."""
    while data := os.read(0, MAX_PIECE_BYTES):
        pause = MIN_PAUSE_SECONDS
        while not _is_taken(client, job, data):
            time.sleep(pause)
            pause = min(2 * pause, MAX_PAUSE_SECONDS)


def _is_taken(client: ControlClient, job: str, data: bytes) -> bool:
    """Send data; return whether there was room for it."""
    try:
        _send(client, job, data)
    except InternalFailure as error:
        if error.code != NO_ROOM:
            raise
        return False
    return True


EXAMPLES = ("pqrun send deploy yes", "pqrun send convert - --eof <list.txt")
COMMANDS = (CommandSpec("send", send, PANEL, examples=EXAMPLES),)
