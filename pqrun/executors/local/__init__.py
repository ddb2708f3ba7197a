# SPDX-License-Identifier: LGPL-3.0-or-later
"""Commands as processes of this machine.

From outside: `backend_of` gives a run its backend, `EmbeddedBackend` runs the shell jobs of a queue inside a
host program, and `UsageMonitor` measures what running jobs use.

backend            choose the backend of a run; open and close the local one
embedded           run shell jobs inside a host program
child              run one command: spawn, wait, end its leftovers, reap, read its output
process_group      stop, signal and suspend a running job
exit_wait          the wait for the end of a job that is not short
leftover_wait      the wait for the end of leftovers
command            build a job's argument list, environment, working directory and stdin
block_stdin        open the block of the input that a job reads as its stdin
shell_bypass       find the commands that need no shell
interactive        the streams of a job with a terminal or an open stdin; the terminals
open_stdin         the stdin of a running job that others may write to
niceness           start a process with a niceness of its own
spawn              fork and exec, or say why not; room for descriptors; watch for the exit; read the pipes
cleanup            end the leftovers of jobs, as a subreaper
cleanup_embedded   end the leftovers of jobs by scanning all processes, without a subreaper
ownership          find the job that a process belongs to: by session, group, marker or tag
procfs             read `/proc`; signal and reap single processes
watchdog           start and replace the watchdogs
watchdog_process   the code that a watchdog runs, and the memory that it shares with pqrun
status_file        read `$PQRUN_REPORT`
usage              measure CPU and memory of running jobs
usage_sampler      one sample of them, from psutil; loaded by the monitor's thread
user_paths         system calls on users' paths, which may block for ever
created_file       the file that a job `creates`; the end of a job that need not run
environment        the variables and the make jobserver that jobs inherit
"""
