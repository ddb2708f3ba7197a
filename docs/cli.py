# SPDX-License-Identifier: LGPL-3.0-or-later
"""The reference of commands and options: `python docs/cli.py` writes docs/cli.md. A test compares it.

Commands and options are read from the program itself. What no option says is in the tables below:
exit codes, variables, ways to write values. `docs/manpage.py` makes the manual page of the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import typer

from pqrun.cli.app import MODULES, app

DOCUMENT = Path(__file__).with_name("cli.md")
SHARING = ("run", "each", "resume", "serve")
"""Commands with the options of a run."""

EXIT_CODES = {
    "0": "every job ended `ok`, or was allowed to fail",
    "1": "some job ended otherwise (also one that was interrupted and has `rerun: never`), or a list could not be read to its end",
    "2": "wrong usage or a bad job file: nothing was started",
    "3": "stopped by `--halt`, `--deadline` or `stop` before all jobs ran, and none of them went wrong; "
    "`wait`: not ended yet",
    "4": "pqrun's own part failed: journal, run directory or its output could not be written, or nothing could be started here",
    "5": "that run is in use by another pqrun",
    "6": "a command that talks to a live run found none",
    "70": "a bug in pqrun",
    "75": "`add`: the queue is full",
    "129, 130, 131, 143": "stopped by HUP, INT, QUIT, TERM, after cleaning up",
}
READ = {
    "PQRUN_STATE_DIR": "Where runs are recorded. Without it `$XDG_STATE_HOME/pqrun`, or `~/.local/state/pqrun`; "
    "needed where there is no home, unless `--run-dir` or `--no-journal` does without.",
    "HOME": "Without it, or with an empty one, the system's list of users tells where the home is.",
    "LC_ALL, LC_CTYPE, LANG": "Are passed on to jobs, and change nothing in pqrun: it reads and writes UTF-8, and "
    "keeps all other bytes as they are.",
    "PQRUN_SOCKET": "Which live run `add`, `ps` and so on talk to, if `--run` does not say.",
    "NO_COLOR, FORCE_COLOR": "No colours; colours also where there is no terminal. `--color` goes over both.",
    "MAKEFLAGS": "Under `make -j` (`+pqrun run …`): the jobserver in which a `make` in a job takes part.",
    "CI": "Also `GITHUB_ACTIONS`, `GITLAB_CI`, `TF_BUILD`, `BUILDKITE`, `TEAMCITY_VERSION`, `JENKINS_URL`: a line "
    "a job, even on a terminal. `--progress live` goes over it.",
    "GITHUB_STEP_SUMMARY": "With `--ci github`: where the page of the step's summary goes.",
}
GIVEN = {
    "PQRUN": "`1`",
    "PQRUN_RUN_ID": "the id of the run",
    "PQRUN_JOB_ID": "the job's id",
    "PQRUN_SEQ": "the job's number, from 1 in order of submission; also `PARALLEL_SEQ`",
    "PQRUN_SLOT": "the number of its slot, from 1: two jobs that run at once never have the same; also `PARALLEL_JOBSLOT`",
    "PQRUN_ATTEMPT, PQRUN_MAX_ATTEMPTS": "which attempt this is, from 1, and how many there may be",
    "PQRUN_PRIORITY": "`critical`, `high`, `normal` or `low`",
    "PQRUN_POOL_<NAME>": "its share of that pool: a number, or the names that it took, separated by commas",
    "PQRUN_SOCKET": "the socket of the run, for `pqrun add` and the like in a job",
    "PQRUN_REPORT": "a file to which the job may append what it says of itself, below",
    "PQRUN_TREE": "marks the processes of the run; not for use",
}
SAID = {
    "status=TEXT": "what it is doing, shown while it runs",
    "progress=0.5": "how far it is, 0 to 1",
    "permanent=true": "it need not be tried again",
    "retry_after=60s": "not before that time",
    "message=TEXT": "why it failed, for the last page and reports",
}
VALUES = {
    "DUR": "A duration: seconds (`90`, `1.5`), or with units `ms` `s` `m` `h` `d` (`250ms`, `1h30m`). For limits 0 is none.",
    "SIZE": "Bytes, or `64K`, `10M`, `2G`, `1GiB` in 1024; `10MB` in 1000.",
    "LIST": "Ends of a job, separated by commas: exit codes (`75`), signals (`TERM`, `SIGKILL`), `timeout`, `signal` (any), "
    "`any`.",
    "SIG": "A signal's name or number: `INT`, `SIGINT`, `2`.",
    "LEVEL": "`critical`, `high`, `normal` or `low`.",
    "WHEN of `--halt`": "`now` or `soon` (what runs may end), then `fail=`, `success=` or `done=`, then a number of jobs or a "
    "percentage: `soon,fail=10%`.",
    "RUN": "A run's id, any unique beginning of one, `latest`, or a path: what holds a `/` or is a directory.",
    "JOB, SELECTOR": "A job's id; a glob (`'fetch-*'`); `all`; `state:failed`, `priority:low`, `tag:nightly`. An exact id goes "
    "before a glob: ids of matrix jobs hold `[`. States: `pending` `queued` `running` `waiting` `ok` `failed` `timeout` "
    "`cancelled` `skipped` `interrupted`.",
}
OPENING = "pqrun runs shell commands: in priority order, so many at a time, each with a time limit, retries and a record."
BY_VARIABLE = (
    "Each option of a run can also be set by a variable: `PQRUN_` and its name in capitals, `_` for `-`, as in "
    "`PQRUN_JOBS=3`, `PQRUN_KEEP_ORDER=1`. The command line wins. Not by variable: {exceptions}, since jobs get "
    "variables of those names. A job gets none of them: they would set the options of a pqrun within it too. To hand one on, name it: `--env PQRUN_JOBS=3`, or `env` in a job file."
)


NO_NEWS = (None, (), "all", "auto")
"""Defaults that the help text tells, or that mean nothing."""


class Option(NamedTuple):
    """One option: its spellings, what follows it, what it is for."""

    names: tuple[str, ...]
    value: str
    about: str
    panel: str
    variable: str

    @property
    def spelled(self) -> str:
        """`-j`, `--jobs` N"""
        return ", ".join(f"`{name}`" for name in self.names) + (f" {self.value}" if self.value else "")


class Command(NamedTuple):
    """One command; `own` options, and which of those of a run it has."""

    name: str
    about: str
    panel: str
    usage: str
    arguments: tuple[tuple[str, str], ...]
    own: tuple[Option, ...]
    shared: tuple[Option, ...]


class Program(NamedTuple):
    """All of it."""

    options: tuple[Option, ...]
    of_a_run: tuple[Option, ...]
    commands: tuple[Command, ...]


def _option(parameter: Any) -> Option:
    value = "" if parameter.is_flag else (parameter.metavar or "TEXT")
    about = (parameter.help or "").rstrip(".")
    if not parameter.is_flag and parameter.default not in NO_NEWS:
        about += f" [{parameter.default}]"
    variable = parameter.envvar if isinstance(parameter.envvar, str) else ""
    names = (*parameter.opts, *parameter.secondary_opts)
    return Option(names, value, about, parameter.rich_help_panel or "", variable)


def _options(command: Any) -> tuple[Option, ...]:
    return tuple(_option(p) for p in command.params if p.param_type_name == "option" and not p.hidden)


def program() -> Program:
    """The program as it is."""
    group: Any = typer.main.get_command(app)
    context = group.make_context("pqrun", [], resilient_parsing=True)
    made = {name: group.get_command(context, name) for name in MODULES}
    run = _options(made["run"])
    everywhere = set.intersection(*(set(_options(made[name])) for name in SHARING))
    of_a_run = tuple(option for option in run if option in everywhere)
    commands = []
    for name, command in made.items():
        options = _options(command)
        arguments = [p for p in command.params if p.param_type_name == "argument"]
        usage = " ".join(["pqrun", name, "[OPTIONS]", *(p.metavar for p in arguments)])
        commands.append(
            Command(
                name,
                command.help.strip(),
                command.rich_help_panel,
                usage if options else usage.replace(" [OPTIONS]", ""),
                tuple((p.metavar, p.help.rstrip(".")) for p in arguments),
                tuple(option for option in options if option not in everywhere),
                tuple(option for option in options if option in everywhere),
            )
        )
    return Program(_options(group), of_a_run, tuple(commands))


def not_by_variable(found: Program) -> str:
    """The options of a run that no variable sets."""
    return ", ".join(f"`{option.names[-1]}`" for option in found.of_a_run if not option.variable)


def panels(options: tuple[Option, ...]) -> Iterator[tuple[str, list[Option]]]:
    """Options by their heading in the help, in the order of the first of each."""
    for panel in dict.fromkeys(option.panel for option in options):
        yield panel, [option for option in options if option.panel == panel]


def _table(head: str, rows: Iterable[tuple[str, str]]) -> Iterator[str]:
    yield from (f"| {head} | |", "|---|---|")
    yield from (f"| {term} | {about} |" for term, about in rows)
    yield ""


def _coded(terms: str) -> str:
    return ", ".join(f"`{term}`" for term in terms.split(", "))


def _command(command: Command) -> Iterator[str]:
    yield from (f"### {command.name}", "", f"`{command.usage}`", "", command.about, "")
    rows = [(f"`{name}`", about) for name, about in command.arguments]
    rows += [(option.spelled, option.about) for option in command.own]
    if rows:
        yield from _table("argument or option", rows)
    if command.name in SHARING:
        yield from ("Also all [options of a run](#options-of-a-run).", "")
    elif command.shared:
        names = " ".join(f"`{option.names[-1]}`" for option in command.shared)
        yield from (f"Of the [options of a run](#options-of-a-run) also {names}.", "")


def _pages(found: Program) -> Iterator[str]:
    yield from ("# Commands and options", "", "<!-- Made by `python docs/cli.py`: change it there. -->", "")
    yield from ("`pqrun COMMAND --help` says the same in the terminal, `man pqrun` on one page.", "")
    for panel in dict.fromkeys(command.panel for command in found.commands):
        names = [c.name for c in found.commands if c.panel == panel]
        yield f"- {panel}: " + " · ".join(f"[`{name}`](#{name})" for name in names)
    yield from ("", "Options of the program itself: " + ", ".join(o.spelled for o in found.options) + ".", "")
    yield from ("## Commands", "")
    for command in found.commands:
        yield from _command(command)
    yield from ("## Options of a run", "")
    for panel, options in panels(found.of_a_run):
        yield from _table(panel, ((option.spelled, option.about) for option in options))
    yield from (BY_VARIABLE.format(exceptions=not_by_variable(found)), "")
    yield from ("## Values", "")
    yield from _table("is", VALUES.items())
    yield from ("## Exit codes", "")
    yield from _table("code", EXIT_CODES.items())
    yield from (
        "If several hold: 70, a signal, 4, 1, 3. `resume` tells of the whole run, not only of its own part.",
        "",
    )
    yield from ("## Variables that pqrun reads", "", "Beside those that set options:", "")
    yield from _table("variable", ((_coded(name), about) for name, about in READ.items()))
    yield from ("## Variables that jobs get", "")
    yield from _table("variable", ((_coded(name), about) for name, about in GIVEN.items()))
    yield from ("Hooks get [others](ci.md#hooks). A job may append lines to the file `$PQRUN_REPORT`:", "")
    yield from _table("line", ((_coded(name), about) for name, about in SAID.items()))


def markdown() -> str:
    """The page."""
    return "\n".join(_pages(program())).rstrip("\n") + "\n"


if __name__ == "__main__":
    DOCUMENT.write_text(markdown(), encoding="utf-8")
