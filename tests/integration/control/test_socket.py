# SPDX-License-Identifier: LGPL-3.0-or-later
"""The socket itself: who may use it, how many, what they may send, and what they can't do to anybody."""

import contextlib
import errno
import json
import os
import socket
import stat
import struct
from concurrent.futures import ThreadPoolExecutor

import pytest

from pqrun.control import server
from pqrun.control.client import ControlClient
from pqrun.control.protocol import MAX_LINE_BYTES, is_ours, listen, short_path
from pqrun.core.errors import InternalFailure

from .door import Door


@pytest.fixture
def door(tmp_path):
    opened = Door(tmp_path / "control.sock")
    yield opened
    opened.close()


def add(*jobs: str, **more):
    return {"add": [{"run": run, **more} for run in jobs]}


# The file


def test_the_socket_is_its_owners_alone_whatever_the_umask(tmp_path):
    before = os.umask(0)
    try:
        listen(f"{tmp_path}/s").close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(tmp_path / "s").st_mode) == 0o600


@pytest.mark.parametrize("with_proc", [True, False])
def test_a_path_may_be_longer_than_an_address(tmp_path, monkeypatch, with_proc):
    deep = tmp_path / ("d" * 120) / ("e" * 120)
    deep.mkdir(parents=True)
    if not with_proc:
        there = os.path.isdir
        monkeypatch.setattr(os.path, "isdir", lambda path: path != "/proc/self/fd" and there(path))
    listening = listen(f"{deep}/s")
    with short_path(f"{deep}/s") as name, socket.socket(socket.AF_UNIX) as caller:
        caller.connect(name)
    assert os.listdir(deep) == ["s"]
    listening.close()


def test_what_a_dead_run_has_left_there_is_replaced(tmp_path):
    for old in ("socket", "file", "link"):
        path = f"{tmp_path}/{old}"
        if old == "socket":
            listen(path).close()
        elif old == "file":
            open(path, "w").close()
        else:
            os.symlink("/dev/null", path)
        listen(path).close()
        assert stat.S_ISSOCK(os.lstat(path).st_mode)


def test_where_there_can_be_no_socket_is_told(tmp_path):
    (tmp_path / "s").mkdir()
    with pytest.raises(InternalFailure, match="it is a directory"):
        listen(f"{tmp_path}/s")
    with pytest.raises(InternalFailure, match="No such file"):
        listen(f"{tmp_path}/nowhere/s")


def test_only_our_own_user_and_root_are_let_in(monkeypatch):
    class Peer:
        def __init__(self, uid):
            self.uid = uid

        def getsockopt(self, *_):
            return struct.pack("3i", 1, self.uid, 1)

    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert [is_ours(Peer(uid)) for uid in (0, 1000, 1001)] == [True, True, False]


def test_a_stranger_is_sent_away_without_a_word(door, monkeypatch):
    monkeypatch.setattr("pqrun.control.server.is_ours", lambda _connection: False)
    with door.call() as stranger:
        assert stranger.answer() is None and stranger.hung_up


# Requests


def test_an_answer_is_a_line_of_json_for_each_request_in_their_order(door):
    with door.call() as caller:
        for verb in ("pause", "unpause", "ps", "pause"):
            caller.say(verb)
        answers = [caller.answer() for _ in range(4)]
    assert [answer["paused"] for answer in answers] == [True, False, False, True]
    assert all(answer["ok"] is True for answer in answers)


def test_a_request_may_come_in_pieces_and_with_blank_lines_around_it(door):
    with door.call() as caller:
        for byte in b'\n \r\n{"pqrun": 1, "verb": "pause"}\r\n\n':
            caller.send(bytes([byte]))
            door.turn()
        assert caller.answer() == {"ok": True, "paused": True}
        assert caller.answer(turns=3) is None


@pytest.mark.parametrize(
    ("version", "told"),
    [(0, "version 2"), ("1", "version 2"), (None, "version 2"), (True, "version 2"), (3, "restart the run")],
)
def test_another_version_is_told_what_to_do(door, version, told):
    with door.call() as caller:
        answer = caller.ask("ps", pqrun=version)
        assert [caller.ask("ps", pqrun=known)["ok"] for known in (1, 2)] == [True, True]
    assert (answer["ok"], answer["code"], answer["pqrun"]) == (False, 2, 2)
    assert told in answer["error"]


def test_a_run_of_an_older_version_is_told_by_the_client(tmp_path, monkeypatch):
    """The older one knows no `lines`, and takes each line for a request."""
    monkeypatch.setenv("PQRUN_SOCKET", f"{tmp_path}/s")
    listening = listen(f"{tmp_path}/s")
    listening.setblocking(True)

    def old_run():
        connection, _ = listening.accept()
        # The client leaves before it has sent all, so the rest may be lost.
        with contextlib.suppress(ConnectionResetError), connection, connection.makefile("rb") as lines:
            for line in lines:
                known = line.strip() and json.loads(line).get("pqrun") == 1
                error = {"ok": False, "error": 'send `"pqrun": 1`', "code": 2, "pqrun": 1}
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                    connection.sendall(
                        json.dumps({"ok": True, "ids": ["1"]} if known else error).encode() + b"\n"
                    )

    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(old_run)
        with ControlClient() as client:
            assert client.request("add", add=[{"run": "true"}])["ids"] == ["1"]
            with pytest.raises(
                InternalFailure, match="the run is of an older pqrun.*: restart the run"
            ) as told:
                client.request("add", lines=[{"run": "true"}] * 20_000)
        run.result()
    listening.close()
    assert told.value.code == 2


@pytest.mark.parametrize(
    "line",
    [b"hello", b"[]", b"{}", b"7", b'{"pqrun":1}', b'{"pqrun":1,"verb":7}', b'{"pqrun":1,"verb":"fly"}', b"\xff\xfe",
     b"[" * 100_000, b'{"pqrun":1,"verb":"ps","x":NaN}', b"1" * 5000],
)  # fmt: skip
def test_garbage_is_answered_with_an_error_and_the_next_request_as_usual(door, line):
    with door.call() as caller:
        caller.send(line + b"\n")
        assert caller.answer()["ok"] is False
        assert caller.ask("ps")["ok"] is True


def test_a_line_of_a_mebibyte_is_taken_and_a_longer_one_ends_the_conversation(door):
    with door.call() as caller:
        request = json.dumps({"pqrun": 1, "verb": "ps", "by": ""}).encode()
        caller.send(request[:-2] + b"x" * (MAX_LINE_BYTES - len(request)) + b'"}\n')
        assert caller.answer()["ok"] is True
        caller.send(b"x" * (MAX_LINE_BYTES + 1))
        assert "1 MiB" in caller.answer()["error"]
        assert caller.answer() is None and caller.hung_up
    assert door.ask("ps")["ok"] is True


def test_who_has_said_all_that_he_has_to_say_is_answered_all_the_same(door):
    with door.call() as caller:
        caller.say("pause")
        caller.say("ps")
        caller.socket.shutdown(socket.SHUT_WR)
        assert caller.answer()["paused"] is True
        assert caller.answer()["jobs"] == []
        assert caller.answer() is None and caller.hung_up


def test_who_waits_may_have_stopped_talking(door):
    door.ask("add", **add("true"))
    with door.call() as caller:
        caller.say("wait")
        caller.socket.shutdown(socket.SHUT_WR)
        door.turn(5)
        door.slots.end(next(iter(door.slots.running)))
        assert caller.answer()["ended"] == 1


def test_what_was_asked_before_somebody_left_is_done(door):
    with door.call() as caller:
        caller.say("add", **add("true"))
    door.turn(5)
    assert len(door.scheduler.tasks) == 1


def test_who_leaves_while_he_waits_is_forgotten(door):
    door.ask("add", **add("true"))
    with door.call() as caller:
        caller.say("wait")
        door.turn(3)
        assert len(door.server._waiting) == 1
    door.turn(3)
    assert not door.server._waiting and not door.server._clients


# Clients who are a burden


@pytest.mark.slow
def test_who_does_not_read_costs_little_and_holds_up_nobody(door):
    door.scheduler.max_queue = 10_000
    door.ask("pause")
    for _ in range(10):
        door.ask("add", add=[{"run": "true"}] * 1000)
    lazy = [door.call() for _ in range(5)]
    for caller in lazy:
        for _ in range(100):
            caller.say("ps")
    door.turn(50)
    assert door.ask("ps", jobs=["7"])["jobs"][0]["id"] == "7"
    held = [len(client._piece) + len(client._received) for client in door.server._clients]
    assert max(held) < 256 * 1024
    for caller in lazy:
        caller.socket.close()
    door.turn(3)
    assert not door.server._clients


def test_a_client_that_stops_in_the_midst_of_a_message_holds_up_nobody(door):
    with door.call() as slow, door.call() as other:
        slow.send_lines("add", *[{"run": "true"}] * 300)
        slow.send(b'{"run": "tr')
        door.turn(5)
        assert other.ask("add", **add("true"))["ids"] == ["1"]
        assert other.ask("cancel", jobs=["all"])["count"] == 1
        slow.send(b'ue"}\n')
        assert len(slow.end_lines()["ids"]) == 301


def test_a_client_in_the_midst_of_a_message_keeps_its_place_longer_than_an_idle_one(door):
    slow = door.call()
    slow.send_lines("add", {"run": "true"})
    door.turn(3)
    callers = [door.call() for _ in range(server.MAX_CLIENTS - 1)]
    door.clock.time += 5
    late = door.call()
    assert late.ask("ps")["ok"] is True and callers[0].answer()["busy"] is True
    assert slow.end_lines()["ids"] == ["1"]
    for caller in (*callers, slow, late):
        caller.socket.close()


def test_a_message_has_a_bound_and_a_longer_one_ends_the_conversation(door, monkeypatch):
    monkeypatch.setattr("pqrun.control.connection.MAX_MESSAGE_BYTES", 10_000)
    with door.call() as caller:
        for _ in range(2):
            caller.send_lines("add", *[{"run": "true"}] * 500)
            assert len(caller.end_lines()["ids"]) == 500, "the bound is one for each message"
        caller.send_lines("add", *[{"run": "true"}] * 1000)
        answer = caller.answer()
        assert (answer["code"], "64 MiB" in answer["error"]) == (2, True)
        assert caller.answer() is None and caller.hung_up
    assert len(door.ask("ps")["jobs"]) == 1000


def test_there_are_at_most_64_and_one_more_is_asked_to_come_again(door):
    callers = [door.call() for _ in range(server.MAX_CLIENTS)]
    late = door.call()
    answer = late.answer()
    assert (answer["ok"], answer["busy"]) == (False, True) and late.answer() is None
    assert [caller.ask("ps")["ok"] for caller in callers] == [True] * 64
    door.clock.time += 5
    late = door.call()
    assert late.ask("ps")["ok"] is True, "who has asked nothing for long makes room"
    assert callers[0].answer()["busy"] is True and callers[0].answer() is None
    assert callers[1].ask("ps")["ok"] is True
    for caller in (*callers, late):
        caller.socket.close()


def test_who_waits_is_not_sent_away_and_leaves_room_for_others(door):
    door.ask("add", **add("true"))
    callers = [door.call() for _ in range(server.MAX_CLIENTS)]
    for caller in callers:
        caller.say("wait")
    door.turn(100)
    busy = [caller for caller in callers if (answer := caller.answer(turns=1)) and answer.get("busy")]
    assert len(busy) == server.MAX_CLIENTS - server.MAX_WAITING_CLIENTS
    door.clock.time += 100
    assert door.ask("ps")["ok"] is True
    door.slots.end(next(iter(door.slots.running)))
    assert [caller.answer()["ended"] for caller in callers if caller not in busy] == [
        1
    ] * server.MAX_WAITING_CLIENTS
    for caller in callers:
        caller.socket.close()


def test_without_a_descriptor_for_another_client_the_loop_does_not_spin(door, monkeypatch):
    accept, calls = door.server._socket, []

    class Full:
        def fileno(self):
            return accept.fileno()

        def accept(self):
            calls.append(1)
            raise OSError(errno.EMFILE, "Too many open files")

        def close(self):
            accept.close()

    door.server._socket = Full()
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(door.path)
        door.turn(20)
        assert len(calls) == 1
        door.server._socket = accept
        door.engine.turn(request=lambda scheduler, now: scheduler.pause(paused=True, now=now))
        door.turn(2)
        caller.sendall(b'{"pqrun":1,"verb":"ps"}\n')
        door.turn(3)
        assert json.loads(caller.recv(1000))["paused"] is True


@pytest.mark.slow
@pytest.mark.timeout(60)
def test_a_client_that_could_not_be_let_in_is_let_in_soon_though_nothing_else_happens(door):
    """The only job of a run may be the one that waits for an answer."""
    accept = door.server._socket
    refused = []

    class FullOnce:
        def fileno(self):
            return accept.fileno()

        def accept(self):
            refused.append(1)
            door.server._socket = accept
            raise OSError(errno.ENOMEM, "Cannot allocate memory")

    door.server._socket = FullOnce()
    with socket.socket(socket.AF_UNIX) as caller:
        caller.connect(door.path)
        caller.sendall(b'{"pqrun":1,"verb":"ps"}\n')
        door.reactor.wait(3600)  # finds it, and can't let it in
        assert refused == [1]
        assert door.reactor.wait(3600) == []  # for so long it does not listen
        door.clock.time += 1
        door.turn(5)
        assert json.loads(caller.recv(1000))["paused"] is False


# What is told, and when


class Disk:
    """A journal that can't be written."""

    def record(self, events):
        raise InternalFailure("No space left on device")


def test_nobody_is_told_that_something_was_done_that_could_not_be_recorded(tmp_path):
    door = Door(tmp_path / "s", journal=Disk())
    with door.call() as caller:
        caller.say("add", **add("true"))
        with pytest.raises(InternalFailure):
            door.turn(3)
        door.server.close(broken=True)
        assert caller.socket.recv(1000) == b""
    door.reactor.close()


def test_at_the_end_who_waits_gets_a_last_word(tmp_path):
    door = Door(tmp_path / "s")
    door.ask("pause")
    door.ask("add", **add("true"))
    with door.call() as waits, door.call() as wants_room:
        door.scheduler.max_queue = 1
        waits.say("wait")
        wants_room.say("add", wait=True, **add("true"))
        door.turn(5)
        door.server.close()
        answers = [json.loads(caller.socket.recv(1000)) for caller in (waits, wants_room)]
    assert [(answer["ok"], answer["code"]) for answer in answers] == [(False, 3), (False, 6)]
    assert not os.path.exists(door.path)
    door.reactor.close()


def test_a_client_that_has_connected_when_the_socket_is_made_anew_is_answered(tmp_path):
    door = Door(tmp_path / "control.sock")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        client.connect(door.path)
        client.sendall(b'{"pqrun": 1, "verb": "ps"}\n')
        os.unlink(door.path)
        door.server.check_socket_file()
        door.turn(10)
        client.settimeout(10)
        assert client.recv(1000).startswith(b'{"ok":true')
    assert door.states() == {}
    door.close()
