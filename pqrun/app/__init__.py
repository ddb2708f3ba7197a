# SPDX-License-Identifier: LGPL-3.0-or-later
"""Puts a run together and runs it.

run           a run from its input to its exit code
resume        a recorded run, to be continued
dry_run       `--dry-run`
serve         a queue that waits for jobs
daemon        `serve --detach`
maintenance   keeps a live queue's files short, and its directory and socket there
"""
