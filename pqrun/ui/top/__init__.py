# SPDX-License-Identifier: LGPL-3.0-or-later
"""`top`: a run on a full screen.

app              what keys do
view             keeps the screen up to date
widgets          what the screen is made of
rendering        rows, numbers, curves as styled text (pure)
jobs             the list of jobs: filtered, sorted (pure)
run_source       the run that is shown, live or past
terminal_guard   restores the terminal if `top` is killed
"""
