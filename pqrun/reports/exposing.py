# SPDX-License-Identifier: LGPL-3.0-or-later
"""How Prometheus gets at a run's numbers: a file for the textfile collector, or an address to ask.

Needs prometheus-client.
"""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Callable, Sequence

from prometheus_client import generate_latest, start_http_server

from pqrun import events as ev
from pqrun.errors import UserError
from pqrun.reports.facts import Ending, RunFacts
from pqrun.reports.files import Whole
from pqrun.reports.prometheus import Numbers

EVERY = 15.0
_LAST_SUCCESS = re.compile(rb"^pqrun_run_last_success_timestamp_seconds (\S+)$", re.MULTILINE)


class PromFile:
    """Writes the file at the beginning, now and then, and at the end."""

    def __init__(self, target: Whole, run: RunFacts, now: Callable[[], float]) -> None:
        self.target = target
        self._numbers = Numbers(run, _last_success(target.path))
        self._now = now
        self._next = 0.0

    def hear(self, events: Sequence[ev.Event]) -> None:
        """Takes in what happened."""
        self._numbers.hear(events)

    def tick(self) -> float:
        """Writes it if that is due."""
        if self._now() >= self._next:
            self._next = self._now() + EVERY
            self._write()
        return self._next - self._now()

    def finish(self, ending: Ending) -> None:
        """Writes it for the last time."""
        self._numbers.finish(ending)
        self._write()

    def _write(self) -> None:
        self.target.write([generate_latest(self._numbers.registry)])


class Endpoint:
    """Answers while the run lives."""

    def __init__(self, address: str, run: RunFacts) -> None:
        self._numbers = Numbers(run)
        host, port = host_and_port(address)
        try:
            self._server, _ = start_http_server(port, host, self._numbers.registry)
        except OSError as error:
            raise cannot_listen(address, error) from None

    def hear(self, events: Sequence[ev.Event]) -> None:
        """Takes in what happened."""
        self._numbers.hear(events)

    def finish(self, ending: Ending) -> None:
        """Nobody is answered any more."""
        self._server.shutdown()
        self._server.server_close()


def check_address(address: str) -> None:
    """`UserError` if nobody can listen there."""
    host, port = host_and_port(address)
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(where)
    except (OSError, UnicodeError) as error:
        raise cannot_listen(address, error) from None


def host_and_port(address: str) -> tuple[str, int]:
    """`127.0.0.1:9464`, `[::1]:9464`, or a port of this machine alone."""
    host, _, port = address.rpartition(":")
    if address.startswith(":") or not (port.isascii() and port.isdigit() and 0 < int(port[:6]) < 65536):
        hint = "write 127.0.0.1:9464, or 0.0.0.0:9464 to be asked by other machines"
        raise UserError(f"--metrics-listen: not an address: `{address}` ({hint})")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


def cannot_listen(address: str, error: OSError | UnicodeError) -> UserError:
    """What to tell the user."""
    why = getattr(error, "strerror", None) or error
    return UserError(f"--metrics-listen: cannot listen on {address}: {why}")


def _last_success(path: str) -> float | None:
    """What the file of an earlier run says, for this one may go wrong."""
    try:
        if not os.path.isfile(path):
            return None
        with open(path, "rb") as file:
            found = _LAST_SUCCESS.search(file.read(1 << 20))
        return float(found[1]) if found else None
    except (OSError, ValueError):
        return None
