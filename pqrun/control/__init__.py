# SPDX-License-Identifier: LGPL-3.0-or-later
"""Control a live run from other processes, through the Unix socket in its run directory.

Enter here: the run opens a `server.ControlServer` with the verbs of `connection.verbs_of`; a command or any
other client talks to the run through `client.ControlClient`.

protocol     Versions, bounds, checks of values and the kinds of answers; open the socket file.
server       Listen on the socket, accept clients, and answer clients that wait.
connection   Read a client's requests, call the function of each verb, and write answers, without ever blocking.
job_payload  Check the jobs and the changes of jobs in requests.
client       Find a live run, connect to it, and send requests.
run_view     A run, past or live, as `show`, `top`, `web` and reports see it: its facts, its output, requests to it.
commands/    Carry out the verbs, one file each.
"""
