# SPDX-License-Identifier: LGPL-3.0-or-later
"""The assembly of a run: `run(settings)` returns an exit code, `serve.serve(settings)` does for a queue.

run                A run, from its settings to its exit code.
parts              All parts of a run, opened in dependency order; they ask it for what other parts know.
resume             A recorded run that is continued: its jobs, workers and pools.
dry_run            `--dry-run`: prints the commands.
serve              `pqrun serve`: a run that waits for jobs.
queue_maintenance  Keeps a queue's journal, outputs and log from growing for ever.
service_manager    Messages to a service manager, such as systemd.
daemon             `serve --detach`: the background process.
service_unit       `serve --install`: the queue as a service of systemd or launchd.
web/               `pqrun web`: the server of the live page, a process of its own beside the runs.
"""
