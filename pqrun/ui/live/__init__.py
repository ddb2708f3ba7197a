# SPDX-License-Identifier: LGPL-3.0-or-later
"""The live table.

state    what the table knows, folded from events
layout   the table as lines, for a size of the window
tables   running jobs, recent failures
cells    text of a fixed width
screen   the lines at the bottom of a terminal
keys     single keys
table    draws it all four times a second
"""
