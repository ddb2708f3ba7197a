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

from pqrun.cli.app import app
from pqrun.cli.commands import MODULES
from pqrun.cli.foreign_verbs import TOOLS

DOCUMENT = Path(__file__).with_name("cli.md")
QUEUE = Path(__file__).with_name("queue.md")
SHARING = ("run", "each", "resume", "serve")
"""Commands with the options of a run."""

EXIT_CODES = {
    "0": "every job ended `ok`, or had `allow_failure`",
    "1": "a job failed, timed out, or was cancelled, skipped or interrupted (with `rerun: never`); or a list could not be read to its end",
    "2": "wrong usage, or an error in a job file; no job was started",
    "3": "stopped by `--halt`, `--deadline` or `stop` before all jobs ran, and no job failed; "
    "`wait`: the jobs have not ended yet",
    "4": "pqrun itself failed: the journal, the run directory or the output could not be written, or no process could be started",
    "5": "another pqrun is using this run",
    "6": "no live run was found",
    "70": "a bug in pqrun",
    "75": "`add`: the queue is full",
    "129, 130, 131, 143": "stopped by HUP, INT, QUIT or TERM, after cleanup",
}
READ = {
    "PQRUN_STATE_DIR": "The directory for recorded runs. Default: `$XDG_STATE_HOME/pqrun`, or `~/.local/state/pqrun`. "
    "Set this variable if you have no home directory, or use `--run-dir` or `--no-journal`.",
    "HOME": "Your home directory. If this variable is empty or not set, the system's user database is asked.",
    "LC_ALL, LC_CTYPE, LANG": "Passed on to jobs. pqrun itself always reads and writes UTF-8, and "
    "keeps all other bytes unchanged.",
    "PQRUN_SOCKET": "The live run that `add`, `ps` and similar commands talk to, unless `--run` is given.",
    "NO_COLOR, FORCE_COLOR": "No colors; or colors even without a terminal. `--color` overrides both.",
    "MAKEFLAGS": "Under `make -j` (`+pqrun run …`): the jobserver that a `make` in a job uses, too.",
    "CI": "Also `GITHUB_ACTIONS`, `GITLAB_CI`, `TF_BUILD`, `BUILDKITE`, `TEAMCITY_VERSION`, `JENKINS_URL`: one "
    "line per job, even on a terminal. `--progress live` overrides this.",
    "DBUS_SESSION_BUS_ADDRESS, XDG_RUNTIME_DIR, SSH_CONNECTION": "With `--notify`: whether your desktop is on this "
    "machine; else the terminal is used, by `TERM_PROGRAM`, `TMUX` and similar variables.",
    "NOTIFY_SOCKET, WATCHDOG_USEC, WATCHDOG_PID": "With `serve`: the service manager to report to. Jobs don't get them.",
    "XDG_CONFIG_HOME": "With `serve --install`: the unit is in `systemd/user` there. Default: `~/.config`.",
    "GITHUB_STEP_SUMMARY": "With `--ci github`: the file for the step's summary.",
}
GIVEN = {
    "PQRUN": "`1`",
    "PQRUN_RUN_ID": "the id of the run",
    "PQRUN_JOB_ID": "the job's id",
    "PQRUN_SEQ": "the job's number, from 1 in order of submission; also `PARALLEL_SEQ`",
    "PQRUN_SLOT": "the number of the job's worker, from 1; jobs that run at the same time have different numbers; also `PARALLEL_JOBSLOT`",
    "PQRUN_ATTEMPT, PQRUN_MAX_ATTEMPTS": "the number of this attempt, from 1, and the maximum number of attempts",
    "PQRUN_PRIORITY": "`critical`, `high`, `normal` or `low`",
    "PQRUN_POOL_<NAME>": "the units of this pool that the job has: a number, or their names separated by commas",
    "PQRUN_SOCKET": "the socket of the run, for `pqrun add` and similar commands in a job",
    "PQRUN_REPORT": "a file to which the job may append lines about itself, see below",
    "PQRUN_TREE": "marks the processes of the run; for pqrun itself",
}
SAID = {
    "status=TEXT": "what the job is doing, shown while it runs",
    "progress=0.5": "the progress of the job, 0 to 1",
    "permanent=true": "don't retry the job",
    "retry_after=60s": "wait at least this long before the next attempt",
    "message=TEXT": "why the job failed, for the summary and the reports",
}
VALUES = {
    "DUR": "A duration: seconds (`90`, `1.5`), or with units `ms` `s` `m` `h` `d` (`250ms`, `1h30m`). For time limits, 0 means none.",
    "SIZE": "A number of bytes, or with a unit: `64K`, `10M`, `2G`, `1GiB` (powers of 1024), `10MB` (powers of 1000).",
    "LIST": "Failures of a job, separated by commas: exit codes (`75`), signals (`TERM`, `SIGKILL`), `timeout`, `signal` (any signal), "
    "`any` (any failure).",
    "SIG": "A signal's name or number: `INT`, `SIGINT`, `2`.",
    "LEVEL": "`critical`, `high`, `normal` or `low`.",
    "RULE": "`now` (stop running jobs) or `soon` (let running jobs end), then `fail=`, `success=` or `done=`, then a number of jobs or a "
    "percentage: `soon,fail=10%`.",
    "RUN": "A run's id, a unique prefix of an id, `latest`, or a path (an existing directory, or a name with a `/`).",
    "JOB, SELECTOR": "A job's id; a glob (`'fetch-*'`); `all`; `state:failed`, `priority:low`, `tag:nightly`. An exact id wins "
    "over a glob, because ids of matrix jobs contain `[`. States: `pending` `queued` `running` `waiting` `ok` `failed` `timeout` "
    "`cancelled` `skipped` `interrupted`.",
}
OPENING = "pqrun runs shell commands in parallel, with priorities, retries, time limits and a journal."
BY_VARIABLE = """\
You can set each option of a run by an environment variable, too: `PQRUN_` and the option's name in
capitals, with `_` for `-`, as in `PQRUN_JOBS=3` or `PQRUN_KEEP_ORDER=1`. The command line wins.
Exceptions are {exceptions}, because jobs get variables with these
names. Jobs don't inherit variables that set options, because these would change a pqrun in a job.
To pass one on, set it explicitly: `--env PQRUN_JOBS=3`, or `env` in a job file."""


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
    everywhere = set.intersection(*({option.names for option in _options(made[name])} for name in SHARING))
    of_a_run = tuple(option for option in run if option.names in everywhere)
    told = {(option.names, option.about) for option in of_a_run}
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
                tuple(option for option in options if (option.names, option.about) not in told),
                tuple(option for option in options if (option.names, option.about) in told),
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
    yield from (
        "`pqrun COMMAND --help` and `pqrun help COMMAND` print this reference in the terminal,",
        "`pqrun -h` what people use daily; `man pqrun` shows it on one page.",
        "",
    )
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
    yield from _table("value", VALUES.items())
    yield from ("## Exit codes", "")
    yield from _table("code", EXIT_CODES.items())
    yield from (
        "If several codes apply, the first of these counts: 70, a signal, 4, 1, 3. The exit code of `resume`",
        "is that of the whole run.",
        "",
    )
    yield from ("## Variables that pqrun reads", "", "In addition to the variables that set options:", "")
    yield from _table("variable", ((_coded(name), about) for name, about in READ.items()))
    yield from ("## Variables that jobs get", "")
    yield from _table("variable", ((_coded(name), about) for name, about in GIVEN.items()))
    yield from ("Hooks get [others](ci.md#hooks). A job may append lines to the file `$PQRUN_REPORT`:", "")
    yield from _table("line", ((_coded(name), about) for name, about in SAID.items()))


def markdown() -> str:
    """The page."""
    return "\n".join(_pages(program())).rstrip("\n") + "\n"


def queue_page() -> str:
    """The page of the queue with the commands of other tools between its marks."""
    text = QUEUE.read_text(encoding="utf-8")
    for tool, verbs in TOOLS.items():
        head = "tsp" if tool == "task-spooler" else tool
        rows = [f"| `{head}` | here |", "|---|---|", *(f"| {verb.there} | {verb.here} |" for verb in verbs)]
        begin, end = f"<!-- {tool} -->\n", f"\n<!-- end of {tool} -->"
        before, _, rest = text.partition(begin)
        text = f"{before}{begin}" + "\n".join(rows) + end + rest.partition(end)[2]
    return text


if __name__ == "__main__":
    DOCUMENT.write_text(markdown(), encoding="utf-8")
    QUEUE.write_text(queue_page(), encoding="utf-8")
