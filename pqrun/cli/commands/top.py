# SPDX-License-Identifier: LGPL-3.0-or-later
"""`top`: a run on a full screen, if there is a terminal and textual is installed."""

from __future__ import annotations

from typing import Annotated

import typer

from pqrun.cli.app import commands
from pqrun.cli.commands.runs import RUN
from pqrun.cli.completion import run_ids

PANEL = "Live runs"
NEEDED = "`pqrun top` needs textual: install it with `pip install 'pqrun-cli[top]'`"


def top(
    name: Annotated[
        str | None,
        typer.Argument(metavar="[RUN]", help=f"{RUN} (default: the live one)", autocompletion=run_ids),
    ] = None,
) -> None:
    """Watch a live or past run on a full screen, and act on its jobs."""
    import os
    import sys
    from importlib.util import find_spec

    from pqrun.core import text as hints
    from pqrun.core.errors import UserError
    from pqrun.ui.terminal import DUMB_TERMINALS

    if find_spec("textual") is None:
        raise UserError(NEEDED)
    if not all(map(os.isatty, (0, 1, 2))) or os.environ.get("TERM", "") in DUMB_TERMINALS:
        show = hints.command("show", *([name] if name else []))
        raise UserError(f"`pqrun top` needs a terminal: use `{show}` or `pqrun ps` instead")
    from pqrun.ui.top.recorded_run import RecordedRunSource, which_run

    source = RecordedRunSource(which_run(name))
    from pqrun.ui.top.app import TopApp
    from pqrun.ui.top.terminal_guard import guarded

    screen = TopApp(source)
    with guarded(screen):
        words = screen.run()
    if words:
        os.execv(sys.executable, [sys.executable, "-m", *words])


app = commands()
app.command("top", rich_help_panel=PANEL)(top)
