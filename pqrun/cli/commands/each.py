# SPDX-License-Identifier: LGPL-3.0-or-later
"""`each`: run one command for many arguments, in the notation of GNU parallel."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

from pqrun.cli.declarations import ArgumentSpec, CommandSpec, DeclaredOption, HelpWanted, WrongUsage
from pqrun.cli.fast_parser import is_terminal
from pqrun.cli.options import EachOptions, workers_of
from pqrun.core.errors import UserError

if TYPE_CHECKING:
    from pqrun.core.settings import Each

EXAMPLES = (
    "pqrun each 'gzip -9 {}' ::: *.log",
    "find . -name '*.flac' -print0 | pqrun each -0 'lame {} {.}.mp3'",
    "pqrun each 'resize {1} {2}' ::: *.png ::: small large",
    "zcat log.gz | pqrun each -k --pipe --block 10M grep -c error",
)
PLACEHOLDERS = (
    ("{}", "the argument"),
    ("{.}", "without its extension"),
    ("{/}", "its base name"),
    ("{//}", "its directory"),
    ("{/.}", "its base name without extension"),
    ("{n}", "the n-th argument (also {n.} and so on)"),
    ("{name}", "the column of that name"),
    ("{#}", "the job's number"),
    ("{%}", "the number of its worker"),
)


def each(
    words: Annotated[
        list[str] | None,
        ArgumentSpec(
            "[COMMAND] [::: ARG...]",
            "The command, and its arguments: after :::, in files after ::::, or on stdin. "
            ":::+ and ::::+ pair a source with the one before. Without a command, each argument is one",
        ),
    ] = None,
    *,
    options: EachOptions,
) -> int:
    """Run one command for each argument."""
    if not words and not options.arg_file and is_terminal(0):
        raise HelpWanted("nothing to run: give a command, and arguments after `:::` or on stdin")
    from pqrun.app.run import run
    from pqrun.cli.settings import recorded, settings_of

    asked = arguments_of(words or (), options)
    settings = settings_of(options, each=asked, files=asked.files)
    if asked.tagstring is not None:
        settings = settings.with_values({"tag": True, "recorded": {**recorded(options), "tag": True}})
    return run(settings)


def arguments_of(words: Sequence[str], options: EachOptions) -> Each:
    """Return what the command line says about the arguments. Raises `WrongUsage` for a contradiction."""
    from pqrun.core.settings import Each

    said = options.values()
    counts = [name for name in ("max_args", "max_replace_args", "max_lines") if said[name] is not None]
    ways = [name for name, given in (("X", said["x"]), ("m", said["m"]), ("xargs", said["xargs"])) if given]
    pipes = said["pipe"] or said["pipe_part"]
    if (len(counts) > 1 and not (pipes and "max_lines" in counts)) or len(ways) > 1:
        raise WrongUsage("give only one of -n, -N and -L, and one of -X, -m and --xargs")
    if pipes:
        check_pipe(said, options)
    elif only := [name for name in PIPE_ONLY if said[name] not in (None, False)]:
        raise WrongUsage(f"--{only[0].replace('_', '-')} needs --pipe or --pipe-part")
    if said["tagstring"] is not None and said["output"] == "raw":
        raise WrongUsage("--output raw can't be combined with --tagstring")
    said["multiple"] = ways[0] if ways else "N" if counts == ["max_replace_args"] else None
    if "max_replace_args" in counts:
        said["max_args"] = said["max_replace_args"]
    said |= {"files": tuple(said["arg_file"] or ()), "rpl": tuple(said["rpl"] or ()), "workers": said["jobs"]}
    same = {name: value for name, value in said.items() if name in Each._fields}
    return Each(**{**same, "words": tuple(words)})


PIPE_ONLY = ("block", "recstart", "recend", "regexp", "remove_rec_sep", "round_robin")
NOT_WITH_PIPE = ("null", "delimiter", "colsep", "csv", "trim", "eof", "no_run_if_empty", "link", "shuf", "max_chars", "m", "x", "xargs")  # fmt: skip


def check_pipe(said: Mapping[str, Any], options: EachOptions) -> None:
    """Raise `WrongUsage` for options that contradict `--pipe` or `--pipe-part`."""
    name = "--pipe-part" if said["pipe_part"] else "--pipe"
    for other in NOT_WITH_PIPE:
        if said[other] not in (None, False):
            flag = options.declared()[other].flag.names[-1]
            raise WrongUsage(
                f"{flag} is about arguments, and {name} splits the input into records (--recend)"
            )
    if said["max_args"] == 0 or said["max_replace_args"] == 0:
        raise WrongUsage(f"{name}: a block has at least one record (-N)")
    if said["max_lines"] and (said["recstart"] is not None or said["recend"] is not None or said["regexp"]):
        raise WrongUsage("-L counts lines: it can't be combined with --recstart, --recend or --regexp")
    if said["pipe_part"] and any(
        said[one] for one in ("max_args", "max_replace_args", "max_lines", "remove_rec_sep")
    ):
        raise WrongUsage("--pipe-part reads no records: give -N, -L and --remove-rec-sep with --pipe")
    if said["pipe_part"] and said["round_robin"]:
        raise WrongUsage(
            "--round-robin needs --pipe; with --pipe-part, --block -1 makes one block for each worker"
        )
    if not said["pipe_part"] and (said["block"] or 0) < 0:
        raise WrongUsage("--block -N needs --pipe-part: the size of a stream is not known")
    if said["on"] != "local":
        raise WrongUsage(
            f"{name} splits the input on this machine: it can't be combined with --on {said['on']}"
        )


_HEADER_LINES = re.compile(r"\A\d+\Z|\\n|\A\.[{*+]")
"""A value that is the lines of a header for GNU parallel: a number, or a regular expression."""
PROGRESS_MODES = ("auto", "live", "plain", "none")


class HabitReader:
    """Reader that turns the options of a command line for GNU parallel or xargs into ours.

    Only the words before the first argument are read, because the rest belongs to the command.
    """

    def __init__(self, words: Sequence[str], declared: Mapping[str, DeclaredOption]) -> None:
        self._words = list(words)
        self._is_switch = {name: one.is_switch for one in declared.values() for name in one.flag.names}
        self._at = 0
        self._found: list[str] = []
        self._raw = False

    def rewritten(self) -> list[str]:
        """Return our words. Raises UserError for an option that `each` lacks, with what to do instead."""
        words = self._words
        while self._at < len(words) and words[self._at] not in ("-", "--") and words[self._at][:1] == "-":
            word = words[self._at]
            self._at += 1
            if word.startswith("--"):
                self._long(word)
            else:
                self._letters(word)
        if self._raw:  # as in GNU parallel, -u wins over -k
            self._found = [word for word in self._found if word not in ("-k", "--keep-order")]
        return self._found + words[self._at :]

    def _long(self, word: str) -> None:
        name, equals, value = word.partition("=")
        following = self._words[self._at : self._at + 1]
        if name == "--header":
            self._header(value if equals else (following or [""])[0], is_part=bool(equals))
        elif name == "--progress" and not equals and (following or [""])[0] not in PROGRESS_MODES:
            return  # as GNU parallel has it; the live table is there by default
        elif name == "--jobs":
            self._jobs(value if equals else self._next())
        elif name == "--timeout" and (value if equals else (following or [""])[0]).endswith("%"):
            self._found += ["--median-timeout", value if equals else self._next() or ""]
        elif name in self._is_switch:
            self._found.append(word)
            if not self._is_switch[name] and not equals:
                self._found += self._words[self._at : self._at + 1]
                self._at += 1
        else:
            self._foreign(name, value if equals else None, word)

    def _header(self, value: str, *, is_part: bool) -> None:
        """Read `--header`, and its value of GNU parallel, which is a word that no command is. `is_part`: after `=`."""
        if value == ":":
            self._at += not is_part
        elif is_part or (_HEADER_LINES.search(value) and not value.count(" ")):
            lines = value if value.isdecimal() else "N"
            raise UserError(
                f"`each` has no --header {value}: the header is one line; give more lines to each job, as in "
                f"`head -n {lines} FILE > head; tail -n +$(({lines}+1)) FILE | pqrun each --pipe 'cat head - | COMMAND'`"
            )
        self._found.append("--header")

    def _letters(self, word: str) -> None:
        """Read `-kq`, `-j4` or `-Xj1`, letter by letter."""
        for place in range(1, len(word)):
            name, rest = f"-{word[place]}", word[place + 1 :]
            if name == "-j":
                self._jobs(rest or self._next())
                return
            if name in self._is_switch:
                self._found.append(name if self._is_switch[name] else name + rest)
                if not self._is_switch[name]:
                    if not rest:
                        self._found += self._words[self._at : self._at + 1]
                        self._at += 1
                    return
            elif self._foreign(name, rest or None, name + rest):
                return

    def _jobs(self, value: str | None) -> None:
        self._found.append("-j")
        if value is not None:
            self._found.append(workers_of(value))

    def _next(self) -> str | None:
        self._at += 1
        return self._words[self._at - 1] if self._at <= len(self._words) else None

    def _foreign(self, name: str, value: str | None, word: str) -> bool:
        """Translate an option that is not ours. Return whether it took the rest of the word as its value."""
        from pqrun.cli.foreign_options import foreign_option

        option = foreign_option(name)
        if option is None:
            self._found.append(word)
            return True
        if option.metavar:
            value = self._next() if value is None else value
        self._raw |= name in ("-u", "--ungroup")
        self._found += option.translated(name, value)
        return bool(option.metavar)


def habits(words: list[str], declared: Mapping[str, DeclaredOption]) -> list[str]:
    """Return the words with the options of GNU parallel and xargs turned into ours."""
    if not words or words[0][:1] != "-":
        return words
    return HabitReader(words, declared).rewritten()


COMMANDS = (
    CommandSpec(
        "each", each, "Run jobs", examples=EXAMPLES, placeholders=PLACEHOLDERS, mixed=False, rewrite=habits
    ),
)
