# SPDX-License-Identifier: LGPL-3.0-or-later
"""The options of the commands that run or add jobs.

Most options of a run are fields of `core/settings.py`. Here are those of jobs, and those that are not a field
as they are.
"""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Annotated, Any, ClassVar, NamedTuple

from pqrun.cli.declarations import DeclaredOption, OptionGroup, options_of
from pqrun.core import values
from pqrun.core.errors import UserError
from pqrun.core.job import Pool
from pqrun.core.job_fields import FieldOption, FieldSpec, fields_with_option
from pqrun.core.option_spec import (
    FAILURE,
    INPUT,
    OUTPUT,
    RECORD,
    SCHEDULING,
    OptionSpec,
    choice,
    option,
)
from pqrun.core.settings import (
    REPORT_FILES,
    InputSettings,
    LimitSettings,
    OutputSettings,
    PlaceSettings,
    RecordSettings,
    ReportSettings,
)


def pool(text: str) -> Pool:
    """Parse `NAME=N`; raise ValueError if the text is something else."""
    name, equals, number = text.replace(":", "=", 1).partition("=")
    if not equals or not name:
        raise values.InvalidValue(
            f"not NAME=N: `{text}`", "write the name and the size of a pool, such as gpu=2"
        )
    return Pool(name, values.whole_number(number, 1, 10**6))


class FieldOptions(OptionGroup):
    """Options that set the fields of a job, made from the table of fields. `command` is the one that has them.

    An option that a run has is set by a variable as well; `set` changes single jobs, so it has no variables.
    """

    command: ClassVar[str]

    @classmethod
    @cache
    def declared(cls) -> dict[str, DeclaredOption]:
        """Return the options of fields, then all others."""
        fields = {
            found.attribute: _declared(field, found, cls.command)
            for field, found in fields_with_option(cls.command)
        }
        return fields | super().declared()


def _declared(field: FieldSpec, found: FieldOption, command: str) -> DeclaredOption:
    read = None if found.raw or found.metavar is None else found.read or field.type.parse
    spec = option(*found.names, help=found.help, panel=found.panel, metavar=found.metavar, read=read)
    if "run" not in found.commands:
        spec = spec._replace(variable=None)
    elif command == "set":
        spec = spec._replace(variable=None, help=found.help.partition(" (default")[0])
    if found.metavar is None:
        return DeclaredOption(spec, bool, False)
    return DeclaredOption(spec, list[str] | None if found.repeated else str | None, None)


def fields_given(options: FieldOptions) -> Iterator[tuple[FieldSpec, FieldOption, Any]]:
    """Yield the fields of a job that a command line sets, with the option and the value of each.

    Raises `UserError` for a wrong value of a raw option, and if two options set the same field.
    """
    given = options.values()
    seen: dict[str, str] = {}
    for field, found in fields_with_option(options.command):
        value = given[found.attribute]
        if value is None or (value is False and found.metavar is None):
            continue
        if found.metavar is None:
            value = found.switched
        elif found.raw:
            try:
                value = (found.read or field.type.parse)(value)
            except ValueError as error:
                raise UserError(f"{options.spelled(found.attribute)}: {error}") from None
        name = options.spelled(found.attribute)
        if (other := seen.setdefault(field.name, name)) != name:
            raise UserError(f"{other} and {name}: give only one of them")
        yield field, found, value


class JobOptions(FieldOptions):
    """Options for all jobs that set no other value themselves."""

    command = "run"


class ReportOptions(OptionGroup):
    """Options for reports of a recorded run. The variables are meant for runs, so they don't set these."""

    @classmethod
    @cache
    def declared(cls) -> dict[str, DeclaredOption]:
        """Return the options of reports that are files."""
        options = options_of(ReportSettings)
        return {
            name: options[name]._replace(flag=options[name].flag._replace(variable=None))
            for name in REPORT_FILES
        }


class RunOptions(JobOptions):
    """Options of a run."""

    settings: ClassVar[tuple[type[NamedTuple], ...]] = (
        LimitSettings, InputSettings, OutputSettings, ReportSettings, RecordSettings, PlaceSettings,
    )  # fmt: skip

    pool: Annotated[
        list[str] | None,
        option(
            "--pools",
            "--pool",
            help="Share N units of a resource between the jobs; repeatable",
            panel=SCHEDULING,
            metavar="NAME=N",
        ),
    ] = None
    preset: Annotated[
        str | None,
        option("--preset", help="Workers/queue/timeout: small 2/100/5m, medium 10/1000/30m, large 50/10000/1h", panel=SCHEDULING, metavar="SIZE", read=choice("small", "medium", "large")),
    ] = None  # fmt: skip
    fail_fast: Annotated[
        bool,
        option(
            "--fail-fast", help="Stop the run at the first failure (same as --halt now,fail=1)", panel=FAILURE
        ),
    ] = False
    output: Annotated[
        str | None,
        option("--output", help="Print output when a job ends (group), line by line (line), unchanged (raw) or never (none)", panel=OUTPUT, metavar="MODE", read=choice("group", "line", "raw", "none")),
    ] = None  # fmt: skip


class ListOptions(RunOptions):
    """Options of `run`."""

    format: Annotated[
        str | None,
        option("--format", help="Format of the input: yaml, json or lines (default: by name and content)", panel=INPUT, metavar="KIND", read=choice("yaml", "json", "lines")),
    ] = None  # fmt: skip
    null: Annotated[
        bool, option("-0", "--null", help="Commands end in NUL instead of newline", panel=INPUT)
    ] = False
    resume: Annotated[
        str | None,
        OptionSpec(("--resume",), "Continue a run with this edited list of jobs", RECORD, metavar="RUN"),
    ] = None


def workers_of(text: str) -> str:
    """Return a number of workers of GNU parallel or xargs in our words: 0 is as many as possible."""
    return "1000" if text and not text.strip("0") else text


def block_size(text: str) -> int:
    """Parse the value of `--block`: a size, or `-N`, which is N blocks for each worker.

    A small letter counts in units of 1000, as in GNU parallel: `100k`.
    """
    if text[:1] == "-":
        return -values.whole_number(text[1:], 1, 10**6)
    if text[-1:] in ("k", "m", "g", "t"):
        text = f"{text[:-1]}{text[-1].upper()}B"
    size = values.size(text)
    if not size:
        raise ValueError("a block needs a size: --block 1M")
    return size


def _count(least: int) -> Callable[[str], int]:
    return lambda text: values.whole_number(text, least, 10**9)


class EachOptions(RunOptions):
    """Options of `each`."""

    # fmt: off
    arg_file: Annotated[list[str] | None, OptionSpec(
        ("-a", "--arg-file"), "Read arguments from a file, one per line; repeatable", INPUT, "FILE",
    )] = None
    null: Annotated[bool, OptionSpec(
        ("-0", "--null"), "Arguments end in NUL instead of newline", INPUT,
    )] = False
    delimiter: Annotated[str | None, OptionSpec(
        ("-d", "--delimiter"), "Arguments end in TEXT instead of newline", INPUT, "TEXT",
    )] = None
    colsep: Annotated[str | None, OptionSpec(
        ("--colsep",), "Split each argument at REGEX into the columns {1}, {2}…", INPUT, "REGEX",
    )] = None
    csv: Annotated[bool, OptionSpec(
        ("--csv",), "The sources are CSV: columns may be quoted (separator: --colsep, default a comma)", INPUT,
    )] = False
    header: Annotated[bool, OptionSpec(
        ("--header",), "Use the first argument of each source as column names, for {name}", INPUT,
    )] = False
    trim: Annotated[str | None, OptionSpec(
        ("--trim",), "Remove blanks of arguments: l (left), r (right), lr, or n (none)", INPUT, "SIDES",
        choice("n", "l", "r", "lr", "rl"),
    )] = None
    eof: Annotated[str | None, OptionSpec(
        ("-E", "--eof"), "An argument that is TEXT ends its source", INPUT, "TEXT",
    )] = None
    by_words: Annotated[bool, OptionSpec(
        ("--words",), "Arguments end at blanks and newlines; quotes and backslashes keep them, as in xargs", INPUT,
    )] = False
    no_run_if_empty: Annotated[bool, OptionSpec(
        ("--no-run-if-empty",), "Run no job for blank arguments", INPUT,
    )] = False
    link: Annotated[bool, OptionSpec(
        ("--link",), "Pair the arguments of all sources; shorter sources begin again", INPUT,
    )] = False
    shuf: Annotated[bool, OptionSpec(
        ("--shuf",), "Run the jobs in random order", INPUT,
    )] = False
    arg_sep: Annotated[str, OptionSpec(
        ("--arg-sep",), "Write WORD instead of :::", INPUT, "WORD",
    )] = ":::"
    arg_file_sep: Annotated[str, OptionSpec(
        ("--arg-file-sep",), "Write WORD instead of ::::", INPUT, "WORD",
    )] = "::::"
    replace: Annotated[str | None, OptionSpec(
        ("-I", "--replace"), "Write TEXT instead of {}", INPUT, "TEXT",
    )] = None
    plus: Annotated[bool, OptionSpec(
        ("--plus",), "More placeholders: {..}, {+/}, {+.}, {%TEXT}, {/a/b}, {##} and others", INPUT,
    )] = False
    rpl: Annotated[list[str] | None, OptionSpec(
        ("--rpl",), "A placeholder of your own: '{x} s/a/b/' or ',, {/.}'; repeatable", INPUT, "REPL",
    )] = None
    tagstring: Annotated[str | None, OptionSpec(
        ("--tagstring",), "Put this text, with placeholders, in front of each line of output", OUTPUT, "TEXT",
    )] = None
    max_args: Annotated[int | None, OptionSpec(
        ("-n", "--max-args"), "Put up to N arguments into each command; 0: none", INPUT, "N", _count(0),
    )] = None
    max_replace_args: Annotated[int | None, OptionSpec(
        ("-N", "--max-replace-args"), "As -n, and repeat the words that contain {}", INPUT, "N", _count(0),
    )] = None
    max_lines: Annotated[int | None, OptionSpec(
        ("-L", "--max-lines"), "As -n; a line that ends in a blank continues on the next one", INPUT, "N",
        _count(1),
    )] = None
    max_chars: Annotated[int | None, OptionSpec(
        ("-s", "--max-chars"), "Put arguments into a command up to this length in bytes", INPUT, "N", _count(1),
    )] = None
    m: Annotated[bool, OptionSpec(
        ("-m",), "Put as many arguments as fit into each command; share out the last ones", INPUT,
    )] = False
    x: Annotated[bool, OptionSpec(
        ("-X",), "As -m, and repeat the words that contain {}", INPUT,
    )] = False
    xargs: Annotated[bool, OptionSpec(
        ("--xargs",), "Put as many arguments as fit into each command", INPUT,
    )] = False
    pipe: Annotated[bool, OptionSpec(
        ("--pipe",), "Split the input into blocks of whole records; each job reads one as its stdin", INPUT,
    )] = False
    pipe_part: Annotated[bool, OptionSpec(
        ("--pipe-part",), "As --pipe, for a file (-a FILE): its parts are read where they are", INPUT,
    )] = False
    block: Annotated[int | None, OptionSpec(
        ("--block",), "With --pipe: size of a block (default: 1M); with --pipe-part, -N: N blocks for each worker", INPUT,
        "SIZE", block_size,
    )] = None
    recstart: Annotated[str | None, OptionSpec(
        ("--recstart",), "With --pipe: a record begins with TEXT", INPUT, "TEXT",
    )] = None
    recend: Annotated[str | None, OptionSpec(
        ("--recend",), "With --pipe: a record ends with TEXT (default: a newline); '' is any byte", INPUT, "TEXT",
    )] = None
    regexp: Annotated[bool, OptionSpec(
        ("--regexp",), "Read --recstart and --recend as regular expressions", INPUT,
    )] = False
    remove_rec_sep: Annotated[bool, OptionSpec(
        ("--remove-rec-sep",), "Remove --recstart and --recend from the blocks", INPUT,
    )] = False
    round_robin: Annotated[bool, OptionSpec(
        ("--round-robin",), "With --pipe: up to one job for each worker, each reading one block after another", INPUT,
    )] = False
    # fmt: on
