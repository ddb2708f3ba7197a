# SPDX-License-Identifier: LGPL-3.0-or-later
"""The queue in a Python program.

queue       `Queue`
config      settings, jobs, errors
futures     handles of unfinished jobs
admission   how jobs get in
runtime     engine, slots and threads behind a queue
"""
