# SPDX-License-Identifier: LGPL-3.0-or-later
"""The short help, `-h`: what people use daily, on one screen. `--help` prints everything.

Made from the declarations without typer, so that it is there at once.
"""

from __future__ import annotations

from pqrun.cli.commands import find_command
from pqrun.cli.console import Console
from pqrun.cli.declarations import PLACEHOLDERS, CommandSpec, DeclaredOption
from pqrun.core.layout import cells, wrap

COMMANDS = (
    ("pqrun run jobs.yaml", "run a job file, or a list of commands"),
    ("pqrun each 'gzip {}' ::: *.csv", "run a command for each argument"),
    ("pqrun resume latest", "continue a run that was stopped"),
    ("pqrun show, logs, runs", "show jobs, their output, recorded runs"),
    ("pqrun serve, add, ps, stop", "start a queue, and add jobs to it"),
    ("pqrun check, init", "find errors in a job file, write a job file"),
)
DAILY = {
    "jobs": "run up to N jobs: 4, 50%, +1 or auto  [auto: {cpus}]",
    "retries": "retry a failed job up to N times  [0]",
    "timeout": "stop a job after 90s, 5m or 1h30m  [no limit]",
    "priority": "critical, high, normal or low  [normal]",
    "keep_order": "print the output in the order of the jobs",
    "show": "print the output of all or failed jobs  [all]",
    "fail_fast": "stop the run at the first failure",
    "dry_run": "print the commands, run nothing",
}
"""The options of `run` in the short help, by parameter, each with its text and its default."""
DAILY_OF = {
    "run": tuple(DAILY),
    "each": ("jobs", "retries", "timeout", "keep_order", "show", "dry_run"),
    "resume": ("failed", "jobs", "retries", "timeout", "keep_order", "show", "fail_fast", "dry_run"),
    "serve": ("detach", "name", "jobs", "retries", "timeout", "pool", "max_queue", "keep", "install"),
    "add": (
        "id", "priority", "needs", "at", "retries", "timeout", "tags", "pools", "env", "cwd", "file",
        "if_absent", "wait", "run",
    ),
}  # fmt: skip
"""The options in the short help of commands that have many, by parameter."""
WITH_QUIET = ("run", "each", "resume")
MAX_OPTIONS = 14


def print_overview() -> None:
    """Print the short help of the program."""
    page = Console()
    paint, width = page.paint, page.width
    lines = _wrapped("Run shell commands in priority order, with time limits, retries and a record.", width)
    lines += ["", "Usage: pqrun COMMAND [OPTIONS] [ARGUMENTS]", ""]
    lines += _columns([("  ", text, about) for text, about in COMMANDS], page, "bold", 36)
    run = find_command("run")
    assert run is not None
    lines += ["", f"{paint('bold', 'Daily options')} {paint('dim', 'of run and each')}"]
    lines += _columns(_daily(run), page, "cyan", 24)
    end = (
        ("all commands", "pqrun --help"), ("all of one", "pqrun help run"), ("manual", "man pqrun"),
    )  # fmt: skip
    plain = _wrapped("   ".join(f"{what}: {command}" for what, command in end), width)
    painted = "\n".join(plain)
    for _, command in end:
        painted = painted.replace(command, paint("bold", command))
    page.say("\n".join([*lines, "", painted]))
    page.end()


def print_command(command: CommandSpec) -> None:
    """Print the short help of a command: its options, or the daily ones if it has many."""
    page = Console()
    paint = page.paint
    words = ["pqrun", command.name, "[OPTIONS]"] if command.options else ["pqrun", command.name]
    usage = " ".join([*words, *(one.spec.metavar for one in command.arguments.values())])
    lines = _wrapped(f"Usage: {usage}", page.width, "       ")
    lines += ["", *_wrapped((command.function.__doc__ or "").strip(), page.width)]
    if command.name in DAILY_OF:
        heading, rows = "Daily options", _daily(command)
    else:
        heading, rows = "Options", [_row(one, one.flag.help) for one in command.options.values()]
    if rows:
        lines += ["", paint("bold", heading), *_columns(rows[:MAX_OPTIONS], page, "cyan", 24)]
    lines.append("")
    if command.placeholders:
        terms = ", ".join(f"{term} {about}" for term, about in command.placeholders)
        lines += [*_wrapped(f"{PLACEHOLDERS}: {terms}", page.width, "  "), ""]
    lines += _examples(command, page)
    page.say("\n".join([*lines, f"All options: {paint('bold', f'pqrun help {command.name}')}"]))
    page.end()


def _examples(command: CommandSpec, page: Console) -> list[str]:
    if not command.examples:
        return []
    shown = [f"  {page.paint('bold', example)}" for example in command.examples]
    return [page.paint("bold", "Examples"), *shown, ""]


def _daily(command: CommandSpec) -> list[tuple[str, str, str]]:
    from pqrun.engine.machine_load import usable_cpus

    cpus = usable_cpus()
    shown = f"{cpus} CPU{'' if cpus == 1 else 's'}"
    rows = []
    for name in DAILY_OF[command.name]:
        one, text = command.options[name], DAILY.get(name, "").format(cpus=shown)
        if command.name == "resume":  # its defaults are those of the run
            text = text.partition("  [")[0]
        rows.append(_row(one, text or one.flag.help[:1].lower() + one.flag.help[1:]))
    return rows + [("  ", "-q, -v", "print only errors; print more")] * (command.name in WITH_QUIET)


def _row(one: DeclaredOption, about: str) -> tuple[str, str, str]:
    """Return the indentation, the spelling and the text of an option."""
    names = list(dict.fromkeys((one.flag.names[0], one.flag.names[-1])))
    spelled = ", ".join(names) + (f" {one.flag.metavar or 'TEXT'}" if not one.is_switch else "")
    return ("  " if len(names[0]) == 2 else "      "), spelled, about


def _columns(rows: list[tuple[str, str, str]], page: Console, style: str, column: int) -> list[str]:
    """Return a line for each row: its term, and its text in a column of its own, wrapped there."""
    lines = []
    column = column if page.width is None or page.width >= 76 else min(column, 24)
    room = None if page.width is None else max(16, page.width - column)
    for indent, term, about in rows:
        first, *rest = _wrapped(about, room)
        begin = indent + page.paint(style, term)
        if (gap := column - cells(indent + term)) < 2:
            lines += [begin, " " * column + first]
        else:
            lines.append(begin + " " * gap + first)
        lines += [" " * column + line for line in rest]
    return lines


def _wrapped(text: str, width: int | None, indent: str = "") -> list[str]:
    return [text] if width is None else wrap(text, width, indent)


def print_if_asked(words: list[str]) -> int | None:
    """Print the short help if these words of the command line ask for it; return the exit code, else None."""
    if not words or words == ["-h"]:
        print_overview()
        return 0 if words else 2
    if words[1:] == ["-h"] and (command := find_command(words[0])) is not None:
        print_command(command)
        return 0
    return None
