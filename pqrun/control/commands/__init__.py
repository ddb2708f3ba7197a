# SPDX-License-Identifier: LGPL-3.0-or-later
"""The larger verbs of the control socket, one file each.

add    Check the jobs of a request and add them to the queue.
ps     List the unfinished jobs, and explain why a job does not run.
wait   Answer once jobs have ended, or once the queue has room.
"""
