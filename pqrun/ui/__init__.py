# SPDX-License-Identifier: LGPL-3.0-or-later
"""The views of a run for people.

Enter here: the run creates `observers.RunDisplay`, which builds the parts below and names the
observers for the dispatcher. `top.app.TopApp` is the full screen of the command `top`.

observers     Build the parts of a run's display, in the order in which they observe.
terminal      Decide between live table and log, and between colours and none.
plain_log     Write one line for each finished job, for logs and CI.
headings      Say whose output follows on the terminal, and why an attempt is tried again.
run_summary   Collect what the summary at the end of a run tells.
summary_page  Lay out that summary: failures, what happened, what to do next.
live/         Draw the live table below the jobs' output.
top/          Show a live or past run on the full screen.
"""
