# SPDX-License-Identifier: LGPL-3.0-or-later
"""Readers that go away or get stuck, and descriptors that are closed, full, or opened anew."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from world import World, look, status, until


@pytest.mark.slow
def test_jobs_go_on_when_the_reader_of_stdout_goes_away(world: World) -> None:
    reading, writing = os.pipe()

    run = world.start(
        f"echo line; {world.wait_at_the_gate}\n" + "echo more\n" * 50 + "exit 3\n", "-j1", stdout=writing
    )
    os.close(writing)
    world.let_through()
    assert os.read(reading, 5) == b"line\n"
    os.close(reading)
    facts = run.end()

    assert facts.code == 1
    assert "1 of 52 jobs failed" in facts.err


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [(), ("--json",), ("--output", "line"), ("-k",)], ids=lambda o: " ".join(o)
)
def test_an_output_that_can_not_be_written_is_a_failure_of_ours(
    world: World, options: tuple[str, ...]
) -> None:
    with Path("/dev/full").open("wb") as full:
        facts = world.run(f"echo a\n{world.tell('ran')}\n", *options, stdout=full)

    assert world.told() == ["ran"]
    assert facts.code == 4
    assert "cannot write to standard output: No space left on device" in facts.err


def test_closed_descriptors_make_no_difference(world: World) -> None:
    closing = ("sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh")
    shown = world.directory / "shown"

    facts = world.run(
        f"ls /proc/self/fd > {shown}; cat\necho out; echo err >&2\nexit 3\n", "-j2", wrap=closing
    )

    assert facts.code == 1
    assert shown.read_text().split() == ["0", "1", "2", "3"]


@pytest.mark.slow
@pytest.mark.parametrize("closing", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_run_that_goes_well_ends_with_0_whatever_is_closed(world: World, closing: str) -> None:
    facts = world.run("echo out; echo err >&2\n", wrap=("sh", "-c", f'exec "$@" {closing}', "sh"))

    assert facts.code == 0
    assert "Traceback" not in facts.err


PRINTING = (("check", "-"), ("schema",), ("--version",), ("run", "--help"))


@pytest.mark.slow
@pytest.mark.parametrize("command", PRINTING, ids=" ".join)
def test_commands_that_only_print_say_that_they_can_not(tmp_path: Path, command: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "pqrun", *command], input=b"jobs: [ls]\n", stdout=full, stderr=subprocess.PIPE,
            cwd=tmp_path, timeout=60, check=False,
        )  # fmt: skip

    said = b"pqrun: cannot write to standard output: No space left on device\n"
    assert (done.returncode, done.stderr) == (4, said)


@pytest.mark.slow
@pytest.mark.parametrize("command", PRINTING, ids=" ".join)
def test_commands_that_only_print_do_so_to_nobody_if_stdout_is_closed(
    tmp_path: Path, command: tuple[str, ...]
) -> None:
    closing = ("sh", "-c", 'exec "$@" >&-', "sh")
    done = subprocess.run(
        [*closing, sys.executable, "-m", "pqrun", *command], input=b"jobs: [ls]\n", stderr=subprocess.PIPE,
        cwd=tmp_path, timeout=60, check=False,
    )  # fmt: skip

    assert (done.returncode, done.stderr) == (0, b"")


def test_an_ignored_sigchld_makes_no_difference(world: World) -> None:
    ignoring = ("sh", "-c", 'trap "" CHLD; exec "$@"', "sh")

    facts = world.run("true\nexit 7\nkill -9 $$\n", "--json", wrap=ignoring)

    found = [(job["state"], job["exit"], job["signal"]) for job in facts.document["jobs"]]
    assert found == [("ok", 0, None), ("failed", 7, None), ("failed", None, "SIGKILL")]


@pytest.mark.slow
def test_a_stuck_reader_holds_back_starts_and_an_interrupt_still_ends_all(world: World) -> None:
    jobs = f"head -c 1000000 /dev/zero; echo job > {world.fifo}\n" * 300
    reading, writing = os.pipe()

    run = world.start(jobs, "-j2", "--no-journal", stdout=writing)
    os.close(writing)
    world.told(60)
    until(lambda: _is_quiet(run.pid))
    memory = int(status(run.pid)["VmHWM"].split()[0])
    asked = time.monotonic()
    run.signal(signal.SIGINT)
    facts = run.end()
    took = time.monotonic() - asked
    os.close(reading)

    assert world.alive() == []
    assert facts.code == -signal.SIGINT
    assert memory < 150_000
    assert took < 2.5  # a second, and what a loaded machine takes


def _is_quiet(pid: int) -> bool:
    """Whether it runs no job: its watchdogs are its only children."""
    threads = Path(f"/proc/{pid}/task").iterdir()
    children = [child for thread in threads for child in (thread / "children").read_text().split()]
    return len(children) == 2


@pytest.mark.slow
def test_stuck_readers_of_both_streams_do_not_keep_jobs_alive(world: World) -> None:
    reading, writing = os.pipe()
    jobs = "head -c 1000000 /dev/zero; head -c 1000000 /dev/zero >&2\n" * 9 + f"exec {world.script('stay')}\n"

    run = world.start(jobs, "-j10", stdout=writing, stderr=writing)
    os.close(writing)
    world.told()
    run.signal(signal.SIGINT)
    facts = run.end()
    os.close(reading)

    assert world.alive() == []
    assert facts.code == -signal.SIGINT


def test_what_is_written_to_a_stream_opened_anew_is_not_lost(world: World) -> None:
    job = "echo one; echo two > /dev/stdout; echo three >> /dev/stdout; echo four | tee /dev/stderr"

    facts = world.run(f"{job}\n", "-q", "--progress", "none")

    assert (facts.out, facts.err) == ("one\ntwo\nthree\nfour\n", "four\n")


def test_output_is_the_same_byte_for_byte(world: World) -> None:
    data = bytes(range(256)) * 4000 + b"no newline at the end"
    (world.directory / "data").write_bytes(data)
    run = world.start("cat data; cat data >&2\n", "-q", "--progress", "none")
    out, err = run.process.communicate()

    assert out == data
    assert err == data


@pytest.mark.parametrize("options", [(), ("-k", "--no-journal")], ids=["alone", "in order"])
def test_a_large_output_is_passed_on_while_its_job_runs(world: World, options: tuple[str, ...]) -> None:
    jobs = f"head -c 5000000 /dev/zero; {world.wait_at_the_gate}; echo end\n"

    run = world.start(jobs + ("echo next\n" if options else ""), "-q", "-j2", *options)
    assert run.process.stdout is not None
    found = b""
    while len(found) < 2_000_000:
        found += os.read(run.process.stdout.fileno(), 1 << 20)
    world.let_through()
    rest, _ = run.process.communicate()

    assert found + rest == bytes(5_000_000) + b"end\n" + (b"next\n" if options else b"")
    assert run.process.returncode == 0


@pytest.mark.slow
def test_beside_a_report_on_stdout_nothing_is_passed_on(world: World) -> None:
    """Else the line of the second job's end would cut the first job's output in two."""
    jobs = f"head -c 5000000 /dev/zero; {world.tell('printed')}; {world.wait_at_the_gate}; echo end\n"

    run = world.start(
        f"{jobs}while ! test -e {world.directory}/go; do sleep 0.02; done\n",
        "-q",
        "-k",
        "-j2",
        "--events",
        "-",
    )
    assert run.process.stdout is not None
    world.told()
    (world.directory / "go").touch()
    found = b""
    while b"attempt_ended" not in found:
        found += os.read(run.process.stdout.fileno(), 1 << 20)
    world.let_through()
    rest, _ = run.process.communicate()

    before, zeros, after = (found + rest).partition(bytes(5_000_000) + b"end\n")
    assert zeros
    assert [json.loads(line)["event"] for line in (before + after).splitlines()][-1] == "run_ended"


def test_a_leftover_that_holds_the_output_does_not_keep_the_job(world: World) -> None:
    run = world.start(
        f"{world.script('stay')} & echo out; {world.wait_at_the_gate}\n{world.tell('next')}\n", "-j1"
    )
    world.told()
    world.let_through()
    assert world.told() == ["next"]
    facts = run.end()

    assert (facts.code, facts.out) == (0, "out\n")


def test_what_is_left_may_say_something_as_it_ends(world: World) -> None:
    left = f"(trap 'echo bye; echo bye >&2; exit' TERM; {world.tell('left')}; while :; do sleep 0.1; done) &"

    run = world.start(f"{left} {world.wait_at_the_gate}; echo done\n", "-q", "--progress", "none")
    world.told()
    world.let_through()
    facts = run.end()

    assert facts.code == 0
    assert facts.out == "done\nbye\n"
    assert "bye\n" in facts.err


@pytest.mark.slow
def test_one_line_of_100_megabytes_passes_in_little_memory(world: World) -> None:
    count = [
        sys.executable,
        "-c",
        "import sys; print(sum(map(len, iter(lambda: sys.stdin.buffer.read(1 << 20), b''))))",
    ]
    counter = subprocess.Popen(count, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    run = world.start("head -c 100000000 /dev/zero\n", "-q", "--output", "line", stdout=counter.stdin)
    counter.stdin.close()
    most = 0
    while look(run.pid):
        try:
            most = max(most, int(status(run.pid).get("VmHWM", "0").split()[0]))
        except OSError:
            break
        if run.process.poll() is not None:
            break
    assert run.end().code == 0
    assert counter.stdout.read() == b"100000000\n"
    assert counter.wait() == 0
    assert 0 < most < 150_000
