# SPDX-License-Identifier: LGPL-3.0-or-later
"""The server of `pqrun web`: listen, print the address, serve, and end cleanly."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
from collections.abc import Iterator

import uvicorn

from pqrun.app.web.access import AccessGuard, AccessKeys, bracketed, is_loopback
from pqrun.app.web.feeds import RunFeeds
from pqrun.app.web.site import make_site
from pqrun.core.errors import InternalFailure
from pqrun.journal.run_directory import make_state_directory, state_directory
from pqrun.output.writer import StreamWriter

NICENESS = 10
STUCK_TIMEOUT_SECONDS = 60
MAX_CONNECTIONS = 200
MAX_HEAD_BYTES = 16 * 1024
SHUTDOWN_TIMEOUT_SECONDS = 2


class _Server(uvicorn.Server):
    """A server that leaves the signals to us, because uvicorn raises them again at its end."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Do nothing."""
        yield


def serve_web(host: str, port: int, *, read_only: bool, opens: bool) -> int:
    """Serve until SIGINT, SIGTERM or SIGHUP; return the exit code.

    Raises `InternalFailure` if the address can't be used.
    """
    make_state_directory()
    with contextlib.closing(_listen(host, port)) as listening, contextlib.ExitStack() as at_end:
        keys = AccessKeys()
        port = listening.getsockname()[1]
        shown = socket.gethostname() if host in ("0.0.0.0", "::") else bracketed(host)
        address = f"http://{shown}:{port}/?token={keys.token}"
        with contextlib.suppress(OSError):
            os.nice(NICENESS)  # the jobs go first
        print_address(address)
        if not is_loopback(host):
            what = (
                "see this user's runs"
                if read_only
                else "see and change this user's runs, and so run commands"
            )
            StreamWriter(2, "standard error").note(
                f"other machines can reach {host}: whoever has the address can {what}, "
                "and it is sent without encryption"
            )
        if opens:
            _open_in_browser(address, at_end)
        asyncio.run(_serve(listening, keys, host, port, read_only=read_only))
    return 0


def print_address(address: str) -> None:
    """Print the address on a line of its own."""
    try:
        sys.stdout.write(f"{address}\n")
        sys.stdout.flush()
    except OSError as error:
        raise InternalFailure(f"cannot print the address: {error.strerror}") from None


async def _serve(
    listening: socket.socket, keys: AccessKeys, host: str, port: int, *, read_only: bool
) -> None:
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)
    feeds = RunFeeds(read_only=read_only)
    guard = AccessGuard(make_site(feeds), keys, host, port)
    server = _Server(
        uvicorn.Config(
            guard, log_config=None, access_log=False, server_header=False, proxy_headers=False, ws="none",
            lifespan="off", interface="asgi3", http="h11", loop="asyncio", limit_concurrency=MAX_CONNECTIONS,
            h11_max_incomplete_event_size=MAX_HEAD_BYTES, timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_SECONDS,
        )
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, _end, server, feeds)
    await server.serve(sockets=[listening])
    await feeds.close()


def _end(server: uvicorn.Server, feeds: RunFeeds) -> None:
    feeds.end()
    server.should_exit = True


def _listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens. A connection that takes nothing for a minute is closed by the kernel."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        found = socket.socket(family, kind, protocol)
    except OSError as error:
        raise InternalFailure(f"cannot listen on {host}: {error.strerror or error}") from None
    try:
        found.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sys.platform == "linux":
            found.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, STUCK_TIMEOUT_SECONDS * 1000)
        found.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        found.bind(address)
        found.listen(128)
    except OSError as error:
        found.close()
        raise InternalFailure(
            f"cannot listen on {bracketed(host)}:{port}: {os.strerror(error.errno or 0)} "
            f"(--listen {bracketed(host)}:0 takes a free port)"
        ) from None
    return found


def _open_in_browser(address: str, at_end: contextlib.ExitStack) -> None:
    """Open the page in the user's browser, by a private file: all users can see the words of a command line."""
    import webbrowser

    path = f"{state_directory()}/web-{os.getpid()}.html"
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    at_end.callback(_remove, path)
    with open(fd, "w", encoding="ascii") as file:
        file.write(
            f'<!DOCTYPE html><title>pqrun</title><meta http-equiv="refresh" content="0;url={address}">\n'
        )
    if not webbrowser.open(f"file://{path}"):
        StreamWriter(2, "standard error").note("no browser was found: open the address yourself")


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
