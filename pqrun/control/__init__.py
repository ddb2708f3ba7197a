# SPDX-License-Identifier: LGPL-3.0-or-later
"""Requests of other processes to a live run, through the socket in its directory.

protocol     one JSON object a line
server       the listening socket and its clients
connection   one client
handler      from a request to the function of its verb
client       the other end: find a live run, ask it
commands/    what each verb does
"""
