# SPDX-License-Identifier: LGPL-3.0-or-later
"""The one table of options that GNU parallel, xargs and make have and `each` writes in another way, or lacks.

`docs/from_gnu_parallel.py` makes the tables of docs/from-gnu-parallel.md of it. Loaded only for a command line
with an option that `each` does not declare.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from pqrun.cli.options import workers_of
from pqrun.core.errors import UserError

VALUE: Final = "VALUE"


class ForeignOption(NamedTuple):
    """An option of another tool.

    `words` are ours for it, where VALUE stands for the option's value; None if there are none. `about` says what
    to know of the translation, or what to do instead. `metavar`: the name of the value, empty for a switch.
    `read` makes our words from the value.
    """

    names: tuple[str, ...]
    words: tuple[str, ...] | None
    about: str
    metavar: str = ""
    read: Callable[[str], tuple[str, ...]] | None = None

    def translated(self, name: str, value: str | None) -> list[str]:
        """Return our words. Raises UserError, with the cure, if there are none."""
        if self.read is not None and value is not None:
            return list(self.read(value))
        if self.words is None:
            raise UserError(f"`each` has no {name}: {self.about}")
        return [word.replace(VALUE, value or "") for word in self.words]


def jobs_of(value: str) -> tuple[str, ...]:
    """Return our words for `-P`."""
    return ("--jobs", workers_of(value))


def stop_sequence(value: str) -> tuple[str, ...]:
    """Return our words for `--termseq TERM,200,TERM,100,KILL,25`: signals, each with a wait in milliseconds."""
    words = [word.strip() for word in value.split(",")]
    signals, waits = words[::2], words[1::2]
    if not signals[0] or not all(wait.isascii() and wait.isdigit() for wait in waits):
        raise UserError(
            f"--termseq: not signals, each with milliseconds: `{value}` (write --signal and --grace)"
        )
    last = signals.index("KILL") if "KILL" in signals else len(signals)
    return ("--signal", signals[0], "--grace", f"{sum(map(int, waits[:last]))}ms")


_TABLE = "the live table shows it"
_AS_IT_IS = "pqrun does so anyway"
_STDIN = "a job reads its block as stdin: `/dev/stdin` is a name for it"
_GROUPS = "`--recstart` and `--recend` with `--regexp` tell where a group of lines ends"
_SSH = "jobs start on this machine: write `ssh {1} …` into the command, use `--shard I/N` on each machine, or a cluster (`--on`)"
_RESUME = "every run is recorded: `pqrun resume latest` runs the rest, `pqrun resume latest --failed` the failed jobs too"
_SEM = "use a pool, as in `pqrun run --pool net=2`, or a queue (`pqrun serve -j1`, then `pqrun add`)"
_TTY = '`--pty` gives jobs a terminal to write to; run programs that need your keys in a shell loop (`for f in *; do vi "$f"; done`)'
_PERL = "there is no Perl in placeholders: name a substitution, as in `--rpl '{x} s/a/b/'`, or change the value in the command"
_SQL = "`pqrun show --json` and `--events` give the results to other programs"
_OPTIONAL = "xargs allows it without a value"
_FILES = "`--results DIR` writes the output of each job to files"

SPELLINGS: Final = (
    ForeignOption(("-P", "--max-procs"), None, "`--max-procs 0` is `-j1000`", "N", jobs_of),
    ForeignOption(("-u", "--ungroup"), ("--output", "raw"), "`-k` has no effect beside it"),
    ForeignOption(("--lb", "--line-buffer", "--linebuffer"), ("--output", "line"), ""),
    ForeignOption(("--group",), ("--output", "group"), "the default"),
    ForeignOption(("--dryrun",), ("--dry-run",), ""),
    ForeignOption(("--keeporder",), ("--keep-order",), ""),
    ForeignOption(("--spreadstdin",), ("--pipe",), ""),
    ForeignOption(("--pipepart",), ("--pipe-part",), ""),
    ForeignOption(("--roundrobin", "--round"), ("--round-robin",), ""),
    ForeignOption(("--block-size",), ("--block", VALUE), "", "SIZE"),
    ForeignOption(("--rrs",), ("--remove-rec-sep",), ""),
    ForeignOption(("--xapply",), ("--link",), ""),
    ForeignOption(("--halt-on-error",), ("--halt", VALUE), "", "RULE"),
    ForeignOption(("--wd", "--workdir"), ("--cwd", VALUE), "", "DIR"),
    ForeignOption(("--extensionreplace", "--er"), ("--rpl", f"{VALUE} {{.}}"), "", "TEXT"),
    ForeignOption(("--basenamereplace", "--bnr"), ("--rpl", f"{VALUE} {{/}}"), "", "TEXT"),
    ForeignOption(("--dirnamereplace", "--dnr"), ("--rpl", f"{VALUE} {{//}}"), "", "TEXT"),
    ForeignOption(("--basenameextensionreplace", "--bner"), ("--rpl", f"{VALUE} {{/.}}"), "", "TEXT"),
    ForeignOption(("--seqreplace",), ("--rpl", f"{VALUE} {{#}}"), "", "TEXT"),
    ForeignOption(("--slotreplace",), ("--rpl", f"{VALUE} {{%}}"), "", "TEXT"),
    ForeignOption(("--eof-str",), ("--eof", VALUE), "", "TEXT"),
    ForeignOption(("--eta", "--bar"), (), _TABLE),
    ForeignOption(("--latest-line", "--ll"), (), f"{_TABLE}; the whole output is printed when a job ends"),
    ForeignOption(("--ctag",), ("--tagstring", "{}"), "without colors"),
    ForeignOption(("--ctagstring",), ("--tagstring", VALUE), "without colors", "TEXT"),
    ForeignOption(("--color-failed", "--cf"), (), "the summary shows failed jobs in color (`--color`)"),
    ForeignOption(("--keep-going", "-K", "--ignore-errors"), (), "a failed job does not stop the others; the opposite is `--fail-fast`"),
    ForeignOption(("--output-sync", "-O"), ("--output", "group"), "the default"),
    ForeignOption(("--load-average", "--max-load"), ("--load", VALUE), "", "MAX"),
    ForeignOption(("--just-print", "--recon"), ("--dry-run",), ""),
    ForeignOption(("--silent",), ("--quiet",), ""),
    ForeignOption(("--no-print-directory",), (), _AS_IT_IS),
    ForeignOption(("--directory",), ("--cwd", VALUE), "", "DIR"),
    ForeignOption(("--will-cite", "--gnu", "--no-notice"), (), "no notice asks for a citation"),
    ForeignOption(("-x", "--exit", "--show-progress", "--compress"), (), _AS_IT_IS),
    ForeignOption(("--use-cpus-instead-of-cores", "--use-cores-instead-of-threads", "--use-sockets-instead-of-threads"), (), "pqrun counts the CPUs that it may use"),
    ForeignOption(("--termseq",), None, "the first signal, and KILL after the sum of the waits; signals between them are not sent", "SEQ", stop_sequence),
)  # fmt: skip
"""Options of GNU parallel and xargs that `each` takes as they are, in words of its own."""

CURES: Final = (
    ForeignOption(("--cat", "--fifo"), None, _STDIN),
    ForeignOption(("--tee",), None, "no input is given to several jobs: each can read the file (`< FILE` in the command)"),
    ForeignOption(("--bin", "--group-by", "--groupby"), None, _GROUPS, "VALUE"),
    ForeignOption(("-S", "--sshlogin", "--sshloginfile", "--slf", "--ssh", "--return", "--trc", "--basefile", "--bf", "--transferfile", "--tf", "--hostgroup", "--hostgroups", "--hgrp", "--sshdelay"), None, _SSH, "HOST"),
    ForeignOption(("--onall", "--nonall", "--transfer", "--cleanup", "--controlmaster", "-M", "--filter-hosts"), None, _SSH),
    ForeignOption(("--resume", "--resume-failed", "--retry-failed"), None, _RESUME),
    ForeignOption(("--semaphore", "--sem", "--fg", "--bg", "--wait"), None, _SEM),
    ForeignOption(("--semaphorename", "--id", "--semaphoretimeout", "--st"), None, _SEM, "NAME"),
    ForeignOption(("--tty", "-o", "--open-tty", "--tmux", "--tmuxpane"), None, _TTY),
    ForeignOption(("--interactive",), None, "look at the commands first, with `--dry-run`"),
    ForeignOption(("--files", "--files0"), None, _FILES),
    ForeignOption(("--tmpdir", "--tempdir"), None, f"output that is too large for memory goes to the directory of the run (`--run-dir`); {_FILES}", "DIR"),
    ForeignOption(("--outputasfiles",), None, _FILES),
    ForeignOption(("--parens",), None, _PERL, "TEXT"),
    ForeignOption(("--perl", "--filter", "--skip-first-line"), None, _PERL),
    ForeignOption(("--memsuspend", "--limit"), None, "`--memfree SIZE` and `--load MAX` hold back starts; `pqrun pause` does so by hand", "VALUE"),
    ForeignOption(("--quote",), None, "quote the whole command: `pqrun each \"perl -e 'print 1' {}\"`"),
    ForeignOption(("--shellquote", "--shell-quote"), None, "`each` quotes every value; `--dry-run` shows how"),
    ForeignOption(("--number-of-cpus", "--number-of-cores", "--number-of-sockets", "--number-of-threads"), None, "ask `nproc`"),
    ForeignOption(("--max-line-length-allowed", "--show-limits"), None, "a command may have 127 KiB; `-s` sets a smaller limit"),
    ForeignOption(("--record-env", "--recordenv", "--session"), None, "jobs have the environment of pqrun; `--shell auto` knows the functions that bash has exported"),
    ForeignOption(("-J", "--profile"), None, "set options by variables, such as `PQRUN_JOBS=4`", "NAME"),
    ForeignOption(("--process-slot-var",), None, "jobs have the number of their worker in `$PQRUN_SLOT`", "NAME"),
    ForeignOption(("--sql", "--sqlmaster", "--sqlworker", "--sqlandworker"), None, _SQL, "DBURL"),
    ForeignOption(("--citation", "--bibtex", "--embed", "--minversion", "--parset", "--shebang", "--hashbang", "--shebang-wrap"), None, "it has no counterpart: it concerns GNU parallel itself"),
    ForeignOption(("-i", "-l", "-e"), None, f"{_OPTIONAL}: write `-I TEXT`, `-L N` or `-E TEXT`"),
    ForeignOption(("--total-jobs", "--total"), None, "pqrun shows a percentage as soon as all arguments are read; `--plus` has `{##}`"),
    ForeignOption(("-f", "--file", "--makefile"), None, "write `-a FILE` for a file of arguments; `pqrun run FILE` reads a job file, which has dependencies (`needs`)", "FILE"),
    ForeignOption(("-B", "--always-make", "--touch", "--question", "-W", "--what-if"), None, "jobs run every time, unless the file that a job `creates` exists (in a job file)"),
)  # fmt: skip
"""Options that `each` lacks, with what to do instead."""


def foreign_option(name: str) -> ForeignOption | None:
    """Return the option of another tool that has this name."""
    for one in (*SPELLINGS, *CURES):
        if name in one.names:
            return one
    return None
