# SPDX-License-Identifier: LGPL-3.0-or-later
"""Control a live run from other processes, through the Unix socket in its run directory.

Enter here: the run opens a `server.ControlServer` with a `handler.RequestHandler`; a command
or any other client talks to the run through `client.ControlClient`.

protocol     Encode and decode messages (one JSON object a line), and open the socket file.
server       Listen on the socket, keep the connections, and answer clients that wait.
connection   Read requests from one client and write answers to it, without ever blocking.
handler      Map a request's verb to the function that carries it out.
client       Find a live run, connect to it, and ask.
commands/    Carry out the larger verbs: `add`, `ps` and `wait`.
"""
