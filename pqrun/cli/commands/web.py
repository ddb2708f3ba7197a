# SPDX-License-Identifier: LGPL-3.0-or-later
"""The command `web`."""

from __future__ import annotations

from typing import Annotated

from pqrun.cli.commands.live_run import PANEL, option_value
from pqrun.cli.declarations import CommandSpec, switch
from pqrun.core import values

NEEDS_SERVER = "`pqrun web` needs starlette and uvicorn: install them with `pip install 'pqrun-cli[web]'`"
ADDRESS = ("127.0.0.1", 8765)


def web(
    listen: Annotated[
        tuple[str, int] | None,
        option_value(
            values.listen_address,
            "--listen",
            metavar="ADDR",
            help="Listen on HOST:PORT (default: 127.0.0.1:8765)",
        ),
    ] = None,
    read_only: Annotated[bool, switch("--read-only", help="Show runs, but refuse all changes")] = False,
    open_: Annotated[bool, switch("--open", help="Open the page in your browser")] = False,
) -> int:
    """Serve a page of all runs, live and past, on which you can act on live ones."""
    from importlib.util import find_spec

    from pqrun.core.errors import UserError

    if find_spec("starlette") is None or find_spec("uvicorn") is None:
        raise UserError(NEEDS_SERVER)
    from pqrun.app.web.server import serve_web

    host, port = listen or ADDRESS
    return serve_web(host, port, read_only=read_only, opens=open_)


EXAMPLES = ("pqrun web", "pqrun web --open", "pqrun web --listen 127.0.0.1:0 --read-only")
COMMANDS = (CommandSpec("web", web, PANEL, examples=EXAMPLES),)
