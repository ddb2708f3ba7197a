# SPDX-License-Identifier: LGPL-3.0-or-later
"""The assembly of a run: `run(settings)` returns an exit code, `serve.serve(settings)` does for a queue.

run           A run, from its input to its exit code: creates all parts and connects them.
resume        A recorded run that is continued: its jobs, workers and pools.
dry_run       `--dry-run`: prints the commands.
serve         `pqrun serve`: a run that waits for jobs.
daemon        `serve --detach`: the background process.
maintenance   For a live queue: short files, and a run directory and socket that stay in place.
"""
