# SPDX-License-Identifier: LGPL-3.0-or-later
"""The command `web`: its line, its end, and what it says when it can't begin."""

import os
import signal
import socket
from pathlib import Path

import pytest
from support.process import environment, run_pqrun

from pqrun.app.web.server import _listen


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_cleanly_even_while_it_is_watched(serve, queue, number):
    server, run = serve(), queue("-j1")
    told = server.told(run.run).until(lambda _: True)
    runs = server.events("/events")
    next(runs)
    assert server.end(number) == (0, "", "")
    with pytest.raises(AssertionError, match="the stream has ended"):
        told.until(lambda _: False)
    assert run.ask("ps")["paused"] is False  # the run goes on


@pytest.mark.slow
def test_the_address_is_one_line_with_a_token_of_its_own(serve):
    one, other = serve(), serve()
    assert one.address == f"http://127.0.0.1:{one.port}/?token={one.token}" and len(one.token) > 40
    assert one.token != other.token and one.path != other.path
    assert other.get("/", cookie=one.cookie)[0] == 403


@pytest.mark.slow
def test_an_address_that_is_taken_is_told(tmp_path, state):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        done = run_pqrun("web", "--listen", address, cwd=tmp_path, env=environment(state=state))
    assert (done.code, done.out) == (4, "")
    assert done.err == (
        f"pqrun: cannot listen on {address}: Address already in use (--listen 127.0.0.1:0 takes a free port)\n"
    )


def test_the_address_of_a_server_that_has_just_ended_is_free_again():
    first = _listen("127.0.0.1", 0)
    host, port = first.getsockname()
    with socket.create_connection((host, port)) as browser:
        accepted, _ = first.accept()
        accepted.close()  # as a server that ends: the kernel remembers this connection for a minute
        assert browser.recv(1) == b""
    first.close()
    with _listen(host, port) as again:
        assert again.getsockname() == (host, port)


@pytest.mark.parametrize("address", ["", ":1", "1.2.3.4:", "1.2.3.4:x", "1.2.3.4:70000", "::1:80", "a\nb:1"])
def test_what_is_no_address_is_told(tmp_path, state, address):
    done = run_pqrun("web", "--listen", address, cwd=tmp_path, env=environment(state=state))
    assert done.code == 2 and "--listen" in done.err


def test_without_the_extra_it_says_how_to_install_it(tmp_path, state):
    (tmp_path / "sitecustomize.py").write_text(
        "import importlib.util as util\nfind = util.find_spec\n"
        "util.find_spec = lambda name, *more: None if name == 'starlette' else find(name, *more)\n"
    )
    env = environment({"PYTHONPATH": f"{tmp_path}{os.pathsep}{environment()['PYTHONPATH']}"}, state=state)
    done = run_pqrun("web", cwd=tmp_path, env=env)
    assert (done.code, done.err) == (
        2,
        "pqrun: `pqrun web` needs starlette and uvicorn: install them with `pip install 'pqrun-cli[web]'`\n",
    )


@pytest.mark.slow
def test_other_machines_are_warned_of(serve):
    server = serve(listen="0.0.0.0:0")
    assert server.get("/", host=f"127.0.0.1:{server.port}")[0] == 200
    assert server.get("/", host=f"evil.example:{server.port}")[0] == 403
    assert server.get("/", host=f"192.0.2.1:{server.port}")[0] == 200  # digits can't be pointed elsewhere
    code, _, err = server.end()
    assert code == 0 and "without encryption" in err


@pytest.mark.slow
def test_open_gives_the_token_to_the_browser_by_a_private_file(serve, state, tmp_path, monkeypatch, until):
    browser = tmp_path / "browser"
    browser.write_text(
        f'#!/bin/sh\necho "$@" > {tmp_path}/opened.new; mv {tmp_path}/opened.new {tmp_path}/opened\n'
    )
    browser.chmod(0o755)
    monkeypatch.setenv("BROWSER", f"{browser} %s")
    server = serve("--open")
    opened = until(lambda: (tmp_path / "opened").exists() and (tmp_path / "opened").read_text().strip())
    assert server.token not in opened and opened.startswith("file://")
    path = opened.removeprefix("file://")
    assert os.stat(path).st_mode & 0o777 == 0o600 and server.address in Path(path).read_text()
    server.end()
    assert not os.path.exists(path)
