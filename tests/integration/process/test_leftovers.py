# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a job leaves behind at an end of its own: it has a moment to pass on what it still holds."""

import re
import shutil
import time
from collections import Counter
from datetime import datetime

import pytest
from world import World

TIMES = 100
READERS = {
    "tee": "exec > >(tee -a log) 2>&1; echo start; echo last",
    "stderr": "exec 2> >(sed 's/^//' >&2); echo start >&2; echo last >&2",
    "loop": 'exec > >(while read -r line; do echo "$line"; done); echo start; echo last',
    "fifo": "f=fifo.$PQRUN_SEQ; mkfifo $f; cat $f & exec > $f; rm $f; echo start; echo last",
    "coproc": 'exec 3>&1; coproc cat >&3; exec >&"${COPROC[1]}" 3>&-; echo start; echo last',
    "chain": "exec > >(cat | cat | tee -a log); echo start; echo last",
}
# Eight moments, the first of them after its leader's end. TERM, which comes early on a busy machine, is ignored.
MOMENTS = "trap '' TERM; cat; for n in 1 2 3 4 5 6 7 8; do sleep 0.05; echo $EPOCHREALTIME; done"
CALLS = ("pidfd_open", "pread64", "poll", "clock_nanosleep")
bash = pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")


@pytest.mark.slow
@bash
@pytest.mark.parametrize("leftovers", ["end", "keep"])
@pytest.mark.parametrize("reader", READERS)
def test_no_output_of_a_reader_in_the_background_is_lost(world: World, reader: str, leftovers: str) -> None:
    job = f"{READERS[reader]} # pqrun: leftovers={leftovers}\n"

    facts = world.run(job * TIMES, "-q", "-j4", "--progress", "none", "--shell", "bash -c")

    assert facts.code == 0
    assert Counter((facts.out + facts.err).splitlines()) == {"start": TIMES, "last": TIMES}


@bash
@pytest.mark.parametrize("output", ["group", "line"])
def test_what_is_left_may_print_much_while_it_ends(world: World, output: str) -> None:
    job = "exec > >(cat; head -c 3000000 /dev/zero | tr '\\0' x; echo); echo start\n"

    facts = world.run(job, "-q", "--output", output, "--shell", "bash -c")

    assert facts.out == f"start\n{'x' * 3_000_000}\n"


@pytest.mark.slow
@bash
def test_a_job_has_ended_when_its_leader_did(world: World) -> None:
    facts = world.run(f"exec > >({MOMENTS})\n", "--json", "--output", "group", "--shell", "bash -c")

    (job,) = facts.document["jobs"]
    last = max(float(moment) for moment in re.findall(r"\d{9,}\.\d+", facts.err))
    assert job["state"] == "ok"
    assert datetime.fromisoformat(job["ended_at"]).timestamp() < last


@pytest.mark.slow
def test_its_slot_is_free_when_nothing_is_left(world: World) -> None:
    ignores = "until grep -q '^SigIgn:.*4...$' /proc/$!/status; do sleep 0.01; done"
    left = f"(trap '' TERM; exec sleep 100) & echo $! > pid; {ignores}"
    after = 'kill -0 "$(cat pid)" && echo left > found || echo gone > found'

    world.run(f"{left}\n{after}\n", "-j1")

    assert (world.directory / "found").read_text() == "gone\n"


@pytest.mark.slow
def test_what_is_at_work_has_a_second_to_end_by_itself(world: World) -> None:
    now = "$(($(date +%s%N) / 1000000))"
    left = f"(trap 'exit' TERM; end=$(({now} + 400)); while [ {now} -lt $end ]; do :; done; echo late) &"
    idle = "(trap 'echo asked; exit' TERM; sleep 100 & wait) &"

    facts = world.run(f"{left}\n{idle}\n", "-q", "-k", "--progress", "none")

    assert facts.out == "late\nasked\n"


@pytest.mark.slow
def test_what_does_not_end_by_itself_is_asked_however_much_it_prints(world: World) -> None:
    left = "(trap 'echo bye; exit' TERM; while :; do echo more; done) &"

    facts = world.run(f"{left}\n", "-q", "--progress", "none")

    assert facts.code == 0
    assert set(facts.out.splitlines()) == {"more", "bye"}


def test_a_stopped_leftover_is_asked_to_end_and_goes_on_for_that(world: World) -> None:
    left = "sh -c 'trap \"echo asked > asked; exit\" TERM; kill -STOP $$; sleep 300 & wait'"

    facts = world.run(f"{left} & until grep -q '^State:.T' /proc/$!/status; do sleep 0.01; done\n", "-q")

    assert facts.code == 0
    assert (world.directory / "asked").read_text() == "asked\n"


@pytest.mark.slow
def test_a_leftover_that_reads_an_open_stdin_sees_its_end(world: World) -> None:
    left = "exec 3<&0; (cat <&3 > copy; echo read > read) &"

    facts = world.run(f"{left} # pqrun: stdin=open\n", "-q", "--progress", "none")

    assert facts.code == 0
    assert (world.directory / "read").read_text() == "read\n"


@pytest.mark.slow
def test_a_long_grace_is_for_the_job_and_not_for_its_leftovers(world: World) -> None:
    """A leftover that ignores TERM is killed two seconds after it was asked, not a minute."""
    began = time.monotonic()

    facts = world.run("(trap '' TERM; exec sleep 300) & # pqrun: grace=1m\n", "-q", "--progress", "none")

    assert facts.code == 0
    assert time.monotonic() - began < 30


@pytest.mark.slow
def test_after_a_limit_nothing_is_waited_for(world: World) -> None:
    """What is asked together with its leader has no time to print anything in between."""
    told = f"trap 'echo asked; exit' TERM; {world.tell('ready')}; while :; do sleep 0.01; done"

    facts = world.run(f"({told}) & wait # pqrun: timeout=1s\n", "-q", "--json", "--output", "group")

    assert facts.states == ["timeout"]
    assert "asked" in facts.err


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_a_job_that_leaves_nothing_costs_no_system_call_more(world: World) -> None:
    counted = [_calls(world, jobs) for jobs in (20, 60)]

    more = {name: (counted[1][name] - counted[0][name]) / 40 for name in CALLS}
    assert more["pidfd_open"] == 1  # to wait for its end
    assert more["pread64"] == 1  # the list of what is left
    assert more["poll"] <= 3  # the ends of its pipes, and its own
    assert more["clock_nanosleep"] == 0


def _calls(world: World, jobs: int) -> Counter[str]:
    """How often pqrun calls the kernel for so many jobs."""
    trace = world.directory / f"trace-{jobs}"
    strace = ("strace", "-f", "-b", "execve", "-e", f"trace={','.join(CALLS)}", "-o", str(trace))
    world.run("/bin/true\n" * jobs, "-q", "-j1", "--no-journal", "--progress", "none", wrap=strace)
    return Counter(re.findall(r"^\d+ +(\w+)\(", trace.read_text(), re.MULTILINE))
