# SPDX-License-Identifier: LGPL-3.0-or-later
"""`runs`, `show`, `logs` and `prune`: what was, and what is going on."""

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import time
from types import SimpleNamespace

import pytest
from support.process import PQRUN

from pqrun.cli.commands.logs import _print_ended
from pqrun.cli.run_table import _how_to_go_on, size_text
from pqrun.core.job import Command, JobSpec
from pqrun.journal.run_directory import RunDirectory
from pqrun.journal.run_list import PrunePolicy, RunListing, past_runs, prune_runs, shortest_prefixes

from .conftest import World, first_line
from .records import BEGAN, Record


@pytest.fixture
def some_runs(world):
    """Runs in the state directory that never ran, the newest last."""

    def make(*names, ended=BEGAN + 60):
        found = []
        for number, name in enumerate(names):
            record = Record(world.state / "runs" / name, at=BEGAN + 100 * number, files=[f"{name}.yaml"])
            record.note({"e": "add", "t": BEGAN, "s": 1, "job": {"id": "a", "run": "true"}})
            record.note({
                "e": "close", "t": ended + 100 * number, "stopped": False, "complete": True, "jobs": 1,
                "outcomes": {"ok": 1}, "failed": 0,
            })  # fmt: skip
            found.append(record)
        return found

    (world.state / "runs").mkdir(mode=0o700, exist_ok=True)
    return make


def on_a_terminal(world, *words) -> str:
    """What it writes if stdout is a terminal of 100 columns."""
    ours, theirs = pty.openpty()
    os.set_blocking(ours, True)
    import fcntl
    import struct
    import termios

    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 100, 0, 0))
    process = subprocess.Popen(
        [*PQRUN, *map(str, words)], stdin=subprocess.DEVNULL, stdout=theirs, stderr=subprocess.PIPE,
        env={**world.environment, "TERM": "xterm-256color"}, cwd=world.here,
    )  # fmt: skip
    os.close(theirs)
    pieces = []
    while True:
        try:
            piece = os.read(ours, 65536)
        except OSError:
            break
        if not piece:
            break
        pieces.append(piece)
    os.close(ours)
    _, err = process.communicate()
    assert b"Traceback" not in err, err
    return b"".join(pieces).decode().replace("\r\n", "\n")


# runs


@pytest.mark.slow
def test_runs_are_listed_the_newest_first_with_how_they_went(world):
    world.write("jobs.yaml", "jobs: [{id: a, run: 'exit 3'}, {id: b, run: 'true', needs: [a]}, 'true']\n")
    world.pqrun("run", "jobs.yaml")
    world.kill_when(lambda: world.read("ran"), "run", "-j1", lines=["echo x > ran; sleep 60", "true"])
    world.wait_until_all_is_gone()
    process = world.start("run", lines=["echo y >> ran; exec sleep 60"])
    world.until(lambda: "y" in world.read("ran"))
    found = world.look("runs", "--json").document["runs"]
    assert [(run["state"], run["jobs"], run["outcomes"], run["failed"], run["left"]) for run in found] == [
        ("live", 1, {}, 0, 1),
        ("died", 2, {}, 0, 2),
        ("ended", 3, {"failed": 1, "skipped": 1, "ok": 1}, 2, 0),
    ]
    assert [run["files"] for run in found] == [[], [], ["jobs.yaml"]]
    assert [run["ended_at"] is None for run in found] == [True, False, False]
    process.send_signal(signal.SIGTERM)
    process.wait()
    text = world.look("runs").out.split("\n")
    assert [line.split()[0] for line in text[:4]] == ["run", *(run["id"] for run in found)]
    assert [line.split()[-3:][0] for line in text[1:2]] == ["(pqrun"]
    assert [" stopped " in text[1], " died " in text[2], " failed " in text[3]] == [True] * 3
    assert "\x1b" not in "\n".join(text)


def test_no_runs_is_no_error(world):
    assert world.look("runs").code == 0
    assert world.look("runs", "--json").document == {"schema": 1, "runs": []}
    assert world.look("show").code == 2


def test_a_damaged_run_is_listed_as_that_and_the_others_are_too(world, some_runs):
    damaged, _ = some_runs("baddd2", "goooo2")
    lines = damaged.journal.read_bytes().splitlines(keepends=True)
    damaged.journal.write_bytes(lines[0] + b"garbage\n" + b"".join(lines[1:-1]))
    found = {run["id"]: run["state"] for run in world.look("runs", "--json").document["runs"]}
    assert found == {"baddd2": "damaged", "goooo2": "ended"}
    assert world.look("show", "baddd2").code == 4


def test_the_letters_that_name_a_run_alone_are_bold_on_a_terminal(world, some_runs):
    some_runs("abcde2", "abxyz2", "q2w3e4")
    text = on_a_terminal(world, "runs")
    assert "\x1b[1;36mabc\x1b[0m\x1b[36mde2\x1b[0m" in text
    assert "\x1b[1;36mq\x1b[0m\x1b[36m2w3e4\x1b[0m" in text
    assert all(len(re.sub(r"\x1b\[[0-9;]*m", "", line)) <= 100 for line in text.split("\n"))


def test_shortest_prefixes():
    assert shortest_prefixes(["ab", "abc", "b", "bcd", "x"]) == {"ab": 2, "abc": 3, "b": 1, "bcd": 2, "x": 1}
    assert shortest_prefixes([]) == {}


def test_a_hundred_runs_are_listed_without_an_index_of_any(world, some_runs):
    some_runs(*(f"run{number:03}" for number in range(100)))
    began = time.process_time()
    assert [past.id for past in past_runs()] == [f"run{number:03}" for number in reversed(range(100))]
    assert time.process_time() - began < 0.3
    assert list(world.state.rglob("index.db")) == []


# A run by name


def test_a_run_goes_by_id_prefix_latest_or_path(world, some_runs):
    some_runs("abcde2", "abxyz2", "q2w3e4")
    for name, found in (("abcde2", "abcde2"), ("abx", "abxyz2"), ("q", "q2w3e4"), ("latest", "q2w3e4"),
                        (world.state / "runs" / "abcde2", "abcde2")):  # fmt: skip
        assert world.look("show", name, "--json").document["run"]["id"] == found


@pytest.mark.slow
def test_a_run_that_is_not_there_is_a_mistake_of_the_users(world, some_runs):
    some_runs("abcde2", "abxyz2")
    for command, name, said in (
        ("show", "nosuch", "no run `nosuch`"),
        ("logs", "ab", "several runs match `ab`: abcde2, abxyz2"),
        ("resume", "./here", "no run is recorded in ./here"),
    ):
        result = world.pqrun(command, name)
        assert (result.code, said in result.err) == (2, True)


# show


@pytest.mark.slow
def test_show_json_is_what_run_json_printed(world):
    jobs = {"jobs": [
        {"id": "a", "run": "echo a; echo b >&2; exit 3", "retries": {"max": 1, "delay": 0}, "tags": ["t", "ü"]},
        {"id": "b", "run": ["printf", "%s", "x y"], "priority": "high", "timeout": 50},
        {"id": "c", "run": "sleep 60", "timeout": 0.2},
        {"id": "d", "run": "true", "needs": ["a"]},
        {"id": "e", "run": "no-such-command-at-all"},
        {"id": "f", "run": "echo message=told >> $PQRUN_REPORT; kill -9 $$"},
    ]}  # fmt: skip
    world.write("jobs.json", json.dumps(jobs))
    ran = world.pqrun("run", "jobs.json", "--json", "-j3")
    shown = world.look("show", "latest", "--json")
    assert ran.document["jobs"] == shown.document["jobs"]
    assert shown.document == ran.document
    assert [json.loads(line) for line in world.look("show", "--jsonl").stdout.splitlines()] == ran.document[
        "jobs"
    ]


@pytest.mark.slow
def test_show_begins_with_what_went_wrong_and_has_attempts_and_metrics(world):
    jobs = {"jobs": [
        {"id": "fine", "run": "true"},
        {"id": "flaky", "run": "echo x >> tries; test $(wc -l < tries) = 2", "retries": {"max": 1, "delay": 0}},
        {"id": "broken", "run": "echo why >&2; exit 3", "retries": {"max": 1, "delay": 0}},
    ]}  # fmt: skip
    world.write("jobs.json", json.dumps(jobs))
    world.pqrun("run", "jobs.json", "-j1")
    text = world.look("show").out
    words = [line.split() for line in text.split("\n")]
    names = [line[1] for line in words if line and line[0].isdigit() and len(line) > 2]
    assert names[:3] == ["broken", "flaky", "fine"]
    broken = next(line for line in words if line[1:2] == ["broken"])
    assert broken[2:6] == ["failed", "exit", "3", "2/2"] and broken[-1] == "why"
    assert sum(line[:2] == ["try", "1"] for line in words) == 2
    assert "3 jobs: 2 ok, 1 failed" in text
    assert "enqueued 5, dequeued 5, completed 2, failed 1, timeout 0, retried 2" in text
    assert "pqrun resume latest --failed" in text
    assert "\x1b" not in text


@pytest.mark.slow
def test_in_a_live_run_states_are_the_live_ones(world):
    process = world.start("run", "-j1", lines=["true", "echo x > ran; exec sleep 60", "true"])
    world.until(lambda: world.read("ran"))
    document = world.look("show", "--json").document
    assert (document["run"]["state"], document["run"]["ended_at"]) == ("live", None)
    assert [job["state"] for job in document["jobs"]] == ["ok", "running", "queued"]
    metrics = document["metrics"]
    assert (metrics["active_workers"], metrics["current_queue_size"]) == (1, 1)
    assert " running " in world.look("show").out
    world.kill(process)
    world.wait_until_all_is_gone()
    document = world.look("show", "--json").document
    assert document["run"]["state"] == "died"
    assert [job["state"] for job in document["jobs"]] == ["ok", "interrupted", "queued"]
    assert (document["metrics"]["active_workers"], document["metrics"]["attempts_stopped"]) == (0, 1)


@pytest.mark.slow
def test_nothing_that_jobs_say_or_are_called_steers_a_terminal(world):
    evil = "\x1b]0;pwned\x07\x1b[2J\u202e\x9b31m"
    record = Record(world.state / "runs" / "evil22", files=[f"f{evil}"])
    (world.state / "runs").chmod(0o700)
    record.note(
        {
            "e": "add",
            "t": BEGAN,
            "s": 1,
            "job": {"id": f"id{evil}", "run": f"echo {evil}", "tags": [evil]},
            "q": True,
        }
    )
    record.note({"e": "start", "t": BEGAN, "s": 1, "n": 1, "w": 0.0})
    (record.path / "logs" / "0000").mkdir()
    (record.path / "logs" / "0000" / "1.1.out").write_text(f"out {evil} \x1b[31mred\x1b[0m\n")
    size = (record.path / "logs" / "0000" / "1.1.out").stat().st_size
    end = {
        "e": "end",
        "t": BEGAN,
        "s": 1,
        "n": 1,
        "as": "failed",
        "x": 1,
        "b": BEGAN,
        "f": BEGAN,
        "u": 0.0,
        "y": 0.0,
    }
    record.note({**end, "out": size, "err": 0, "message": f"said {evil}", "o": "failed"})
    record.note({"e": "stop", "t": BEGAN, "cause": f"c{evil}", "drain": True, "force": False, "by": ""})
    for words in (("runs",), ("show",), ("logs", "latest"), ("logs", "latest", f"{evil}*")):
        text = world.look(*words).err if "*" in words[-1] else on_a_terminal(world, *words)
        if text:
            left = text.replace("\x1b[31mred\x1b[0m", "")
            for code in ("0", "1", "2", "31", "32", "33", "34", "36", "1;31", "1;33", "1;36", "2;4"):
                left = left.replace(f"\x1b[{code}m", "")
            assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(left), (words, left)


@pytest.mark.slow
def test_of_many_jobs_that_went_well_show_lists_some_and_all_if_asked(world):
    record = Record(world.state / "runs" / "many22")
    for seq in range(1, 1501):
        record.note({"e": "add", "t": BEGAN, "s": seq, "job": {"id": f"j{seq}", "run": "true"}, "q": True})
        record.note({"e": "start", "t": BEGAN, "s": seq, "n": 1, "w": 0.0})
        end = {
            "e": "end",
            "t": BEGAN,
            "s": seq,
            "n": 1,
            "as": "completed",
            "x": 0,
            "b": BEGAN,
            "f": BEGAN + 1,
            "u": 0.0,
            "y": 0.0,
        }
        record.note({**end, "o": "ok"})
    text = world.look("show").out
    assert (" j1000 " in text, " j1001 " in text, "… and 500 ok (--all lists them)" in text) == (
        True,
        False,
        True,
    )
    assert " j1500 " in world.look("show", "--all").out
    assert len(world.look("show", "--jsonl").stdout.splitlines()) == 1500


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_error_and_a_full_disk_is(world, some_runs):
    some_runs("abcde2")
    for words in (("runs",), ("show",), ("show", "--json")):
        with open("/dev/full", "wb") as full:
            done = subprocess.run(
                [*PQRUN, *words], stdout=full, stderr=subprocess.PIPE, env=world.environment
            )
        assert (done.returncode, b"cannot write to standard output: No space left" in done.stderr) == (
            4,
            True,
        )
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [*PQRUN, "show", "--json"], stdout=writing, stderr=subprocess.PIPE, env=world.environment
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


# logs


BYTES = bytes(range(256)) + b"\xff\xfe no newline at the end"
BIG = b"".join(b"%d\n" % number for number in range(1, 100_001))


@pytest.fixture(scope="module")
def old_world(tmp_path_factory):
    """A run whose jobs have printed, in the directory `rd`; for all tests that only look at it."""
    world = World(tmp_path_factory.mktemp("printed"), until=None)
    (world.here / "bytes").write_bytes(BYTES)
    jobs = {"jobs": [
        {"id": "raw", "run": "cat bytes; echo complaint >&2", "tags": ["x"]},
        {"id": "twice", "run": "echo $PQRUN_ATTEMPT; test $PQRUN_ATTEMPT = 2", "retries": {"max": 1, "delay": 0}},
        {"id": "m[A=1]", "run": "echo matrix", "priority": "low"},
        {"id": "m*", "run": "echo star"},
        {"id": "bad", "run": "echo bad >&2; exit 1"},
        {"id": "silent", "run": "true"},
        {"id": "big", "run": "seq 100000", "tags": ["large"]},
    ]}  # fmt: skip
    world.write("jobs.json", json.dumps(jobs))
    assert world.pqrun("run", "jobs.json", "-j3", "--run-dir", "rd").code == 1
    return world


@pytest.fixture
def printed(old_world, world):
    """A copy of that run."""
    shutil.copytree(old_world.here / "rd", world.here / "rd")
    return world


@pytest.mark.parametrize(
    ("words", "out", "err"),
    [
        (("raw",), BYTES, b"complaint\n"),
        (("raw", "--stderr"), b"complaint\n", b""),
        (("1",), BYTES, b"complaint\n"),
        (("twice",), b"2\n", b""),
        (("twice", "--attempt", "1"), b"1\n", b""),
        (("m[A=1]",), b"matrix\n", b""),
        (("m*",), b"star\n", b""),
        (("m?", "m[[]*"), b"matrix\nstar\n", b""),
        (("state:failed",), b"", b"bad\n"),
        (("priority:low",), b"matrix\n", b""),
        (("tag:x", "twice"), BYTES + b"2\n", b"complaint\n"),
        ((), BYTES + b"2\nmatrix\nstar\n" + BIG, b"complaint\nbad\n"),
        (("all",), BYTES + b"2\nmatrix\nstar\n" + BIG, b"complaint\nbad\n"),
        (("big",), BIG, b""),
        (("silent",), b"", b""),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)  # fmt: skip
def test_logs_prints_the_bytes_of_the_jobs_that_are_meant(printed, words, out, err):
    result = printed.look("logs", "./rd", *words)
    assert (result.code, result.stdout, result.err.encode("utf-8", "surrogateescape")) == (0, out, err)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("nosuch",), 2, "no job `nosuch`"),
        (("x*",), 1, "no job matches x*"),
        (("state:timeout",), 1, "no job matches state:timeout"),
        (("raw", "--attempt", "2"), 2, "no job has an attempt 2"),
        (("999",), 2, "no job `999`"),
    ],
)
def test_logs_of_what_is_not_there(printed, words, code, said):
    result = printed.look("logs", "./rd", *words)
    assert (result.code, result.stdout, said in result.err) == (code, b"", True)


@pytest.mark.slow
def test_several_jobs_get_a_heading_each_on_a_terminal_only(printed):
    text = on_a_terminal(printed, "logs", "./rd", "m[A=1]", "twice")
    assert [line for line in text.split("\n") if "==>" in line] == [
        "\x1b[1m==> 2 twice try 2 <==\x1b[0m",
        "\x1b[1m==> 3 m[A=1] <==\x1b[0m",
    ]
    assert "==>" not in on_a_terminal(printed, "logs", "./rd", "twice")


def test_output_that_somebody_has_removed_is_told_of(printed):
    (printed.here / "rd" / "logs" / "pack.1").unlink()
    result = printed.look("logs", "./rd", "raw")
    assert result.code == 4
    assert "pack.1: No such file or directory" in result.err
    (printed.here / "rd" / "logs" / "0000" / "7.1.out").unlink()
    assert "7.1.out: No such file or directory" in printed.look("logs", "./rd", "big").err


@pytest.mark.slow
def test_output_that_a_pack_has_lost_is_told_of_and_no_other_is_printed_in_its_place(printed):
    """After a power failure a pack may be shorter than the journal says, and the run goes on in another one."""
    os.truncate(printed.here / "rd" / "logs" / "pack.1", 1)
    for job in ("raw", "twice", "bad"):
        result = printed.look("logs", "./rd", job)
        assert (result.code, result.stdout) == (4, b"")
        assert "pack.1: it ends before this output" in result.err
    assert printed.pqrun("resume", "./rd", "--failed").code == 1
    assert printed.look("logs", "./rd", "bad").err == "bad\n"
    assert printed.look("logs", "./rd", "raw").code == 4


def test_a_link_planted_in_place_of_output_is_not_followed(printed):
    for name, job in (("pack.1", "raw"), ("0000/7.1.out", "big")):
        log = printed.here / "rd" / "logs" / name
        log.unlink()
        log.symlink_to("/etc/passwd")
        assert printed.look("logs", "./rd", job).code == 4


@pytest.mark.slow
def test_output_is_extracted_to_files_of_its_own(printed):
    result = printed.look("logs", "./rd", "raw", "twice", "big", "--extract", "out")
    assert (result.code, result.stdout, result.err) == (0, b"", "pqrun: wrote the output of 3 jobs to out\n")
    read = lambda name: (printed.here / "out" / name).read_bytes()  # noqa: E731
    assert sorted(os.listdir(printed.here / "out")) == ["1-raw", "2-twice", "7-big"]
    assert (read("1-raw/stdout"), read("1-raw/stderr")) == (BYTES, b"complaint\n")
    assert (read("2-twice/stdout"), read("7-big/stdout")) == (b"2\n", BIG)
    assert printed.look("logs", "./rd", "twice", "--attempt", "1", "--extract", "out").code == 0
    assert read("2-twice/stdout") == b"1\n"
    for wrong in (["raw", "--attempt", "9", "--extract", "none"], ["raw", "--extract", ""]):
        assert printed.pqrun("logs", "./rd", *wrong).code == 2
    assert not (printed.here / "none").exists()


@pytest.mark.slow
def test_without_a_place_for_it_output_is_not_extracted(printed):
    printed.write("file", "")
    result = printed.look("logs", "./rd", "raw", "--extract", "file")
    assert (result.code, "file/1-raw: Not a directory" in result.err) == (4, True)
    for wrong in (["logs", "./rd", "-f"], ["logs", "./rd", "--stderr"], ["show", "./rd"]):
        assert printed.pqrun(*wrong, "--extract", "out").code == 2
    assert not (printed.here / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("form", ["--json", "--jsonl"])
def test_json_says_where_the_bytes_are_and_extracts_them(printed, form):
    def jobs(*words):
        result = printed.pqrun("show", "./rd", form, *words)
        return json.loads(result.stdout)["jobs"] if form == "--json" else [
            json.loads(line) for line in result.stdout.splitlines()
        ]  # fmt: skip

    def read(place):
        with open(place["file"], "rb") as file:
            return os.pread(file.fileno(), place["bytes"], place["offset"])

    raw, big = jobs()[0], jobs()[6]
    assert (raw["stdout"], raw["stderr"]) == (None, None), "nobody takes a pack for the output of one job"
    assert (read(raw["stdout_at"]), read(raw["stderr_at"])) == (BYTES, b"complaint\n")
    assert (big["stderr_at"], big["stdout_at"]["file"]) == (None, big["stdout"])
    assert read(big["stdout_at"]) == BIG
    for job in jobs("--extract", "out"):
        for name in ("stdout", "stderr"):
            size, place = job[f"{name}_bytes"], job[f"{name}_at"]
            assert os.path.getsize(job[name]) == size
            assert place == ({"file": job[name], "offset": 0, "bytes": size} if size else None)
    assert (printed.here / "out" / "1-raw" / "stdout").read_bytes() == BYTES


@pytest.mark.slow
def test_following_prints_what_comes_until_the_end_of_the_run(world):
    fifo = world.here / "fifo"
    os.mkfifo(fifo)
    lines = ["echo first", "read line < fifo; echo $line; echo oh >&2", "echo last # pqrun: priority=low"]
    process = world.start("run", "-j1", lines=lines)
    world.until(lambda: world.recorded("start", 2))
    follower = world.start("logs", "latest", "-f", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert follower.stdout.readline() == b"first\n"
    fifo.write_text("now\n")
    assert follower.communicate(timeout=30) == (b"now\nlast\n", b"oh\n")
    assert (follower.returncode, process.wait()) == (0, 0)


@pytest.mark.slow
def test_following_one_job_prints_much_output_as_it_grows_and_ends_with_the_job(world):
    fifo = world.here / "fifo"
    os.mkfifo(fifo)
    big = "head -c 100000 /dev/zero | tr '\\0' x"
    world.start("run", "-j2", lines=[f"{big}; read line < fifo; echo $line", "exec sleep 60"])
    world.until(lambda: world.recorded("start", 2))
    follower = world.start("logs", "latest", "1", "--follow", stdout=subprocess.PIPE)
    assert follower.stdout.read(100000) == b"x" * 100000
    fifo.write_text("end\n")
    assert follower.communicate(timeout=30)[0] == b"end\n"
    assert follower.returncode == 0


@pytest.mark.slow
def test_following_one_job_prints_little_output_as_it_comes_too(world):
    fifo = world.here / "fifo"
    os.mkfifo(fifo)
    world.start("run", lines=["echo little; echo oh >&2; read line < fifo; echo $line"])
    world.until(lambda: world.recorded("start"))
    follower = world.start("logs", "latest", "1", "-f", stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert follower.stdout.readline() == b"little\n"
    assert world.pqrun("logs", "latest", "1").stdout == b"little\n"
    fifo.write_text("end\n")
    assert follower.communicate(timeout=30) == (b"end\n", b"oh\n")


@pytest.mark.slow
def test_following_shows_each_attempt_of_a_job_that_is_tried_again(world):
    fifo = world.here / "fifo"
    os.mkfifo(fifo)
    line = "read line < fifo; echo $line; test $line = two"
    world.start("run", "-r1", "--retry-delay", "10ms", lines=[line])
    world.until(lambda: world.recorded("start"))
    follower = world.start("logs", "latest", "-f", stdout=subprocess.PIPE)
    fifo.write_text("one\n")
    assert follower.stdout.readline() == b"one\n"
    fifo.write_text("two\n")
    assert follower.communicate(timeout=30)[0] == b"two\n"


def test_following_goes_on_when_the_journal_of_a_queue_is_made_shorter(world, tmp_path):
    from pqrun.cli.commands.logs import LogPrinter, _follow
    from pqrun.cli.console import Console

    record = Record(world.state / "runs" / "queue2")
    for seq in (1, 2):
        record.tell(*added(seq, f"j{seq}"))
    whole = record.journal.read_bytes()
    printer = LogPrinter(Console(), record.run, live=False, stderr_only=False, headings=False)
    told = {1: 0, 2: 0}

    class Shortened(type(record.run)):
        """Each look whether it is alive comes after the journal was replaced."""

        looks = 0

        def in_use(self):
            self.looks += 1
            if self.looks == 1:
                record.journal.write_bytes(whole[: whole.rindex(b"\n", 0, -1) + 1])
            return self.looks < 3

    run = Shortened(str(record.path))
    assert _follow(printer, run, (), told, None) is False
    assert _follow(printer, run, (), told, None) is True


def test_following_prints_each_attempt_that_has_ended_since_the_last_look():
    shown = []
    printer = SimpleNamespace(print=lambda output: shown.append(output))
    rows = [SimpleNamespace(last=number) for number in (1, 2, 3)]
    told = {7: 1}
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pqrun.cli.commands.logs.output_of", lambda index, seq, number: (seq, number))
        index = SimpleNamespace(attempts=lambda seq: rows)
        _print_ended(printer, index, told, None, since_last=True)
        assert (shown, told) == ([(7, 2), (7, 3)], {7: 3})
        shown.clear()
        _print_ended(printer, index, {7: 0}, None, since_last=False)
        assert shown == [(7, 3)]


def test_following_what_is_over_prints_it_and_ends(printed):
    assert printed.look("logs", "./rd", "twice", "-f").stdout == b"2\n"


# prune


def ids(world):
    return sorted(path.name for path in (world.state / "runs").iterdir())


def test_the_size_of_a_run_is_told_in_three_digits_at_most():
    sizes = (0, 999, 1000, 9_949, 9_950, 999_499, 999_500, 38_000_000, 5_000_000_000_000)
    said = ["0 B", "999 B", "1.0 KB", "9.9 KB", "10 KB", "999 KB", "1.0 MB", "38 MB", "5000 GB"]
    assert [size_text(size) for size in sizes] == said


def test_a_queue_is_continued_by_serve_and_another_run_by_resume():
    run = RunDirectory("/runs/nightly")
    assert _how_to_go_on(RunListing(run, "died", source="queue")) == "pqrun serve --run nightly"
    assert _how_to_go_on(RunListing(run, "died", source="jobs.yaml")) == "pqrun resume nightly"


def test_prune_keeps_the_newest_and_says_what_it_removed(world, some_runs):
    some_runs("aaaaa2", "bbbbb2", "ccccc2", ended=time.time() - 1000)
    dry = world.look("prune", "--keep-runs", "1", "--dry-run").out
    assert ids(world) == ["aaaaa2", "bbbbb2", "ccccc2"]
    assert [line.split()[0] for line in dry.split("\n")[:2]] == ["bbbbb2", "aaaaa2"]
    assert "2 runs would be removed" in dry
    done = world.look("prune", "--keep-runs", "1").out
    assert ids(world) == ["ccccc2"]
    assert "2 runs removed" in done and "aaaaa2" in done


def test_prune_removes_what_is_older_than_the_days_to_keep(world, some_runs):
    some_runs("aaaaa2", ended=time.time() - 31 * 86400)
    some_runs("bbbbb2", ended=time.time() - 29 * 86400)
    assert world.look("prune").code == 0
    assert ids(world) == ["bbbbb2"]
    assert world.look("prune", "--keep-days", "28").code == 0
    assert ids(world) == []


def test_prune_keeps_no_more_than_the_size(world, some_runs):
    for record in some_runs("aaaaa2", "bbbbb2", "ccccc2", ended=time.time() - 1000):
        (record.path / "logs" / "big").write_bytes(b"x" * 1_000_000)
    world.look("prune", "--keep-size", "2.5M")
    assert ids(world) == ["bbbbb2", "ccccc2"]
    world.look("prune", "--keep-size", "0")
    assert ids(world) == []


@pytest.mark.slow
def test_prune_never_touches_a_live_run_or_a_run_in_a_directory_of_its_own(world):
    process = world.start("run", lines=["echo x > ran; exec sleep 60"])
    world.until(lambda: world.read("ran"))
    assert world.pqrun("run", "--run-dir", "rd", lines=["true"]).code == 0
    world.look("prune", "--keep-runs", "0", "--keep-days", "0", "--keep-size", "0")
    assert len(ids(world)) == 1 and (world.here / "rd" / "journal.jsonl").exists()
    assert world.look("show", "--json").document["run"]["state"] == "live"
    assert process.poll() is None


@pytest.mark.slow
def test_prune_keeps_a_killed_run_until_it_is_old(world, some_runs):
    """A queue is killed, and somebody prunes before it is started again."""
    process = world.start("run", "-j1", lines=["echo x > ran; exec sleep 60", "true", "true"])
    world.until(lambda: world.read("ran"))
    process.kill()
    process.wait()
    (killed,) = ids(world)
    run = RunDirectory(str(world.state / "runs" / killed))
    world.until(lambda: not run.in_use())  # the watchdogs end the job first
    some_runs("aaaaa2", "bbbbb2", ended=time.time() + 1000)
    done = world.look("prune", "--keep-runs", "1", "--keep-size", "0")
    assert ids(world) == [killed]
    assert "3 jobs left" in done.err and f"pqrun resume {killed}" in done.err
    world.look("prune", "--keep-days", "0")
    assert ids(world) == []


@pytest.mark.slow
def test_prune_keeps_a_stopped_run_with_jobs_left(world, some_runs):
    process = world.start("run", "-j1", lines=["echo x > ran; exec sleep 60", "true"])
    world.until(lambda: world.read("ran"))
    process.send_signal(signal.SIGINT)
    process.wait()
    world.look("prune", "--keep-runs", "0")
    assert len(ids(world)) == 1


def test_prune_removes_what_was_never_a_run_but_not_what_may_become_one(world, some_runs):
    some_runs("aaaaa2", ended=time.time())
    for name in ("old222", "new222"):
        (world.state / "runs" / name / "logs").mkdir(parents=True)
    os.utime(world.state / "runs" / "old222", (1, 1))
    world.look("prune")
    assert ids(world) == ["aaaaa2", "new222"]


def test_a_run_that_is_resumed_while_others_are_pruned_stays(world, some_runs):
    some_runs("aaaaa2", "bbbbb2", ended=1)
    pruning = prune_runs(PrunePolicy(days=0, runs=0, size=0), time.time(), dry_run=False)
    assert next(pruning).past.id == "bbbbb2"
    resumed = RunDirectory(str(world.state / "runs" / "aaaaa2"))
    resumed.lock()
    assert list(pruning) == []
    resumed.unlock()
    assert ids(world) == ["aaaaa2"]


def test_prune_follows_no_link(world, some_runs):
    (record,) = some_runs("aaaaa2", ended=1)
    victim = world.write("victim", "precious")
    (record.path / "logs" / "link").symlink_to(victim)
    (record.path / "logs" / "up").symlink_to(world.here)
    world.look("prune")
    assert (ids(world), victim.read_text()) == ([], "precious")


@pytest.mark.parametrize("words", [("--keep-size", "x"), ("--keep-runs", "-1"), ("--keep-days", "x")])
def test_prune_with_nonsense_removes_nothing(world, some_runs, words):
    some_runs("aaaaa2", ended=1)
    assert world.look("prune", *words).code == 2
    assert ids(world) == ["aaaaa2"]


# Completion


def test_only_what_a_shell_takes_as_it_is_is_offered(world, some_runs):
    from types import SimpleNamespace

    from pqrun.cli.app import job_ids, run_ids

    (record,) = some_runs("abcde2")
    (world.state / "runs" / "$(evil)").mkdir()
    for seq, name in enumerate(["fetch-a", "fetch-b", "it's", "a b", "x/y:z@1", "m[A=1]", "`id`"], 2):
        record.tell(*added(seq, name))
    assert [name for name, _ in run_ids()] == ["latest", "abcde2"]
    assert [name for name, _ in run_ids("ab")] == ["abcde2"]
    context = SimpleNamespace(params={"name": "latest"})
    assert job_ids(context) == ["a", "fetch-a", "fetch-b", "x/y:z@1"]
    assert job_ids(context, "fetch") == ["fetch-a", "fetch-b"]
    assert job_ids(SimpleNamespace(params={"name": "nosuch"})) == []


def added(seq, name):
    from pqrun.core import events as ev

    return [ev.JobAdded(BEGAN, seq, JobSpec(name, Command("true")))]


@pytest.mark.slow
def test_the_record_tells_which_workers_and_files_there_were(world):
    world.write("jobs.yaml", "workers: 3\njobs: [echo a]\n")
    assert world.pqrun("run", "jobs.yaml").code == 0
    header = first_line(world.only_run)
    assert (header["workers"], header["files"]) == (3, ["jobs.yaml"])
    assert world.pqrun("resume", "latest", "--json").document["run"]["files"] == ["jobs.yaml"]
