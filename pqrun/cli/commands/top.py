# SPDX-License-Identifier: LGPL-3.0-or-later
"""The command `top`."""

from __future__ import annotations

import sys
from typing import Annotated

from pqrun.cli.commands.live_run import PANEL, RUN
from pqrun.cli.declarations import ArgumentSpec, CommandSpec

NEEDS_TEXTUAL = "`pqrun top` needs textual: install it with `pip install 'pqrun-cli[top]'`"


def top(
    name: Annotated[str | None, ArgumentSpec("[RUN]", f"{RUN} (default: the live one)", "runs")] = None,
) -> None:
    """Watch a live or past run on a full screen, and act on its jobs."""
    import os
    from importlib.util import find_spec

    from pqrun.core import text as hints
    from pqrun.core.errors import UserError
    from pqrun.ui.terminal import DUMB_TERMINALS

    if find_spec("textual") is None:
        raise UserError(NEEDS_TEXTUAL)
    if not all(map(os.isatty, (0, 1, 2))) or os.environ.get("TERM", "") in DUMB_TERMINALS:
        show = hints.command("show", *([name] if name else []))
        raise UserError(f"`pqrun top` needs a terminal: use `{show}` or `pqrun ps` instead")
    from pqrun.ui.top.run_source import RecordedRunSource, which_run

    source = RecordedRunSource(which_run(name))
    from pqrun.ui.top.app import TopApp
    from pqrun.ui.top.terminal_guard import guarded

    screen = TopApp(source)
    with guarded(screen):
        words = screen.run()
    if words:
        os.execv(sys.executable, [sys.executable, "-m", *words])


EXAMPLES = ("pqrun top", "pqrun top latest")
COMMANDS = (CommandSpec("top", top, PANEL, examples=EXAMPLES),)
