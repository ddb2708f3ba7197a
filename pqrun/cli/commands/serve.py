# SPDX-License-Identifier: LGPL-3.0-or-later
"""`serve`: start a queue that waits for jobs, here, in the background, or as a service."""

import os
import sys
from typing import TYPE_CHECKING, Annotated

from pqrun.cli.commands.live_run import note
from pqrun.cli.declarations import CommandSpec, OptionGroup, WrongUsage
from pqrun.cli.options import JobOptions, RunOptions
from pqrun.cli.stdout import print_text
from pqrun.core.option_spec import RECORD, OptionSpec
from pqrun.core.text import escape_controls
from pqrun.core.values import whole_number

if TYPE_CHECKING:
    from pqrun.app.service_unit import ServiceDescription
    from pqrun.core.settings import Settings
    from pqrun.journal.run_directory import RunDirectory

NOT_FOR_A_UNIT = ("--install", "--print-unit")

EXAMPLES = (
    "pqrun serve --detach -j4",
    "pqrun serve --run nightly --keep 1000",
    "pqrun serve --install -j4",
)


class QueueOptions(OptionGroup):
    """Options of `serve` alone: the name of the queue, what keeps its process running, and how much is kept."""

    name: Annotated[str, OptionSpec(("--run",), "Name of the queue", RECORD, "NAME")] = "queue"
    detach: Annotated[
        bool, OptionSpec(("--detach",), "Run in the background; return when the queue is ready", RECORD)
    ] = False
    install: Annotated[
        bool, OptionSpec(("--install",), "Let systemd run the queue: now, and after each login", RECORD)
    ] = False
    uninstall: Annotated[
        bool, OptionSpec(("--uninstall",), "Undo --install; the jobs of the queue are kept", RECORD)
    ] = False
    print_unit: Annotated[
        bool, OptionSpec(("--print-unit",), "Print the unit that --install would write", RECORD)
    ] = False
    keep: Annotated[
        int,
        OptionSpec(
            ("--keep",),
            "Keep the record and output of the last N ended jobs",
            RECORD,
            "N",
            lambda text: whole_number(text, 0, 10**9),
        ),
    ] = 10_000


def serve(*, queue: QueueOptions, options: RunOptions) -> int:
    """Start a queue: a run that waits for jobs from `add`. A restart restores it from its journal."""
    for_a_unit = queue.install or queue.print_unit
    if queue.detach + queue.uninstall + queue.install + queue.print_unit > 1:
        raise WrongUsage("give only one of --detach, --install, --uninstall and --print-unit")
    from pqrun.app.serve import check, directory_of, is_begun
    from pqrun.app.serve import serve as serve_queue
    from pqrun.cli.settings import resumed_settings, settings_of

    path = directory_of(queue.name, options.values()["run_dir"])
    if queue.uninstall:
        from pqrun.app.service_unit import uninstall as uninstall_service

        return uninstall_service(queue.name)
    begun = is_begun(path)
    settings = resumed_settings(path.path, options, failed=False) if begun else settings_of(options)
    check(settings, options.spelled)
    if (queue.detach or for_a_unit) and "output" not in settings.record.recorded:
        # No terminal shows the output; the run directory keeps it.
        settings = settings.with_values({"output": "none"})
    settings = settings.with_values({"resume": None, "serve": queue.name, "run_dir": path.path})
    if begun and not (queue.print_unit or settings.output.quiet or path.holder()):
        _tell_what_stays(path, options)
    if for_a_unit:
        from pqrun.app.service_unit import install as install_service
        from pqrun.app.service_unit import service_of

        described = _described(queue.name, settings)
        if queue.install:
            return install_service(described, path)
        print_text(service_of(queue.name).text(described))
        return 0
    return serve_queue(settings, detach=queue.detach, keep=queue.keep)


def _tell_what_stays(path: "RunDirectory", options: RunOptions) -> None:
    """Print which options of this command line don't hold for all jobs of the queue, and which earlier ones stay."""
    from pqrun.cli.settings import recorded
    from pqrun.journal.reader import JournalReader

    header = JournalReader(path.journal).first()
    before, now = header.get("options", {}), recorded(options)
    changed = [name for name in JobOptions.declared() if name in now and now[name] != before.get(name)]
    if changed:
        names = ", ".join(map(options.spelled, changed))
        note(
            f"{names}: for jobs added from now on; `pqrun set JOB…` changes those that are in the queue already"
        )
    kept = [name for name in options.declared() if name in before and name not in options.given]
    if kept and options.given:
        first = escape_controls(header.get("command", ""))
        note(f"kept from the queue's first start: {', '.join(map(options.spelled, kept))} (`{first}`)")


def _described(name: str, settings: "Settings") -> "ServiceDescription":
    """Return what the service runs: this command line, with what a queue without a terminal needs.

    The user's systemd has few of the variables of a shell. Jobs need `PATH`, and pqrun the variables that set
    its options and the directory of its runs.
    """
    from pqrun.app.service_unit import ServiceDescription, program_words
    from pqrun.engine.signals import current_directory

    words = [*program_words(), "serve"]
    for option in ("progress", "output"):
        if option not in settings.record.recorded:
            words += [f"--{option}", {"progress": "plain", "output": "none"}[option]]
    words += [word for word in sys.argv[2:] if word not in NOT_FOR_A_UNIT]
    wanted = {"PATH", "XDG_STATE_HOME", "PQRUN_STATE_DIR"}
    wanted |= {one.flag.variable for one in RunOptions.declared().values() if one.flag.variable}
    variables = {name: value for name, value in sorted(os.environ.items()) if name in wanted}
    return ServiceDescription(name, words, current_directory(), variables)


COMMANDS = (CommandSpec("serve", serve, "Live runs", examples=EXAMPLES),)
