# SPDX-License-Identifier: LGPL-3.0-or-later
"""`pqrun web` in a process of its own, and live runs for it to show."""

from contextlib import contextmanager
from importlib.util import find_spec

import pytest
from control import conftest as real
from support.web import WebServer

gate, live_run, queue = real.gate, real.live, real.queue
globals()["state"] = real.state  # the name of the fixture that the others ask for

if find_spec("starlette") is None or find_spec("uvicorn") is None:
    collect_ignore = ["test_access.py", "test_runs.py", "test_slow.py", "test_command.py"]


@contextmanager
def servers(state, cwd):
    """`serve(*options)` is `pqrun web` on a free port. It may have printed no traceback."""
    begun = []

    def start(*options, **more):
        server = WebServer(*options, state=state, cwd=cwd, **more)
        begun.append(server)
        return server

    yield start
    for server in begun:
        if server.process.poll() is None:
            _, _, err = server.end()
            assert "Traceback" not in err, err
        server.close()


@pytest.fixture
def serve(tmp_path, state):
    """`serve(*options)` is `pqrun web` on a free port."""
    with servers(state, tmp_path) as start:
        yield start


@pytest.fixture
def server(serve):
    return serve()
