# SPDX-License-Identifier: LGPL-3.0-or-later
"""A browser that is slow, stuck or gone costs bounded memory and nothing to the others."""

import asyncio
import os
import socket

import pytest
from support.process import environment, run_pqrun

from pqrun.app.web import event_stream
from pqrun.app.web.event_stream import EventStream

JOBS = 4000


def resident(pid):
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.slow
def test_browsers_that_read_nothing_cost_little_memory(server, state, tmp_path):
    (tmp_path / "list").write_text("".join(f"exit {n % 2} # {n} {'x' * 300}\n" for n in range(JOBS)))
    done = run_pqrun("run", "-q", "--json", "list", cwd=tmp_path, env=environment(state=state))
    run = done.document["run"]["id"]
    told = server.told(run).until(lambda _: True)
    before = resident(server.process.pid)
    stuck = []
    for _ in range(30):
        one = socket.create_connection(("127.0.0.1", server.port))
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        head = f"GET {server.path}/run/{run}/events HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        one.sendall(f"{head}Cookie: {server.cookie}\r\n\r\n".encode())
        stuck.append(one)
    again = server.told(run).until(lambda _: True)
    assert again.states == told.states and len(told.states) == JOBS
    assert resident(server.process.pid) - before < 30 * 512 * 1024
    for one in stuck:
        one.close()
    assert server.get("/")[0] == 200


def played(pieces, receive, send):
    async def play():
        stream = EventStream(pieces(), asyncio.Event())
        await asyncio.wait_for(stream({"type": "http"}, receive, send), 20)

    asyncio.run(play())


def test_a_browser_that_takes_nothing_is_dropped(monkeypatch):
    monkeypatch.setattr(event_stream, "SEND_TIMEOUT_SECONDS", 0.05)
    monkeypatch.setattr(event_stream, "LAST_TIMEOUT_SECONDS", 0.05)
    made, closed = [], []

    async def pieces():
        try:
            while True:
                made.append(1)
                yield b"x"
        finally:
            closed.append(True)

    async def receive():
        await asyncio.Event().wait()

    async def send(message):
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    played(pieces, receive, send)
    assert (made, closed) == ([1], [True])


def test_a_browser_that_is_gone_ends_its_stream():
    closed = []

    async def pieces():
        try:
            while True:
                yield b"x"
                await asyncio.sleep(0)
        finally:
            closed.append(True)

    async def receive():
        return {"type": "http.disconnect"}

    async def send(message):
        await asyncio.sleep(0)

    played(pieces, receive, send)
    assert closed == [True]
