# SPDX-License-Identifier: LGPL-3.0-or-later
"""Eight ways to outlive a job, and four ways for a job to end: nobody gets away."""

import re
import shlex
import signal

import pytest
from world import AS_SOMEBODY, World, until

pytestmark = pytest.mark.slow

QUIET = "> /dev/null 2>&1"
ESCAPES = {
    "background": "{stay} background {quiet} &",
    "deaf": "{deaf} deaf {quiet} &",
    "setsid": "setsid {stay} setsid {quiet} &",
    "daemon": "setsid sh -c '{stay} daemon {quiet} &' &",
    "scrubbed": "env -i setsid {stay} scrubbed {quiet} &",
    "stopped": "{stopped} stopped {quiet} &",
    "holder": "setsid {stay} holder &",
    "chain": "setsid {chain} chain {quiet} &",
}
GRACE = ("--grace", "200ms")


def escape(world: World, *kinds: str, then: str) -> str:
    """One line that runs a job from which somebody escapes; what its leader does then."""
    scripts = {
        name: world.script(name).removesuffix(f" {name}") for name in ("stay", "deaf", "stopped", "chain")
    }
    ways = " ".join(ESCAPES[kind].format(quiet=QUIET, **scripts) for kind in kinds)
    return f"{ways} {then}\n"


def jobs_of(world: World, kinds: list[str], *, then: str) -> str:
    return "".join(escape(world, kind, then=then) for kind in kinds)


@pytest.fixture(params=[*ESCAPES, "three of each"])
def kinds(request: pytest.FixtureRequest) -> list[str]:
    return list(ESCAPES) * 3 if request.param == "three of each" else [request.param]


def test_nobody_outlives_a_job_that_timed_out(world: World) -> None:
    limit = ("-t", "2s", "--json", *GRACE)

    started = [world.start(escape(world, kind, then=world.forever), *limit) for kind in ESCAPES]
    world.told(len(ESCAPES))
    facts = [run.end() for run in started]

    assert world.alive() == []
    assert [(fact.code, fact.states) for fact in facts] == [(1, ["timeout"])] * len(ESCAPES)


def test_nobody_outlives_jobs_that_timed_out_together(world: World) -> None:
    kinds = list(ESCAPES) * 3
    silent = world.directory / "silent"
    then = f"while [ ! -e {silent} ]; do echo; sleep 0.1; done; {world.forever}"

    run = world.start(jobs_of(world, kinds, then=then), "-j99", "--idle-timeout", "1s", "--json", *GRACE)
    world.told(len(kinds))
    silent.touch()
    facts = run.end()

    assert world.alive() == []
    assert (facts.code, facts.states) == (1, ["timeout"] * len(kinds))


def test_nobody_outlives_a_job_that_ended(world: World, kinds: list[str]) -> None:
    run = world.start(jobs_of(world, kinds, then=world.wait_at_the_gate), "-j99", "--json", *GRACE)
    world.told(len(kinds))
    world.let_through(len(kinds))
    facts = run.end()

    assert world.alive() == []
    assert (facts.code, facts.states) == (0, ["ok"] * len(kinds))


def test_nobody_outlives_a_run_that_was_stopped(world: World, kinds: list[str]) -> None:
    run = world.start(jobs_of(world, kinds, then=world.forever), "-j99", "--json", *GRACE)
    world.told(len(kinds))
    run.signal(signal.SIGTERM)
    facts = run.end()

    assert world.alive() == []
    assert (facts.code, facts.states) == (-signal.SIGTERM, ["interrupted"] * len(kinds))


def test_a_job_is_over_when_it_is_said_to_be_over(world: World) -> None:
    # Only the scripts of this test, as tests beside it use the same names. `[.]` keeps grep from finding itself.
    scripts = f"{re.escape(str(world.directory))}/(stay|deaf|stopped|chain)[.]sh"
    look = f"grep -lE {shlex.quote(scripts)} /proc/[0-9]*/cmdline | wc -l\n"
    other = f"{world.tell('other')}; {world.forever}\n"

    kinds = list(ESCAPES)
    run = world.start(
        other + escape(world, *kinds, then=world.wait_at_the_gate) + look + world.tell("end"), "-j2", *GRACE
    )
    world.told(len(kinds) + 1)
    world.let_through()
    assert world.told() == ["end"]
    run.signal(signal.SIGTERM)

    assert run.end().out.split() == ["0"]


@pytest.mark.parametrize(
    "without",
    [
        "from pqrun.executors.local.procfs import Children; Children.open = lambda self: None",
        "from pqrun.executors.local.ownership import SlotTags; SlotTags.open = lambda self: None",
        "import os; del os.pidfd_open",
    ],
    ids=["list of children", "tags", "pidfds"],
)
def test_nobody_outlives_a_job_on_a_kernel_that_lacks_something(world: World, without: str) -> None:
    kinds = list(ESCAPES)

    run = world.start(
        jobs_of(world, kinds, then=world.wait_at_the_gate), "-j99", "--json", *GRACE, without=without
    )
    world.told(len(kinds))
    world.let_through(len(kinds))
    facts = run.end()

    assert world.alive() == []
    assert (facts.code, facts.states) == (0, ["ok"] * len(kinds))


def test_nobody_outlives_a_pqrun_that_was_killed(world: World, kinds: list[str]) -> None:
    kinds = [kind for kind in kinds if kind != "scrubbed"]
    if not kinds:
        pytest.skip("what left its session and scrubbed its environment can't be found then")

    run = world.start(jobs_of(world, kinds, then=world.forever), "-j99", *GRACE)
    world.told(len(kinds))
    run.signal(signal.SIGKILL)

    until(world.none_alive, within=5.0)


CROWD = "for i in $(seq 300); do {stay} one {quiet} & done"


@pytest.mark.parametrize("number", [None, signal.SIGKILL], ids=["end", "kill"])
def test_a_crowd_goes_as_one(world: World, number: int | None) -> None:
    stay = world.script("stay").removesuffix(" stay")

    run = world.start(f"{CROWD.format(stay=stay, quiet=QUIET)}; {world.wait_at_the_gate}\n", *GRACE)
    world.told(300)
    if number is None:
        world.let_through()
        assert run.end().code == 0
        assert world.alive() == []
    else:
        run.signal(number)
        until(world.none_alive, within=5.0)


def test_a_fork_bomb_ends_with_its_job(somebodys_world: World) -> None:
    world = somebodys_world
    (world.directory / "bomb.sh").write_text(
        '[ -e "$1" ] || exit; sh "$0" "$1" & sh "$0" "$1" & exec sh "$0" "$1"\n'
    )
    limited = ("prlimit", "--nproc=100", *AS_SOMEBODY)
    bomb = f"{world.tell('lit')}; sh {world.directory}/bomb.sh {world.fifo} {QUIET} & {world.forever}\n"

    run = world.start(bomb, "-j1", "-t", "500ms", "--json", *GRACE, wrap=limited)
    world.told()
    facts = run.end()

    assert world.alive() == []
    assert facts.states == ["timeout"]
