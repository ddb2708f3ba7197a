# SPDX-License-Identifier: LGPL-3.0-or-later
"""`send`: text to a running job that asked for it, and to no other."""

import base64
import json

import pytest

from pqrun.cli.commands.send import _is_taken
from pqrun.core.errors import InternalFailure, Rejected
from pqrun.core.job import ExitedWith

from .door import Door


class FakeStdin:
    """The open stdin of a job that takes what it is sent, or refuses it."""

    def __init__(self) -> None:
        self.got: list[bytes] = []
        self.ended = False
        self.refusal: Rejected | None = None

    def send(self, data: bytes, *, end: bool = False) -> int:
        if self.refusal:
            raise self.refusal
        self.got.append(data)
        self.ended = end
        return len(data) - 1


@pytest.fixture
def door(tmp_path):
    opened = Door(tmp_path / "control.sock", slots=1)
    yield opened
    opened.close()


def add(door, name: str, **facts):
    return door.ask("add", add=[{"id": name, "run": "cat", **facts}])


def send(door, job, data: bytes = b"", **facts):
    return door.ask("send", job=job, data=base64.b64encode(data).decode(), **facts)


def test_each_attempt_has_an_input_of_its_own(door):
    door.add("first")
    add(door, "a", stdin="open", retries=3)
    door.end("first")
    for attempt in (1, 2, 3):
        [key] = door.slots.running
        assert key == (2, attempt)
        stdin = door.slots.stdins[key] = FakeStdin()
        assert send(door, "a", b"x")["ok"] and stdin.got == [b"x"]
        door.end("a", 1)
        door.pass_seconds(60)


def test_a_running_job_gets_the_bytes_and_the_client_hears_how_many_wait(door):
    add(door, "a", stdin="open")
    [key] = door.slots.running
    stdin = door.slots.stdins[key] = FakeStdin()
    assert send(door, "a", b"\xff\n") == {"ok": True, "count": 2, "waiting": 1}
    assert (stdin.got, stdin.ended) == ([b"\xff\n"], False)
    assert send(door, "a", b"x", end=True)["ok"]
    assert (stdin.got, stdin.ended) == ([b"\xff\n", b"x"], True)


def test_what_the_job_does_not_take_is_refused_with_the_reason(door):
    add(door, "a", stdin="open")
    [key] = door.slots.running
    door.slots.stdins[key] = FakeStdin()
    door.slots.stdins[key].refusal = Rejected("it is full", 75)
    assert send(door, "a", b"x") == {
        "ok": False, "error": "job `a` got nothing: it is full", "code": 75, "pqrun": 2,
    }  # fmt: skip


def test_each_other_job_is_refused_with_the_cure(door):
    add(door, "plain")
    add(door, "waits", stdin="open")
    add(door, "file", stdin="./open")
    asked = "has no open standard input: add it with `--stdin open`, or write `stdin: open` in its job file"
    for name, code, told in (
        ("plain", 2, f"job `plain` {asked}"),
        ("file", 2, f"job `file` {asked}"),
        ("waits", 1, "job `waits` is not running (queued): wait until `pqrun ps` shows it as running"),
        ("nobody", 1, "no unfinished job `nobody`: `pqrun ps` lists them"),
    ):
        answer = send(door, name, b"x")
        assert (answer["ok"], answer["code"], answer["error"]) == (False, code, told)
    [key] = door.slots.running
    door.slots.end(key, ExitedWith(0))
    door.turn(2)
    assert send(door, "plain", b"x")["code"] == 1


@pytest.mark.parametrize(
    "wrong", [{"job": 1}, {"job": None}, {"data": 1}, {"data": "?"}, {"data": "abc"}, {"end": "yes"}]
)
def test_a_wrong_request_is_refused(door, wrong):
    add(door, "a", stdin="open")
    answer = door.ask("send", **{"job": "a", "data": "", **wrong})
    assert (answer["ok"], answer["code"]) == (False, 2)


# With real processes


@pytest.mark.slow
@pytest.mark.parametrize("fields", [{}, {"pty": True}], ids=["pipe", "terminal"])
def test_a_job_reads_what_is_sent_until_the_end_of_its_input(queue, until, fields):
    one = queue()
    one.add("read first; echo got $first; cat; echo end", id="a", stdin="open", **fields)
    assert one("send", "a", "hello", "you two").code == 0
    until(lambda: "got hello you two" in one("logs", "a").out)
    assert one("send", "a", "-n", "no line end, ").code == 0
    assert one("send", "a", "-", input="from stdin\n").code == 0
    assert one("send", "a", "--eof", "last").code == 0
    one.ask("wait")
    said = one("logs", "a").out
    echo = "hello you two\n" if fields else ""
    assert said.startswith(f"{echo}got hello you two\n")
    assert "no line end, from stdin\nlast\n" in said
    assert said.endswith("end\n")


@pytest.mark.slow
def test_a_stdin_that_nobody_writes_to_stays_open_until_the_job_ends(queue, until):
    one = queue()
    one.add("cat; echo never", id="a", stdin="open", timeout=0.5)
    one.ask("wait")
    assert one("logs", "a").out == ""
    assert one("send", "a", "x").code == 1


@pytest.mark.slow
def test_a_job_that_does_not_read_blocks_neither_the_run_nor_its_clients(queue, until, gate):
    one = queue("-j2")
    one.add(f"{gate.wait}; wc -c", id="a", stdin="open")
    until(lambda: one.states() == {"a": "running"})
    piece = base64.b64encode(bytes(256 * 1024)).decode()
    taken = 0
    with pytest.raises(Exception, match="it has not read .* and at most 1,048,576 may wait: try again later"):
        while one.ask("send", job="a", data=piece):
            taken += 1
    assert 4 <= taken <= 5, "a megabyte, and what the pipe holds"
    more, text = 0, "x" * 100_000
    while (answer := one("send", "a", text)).code == 0:
        more += len(text) + 1
    assert (answer.code, answer.out) == (75, "")
    one.add("true", id="b")
    one.ask("wait", jobs=["b"])
    gate.open()
    assert one("send", "a", "-", "--eof", input="y" * 2_000_000).code == 0, "waits while there is no room"
    one.ask("wait")
    assert one("logs", "a").out == f"{taken * 256 * 1024 + 2_000_000 + more}\n"


@pytest.mark.slow
def test_a_retry_begins_with_an_empty_stdin(queue, until):
    one = queue()
    one.add(
        "read line; echo got $line; [ $PQRUN_ATTEMPT = 2 ]",
        id="a",
        stdin="open",
        retries=1,
        retry={"delay": 0},
    )
    assert one("send", "a", "for the first\nnever read\n").code == 0
    until(lambda: one.jobs()["a"]["attempts"] == 2 and one.states()["a"] == "running")
    assert one("send", "a", "for the second").code == 0
    one.ask("wait")
    assert one("logs", "a").out == "got for the second\n"


@pytest.mark.slow
def test_keys_of_a_terminal_are_sent_as_they_are(queue, until):
    one = queue()
    one.add("trap 'echo interrupted; exit 3' INT; echo ready; cat", id="a", pty=True, stdin="open")
    until(lambda: "ready" in one("logs", "a").out)
    assert one("send", "a", "-n", "\x03").code == 0
    one.ask("wait")
    assert one("logs", "a").out.endswith("interrupted\n")


@pytest.mark.slow
def test_a_job_of_a_list_and_of_a_file_can_ask_for_it(live, tmp_path, until):
    (tmp_path / "jobs.yaml").write_text(json.dumps({"jobs": [{"id": "a", "run": "cat", "stdin": "open"}]}))
    (tmp_path / "open").write_text("a file\n")
    one = live("jobs.yaml", "-", input="cat # pqrun: id=b stdin=open\ncat # pqrun: id=c stdin=./open\n")
    for name in ("a", "b"):
        until(lambda name=name: one.states().get(name) == "running")
        assert one("send", name, "--eof", f"to {name}").code == 0
    assert one.end() == 0
    assert {"to a", "to b", "a file"} <= set(one.said.read_text().splitlines())


@pytest.mark.slow
def test_without_a_text_it_is_told_what_is_missing(pqrun):
    for words in (["send", "a"], ["send"]):
        assert pqrun(*words).code == 2
    assert "give a text to send, or --eof" in pqrun("send", "a").err


@pytest.mark.parametrize(("refused", "taken"), [(None, True), (75, False)])
def test_what_has_no_room_yet_is_sent_again(refused, taken):
    class Client:
        def request(self, verb, **facts):
            if refused is not None:
                raise InternalFailure("try again later", refused)

    assert _is_taken(Client(), "job", b"text") is taken


def test_what_a_job_will_never_read_is_not_sent_again():
    class Client:
        def request(self, verb, **facts):
            raise InternalFailure("it has closed its standard input", 1)

    with pytest.raises(InternalFailure, match="closed"):
        _is_taken(Client(), "job", b"text")
