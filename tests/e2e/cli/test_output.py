# SPDX-License-Identifier: LGPL-3.0-or-later
"""What comes out where."""

import os
import signal
import subprocess
import sys

import pytest


@pytest.mark.slow
def test_a_jobs_output_comes_in_one_piece_when_it_ends(run):
    slow = "echo a; sleep 0.2; echo b; echo e >&2; sleep 0.2; echo c"
    done = run("-q", "-j2", lines=[slow, slow])
    assert tuple(done) == (0, "a\nb\nc\na\nb\nc\n")
    assert done.err.count("e\n") == 2


def test_by_line_it_comes_as_it_is_printed_but_never_a_part_of_a_line(start, gate, until):
    live = start("-q", "-j2", "--output", "line", lines=[f"echo a; printf b; {gate.wait}; echo b", "echo c"])
    seen = b""
    os.set_blocking(live.stdout.fileno(), False)

    def read():
        nonlocal seen
        seen += live.stdout.read() or b""
        return len(seen) >= 4

    until(read)
    assert sorted(seen.split()) == [b"a", b"c"]
    gate.open()
    live.process.wait(30)
    seen += live.stdout.read()
    assert sorted(seen.split()) == [b"a", b"bb", b"c"]


def test_raw_is_passed_straight_through(run):
    done = run("-q", "-j1", "--output", "raw", lines=["printf 'a\\0b\\033[31m'; printf e >&2", "printf c"])
    assert tuple(done) == (0, "a\0b\033[31mc")
    assert "e" in done.err


def test_none_prints_nothing_of_jobs_and_the_failures_last_words_still(run):
    done = run("--output", "none", lines=["echo a", "echo b; echo why >&2; false"])
    assert tuple(done) == (1, "")
    assert "why" in done.err


@pytest.mark.slow
def test_kept_in_order_it_comes_in_the_order_of_the_list(run):
    lines = [f"sleep 0.{20 - 4 * n:02d}; echo {n}" for n in range(1, 5)]
    assert run("-q", "-j4", "-k", lines=lines).out == "1\n2\n3\n4\n"
    assert run("-q", "-j4", "-k", "--output", "line", lines=lines).out == "1\n2\n3\n4\n"


@pytest.mark.slow
def test_order_is_kept_across_failures_skips_and_retries(run):
    lines = [
        "sleep 0.2; echo one; false # pqrun: id=a",
        "echo two # pqrun: needs=a",
        "echo three $PQRUN_ATTEMPT; [ $PQRUN_ATTEMPT = 2 ] # pqrun: retries=1 retry_delay=0",
        "echo four # pqrun: priority=critical",
    ]
    assert run("-q", "-j4", "-k", lines=lines).out == "one\nthree 2\nfour\n"


def test_of_a_retried_job_the_last_attempt_is_printed(run):
    lines = ["echo try $PQRUN_ATTEMPT; [ $PQRUN_ATTEMPT = 3 ]"]
    assert run("-q", "-r5", "--retry-delay", "0", lines=lines).out == "try 3\n"


def test_tagged_each_line_begins_with_the_id_and_a_tab(run):
    lines = ["printf 'a\\nb'; echo e >&2", "echo c # pqrun: id=named"]
    done = run("-q", "-k", "--tag", lines=lines)
    assert done.out.startswith("1\ta\n1\tb")
    assert "named\tc\n" in done.out and "1\te\n" in done.err


@pytest.mark.slow
def test_only_what_failed_may_be_shown(run):
    done = run("-q", "-j1", "--show", "failed", lines=["echo good", "echo bad; false", "echo good"])
    assert tuple(done) == (1, "bad\n")


@pytest.mark.slow
def test_output_is_byte_for_byte_what_the_job_wrote(run, tmp_path):
    data = bytes(range(256)) * 3 + b"\r\n\r" + b"no newline at the end"
    (tmp_path / "data").write_bytes(data)
    assert run("-q", lines=["cat data"]).out.encode("utf-8", "surrogateescape") == data


@pytest.mark.slow
def test_a_job_that_opens_its_streams_anew_loses_nothing(run):
    lines = [
        "echo a; echo b > /dev/stdout; echo c >> /dev/stdout; echo d > /proc/self/fd/1; echo e > /dev/stderr"
    ]
    done = run("-q", lines=lines)
    assert done.out == "a\nb\nc\nd\n" and "e\n" in done.err


@pytest.mark.slow
def test_large_output_arrives_whole_and_in_order(run, tmp_path):
    done = run("-q", "-k", "-j2", lines=["seq 200000", "seq 200000 1; seq 100000", "echo end"])
    expected = [*range(1, 200_001), *range(1, 100_001)]
    assert done.out == "".join(f"{n}\n" for n in expected) + "end\n"


@pytest.mark.slow
def test_quiet_says_nothing_when_all_went_well_and_the_failures_when_not(run):
    assert run("-q", lines=["true"]).err == ""
    failed = run("-q", lines=["echo words >&2; exit 4"])
    assert "exit 4" in failed.err and failed.err.count("words") >= 1


@pytest.mark.slow
def test_verbose_tells_starts_too(run):
    assert "start" in run("-v", lines=["true"]).err
    assert "start" not in run(lines=["true"]).err


@pytest.mark.slow
def test_the_end_of_a_run_shows_failures_first_then_totals_and_the_ten_numbers(run):
    lines = [
        "true",
        "echo why not >&2; exit 3 # pqrun: id=bad",
        "kill -9 $$",
        "sleep 60 # pqrun: timeout=100ms",
    ]
    page = run(lines=lines).err
    failures, _, totals = page.rpartition("pqrun: 3 of 4 jobs failed")
    assert totals and failures.count("FAILED bad") == 1
    for said in ("exit 3", "why not", "SIGKILL", "timeout 100ms", "$ echo why not >&2; exit 3"):
        assert said in failures
    names = "enqueued dequeued completed failed timeout retried queue active wait processing"
    for name in names.split():
        assert name in totals


@pytest.mark.slow
def test_nothing_that_is_no_terminal_gets_an_escape_sequence(run):
    lines = ["true", "false", "printf '\\033[31mred\\033[0m' >&2; exit 1 # pqrun: id=red"]
    done = run("--output", "none", lines=lines)
    assert "\033" not in done.err and "red" in done.err


def test_what_jobs_are_called_and_print_cannot_steer_a_terminal_through_our_own_lines(run):
    lines = ["printf '\\033]0;owned\\007\\033[2Jgone\\n' >&2; exit 1", "echo '\033[2J\033]0;x\007'; exit 2"]
    done = run("--output", "none", input="\n".join(lines) + "\n")
    assert "\033" not in done.err and "\007" not in done.err
    assert "owned" in done.err


# Those who read


@pytest.mark.slow
def test_when_the_reader_goes_away_the_jobs_go_on(start, tmp_path):
    lines = [f"echo {'x' * 100}; echo {n} >> {tmp_path}/log" for n in range(300)]
    live = start("-q", "-j2", lines=lines)
    live.stdout.read(100)
    live.stdout.close()
    assert live.process.wait(60) == 0
    assert len((tmp_path / "log").read_text().split()) == 300


def test_an_output_that_cannot_be_written_is_told_and_is_no_success(run, surroundings, tmp_path):
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "pqrun", "run"],
            input=b"echo a\n", stdout=full, stderr=subprocess.PIPE, env=surroundings, check=False,
        )  # fmt: skip
    assert done.returncode == 4
    assert b"standard output" in done.stderr and b"No space left on device" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_a_reader_that_is_stuck_holds_back_starts_and_never_hangs_the_run(start, until, tmp_path, stop):
    """Nobody reads its stdout here."""
    log = tmp_path / "log"
    jobs = 60
    lines = [f"echo x >> {log}; head -c 4000000 /dev/zero" for _ in range(jobs)]
    live = start("-q", "-j2", "--max-queue", 100, lines=lines)
    until(log.exists)
    quiet = []

    def held_back():
        started = log.stat().st_size
        quiet.append((started, len(live.children())))
        return len(quiet) > 30 and len(set(quiet[-30:])) == 1

    until(held_back)
    assert 16 <= log.stat().st_size / 2 < jobs, "all that can be untold, and no more, was started"
    with open(f"/proc/{live.pid}/status") as status:
        peak = next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))
    assert peak < 150_000
    live.signal(stop)
    live.process.wait(5)
    assert live.process.returncode == -stop


@pytest.mark.slow
def test_a_reader_that_reads_on_gets_everything(start, until, tmp_path):
    lines = ["head -c 4000000 /dev/zero" for _ in range(40)]
    live = start("-q", "-j2", lines=lines)
    until(lambda: len(live.children()) > 1)
    assert len(live.end().out) == 40 * 4_000_000
