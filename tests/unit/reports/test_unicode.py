# SPDX-License-Identifier: LGPL-3.0-or-later
"""Bytes that are no text: every document is valid Unicode all the same, and has them in base64."""

import base64
import json
import os
import subprocess
import time

import pytest
from hypothesis import given
from hypothesis import strategies as some
from support.process import PQRUN, run_pqrun

from pqrun.core.unicode_json import as_json, bytes_beside

COMMAND = b"echo \xe9 '\xf0\x9f\x98\x80' \\\\udcff > /dev/null"


def texts(value):
    """All texts in it, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, one in value.items():
            yield key
            yield from texts(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts(one)


def strictly(data):
    """As a strict reader takes it (orjson, serde, Go): bytes, each text of which can be written as UTF-8."""
    found = json.loads(data.decode("ascii") if isinstance(data, bytes) else data)
    for text in texts(found):
        text.encode("utf-8", "strict")
    return found


@pytest.fixture
def place(tmp_path):
    """A directory whose name is no text, with a list of that command."""
    directory = os.fsencode(tmp_path) + b"/\xe9"
    os.mkdir(directory)
    with open(directory + b"/list-\xff", "wb") as file:
        file.write(COMMAND + b"\nfalse\n")
    return directory


def pqrun(place, *words, stdin=b""):
    return run_pqrun(*words, cwd=place, input=stdin)


def exact(job):
    return base64.b64decode(job["run_bytes"])


def check_job(job):
    assert job["run"] == COMMAND.decode("utf-8", "replace") and exact(job) == COMMAND


@pytest.mark.slow
def test_every_document_is_valid_unicode_with_the_bytes_beside(place):
    done = pqrun(place, "run", "--json", "--events", "events", "--trace", "trace", "--results", "results", "--on-finish", "cat > hook",
                 "--run-dir", b"record-\xfe", b"list-\xff")  # fmt: skip
    shown = [done.stdout, pqrun(place, "show", b"./record-\xfe", "--json").stdout]
    for document in map(strictly, shown):
        check_job(document["jobs"][0])
        assert "run_bytes" not in document["jobs"][1]
        assert base64.b64decode(document["run"]["directory_bytes"]) == place + b"/record-\xfe"
        assert list(map(base64.b64decode, document["run"]["files_bytes"])) == [b"list-\xff"]
    check_job(strictly(pqrun(place, "show", b"./record-\xfe", "--jsonl").stdout.splitlines()[0]))
    with open(place + b"/events", "rb") as file:
        events = [strictly(line) for line in file]
    check_job(next(event for event in events if event["event"] == "job_added"))
    assert base64.b64decode(events[0]["directory_bytes"]) == place + b"/record-\xfe"
    for name in (b"trace", b"hook", b"results/1-1/meta.json"):
        with open(place + b"/" + name, "rb") as file:
            strictly(file.read())


def test_arguments_too(place):
    pqrun(place, "each", "--events", "events", "--run-dir", "record", "true {} # ", ":::", b"a\xff", b"b")
    jobs = [strictly(line) for line in pqrun(place, "show", "./record", "--jsonl").stdout.splitlines()]
    assert jobs[0]["run"].encode("utf-8").count("\ufffd".encode()) == 1 and b"a\xff" in exact(jobs[0])
    assert "run_bytes" not in jobs[1]


@pytest.mark.slow
def test_a_live_run_too(place):
    words = ["serve", "--run-dir", b"queue-\xfe"]
    queue = subprocess.Popen([*PQRUN, *words], cwd=place, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        limit = time.monotonic() + 60
        while pqrun(place, "add", "--run", b"./queue-\xfe", "--id", "long", b": \xe9; exec sleep 60").code:
            assert time.monotonic() < limit
        found = strictly(pqrun(place, "ps", "--run", b"./queue-\xfe", "--json").stdout)
        assert found["jobs"][0]["run"] == ": \ufffd; exec sleep 60"
        assert exact(found["jobs"][0]) == b": \xe9; exec sleep 60"
        assert base64.b64decode(found["run"]["directory_bytes"]) == place + b"/queue-\xfe"
    finally:
        queue.terminate()
        queue.wait(60)


@given(
    some.text(
        alphabet=some.one_of(some.characters(codec=None), some.sampled_from('\udcff\udc80\ud800\\ud"😀'))
    )
)
def test_any_text(text):
    document = {"run": text, "words": [text], text: None, **bytes_beside("run", text)}
    found = strictly(as_json(document))
    if "run_bytes" in found:
        assert found["run"] != text
        assert found["run"].replace("\ufffd", "") == "".join(
            c for c in text if not 0xD800 <= ord(c) < 0xE000 and c != "\ufffd"
        )
    else:
        assert found == document | {text: None}
