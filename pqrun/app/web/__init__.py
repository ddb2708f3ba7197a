# SPDX-License-Identifier: LGPL-3.0-or-later
"""The page of runs, live: the server of `pqrun web`, a process of its own beside the runs.

Enter here: `server.serve_web` serves until it is ended by a signal.

server        Listen, print the address, and end cleanly.
site          The addresses: pages, events, output, and requests that change a run.
access        Who may ask: the token, `Host`, `Origin`, and the headers of each answer.
event_stream  An answer without an end, to a browser that may be slow or gone.
run_feed      The data of one run's page, which grows as the run's journal does.
page_records  The records of jobs for a page, and its content while its feed is behind.
feeds         The feeds that browsers watch, each polled on a thread of its own.

A run pays next to nothing for being watched: the server reads its journal. It asks the run's control socket only for
the output of a running job that is in sight, when a user acts, and once a second for the numbers of a fast run.
"""
