# SPDX-License-Identifier: LGPL-3.0-or-later
"""Commands in the same queue: their results, their limits, and that nothing of them is left."""

import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pqrun import Job, JobFailed, JobTimeout, Priority, ShellResult
from pqrun.core.job import Outcome
from pqrun.executors.local.procfs import all_processes, be_subreaper, environment_of, is_subreaper

from .conftest import echo

linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere only the group can be found")


def lives(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="utf-8") as stat:
            return stat.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def number_in(path):
    """The number that a command has written there, as soon as it has."""
    try:
        return int(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return 0


@pytest.fixture
def begun(until, tmp_path):
    """`begun(name)`: the number that a command has written to that file, once it has."""
    return lambda name: until(lambda: number_in(tmp_path / name))


def test_a_command_that_ends_well_gives_what_it_printed(make_queue):
    handle = make_queue(echo).enqueue(Job.shell("echo out; echo err >&2"))
    assert handle.result(30) == ShellResult(0, None, b"out\n", b"err\n", "exit 0")


def test_output_is_byte_exact_and_may_be_large(make_queue):
    code = r"import os, sys; sys.stdout.buffer.write(bytes(range(256)) * 4000); os.write(2, b'\0' * 200000)"
    result = make_queue(echo).enqueue(Job.shell([sys.executable, "-c", code])).result(60)
    assert result.stdout == bytes(range(256)) * 4000
    assert result.stderr == b"\0" * 200_000


def test_large_output_is_not_left_on_the_disk(make_queue):
    queue = make_queue(echo)
    queue.enqueue(Job.shell("head -c 300000 /dev/zero")).result(30)
    workspace = Path(queue._runtime._backend._workspace)
    assert [path for path in workspace.rglob("*") if path.is_file()] == []
    queue.shutdown(30)
    assert not workspace.exists()


def test_a_command_that_fails_says_how(make_queue):
    error = (
        make_queue(echo).enqueue(Job.shell("echo half; echo the reason >&2; exit 3", "build")).exception(30)
    )
    assert type(error) is JobFailed
    assert error.outcome is Outcome.FAILED
    assert error.result == ShellResult(3, None, b"half\n", b"the reason\n", "exit 3")
    assert str(error) == "job `build` failed: exit 3\nthe reason"


def test_a_signal_is_named(make_queue):
    result = make_queue(echo).enqueue(Job.shell("kill -9 $$")).exception(30).result
    assert (result.code, result.signal, result.how) == (None, "SIGKILL", "SIGKILL")


@pytest.mark.parametrize(
    ("job", "code", "how"),
    [
        (Job.shell(["no-such-program-anywhere"]), 127, "no-such-program-anywhere"),
        (Job.shell("true", cwd="/no/such/directory"), 126, "/no/such/directory"),
        (Job.shell(["/etc/passwd"]), 126, "/etc/passwd"),
        (Job.shell("echo a\0b"), 126, "NUL"),
    ],
)
def test_what_can_not_be_started_fails_clearly_and_is_not_tried_again(make_queue, job, code, how):
    job.max_retries = 3
    error = make_queue(echo).enqueue(job).exception(30)
    assert error.result.code == code
    assert how in str(error)
    assert job.retry_count == 0


def test_one_that_is_signalled_together_with_the_program_is_cancelled_with_the_others(
    make_queue, until, tmp_path
):
    queue = make_queue(echo)
    handle = queue.enqueue(Job.shell("echo $$ > pid; exec sleep 1000", cwd=tmp_path))
    leader = int(until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text()))

    def end_it(scheduler, now):
        """In a turn: the queue hears of its end when this is over."""
        os.kill(leader, signal.SIGINT)
        until(lambda: not os.path.exists(f"/proc/{leader}"))

    queue._runtime.ask(end_it)
    queue.shutdown(30, cancel=True)
    assert handle.cancelled()


@pytest.mark.slow
def test_one_that_somebody_ends_fails_by_that_signal(make_queue):
    error = make_queue(echo).enqueue(Job.shell("kill -TERM $$", max_retries=0)).exception(30)
    assert (type(error), error.result.signal) == (JobFailed, "SIGTERM")


def test_its_variables_and_its_directory(make_queue, tmp_path, monkeypatch):
    monkeypatch.setenv("INHERITED", "yes")
    queue = make_queue(echo)
    job = Job.shell('echo "$INHERITED $MINE"; pwd', cwd=tmp_path, env={"MINE": "too"})
    assert queue.enqueue(job).result(30).stdout.decode().splitlines() == ["yes too", str(tmp_path)]
    here = queue.enqueue(Job.shell("pwd -P")).result(30).stdout.decode().strip()
    assert here == os.path.realpath(".")


def test_a_command_may_have_a_terminal_of_its_own(make_queue):
    handle = make_queue(echo).enqueue(
        Job.shell("test -t 0 -a -t 1 -a -t 2 && echo out; echo err >&2", pty=True)
    )
    assert handle.result(30) == ShellResult(0, None, b"out\nerr\n", b"", "exit 0")


@pytest.mark.parametrize("pty", [False, True])
def test_text_can_be_sent_to_a_command_that_asks_for_it(make_queue, begun, tmp_path, pty):
    queue = make_queue(echo)
    run = f"echo $$ > {tmp_path}/pid; stty -echo 2>/dev/null; cat; echo end"
    handle = queue.enqueue(Job.shell(run, "reads", open_stdin=True, pty=pty))
    begun("pid")
    assert queue.send("reads", b"one\n")
    assert queue.send("reads", b"two\n", end=True)
    assert not queue.send("reads", b"three\n")
    assert handle.result(30).stdout.endswith(b"two\nend\n")
    assert not queue.send("reads", b"four\n")
    assert not queue.send("nobody", b"")


def test_a_command_that_does_not_read_makes_no_sender_wait(make_queue, begun, tmp_path):
    queue = make_queue(echo)
    queue.enqueue(Job.shell(f"echo $$ > {tmp_path}/pid; exec sleep 60", "deaf", open_stdin=True))
    queue.enqueue(Job.shell("exec sleep 60", "other"))
    begun("pid")
    with pytest.raises(BlockingIOError, match="it has not read"):
        for _ in range(40):
            assert queue.send("deaf", bytes(65_536))
    with pytest.raises(ValueError, match="job `other` has no open standard input"):
        queue.send("other", b"x")
    with pytest.raises(ValueError, match=r"^data: at most 1,048,576 bytes at a time, not 1,048,577"):
        queue.send("deaf", bytes((1 << 20) + 1))
    with pytest.raises(TypeError, match=r"^data: bytes, not str"):
        queue.send("deaf", "text")
    queue.shutdown(cancel=True)


def test_a_list_is_not_given_to_a_shell(make_queue):
    result = make_queue(echo).enqueue(Job.shell(["printf", "%s", "$HOME; *"])).result(30)
    assert result.stdout == b"$HOME; *"


def test_it_is_tried_again_like_any_job(make_queue, tmp_path):
    queue = make_queue(echo)
    job = Job.shell("echo x >> tries; test $(wc -l < tries) -ge 3", cwd=tmp_path, max_retries=5)
    assert queue.enqueue(job).result(30).code == 0
    assert job.retry_count == 2
    assert (queue.metrics().jobs_retried, queue.metrics().jobs_completed) == (2, 1)


def test_calls_and_commands_share_order_and_slots(make_queue, gate, tmp_path):
    queue = make_queue()
    queue.enqueue(Job("first"))
    gate.wait_for(1)
    order = tmp_path / "order"
    command = "echo shell >> order"
    ours = queue.enqueue(Job("python"))
    ours.add_done_callback(lambda _: order.write_text(order.read_text() + "python\n"))
    queue.enqueue(Job.shell(command + "; echo low >> order", cwd=tmp_path, priority=Priority.LOW))
    queue.enqueue(Job.shell(command, cwd=tmp_path, priority=Priority.HIGH))
    assert (queue.size(), queue.metrics().active_workers) == (3, 1)
    gate.open()
    queue.join(30)
    assert order.read_text().split() == ["shell", "python", "shell", "low"]


@pytest.mark.slow
def test_it_is_ended_at_its_time_limit(make_queue, begun, tmp_path):
    queue = make_queue(echo, grace=5.0)
    handle = queue.enqueue(
        Job.shell("echo $$ > pid; echo so far; exec sleep 1000", cwd=tmp_path, timeout=1.5)
    )
    error = handle.exception(30)
    assert isinstance(error, JobTimeout) and error.outcome is Outcome.TIMEOUT
    assert (error.result.signal, error.result.stdout) == ("SIGTERM", b"so far\n")
    assert not lives(begun("pid"))


def test_a_deaf_one_is_killed_after_its_grace(make_queue, begun, until, tmp_path, caplog):
    queue = make_queue(echo, grace=0.1)
    handle = queue.enqueue(
        Job.shell("trap '' TERM; echo $$ > pid; while :; do sleep 0.05; done", "deaf", cwd=tmp_path)
    )
    pid = begun("pid")
    queue.cancel("deaf")
    until(handle.done)
    assert handle.cancelled()
    assert not lives(pid)
    assert caplog.messages == [], "only handlers can't be ended"


@pytest.mark.slow
@linux
@pytest.mark.parametrize("contain", [False, True])
@pytest.mark.parametrize(
    "escape",
    [
        "sleep 1000 & echo $! > pid",
        "setsid sh -c 'echo $$ > pid; exec sleep 1000' &",
        "(setsid sh -c 'echo $$ > pid; exec sleep 1000' &) &",
        "setsid sh -c 'trap \"\" TERM HUP; echo $$ > pid; while :; do sleep 0.05; done' &",
        "(sh -c 'kill -STOP $$; sleep 1000' & echo $! > pid)",
        "env -i sh -c 'echo $$ > pid; exec sleep 1000' &",
    ],
    ids=["background", "own session", "daemon", "deaf", "stopped", "scrubbed"],
)
def test_nothing_of_its_tree_is_left(make_queue, begun, until, tmp_path, escape, contain):
    queue = make_queue(echo, grace=0.1, contain=contain)
    handle = queue.enqueue(
        Job.shell(f"{escape}\nwhile ! test -s pid; do sleep 0.01; done", "job", cwd=tmp_path)
    )
    pid = begun("pid")
    assert handle.result(30).code == 0
    until(lambda: not lives(pid))


@linux
def test_a_leftover_that_just_executes_its_program_is_not_overlooked(
    make_queue, begun, tmp_path, monkeypatch
):
    """In that moment its variables can't be seen."""
    seen = set()

    def executing_at_first(pid):
        environment = environment_of(pid)
        if environment and b"JUST_EXECUTING=1" in environment and pid not in seen:
            seen.add(pid)
            return None
        return environment

    monkeypatch.setattr("pqrun.executors.local.cleanup_embedded.environment_of", executing_at_first)
    command = "setsid sh -c 'echo $$ > pid; exec sleep 43' & while ! test -s pid; do sleep 0.01; done"
    job = Job.shell(command, cwd=tmp_path, env={"JUST_EXECUTING": "1"})
    assert make_queue(echo).enqueue(job).result(30).code == 0
    assert seen == {begun("pid")}
    assert not lives(begun("pid"))


@pytest.mark.slow
@linux
@pytest.mark.parametrize("contain", [False, True])
def test_no_leftover_survives_a_race_with_the_end_of_its_job(make_queue, contain):
    """They begin a session and execute a program in the moment in which their job ends."""
    unique = f"43.{os.getpid():07d}"
    queue = make_queue(echo, contain=contain, max_workers=8)
    handles = [queue.enqueue(Job.shell(f"setsid sleep {unique} & exit 0")) for _ in range(400)]
    assert [handle.result(60).code for handle in handles] == [0] * 400
    left = [p.pid for p in all_processes() if unique.encode() in command_of(p.pid) and p.is_alive]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert left == []


def command_of(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("bash"), reason="needs bash")
@pytest.mark.parametrize("contain", [False, True])
def test_no_output_of_a_reader_in_the_background_is_lost(make_queue, contain):
    queue = make_queue(echo, contain=contain, max_workers=4)
    command = ["bash", "-c", "exec > >(cat) 2> >(sed 's/^/err /' >&2); echo start; echo oh >&2; echo last"]
    handles = [queue.enqueue(Job.shell(command)) for _ in range(100)]
    results = {(handle.result(60).stdout, handle.result(60).stderr) for handle in handles}
    assert results == {(b"start\nlast\n", b"err oh\n")}


@linux
def test_cancelling_takes_the_whole_tree(make_queue, begun, until, tmp_path):
    queue = make_queue(echo, grace=0.1)
    command = "setsid sh -c 'echo $$ > below; exec sleep 1000' & echo $$ > pid; wait"
    queue.enqueue(Job.shell(command, "job", cwd=tmp_path))
    leader, below = begun("pid"), begun("below")
    queue.cancel("job")
    queue.join(30)
    assert not lives(leader)
    assert not lives(below)


def test_shutting_down_may_cancel_commands(make_queue, begun, tmp_path):
    queue = make_queue(echo)
    handle = queue.enqueue(Job.shell("echo $$ > pid; exec sleep 1000", cwd=tmp_path))
    pid = begun("pid")
    assert queue.shutdown(timeout=30, cancel=True) == []
    assert handle.cancelled() and not lives(pid)


def test_a_descriptor_that_a_leftover_holds_open_delays_nobody(make_queue):
    queue = make_queue(echo, grace=0.1)
    handle = queue.enqueue(Job.shell("sleep 1000 & echo done"))
    assert handle.result(30).stdout == b"done\n"


def test_a_full_disk_fails_the_job_and_not_the_queue(make_queue, monkeypatch):
    from pqrun.core.errors import InternalFailure
    from pqrun.output import store as capture

    def full(self, key, stream):
        raise InternalFailure("cannot create its output: No space left on device")

    monkeypatch.setattr(capture.Logs, "create", full)
    queue = make_queue(echo)
    error = queue.enqueue(Job.shell("head -c 300000 /dev/zero")).exception(30)
    assert "No space left on device" in str(error)
    assert queue.enqueue(Job.shell("echo small")).result(30).stdout == b"small\n"


def test_many_commands_and_calls_at_a_time(make_queue):
    queue = make_queue(echo, max_workers=8)
    shells = queue.enqueue_many(Job.shell(f"echo {n}") for n in range(60))
    calls = queue.enqueue_many(Job(payload=n) for n in range(60))
    assert [int(handle.result(60).stdout) for handle in shells] == list(range(60))
    assert [handle.result(60) for handle in calls] == list(range(60))


# A guest


def test_the_signals_of_the_program_are_its_own(make_queue):
    numbers = [number for number in signal.valid_signals() if number not in (signal.SIGKILL, signal.SIGSTOP)]
    before = (
        [signal.getsignal(number) for number in numbers],
        signal.set_wakeup_fd(-1),
        os.getcwd(),
        os.umask(0o22),
    )
    os.umask(before[3])
    queue = make_queue(echo)
    queue.enqueue(Job.shell("true")).result(30)
    during = (
        [signal.getsignal(number) for number in numbers],
        signal.set_wakeup_fd(-1),
        os.getcwd(),
        os.umask(0o22),
    )
    os.umask(during[3])
    assert during == before


@linux
def test_it_becomes_a_subreaper_and_has_watchdogs_only_if_asked_to(make_queue):
    def children():
        found = []
        for thread in os.listdir("/proc/self/task"):
            found += Path(f"/proc/self/task/{thread}/children").read_text().split()
        return found

    queue = make_queue(echo)
    queue.enqueue(Job.shell("true")).result(30)
    assert (is_subreaper(), children()) == (False, [])
    other = make_queue(echo, contain=True)
    other.enqueue(Job.shell("true")).result(30)
    assert is_subreaper() and len(children()) == 2
    other.shutdown(30)
    assert (is_subreaper(), children()) == (False, [])


@linux
def test_a_program_that_is_a_subreaper_stays_one(make_queue):
    be_subreaper()
    try:
        queue = make_queue(echo, contain=True)
        queue.enqueue(Job.shell("true")).result(30)
        queue.shutdown(30)
        assert is_subreaper()
    finally:
        be_subreaper(wanted=False)


@linux
def test_orphans_that_have_ended_by_themselves_are_not_left_unreaped(make_queue):
    queue = make_queue(echo, contain=True)
    queue.enqueue(Job.shell("(sleep 0.05 &); (true &); sleep 0.2")).result(30)
    found = []
    for thread in os.listdir("/proc/self/task"):
        found += Path(f"/proc/self/task/{thread}/children").read_text().split()
    assert len(found) == 2, "the watchdogs alone"


@pytest.mark.slow
@linux
@pytest.mark.parametrize("contain", [False, True])
def test_children_of_the_program_are_never_reaped_or_ended(make_queue, contain, until):
    queue = make_queue(echo, contain=contain, max_workers=2)
    queue.enqueue(Job.shell("true")).result(30)
    own = [
        subprocess.Popen(["sh", "-c", "exit 5"]),
        subprocess.Popen(["sh", "-c", "exit 6"], start_new_session=True),
        subprocess.Popen(["sleep", "1000"], env={}, start_new_session=True),
    ]
    threads = []
    thread = threading.Thread(target=lambda: threads.append(subprocess.Popen(["sleep", "1000"])))
    thread.start()
    thread.join()
    for child in own[:2]:
        until(lambda child=child: not lives(child.pid))
    for _ in range(5):
        queue.enqueue(Job.shell("setsid sleep 1000 & true")).result(30)
    queue.shutdown(30)
    assert [child.wait(30) for child in own[:2]] == [5, 6]
    for child in (own[2], *threads):
        assert child.poll() is None
        child.kill()
        assert child.wait(30) == -signal.SIGKILL


IMPOLITE = """
import os, signal, sys
from pqrun import Job, JobFailed, Queue
def reap_all(*_):
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass
signal.signal(signal.SIGCHLD, {how})
with Queue(lambda context, job: None) as queue:
    handles = queue.enqueue_many(Job.shell("sleep 0.05; echo hello") for _ in range(20))
    calls = queue.enqueue_many(Job() for _ in range(20))
    ends = []
    for handle in handles:
        error = handle.exception(30)
        ends.append("ok" if error is None else "lost" if "exit status" in str(error) else repr(error))
    print(sorted(set(ends)), [handle.result(30) for handle in calls] == [None] * 20)
"""


@pytest.mark.slow
@pytest.mark.parametrize("how", ["signal.SIG_IGN", "reap_all"])
def test_a_program_that_reaps_every_child_gets_no_exit_status_but_a_clear_word(how):
    done = subprocess.run(
        [sys.executable, "-c", IMPOLITE.replace("{how}", how)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    ends, calls_are_fine = done.stdout.strip().rsplit(" ", 1)
    assert set(eval(ends)) <= {"ok", "lost"} and calls_are_fine == "True"


FORGETFUL = """
import os, sys, time
from pqrun import Config, Job, Queue
queue = Queue(print, Config(max_workers=2), contain={contain})
queue.enqueue_many(Job.shell("echo $$ > pid$PQRUN_SEQ; exec sleep 1000") for _ in range(6))
while not (os.path.exists("pid1") and os.path.exists("pid2")):
    time.sleep(0.01)
{end}
"""


@pytest.mark.slow
@pytest.mark.parametrize("before", ["", "trap '' TERM; "], ids=["", "deaf"])
def test_a_program_that_forgets_to_shut_down_takes_its_commands_along(until, tmp_path, before):
    program = FORGETFUL.format(contain=False, end="sys.exit(7)").replace("echo", f"{before}echo")
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, timeout=60, check=False)
    assert done.returncode == 7
    for name in ("pid1", "pid2"):
        pid = until(lambda name=name: number_in(tmp_path / name))
        until(lambda pid=pid: not lives(pid))
    assert not (tmp_path / "pid3").exists()


def test_a_program_that_forgets_to_shut_down_is_not_told_of_a_grace_that_was_not_given():
    program = """
import threading
from pqrun import Job, Queue

started = threading.Event()


def handler(context, job):
    started.set()
    threading.Event().wait(60)


queue = Queue(handler)
queue.enqueue_many([Job.shell("exec sleep 60"), Job()])
started.wait()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
@linux
def test_the_commands_of_a_killed_program_die_if_it_asked_for_that(until, tmp_path):
    program = FORGETFUL.format(contain=True, end="os.kill(os.getpid(), 9)")
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path, timeout=60, check=False)
    assert done.returncode == -9
    for name in ("pid1", "pid2"):
        pid = until(lambda name=name: number_in(tmp_path / name))
        until(lambda pid=pid: not lives(pid), 10)


FORKING = """
import os, sys, time
from pqrun import Job, Queue
queue = Queue(print)
handle = queue.enqueue(Job.shell("touch begun; until test -e go; do sleep 0.01; done; echo fine"))
while not os.path.exists("begun"):
    time.sleep(0.01)
child = os.fork()
if child == 0:
    sys.exit(5)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
open("go", "w").close()
sys.stdout.write(handle.result(30).stdout.decode())
queue.shutdown()
"""


@pytest.mark.slow
def test_a_forked_child_that_exits_does_not_end_its_parents_commands(tmp_path):
    done = subprocess.run(
        # From Python 3.12 on, one is warned of forking beside threads; here just that is tried.
        [sys.executable, "-W", "ignore::DeprecationWarning", "-c", FORKING],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "fine\n", "")
