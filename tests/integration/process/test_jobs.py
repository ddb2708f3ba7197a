# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a job gets: a clean start of its own; and what becomes of one that can't be had."""

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from world import AS_SOMEBODY, World, status, until

DIRTY = 'trap "" INT HUP USR1 USR2 TERM TSTP PIPE CHLD; exec "$@"'
OF_THE_C_LIBRARY = 0b11 << 31
"""Signals 32 and 33. `posix_spawn` of glibc, with which some callers start pqrun, ignores 32, and no program may reset it."""


@pytest.mark.parametrize("caller", ["clean", "dirty"])
def test_a_job_starts_with_default_signals_whatever_the_caller_ignores(world: World, caller: str) -> None:
    wrap = ("sh", "-c", DIRTY, "sh") if caller == "dirty" else ()

    facts = world.run("exec cat /proc/self/status\n", wrap=wrap)

    own = dict(line.split(":\t") for line in facts.out.splitlines())
    masks = {name: int(own[name], 16) & ~OF_THE_C_LIBRARY for name in ("SigBlk", "SigIgn", "SigCgt")}
    assert masks == {"SigBlk": 0, "SigIgn": 0, "SigCgt": 0}


@pytest.mark.parametrize("output", ["group", "line", "raw"])
def test_a_job_gets_no_descriptor_of_ours(world: World, output: str) -> None:
    facts = world.run("exec ls /proc/self/fd\n" * 4, "-j1", "--output", output)

    assert facts.code == 0
    assert facts.out == "0\n1\n2\n3\n" * 4  # 3 is the one by which `ls` reads


def test_a_job_reads_nothing_and_leads_its_own_session(world: World) -> None:
    job = f"cat; readlink /proc/self/fd/0; echo job $$ > {world.fifo}; {world.wait_at_the_gate}\n"

    run = world.start(job)
    pid = world.told_pids()["job"]
    facts = status(pid)
    own = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    world.let_through()

    assert run.end().out == "/dev/null\n"
    assert (facts["PPid"], own[2], own[3]) == (str(run.pid), str(pid), str(pid))


def test_a_job_knows_who_it_is(world: World) -> None:
    job = 'echo "$PQRUN_JOB_ID $PQRUN_SEQ $PQRUN_ATTEMPT $PQRUN_MAX_ATTEMPTS $PQRUN_PRIORITY $PARALLEL_SEQ"'

    facts = world.run(f"{job} # pqrun: id=docs priority=high retries=5\n")

    assert facts.out == "docs 1 1 6 high 1\n"


def test_a_command_of_200_kilobytes_runs_through_a_script(world: World) -> None:
    facts = world.run(f": {'x' * 200_000}; echo done; exit 3\n", "--json", "--output", "group")

    assert facts.states == ["failed"]
    assert facts.document["jobs"][0]["exit"] == 3
    assert "done" in facts.err


def test_a_variable_of_200_kilobytes_fails_that_job_clearly(world: World) -> None:
    jobs = f"jobs:\n- run: 'true'\n  env: {{BIG: {'x' * 200_000}}}\n- 'true'\n"

    facts = world.run(jobs, "--json", kind="yaml")

    assert facts.states == ["failed", "ok"]
    assert "variable BIG is too long (200000 bytes)" in facts.document["jobs"][0]["message"]


@pytest.mark.slow
def test_arguments_that_are_too_long_fail_that_job_clearly(world: World) -> None:
    jobs = f"jobs:\n- run: [echo, {'x' * 200_000}]\n- 'true'\n"

    facts = world.run(jobs, "--json", kind="yaml")

    assert facts.states == ["failed", "ok"]
    assert "too long" in facts.document["jobs"][0]["message"]


def test_what_can_not_be_started_fails_alone_with_the_codes_of_a_shell(world: World) -> None:
    (world.directory / "data").write_text("not a program")
    jobs = (
        "jobs:\n"
        "- run: [no-such-program]\n"
        "- run: [./no/such/file]\n"
        "- run: [./data]\n"
        "- {run: 'true', cwd: no/such/directory}\n"
        "- no-such-program\n"
        "- ./data\n"
        "- 'true'\n"
    )

    facts = world.run(jobs, "--json", kind="yaml")

    jobs = facts.document["jobs"]
    assert [job["exit"] for job in jobs] == [127, 127, 126, 126, 127, 126, 0]
    assert [job["state"] for job in jobs] == ["failed"] * 6 + ["ok"]
    assert "no/such/directory" in jobs[3]["message"]
    assert not (world.directory / "no").exists()


SHELLS = {
    "sh": "/bin/sh -c", "dash": "dash -c", "bash": "bash -eu -c", "zsh": "zsh -c", "ksh": "ksh -c", "mksh": "mksh -c",
    "busybox": "busybox sh -c", "yash": "yash -c", "fish": "fish -c",
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("name", SHELLS)
def test_a_command_is_no_option_of_its_shell(world: World, name: str) -> None:
    if not shutil.which(name):
        pytest.skip(f"there is no {name}")

    facts = world.run("-foo\n+foo\n-c 'echo oh'\n--version\n", "--json", "--shell", SHELLS[name])

    assert [(job["state"], job["exit"]) for job in facts.document["jobs"]] == [("failed", 127)] * 4


def test_an_interpreter_gets_its_program_as_it_is(world: World) -> None:
    assert world.run("-print('x')\nprint('y')\n", "-k", "--shell", f"{sys.executable} -c").out == "x\ny\n"


MEET = """\
all: one two
one: ; @echo hello > fifo
two: ; @cat fifo
"""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
@pytest.mark.parametrize("output", ["group", "raw"])
def test_a_make_in_a_job_takes_part_in_the_jobserver_above(world: World, output: str) -> None:
    """Its two targets wait for each other, so that it never ends unless it may run them at a time."""
    (world.directory / "sub.mk").write_text(MEET)
    os.mkfifo(world.directory / "fifo")
    (world.directory / "Makefile").write_text(
        'all: ; +@exec "$$PYTHON" -m pqrun run -q --output $$MODE list\n'
    )
    (world.directory / "list").write_text("make -f sub.mk # pqrun: timeout=15s\n")

    made = subprocess.run(
        ["make", "-s", "-j2"], cwd=world.directory, capture_output=True, timeout=60, check=False,
        env=world.environment(PYTHON=sys.executable, MODE=output),
    )  # fmt: skip

    assert (made.returncode, made.stdout, made.stderr) == (0, b"hello\n", b"")


def test_descriptors_of_a_jobserver_that_were_closed_are_not_taken_for_others(world: World) -> None:
    """pqrun's own pipes may have their numbers by now."""
    environment = {"MAKEFLAGS": " -j8 --jobserver-auth=3,4"}

    assert world.run("exec ls /proc/self/fd\n", env=environment).out == "0\n1\n2\n3\n"


def test_a_jobserver_that_is_a_fifo_reaches_the_jobs(world: World) -> None:
    environment = {"MAKEFLAGS": f" -j8 --jobserver-auth=fifo:{world.gate}"}
    world.let_through()

    facts = world.run(
        'fifo=${MAKEFLAGS##*=fifo:}; read token < "$fifo" && echo > "$fifo"; echo done\n', env=environment
    )

    assert (facts.code, facts.out) == (0, "done\n")


@pytest.mark.slow
def test_silence_for_too_long_is_a_timeout_and_output_is_not(world: World) -> None:
    limit = ("--idle-timeout", "700ms", "-j3", "--json")
    silent = f"{world.forever}\n"
    leftover = f"{world.script('stay')} & {world.forever}\n"
    talking = "for i in 1 2 3 4 5 6; do echo $i >&2; sleep 0.2; done\n"

    facts = world.run(silent + leftover + talking, *limit)

    assert world.alive() == []
    assert facts.states == ["timeout", "timeout", "ok"]


def test_what_a_job_reports_is_believed_within_limits(world: World) -> None:
    report = 'printf "%s\\n"'
    jobs = [
        f'{report} permanent=true "message=disk quota exceeded" >> $PQRUN_REPORT; exit 1 # pqrun: retries=1',
        f'{report} retry_after=0s >> $PQRUN_REPORT; test "$PQRUN_ATTEMPT" = 2 # pqrun: retries=1',
        f'{report} garbage "progress=many" "= x" >> $PQRUN_REPORT',
        f"{report} message=first >> $PQRUN_REPORT; yes | head -c 300000 >> $PQRUN_REPORT; "
        f'{report} "" message=last >> $PQRUN_REPORT; exit 1',
        "rm -f $PQRUN_REPORT; mkfifo $PQRUN_REPORT; exit 1",
        "ln -s /etc/hostname $PQRUN_REPORT; exit 1",
    ]

    facts = world.run("\n".join(jobs) + "\n", "-j1", "--json", "-t", "10s")

    found = [(job["state"], job["attempts"], job["message"]) for job in facts.document["jobs"][:3]]
    assert found == [("failed", 1, "disk quota exceeded"), ("ok", 2, None), ("ok", 1, None)]
    assert "invalid line in $PQRUN_REPORT: garbage" in facts.err


@pytest.mark.slow
def test_what_stays_by_request_stays_and_nothing_else(world: World) -> None:
    stay = world.script("stay").removesuffix(" stay")
    jobs = (
        "jobs:\n"
        f"- {{run: '{stay} kept & setsid {stay} far & {world.wait_at_the_gate}', leftovers: keep}}\n"
        f"- '{stay} swept & setsid {stay} too & {world.wait_at_the_gate}'\n"
    )

    run = world.start(jobs, "--json", "-j2", kind="yaml")
    told = world.told_pids(4)
    world.let_through(2)
    facts = run.end()

    assert (facts.code, facts.states) == (0, ["ok", "ok"])
    assert {proc.pid for proc in world.alive()} == {told["kept"], told["far"]}
    for name in ("kept", "far"):
        os.kill(told[name], signal.SIGKILL)
    until(world.none_alive)


@pytest.mark.slow
def test_what_may_stay_may_go_on_to_start_others(world: World) -> None:
    later = f"( {world.wait_at_the_gate}; {world.script('stay', 'later')} & ) > /dev/null 2>&1 &"
    jobs = (
        "jobs:\n"
        f"- {{run: '{later} {world.tell('begun')}', leftovers: keep}}\n"
        f"- {{id: next, run: '{world.tell('next')}; {world.forever}', timeout: 1s}}\n"
    )

    run = world.start(jobs, "--json", "-j1", kind="yaml")
    world.told(2)
    world.let_through()
    later_pid = world.told_pids()["later"]
    facts = run.end()

    assert facts.states == ["ok", "timeout"]
    assert {proc.pid for proc in world.alive()} == {later_pid}
    os.kill(later_pid, signal.SIGKILL)
    until(world.none_alive)


@pytest.mark.slow
def test_a_scrubbed_daemon_without_a_tag_goes_with_the_last_job_that_may_be_its(world: World) -> None:
    stay = world.script("stay").removesuffix(" stay")
    leaving = f"setarch -R env -i setsid {stay} daemon > /dev/null 2>&1 & {world.wait_at_the_gate}\n"
    other = f"{world.tell('other $$')}; {world.wait_at_the_gate}\n"

    run = world.start(other + leaving, "-j2", "--json")
    told = world.told_pids(2)
    world.let_through(2)
    facts = run.end()

    assert world.alive() == []
    assert set(told) == {"other", "daemon"}
    assert facts.states == ["ok", "ok"]


@pytest.mark.slow
def test_a_leftover_of_another_user_is_given_up_and_told(somebodys_world: World) -> None:
    world = somebodys_world
    program = world.directory / "as-root"
    program.write_bytes(Path("/usr/bin/setpriv").resolve().read_bytes())
    program.chmod(0o4755)
    if os.statvfs(program).f_flag & os.ST_NOSUID:
        pytest.skip("no programs of another user's here")
    as_root = f"{program} --reuid 0 --clear-groups {world.script('stay', 'left')}"

    run = world.start(
        f"setsid {as_root} & {world.wait_at_the_gate}\nexec {as_root}\n",
        "-j2",
        "--grace",
        "100ms",
        "-t",
        "1s",
        "--json",
        wrap=AS_SOMEBODY,
    )
    told = world.told(2)
    world.let_through()
    facts = run.end()

    assert facts.states == ["ok", "failed"]
    assert "cannot end process" in facts.err
    for line in told:
        os.kill(int(line.split()[1]), signal.SIGKILL)
    until(world.none_alive)


@pytest.mark.slow
def test_where_orphans_do_not_come_to_us_leftovers_are_searched_for(world: World) -> None:
    """Some filters of system calls refuse prctl(PR_SET_CHILD_SUBREAPER)."""
    without = "import pqrun.executors.local.cleanup as c; c.be_subreaper = lambda *, wanted=True: False"
    job = f"setsid {world.script('stay')} & (exec setsid {world.script('deaf')}) & {world.wait_at_the_gate}\n"

    run = world.start(job, "--grace", "100ms", without=without)
    world.told(2)
    world.let_through()
    facts = run.end()

    assert world.alive() == []
    assert facts.code == 0
