# SPDX-License-Identifier: LGPL-3.0-or-later
"""Commands as processes of this machine.

backend            what a run needs here; opens and closes it
embedded           the same inside a host program
child              one command: spawn, read, wait, end its tree, reap
command            a job's argv, environment, directory, stdin
shell_bypass       commands that need no shell
spawn              fork and exec, exit watcher, pipe reader
cleanup            end what a job leaves behind         cleanup_embedded   the same without a subreaper
ownership          which job a process belongs to       procfs             `/proc`
watchdog           start and replace the watchdogs      watchdog_process   what a watchdog does
watchdog_table     memory shared with the watchdogs
status_file        `$PQRUN_REPORT`                      usage              CPU and memory of running jobs
user_paths         calls on users' paths that may block
created_file       the file that a job `creates`
environment        variables and jobserver handed down
"""
