# SPDX-License-Identifier: LGPL-3.0-or-later
"""`pty`: a job has a terminal of its own, and every promise about jobs holds for it."""

import json
import os
import re
import signal
import subprocess
import sys

import pytest
from world import PATIENCE, World, look, status, until

FEW_DESCRIPTORS = ("sh", "-c", 'ulimit -n 64; exec "$@"', "sh")


def job(run: object, **fields: object) -> str:
    return json.dumps({"jobs": [{"id": "a", "run": run, "pty": True, **fields}]})


def printed(world: World, run: object, *options: str, **fields: object) -> str:
    facts = world.run(job(run, **fields), "-q", *options, kind="yaml")
    assert facts.code == 0, facts.err
    return facts.out


@pytest.mark.slow
def test_all_three_streams_are_one_new_terminal(world: World) -> None:
    run = (
        "tty; readlink /proc/self/fd/0 /proc/self/fd/1 /proc/self/fd/2; test -t 0 -a -t 1 -a -t 2 && echo all"
    )

    first, *others, all_three = printed(world, run).split()

    assert re.fullmatch(r"/dev/pts/\d+", first)
    assert (others, all_three) == ([first] * 3, "all")


@pytest.mark.slow
def test_only_the_job_that_asks_for_a_terminal_has_one(world: World) -> None:
    facts = world.run("test -t 1; echo $? # pqrun: pty=true\ntest -t 1; echo $?\n", "-k", "-q")
    assert facts.out.split() == ["0", "1"]

    assert world.run("test -t 1; echo $?\n", "--pty", "-q").out == "0\n"


@pytest.mark.slow
def test_a_dry_run_prints_a_list_that_asks_for_a_terminal(world: World) -> None:
    listed = world.run("tty # pqrun: nice=7\n", "--pty", "--dry-run").out
    assert listed == "tty # pqrun: nice=7 pty=true\n"
    assert world.run(listed, "-q").out.startswith("/dev/pts/")


@pytest.mark.slow
def test_the_terminal_controls_the_session_of_the_job(world: World) -> None:
    pid, group, session, terminal = printed(world, "ps -o pid=,pgid=,sid=,tty= -p $$; tty").split()[:4]
    assert pid == group == session
    assert terminal.startswith("pts/")

    assert printed(world, "echo through > /dev/tty") == "through\n"
    assert printed(world, ["sh", "-c", "echo without a shell > /dev/tty"]) == "without a shell\n"


def test_without_a_terminal_of_pqrun_the_window_is_a_usual_one(world: World) -> None:
    assert printed(world, "stty size") == "24 80\n"


@pytest.mark.slow
def test_a_program_shows_its_colours_and_the_record_keeps_them(world: World) -> None:
    (world.directory / "folder").mkdir()
    coloured = printed(world, "ls --color=auto -d folder", "--run-dir", "kept", env={"LS_COLORS": "di=01;34"})
    assert "\x1b[01;34mfolder\x1b[0m" in coloured

    assert world.command("logs", "kept").out == coloured


@pytest.mark.slow
def test_what_a_job_writes_is_kept_byte_for_byte(world: World) -> None:
    steers = "\x1b]0;title\x07\x1b[2J 50%\r100%\r\n\ttab\x1b[?1049h\n"
    octal = "".join(f"\\{byte:03o}" for byte in steers.encode())
    facts = world.run(job(f"printf '{octal}'"), "-q", "--run-dir", "kept", kind="yaml", text=False)

    assert facts.out == steers
    assert world.command("logs", "./kept").out == steers


@pytest.mark.slow
def test_both_streams_are_one(world: World) -> None:
    assert printed(world, "echo a; echo b >&2; echo c") == "a\nb\nc\n"


@pytest.mark.slow
def test_a_name_of_the_terminal_is_there_even_if_pqrun_has_none(world: World) -> None:
    bare = {name: value for name, value in world.environment().items() if name not in ("TERM", "COLORTERM")}
    path = world.directory / "jobs"
    path.write_text("echo $TERM # pqrun: pty=true\necho none: $TERM\n")
    words = [sys.executable, "-m", "pqrun", "run", "-q", "-k", str(path)]
    done = subprocess.run(words, env=bare, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.stdout == "xterm-256color\nnone:\n"
    assert printed(world, "echo $TERM", env={"TERM": "dumb"}) == "dumb\n"


@pytest.mark.slow
def test_a_job_that_reads_finds_the_end_of_its_input_again_and_again(world: World) -> None:
    assert printed(world, "cat; cat; wc -c; head -c 1 | wc -c; read x || echo end") == "0\n0\nend\n"


@pytest.mark.slow
def test_a_job_may_read_a_file_beside_its_terminal(world: World) -> None:
    (world.directory / "words").write_text("a\nb\n")
    assert printed(world, "test -t 1 && wc -l; echo x >/dev/tty", stdin="words") == "2\nx\n"
    os.mkfifo(world.directory / "fifo")
    run = world.start(job("test -t 1 && cat", stdin="fifo"), "-q", kind="yaml")
    (world.directory / "fifo").write_text("through\n")
    assert run.end().out == "through\n"


@pytest.mark.slow
def test_large_output_is_complete(world: World) -> None:
    facts = world.run(job("seq 300000; echo last >&2"), "-q", kind="yaml")
    assert facts.out == "".join(f"{number}\n" for number in range(1, 300_001)) + "last\n"
    assert len(printed(world, "head -c 60000 /dev/zero | tr '\\0' x")) == 60_000


@pytest.mark.slow
def test_lines_are_shown_while_the_job_runs(world: World) -> None:
    run = world.start(
        job(f"echo first; {world.wait_at_the_gate}; echo second"), "--output", "line", kind="yaml"
    )
    assert run.process.stdout is not None
    assert run.process.stdout.readline() == b"first\n"
    world.let_through()
    assert run.end().out == "second\n"


@pytest.mark.slow
@pytest.mark.parametrize(
    "run", ["exit 3", ["sh", "-c", "exit 3"], "kill -9 $$", "./no-such-program", ["no-such-program"]]
)
def test_its_end_is_its_own(world: World, run: object) -> None:
    code, sign = (127, None) if "no-such" in str(run) else (None, "SIGKILL") if "kill" in run else (3, None)
    [ended] = world.run(job(run), "--json", kind="yaml").document["jobs"]
    assert (ended["state"], ended["exit"], ended["signal"]) == ("failed", code, sign)


def test_a_directory_that_is_not_there_is_told_as_without_a_terminal(world: World) -> None:
    facts = world.run(job("true", cwd="/no/such/dir"), kind="yaml")
    assert "cannot be started in /no/such/dir: No such file or directory" in facts.err


def test_a_niceness_is_kept(world: World) -> None:
    assert printed(world, "nice", nice=7) == "7\n"


@pytest.mark.slow
def test_a_time_limit_kills_a_job_that_is_deaf(world: World) -> None:
    facts = world.run(job(world.script("deaf"), timeout=0.3, grace=0.2), "--json", kind="yaml")

    assert world.alive() == []
    assert (facts.code, facts.states) == (1, ["timeout"])


@pytest.mark.slow
def test_silence_is_noticed(world: World) -> None:
    assert world.run(job("echo a; sleep 100", idle_timeout=0.3), "--json", kind="yaml").states == ["timeout"]


@pytest.mark.slow
def test_what_a_job_leaves_behind_is_ended(world: World) -> None:
    run = f"setsid {world.script('deaf', 'away')} & {world.script('deaf', 'near')} & {world.wait_at_the_gate}"
    run_id = world.start(job(run, grace=0.2), "--json", kind="yaml")
    world.told(2)
    world.let_through()
    assert run_id.end().states == ["ok"]
    assert world.alive() == []


@pytest.mark.slow
@pytest.mark.parametrize("seconds", [0.0, 0.05])
def test_the_last_output_of_a_leftover_is_not_lost(world: World, seconds: float) -> None:
    run = f"(sleep {seconds}; echo late) & echo early"
    assert sorted(printed(world, run).split()) == ["early", "late"]


@pytest.mark.slow
def test_a_reader_in_the_background_gets_everything(world: World) -> None:
    run = "exec > >(while read line; do sleep 0.02; echo $line $line; done); seq 5"
    assert printed(world, run, shell="bash -c").split() == [str(n) for n in range(1, 6) for _ in range(2)]


@pytest.mark.slow
def test_what_may_stay_lives_on_after_the_end_of_its_terminal(world: World) -> None:
    run = f"{world.script('stay')} & {world.wait_at_the_gate}"
    started = world.start(job(run, leftovers="keep"), "--json", kind="yaml")
    [pid] = world.pids_told()
    world.let_through()
    assert started.end().states == ["ok"]
    kept = look(pid)
    assert kept is not None
    os.kill(pid, signal.SIGKILL)
    until(world.none_alive)


@pytest.mark.slow
def test_a_job_whose_stop_signal_is_a_hangup_obeys_it(world: World) -> None:
    facts = world.run(job("exec sleep 100", signal="HUP", timeout=0.3, grace=60), "--json", kind="yaml")
    assert [ended["signal"] for ended in facts.document["jobs"]] == ["SIGHUP"]


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_pqrun_asks_the_job_to_end(world: World, number: int) -> None:
    run = world.start(job(world.script("stay")), "--json", kind="yaml")
    world.told()
    run.signal(number, group=True)
    facts = run.end()

    assert world.alive() == []
    assert (facts.code, facts.states) == (-number, ["interrupted"])
    assert [ended["signal"] for ended in facts.document["jobs"]] == ["SIGTERM"]


@pytest.mark.slow
@pytest.mark.parametrize("script", ["stay", "deaf", "stopped"])
def test_after_a_kill_of_pqrun_none_is_left(world: World, script: str) -> None:
    run = world.start(job(world.script(script), grace=0.2), kind="yaml")
    pids = world.pids_told()
    run.noted(pids)
    run.signal(signal.SIGKILL)
    run.process.wait(PATIENCE)
    until(world.none_alive)


def test_a_suspended_run_suspends_the_job(world: World) -> None:
    run = world.start(job(world.script("stay")), kind="yaml")
    [pid] = world.pids_told()
    run.signal(signal.SIGTSTP)
    until(lambda: status(pid)["State"].startswith("T") and status(run.pid)["State"].startswith("T"))
    run.signal(signal.SIGCONT)
    until(lambda: status(pid)["State"].startswith("S"))
    run.signal(signal.SIGTERM)
    run.end()
    assert world.alive() == []


def test_no_terminal_is_left_open(world: World) -> None:
    run = world.start("true # pqrun: pty=true\n" * 20 + f"{world.tell('there')}; {world.forever}\n", "-j1")
    world.told()
    targets = [os.readlink(f"/proc/{run.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{run.pid}/fd")]
    assert not [target for target in targets if "ptmx" in target or "pts" in target]
    run.signal(signal.SIGTERM)
    run.end()


@pytest.mark.slow
@pytest.mark.parametrize("fields", [{"pty": True}, {"stdin": "open"}, {"pty": True, "stdin": "open"}])
def test_with_few_descriptors_fewer_run_at_a_time(world: World, fields: dict[str, object]) -> None:
    jobs = json.dumps({"defaults": fields, "jobs": ["sleep 0.02"] * 100})
    facts = world.run(jobs, "-j100", "--json", "-q", kind="yaml", wrap=FEW_DESCRIPTORS)

    assert (facts.code, facts.states) == (0, ["ok"] * 100), facts.err
    assert {job["attempts"] for job in facts.document["jobs"]} == {1}
    assert facts.err.count("running at most") == 1


@pytest.mark.slow
def test_where_output_is_passed_straight_through_it_is_refused_with_the_cure(world: World) -> None:
    told = "asks for a terminal of its own (`pty`): --output raw passes output straight through; use --output line"
    facts = world.run(job("true"), "--output", "raw", kind="yaml")
    assert (facts.code, facts.err.count(f"job `a` {told}")) == (2, 1)
    listed = world.run("true\ntrue # pqrun: pty=true\n", "--output", "raw")
    assert listed.err.count(f":2: job `2` {told}") == 1


@pytest.mark.slow
def test_without_pseudo_terminals_it_is_told_why_the_job_cannot_start(world: World) -> None:
    without = "import os; os.openpty = lambda: os.close(os.open('/no/ptmx', os.O_RDWR))"
    facts = world.run(job("true"), kind="yaml", without=without)
    assert (
        "cannot be started with a terminal of its own: no such file or directory; run it without `pty`"
        in facts.err
    )
