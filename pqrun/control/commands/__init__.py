# SPDX-License-Identifier: LGPL-3.0-or-later
"""The verbs of the control socket. `connection.verbs_of` lists their functions.

add         Check the jobs of a request and add them to the queue.
cancel      End jobs, or send them a signal.
edit        Return or replace the command and the fields of one job.
hold        Hold jobs, or release them.
output      Return what a running job has printed so far.
pause_stop  Stop starting jobs, start again, or end the run.
ps          List the unfinished jobs, explain why a job does not run, and describe the run.
restart     Run ended jobs again.
send        Pass text to a running job.
set         Change jobs that hold no slot, a pool, the number of workers, or that of the jobs with a tag.
wait        Answer once jobs have ended.
"""
