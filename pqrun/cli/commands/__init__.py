# SPDX-License-Identifier: LGPL-3.0-or-later
"""The commands: one module for each, or for a family of commands that share their code.

run                 `run` and `resume`.
each                `each`.
check_init_schema   `check`, `init` and `schema`.
serve               `serve`.
add, ps, set, cancel, wait, top   The command of that name.
pause_stop          `pause`, `unpause` and `stop`.
runs                `runs`, `show`, `logs` and `prune`; prints the tables of `runs` and `prune`.
show                The page and the documents of `show`.
logs                The output of jobs for `logs`.
live_run            The parts shared by commands that talk to a live run.
"""
