# SPDX-License-Identifier: LGPL-3.0-or-later
"""The command line: options to settings, commands to calls.

main          the program
app           the commands, as typer knows them
options       options as data
settings      from options to `Settings`
fast_parser   plain command lines of `run` and `each`, read without typer
completion    what a shell offers on TAB
console       where commands that look back write
utf8_mode     UTF-8 whatever the locale (loaded only where that is needed)
commands/     one module a verb
"""
