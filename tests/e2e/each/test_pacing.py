# SPDX-License-Identifier: LGPL-3.0-or-later
"""`--delay`, `--rate`, `--load` and `--memfree` on a real machine, and that they say why nothing starts."""

import json
from datetime import datetime
from itertools import pairwise

import pytest

from pqrun.core import values


def moments(done):
    """When jobs left the queue, in seconds from the first."""
    assert done.code == 0
    jobs = done.document["jobs"]
    found = sorted(datetime.fromisoformat(job["queued_at"]).timestamp() + job["wait_s"] for job in jobs)
    return [at - found[0] for at in found]


@pytest.mark.slow
def test_starts_are_as_far_apart_as_was_asked_for(pqrun):
    found = moments(pqrun("each", "--json", "-j9", "--delay", "60ms", "true", ":::", *"abcde"))
    assert all(late - early > 0.059 for early, late in pairwise(found))


@pytest.mark.slow
def test_no_more_start_than_the_rate_allows(pqrun):
    found = moments(pqrun("each", "--json", "-j9", "--rate", "2/150ms", "true", ":::", *"abcdef"))
    assert all(late - early > 0.149 for early, late in zip(found, found[2:], strict=False))


@pytest.mark.slow
def test_a_job_file_may_say_it(run):
    text = "delay: 80ms\nrate: 100/s\nload: 10000%\nmemfree: 1K\ndeadline: 1h\njobs: ['true', 'true', 'true']"
    found = moments(run(text, "--json", "-j3"))
    assert found[2] > 0.14
    assert moments(run(text, "--json", "-j3", "--delay", "0"))[2] < 30


@pytest.mark.slow
def test_what_a_job_file_says_holds_for_a_resume_too(run, pqrun, tmp_path):
    text = "delay: 100ms\njobs: ['true', 'true', 'true', 'true']"
    assert run(text, "-q", "--run-dir", "r", "--halt", "soon,done=1", "-j1").code == 3
    found = moments(pqrun("resume", "./r", "--json", "-j4", "--halt", "soon,done=9"))
    assert found[3] - found[1] > 0.199


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "value", "said"),
    [("--memfree", "8388607T", "of memory are free (--memfree "), ("--load", "0", "the load is ")],
)
def test_while_the_machine_is_too_busy_nothing_starts_and_anyone_can_see_why(
    live, until, pqrun, tmp_path, option, value, said
):
    process = live(
        "each", "-q", "--run-dir", "r", "--events", "events", option, value, "touch {}", ":::", "made"
    )

    def told():
        lines = (tmp_path / "events").read_text().splitlines() if (tmp_path / "events").exists() else []
        return [line for line in lines if said in line]

    until(told)
    facts = json.loads(pqrun("ps", "--run", "./r", "--json").out)
    assert [job["state"] for job in facts["jobs"]] == ["queued"]
    assert not (tmp_path / "made").exists()
    assert pqrun("stop", "--run", "./r").code == 0
    assert process.wait(60) == 3


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("rate", "0/s"),
        ("rate", "5/0"),
        ("rate", "x"),
        ("rate", "5/x"),
        ("load", "x"),
        ("load", "-1"),
        ("size", "1X"),
    ],
)
def test_what_cannot_be_is_refused(kind, text):
    with pytest.raises(ValueError):
        getattr(values, kind)(text)


def test_a_rate_may_be_written_in_short():
    assert [values.rate(text) for text in ("50/1m", "50/m", "50/90", "50")] == [
        (50, 60.0), (50, 60.0), (50, 90.0), (50, 1.0),
    ]  # fmt: skip


@pytest.mark.slow
def test_pools_come_from_the_command_line(pqrun, tmp_path):
    alone = "mkdir alone && sleep 0.02 && rmdir alone # pqrun: pools=net"
    (tmp_path / "lines").write_text(f"{alone}\n" * 3)
    assert pqrun("run", "-q", "lines", "-j3", "--pool", "net=1").code == 0
    assert pqrun("run", "-q", "lines", "-j3").code == 2
    assert pqrun("run", "-q", "lines", "--pool", "net=0").code == 2
