# SPDX-License-Identifier: LGPL-3.0-or-later
"""What people see of a run.

observers     which parts there are, and in which order they observe
terminal      what the terminal can do, colours
plain_log     lines where nobody watches
run_summary   the end of a run
live/         the live table
top/          the full screen
"""
