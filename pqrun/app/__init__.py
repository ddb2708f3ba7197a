# SPDX-License-Identifier: LGPL-3.0-or-later
"""The assembly of a run: `run(settings)` returns an exit code, `serve.serve(settings)` does for a queue.

run                A run, from its settings to its exit code, and its answers to its parts.
parts              The plan of a run, and its parts, opened in dependency order.
time_left          The time left by the times of earlier runs.
resume             A recorded run that is continued: its jobs, workers and pools.
dry_run            `--dry-run`: prints the commands.
serve              `pqrun serve`: a run that waits for jobs.
queue_maintenance  Keeps a queue's journal, outputs and log from growing for ever.
service_manager    Messages to a service manager, such as systemd.
daemon             `serve --detach`: the background process.
service_unit       `serve --install`: the queue as a service of systemd or launchd.
web/               `pqrun web`: the server of the live page, a process of its own beside the runs.
"""
