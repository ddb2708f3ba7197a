# SPDX-License-Identifier: LGPL-3.0-or-later
"""The command line: from words to `Settings`, and from commands to calls. `main.entry` is the program.

main          The program: runs a command and turns its failure into a message and an exit code.
app           The commands, as typer knows them, each loaded only when it is called.
options       Options as data: names, help text, parser.
settings      The conversion of options to `Settings`.
fast_parser   `run` and `each` with a plain command line, without loading typer.
completion    The words that a shell completes on TAB.
console       stdout and stderr of the commands that print facts about runs.
utf8_mode     UTF-8 in every locale (loaded only where that is needed).
commands/     One module for each command.
"""
