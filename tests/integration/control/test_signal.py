# SPDX-License-Identifier: LGPL-3.0-or-later
"""`cancel --signal`: the signal alone, to running jobs; what follows is the job's own doing."""

import pytest

from .door import Door


@pytest.fixture
def door(tmp_path):
    opened = Door(tmp_path / "control.sock", slots=2)
    yield opened
    opened.close()


def test_only_running_jobs_get_the_signal_and_nothing_else_happens_to_them(door):
    door.add("a", "b", "queued")
    before = list(door.story.events)
    assert door.ask("signal", jobs=["all"], signal="usr1") == {"ok": True, "count": 2}
    assert door.slots.signals == [(1, "SIGUSR1"), (2, "SIGUSR1")]
    assert door.ask("signal", jobs=["queued"], signal="TERM") == {"ok": True, "count": 0}
    assert door.states() == {"a": "running", "b": "running", "queued": "queued"}
    assert door.story.events == before
    assert door.ask("signal", jobs=["all"], signal="loud")["error"] == (
        "not a signal: `loud` (write a name such as TERM, INT, USR1)"
    )


@pytest.mark.slow
def test_a_job_may_handle_the_signal_and_one_that_dies_of_it_has_failed_and_is_retried(queue, until):
    one = queue("-j2")
    ready = "echo > ready-$PQRUN_JOB_ID; while :; do sleep 0.01; done"
    one.add(f"trap 'echo > heard; exit 0' USR1; {ready}", id="handles")
    one.add(f"trap '' TERM; {ready}", id="dies", retries=1, retry={"delay": 0})
    for name in ("handles", "dies"):
        until(lambda name=name: (one.cwd / f"ready-{name}").exists())
    assert one("cancel", "--signal", "TERM", "dies").code == 0  # ignored, and no KILL follows
    assert one("cancel", "--signal=usr1", "handles").code == 0
    one.ask("wait", jobs=["handles"])
    assert (one.cwd / "heard").exists()
    (one.cwd / "ready-dies").unlink()
    assert one("cancel", "--signal", "KILL", "dies").code == 0
    until(lambda: (one.cwd / "ready-dies").exists())
    assert one.jobs()["dies"]["attempts"] == 2
    nothing = one("cancel", "--signal", "INT", "handles")
    assert (nothing.code, nothing.err) == (
        1, "pqrun: no job signalled: none of these jobs runs as a process of this machine\n",
    )  # fmt: skip
    assert one("cancel", "dies").code == 0
    one.ask("wait")
    ends = [
        (line["s"], line.get("sig"), line.get("asked")) for line in one.events() if line.get("e") == "end"
    ]
    assert ends[:2] == [(1, None, None), (2, "SIGKILL", None)]
