# SPDX-License-Identifier: LGPL-3.0-or-later
"""The live table, drawn at the bottom of the terminal while jobs print above it.

Enter here: `table.LiveTable` is the observer, and `keys.KeyReader` the source of the reactor.

state    Fold events into what the table shows.
layout   Lay out the table as lines, for a size of the window (pure).
tables   Lay out the rows of running jobs and of recent failures (pure).
cells    Cut and pad text to a width in terminal cells, and paint it.
screen   Draw and erase lines at the bottom of a terminal.
keys     Read single keys from the terminal.
type_ahead   Tell keys for the run from text for the shell (pure).
table    Draw the table up to four times a second.
"""
