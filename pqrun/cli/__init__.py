# SPDX-License-Identifier: LGPL-3.0-or-later
"""The command line: from words to `Settings`, and from commands to calls. `main.entry` is the program.

main          The program: runs a command and turns its failure into a message and an exit code.
declarations  How a command declares its arguments and options, for both parsers.
fast_parser   A plain command line, read without loading typer.
app           Everything else, read by typer: help, mistakes, completion.
options       The options of the commands that run or add jobs.
settings      The conversion of options to `Settings`.
console       stdout and stderr of the commands that print facts about runs.
run_table     The tables of `runs` and `prune`.
stdout        What commands print on stdout, whose reader may go away.
messages      Error messages on stderr.
short_help    `-h`, without loading typer.
job_messages  The jobs of `add`, made of its options and files, and sent to a live run.
foreign_options   Options of GNU parallel, xargs and make, and what to write instead.
foreign_verbs     Commands of pueue and task-spooler, and what to write instead.
job_editor    A job as a file in the user's editor (loaded by `edit` alone).
utf8_mode     UTF-8 in every locale (loaded only where that is needed).
commands/     The commands.
"""
