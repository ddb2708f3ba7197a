# SPDX-License-Identifier: LGPL-3.0-or-later
"""`serve`: start a queue that waits for jobs, here, in the background, or as a service."""

from __future__ import annotations

import os
import sys
from typing import TYPE_CHECKING, Annotated

from pqrun.cli.declarations import CommandSpec, WrongUsage
from pqrun.cli.options import RunOptions
from pqrun.core.option_spec import RECORD, OptionSpec
from pqrun.core.values import whole_number

if TYPE_CHECKING:
    from pqrun.app.service_unit import ServiceDescription
    from pqrun.core.settings import Settings

NOT_FOR_A_UNIT = ("--install", "--print-unit")

EXAMPLES = (
    "pqrun serve --detach -j4",
    "pqrun serve --run nightly --keep 1000",
    "pqrun serve --install -j4",
)


def serve(
    name: Annotated[str, OptionSpec(("--run",), "Name of the queue", RECORD, "NAME")] = "queue",
    detach: Annotated[
        bool, OptionSpec(("--detach",), "Run in the background; return when the queue is ready", RECORD)
    ] = False,
    install: Annotated[
        bool, OptionSpec(("--install",), "Let systemd run the queue: now, and after each login", RECORD)
    ] = False,
    uninstall: Annotated[
        bool, OptionSpec(("--uninstall",), "Undo --install; the jobs of the queue are kept", RECORD)
    ] = False,
    print_unit: Annotated[
        bool, OptionSpec(("--print-unit",), "Print the unit that --install would write", RECORD)
    ] = False,
    keep: Annotated[
        int,
        OptionSpec(
            ("--keep",),
            "Keep the record and output of the last N ended jobs",
            RECORD,
            "N",
            lambda text: whole_number(text, 0, 10**9),
        ),
    ] = 10_000,
    *,
    options: RunOptions,
) -> int:
    """Start a queue: a run that waits for jobs from `add`. A restart restores it from its journal."""
    if detach + install + uninstall + print_unit > 1:
        raise WrongUsage("give only one of --detach, --install, --uninstall and --print-unit")
    from pqrun.app.serve import check, directory_of, is_begun
    from pqrun.app.serve import serve as serve_queue
    from pqrun.cli.settings import resumed_settings, settings_of

    path = directory_of(name, options.values()["run_dir"])
    if uninstall:
        from pqrun.app.service_unit import uninstall as uninstall_service

        return uninstall_service(name)
    begun = is_begun(path)
    settings = resumed_settings(path.path, options, failed=False) if begun else settings_of(options)
    if (detach or install or print_unit) and "output" not in settings.record.recorded:
        # No terminal shows the output; the run directory keeps it.
        settings = settings.with_values({"output": "none"})
    settings = settings.with_values({"resume": None, "serve": name, "run_dir": path.path})
    if install or print_unit:
        from pqrun.app.service_unit import install as install_service
        from pqrun.app.service_unit import service_of

        check(settings)
        described = _described(name, settings)
        if install:
            return install_service(described, path)
        sys.stdout.write(service_of(name).text(described))
        return 0
    return serve_queue(settings, detach=detach, keep=keep)


def _described(name: str, settings: Settings) -> ServiceDescription:
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
