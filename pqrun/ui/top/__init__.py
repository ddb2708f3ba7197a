# SPDX-License-Identifier: LGPL-3.0-or-later
"""The full screen of the command `top`, built with textual.

Enter here: open the run with `run_source.which_run` and `RecordedRunSource`, and run
`app.TopApp` inside `terminal_guard.guarded`.

app              Act on keys: change the list, or ask the run for something.
view             Lay out the widgets of the screen, draw the lines around them, and ask questions in dialogs.
polling          Poll the source, follow the output of the selected job, and remember what the user asked for.
widgets          Draw the job table and the log.
rendering        Style rows, numbers and curves as text (pure).
jobs             Filter and sort the list of jobs (pure).
run_source       What the screen asks of a run: values, their protocol, and the source for live and past runs.
terminal_guard   Have a watchdog restore the terminal if `top` is killed.
"""
