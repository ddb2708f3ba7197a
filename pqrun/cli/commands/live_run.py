# SPDX-License-Identifier: LGPL-3.0-or-later
"""Short commands that talk to a live run, `top`, and the parts that `add`, `ps` and `set` share with them."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Annotated, Any

from pqrun.cli.declarations import ArgumentSpec, CommandSpec, switch
from pqrun.core import values
from pqrun.core.option_spec import RECORD, OptionSpec
from pqrun.core.text import escape_controls

PANEL = "Live runs"
SELECTORS = "Jobs: ids, globs, all, state:x, priority:x, tag:x"
RUN = "A run: its id, a prefix of the id, latest, or a path"
NOT_YET = 3
NEEDS_TEXTUAL = "`pqrun top` needs textual: install it with `pip install 'pqrun-cli[top]'`"
RunName = Annotated[
    str | None,
    OptionSpec(("--run",), "Name of the run, if several are live", RECORD, "RUN", completes="runs"),
]
Jobs = Annotated[list[str] | None, ArgumentSpec("[JOB]...", SELECTORS, "jobs")]


def option_value(read: Any, *names: str, metavar: str, help: str) -> OptionSpec:
    """Return an option whose text is parsed by `read`."""
    return OptionSpec(names, help, None, metavar, read)


def ask(run: str | None, verb: str, **facts: Any) -> dict[str, Any]:
    """Send one request to the live run and return its answer."""
    from pqrun.control.client import ControlClient

    with ControlClient(run) as talk:
        return talk.ask(verb, **facts)


def print_ids(ids: Iterable[str]) -> None:
    """Print ids, one on each line: unchanged for a program, without control characters on a terminal."""
    screen = sys.stdout.isatty()
    print_text("".join(f"{escape_controls(job_id) if screen else job_id}\n" for job_id in ids))


def print_text(text: str) -> None:
    """Print to stdout. Exit with 1, and without a message, if its reader has closed the pipe."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError:
        raise SystemExit(1) from None


def note(text: str) -> None:
    """Print a message to stderr."""
    try:
        sys.stderr.write(f"pqrun: {text}\n")
    except OSError:
        pass  # stderr is broken; the exit code still tells of the failure


def some(count: int, otherwise: str = "no job changed: none of these jobs is unfinished") -> int:
    """Return exit code 0; or 1, and print the message `otherwise`, if a selector matched no job."""
    if not count:
        note(escape_controls(otherwise))
    return 0 if count else 1


def cancel(jobs: Annotated[list[str], ArgumentSpec("JOB...", SELECTORS)], run: RunName = None) -> int:
    """Cancel jobs: waiting jobs at once, running jobs with their signal and grace period."""
    return some(ask(run, "cancel", jobs=jobs)["count"])


def pause(run: RunName = None) -> None:
    """Start no more jobs until `unpause`. Running jobs continue."""
    ask(run, "pause")


def unpause(run: RunName = None) -> None:
    """Start jobs again."""
    ask(run, "unpause")


def stop(
    now: Annotated[
        bool, switch("--now", help="Stop running jobs, too; given a second time, kill them")
    ] = False,
    run: RunName = None,
) -> None:
    """End a live run after its running jobs. You can resume the rest later."""
    answer = ask(run, "stop", now=now)
    if answer["running"]:
        hint = (
            "stopping them (repeat the command to kill them)"
            if now
            else "waiting for them (`pqrun stop --now` stops them)"
        )
        note(f"running jobs: {answer['running']}; {hint}")


def wait(
    jobs: Annotated[
        list[str] | None, ArgumentSpec("[JOB]...", "Jobs: ids, globs (default: all unfinished jobs)", "jobs")
    ] = None,
    any_: Annotated[
        bool, switch("--any", help="Return when one of the jobs has ended, and print its id")
    ] = False,
    timeout: Annotated[
        float | None,
        option_value(
            values.duration, "-t", "--timeout", metavar="DUR", help="Wait at most DUR, then exit with 3"
        ),
    ] = None,
    run: RunName = None,
) -> int:
    """Wait until jobs have ended. Exit with 0 if all of them are ok, else with 1."""
    try:
        answer = ask(run, "wait", timeout=timeout, jobs=jobs or [], any=any_)
    except TimeoutError:
        note("jobs have not ended yet")
        return NOT_YET
    if any_:
        print_ids(answer["ids"])
    return 1 if answer["failed"] else 0


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


COMMANDS = tuple(
    CommandSpec(function.__name__, function, PANEL) for function in (cancel, pause, unpause, stop, wait, top)
)
