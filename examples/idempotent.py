#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-3.0-or-later
"""An idempotent handler: an order is charged once, however often its job runs."""

import sqlite3
from contextlib import closing

from pqrun import Config, Job, Queue

DATABASE = "orders.db"


def connect():
    return closing(sqlite3.connect(DATABASE, timeout=30))


def charge(context, job):
    order, cents = job.payload
    with connect() as database, database:  # one transaction: an exception takes all of it back
        # The order's number is the key, not the job's id: a job that is added again has another id.
        added = database.execute("INSERT OR IGNORE INTO charges VALUES (?, ?)", (order, cents)).rowcount
        if added:
            database.execute("UPDATE account SET cents = cents + ?", (cents,))
    if order == "A-1" and job.retry_count == 0:
        raise ConnectionError("the network failed after the commit")  # so the queue runs the job again
    return "charged" if added else "was charged before"


with connect() as database, database:
    database.execute("CREATE TABLE charges (order_number TEXT PRIMARY KEY, cents INTEGER)")
    database.execute("CREATE TABLE account (cents INTEGER)")
    database.execute("INSERT INTO account VALUES (0)")

with Queue(charge, Config(max_workers=4, retry_delay=0.01)) as queue:
    orders = [("A-1", 500), ("A-2", 250), ("A-1", 500)]  # a client has sent A-1 twice
    handles = queue.enqueue_many(Job(payload=order, max_retries=3) for order in orders)

print([handle.result() for handle in handles])
with connect() as database:
    print(database.execute("SELECT cents FROM account").fetchone()[0], "cents")
