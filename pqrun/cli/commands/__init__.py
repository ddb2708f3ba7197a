# SPDX-License-Identifier: LGPL-3.0-or-later
"""One module a command, or a family of commands that share their code.

run (run, resume) . each . check_init_schema . serve . add . ps . set . pause_stop . cancel . wait
runs (runs, show, logs, prune) . show (the page of show) . logs (the output of jobs) . top
live_run   what commands that talk to a live run share
"""
