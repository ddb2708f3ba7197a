# SPDX-License-Identifier: LGPL-3.0-or-later
"""`--pipe` and `--pipe-part`: each job reads a block of the input as its stdin."""

import json
import os
import resource
import subprocess
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support import process
from test_gnu_parallel import INSTALLED

WAIT_SECONDS = 30


def numbers(count):
    return b"".join(b"%d\n" % number for number in range(1, count + 1))


def wait_for(fact):
    end = time.monotonic() + WAIT_SECONDS
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.01)


def kept_blocks(state):
    """The names of the blocks that runs keep on the disk."""
    return sorted(path.name for path in Path(state).glob("**/blocks/*"))


@pytest.fixture
def state(tmp_path, environment):
    """A directory for the state of this test's runs."""
    environment["PQRUN_STATE_DIR"] = str(tmp_path / "state")
    return tmp_path / "state"


def test_the_blocks_together_are_the_input(each, state):
    data = numbers(50_000)
    done = each("--pipe", "--block", "50K", "cat", input=data)
    assert (done.code, done.stdout) == (0, data)
    assert kept_blocks(state) == []


@pytest.mark.parametrize("way", [("--pipe",), ("--pipe-part",)])
def test_a_file_is_split_too(each, tmp_path, way):
    data = numbers(20_000)
    (tmp_path / "file").write_bytes(data)
    done = each(*way, "-a", "file", "--block", "10K", "cat")
    assert (done.code, done.stdout) == (0, data)


@pytest.mark.parametrize(
    ("options", "blocks"),
    [
        (("-N", "4"), [["1", "2", "3", "4"], ["5", "6", "7", "8"], ["9"]]),
        (("-L", "2", "-N", "2"), [["1", "2", "3", "4"], ["5", "6", "7", "8"], ["9"]]),
        (("-n", "8", "--header", ":"), [["1", "2", "3", "4", "5", "6", "7", "8", "9"]]),
        (("-N", "3", "--header", ":"), [["1", "2", "3", "4"], ["1", "5", "6", "7"], ["1", "8", "9"]]),
        (("--recend", "5\\n"), [["1", "2", "3", "4", "5", "6", "7", "8", "9"]]),
        (("--recend", "[36]\\n", "--regexp", "-N", "1"), [["1", "2", "3"], ["4", "5", "6"], ["7", "8", "9"]]),
        (("--recstart", "4", "--block", "10"), [["1", "2", "3"], ["4", "5", "6", "7", "8", "9"]]),
        (("--spreadstdin", "--rrs", "-N", "2", "--recend", "\\n"), [["12"], ["34"], ["56"], ["78"], ["9"]]),
    ],
)  # fmt: skip
def test_records(each, options, blocks):
    done = each("--pipe", *options, "paste -sd,", input=numbers(9))
    assert (done.code, [line.split(",") for line in done.lines]) == (0, blocks)


@pytest.mark.slow
def test_a_block_of_a_file_has_the_header(each, tmp_path):
    (tmp_path / "file").write_bytes(b"name\n" + numbers(1000))
    done = each(
        "--pipe-part", "-a", "file", "--header", ":", "--block", "1K", "read name; echo $name; cat > part.{#}"
    )
    parts = [(tmp_path / f"part.{number}").read_bytes() for number in range(1, len(done.lines) + 1)]
    assert done.lines == ["name"] * 4
    assert b"".join(parts) == numbers(1000)


@pytest.mark.slow
def test_a_number_of_blocks_for_each_worker(each, tmp_path):
    (tmp_path / "file").write_bytes(numbers(10_000))
    done = each("-j", "3", "--pipe-part", "-a", "file", "--block", "-2", "wc -l")
    assert len(done.lines) == 6
    assert sum(map(int, done.lines)) == 10_000


def test_the_header_takes_no_part_in_a_number_of_blocks(each, tmp_path):
    (tmp_path / "file").write_bytes(b"x" * 5000 + b"\n" + numbers(1000))
    done = each("-j1", "--pipe-part", "-a", "file", "--block", "-2", "--header", ":", "tail -n +2 | wc -l")
    assert len(done.lines) == 2
    assert sum(map(int, done.lines)) == 1000


@pytest.mark.slow
@pytest.mark.parametrize(("size", "blocks"), [("1K", [1024, 176]), ("1k", [1000, 200]), ("600", [600, 600])])
def test_the_size_of_a_block(each, size, blocks):
    done = each("--pipe", "--block", size, "wc -c", input=b"1\n" * 600)
    assert [int(line) for line in done.lines] == blocks


@pytest.mark.slow
@pytest.mark.parametrize("way", [("--pipe",), ("--pipe-part", "-a", "file"), ("--pipe", "--round-robin")])
@pytest.mark.parametrize(
    ("options", "data"), [((), b""), (("--header", ":"), b""), (("--header", ":"), b"head\n")]
)
def test_no_input_is_no_job(each, tmp_path, way, options, data):
    (tmp_path / "file").write_bytes(data)
    assert tuple(each(*way, *options, "echo a", input=data)) == (0, "")


HEADED = [
    ("", []),
    ("head\n", []),
    ("head", ["head"]),
    ("head\na", ["head,a"]),
    ("head\na\n", ["head,a"]),
    ("\na", [",a"]),
]


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("-N1",), ("--recend", "a"), ("--recstart", "a", "--recend", "")])
@pytest.mark.parametrize(("data", "blocks"), HEADED)
def test_a_line_without_a_newline_is_a_record_and_no_header(each, options, data, blocks):
    assert each("--pipe", "--header", ":", *options, "paste -sd,", input=data).lines == blocks


@pytest.mark.slow
@pytest.mark.parametrize(("data", "blocks"), HEADED)
def test_a_line_without_a_newline_is_a_record_of_a_file_and_of_jobs_that_stay(each, tmp_path, data, blocks):
    (tmp_path / "file").write_text(data)
    assert each("--pipe-part", "-a", "file", "--header", ":", "paste -sd,").lines == blocks
    assert each("-j2", *ROBIN, "--header", ":", "paste -sd,", input=data).lines == blocks


@pytest.mark.slow
@pytest.mark.parametrize("way", [("--pipe",), ("--pipe-part", "-a", "file")])
def test_a_job_that_reads_nothing_is_no_trouble(each, tmp_path, way):
    (tmp_path / "file").write_bytes(numbers(200_000))
    done = each(*way, "--block", "200K", "true", input=numbers(200_000))
    assert (done.code, done.err) == (0, "")


@pytest.mark.slow
@pytest.mark.parametrize("way", [("--pipe",), ("--pipe-part", "-a", "file")])
def test_a_retry_reads_the_same_block(each, tmp_path, state, way):
    data = numbers(3000)
    (tmp_path / "file").write_bytes(data)
    job = 'cat > $PQRUN_JOB_ID.$PQRUN_ATTEMPT; [ "$PQRUN_ATTEMPT" = 3 ]'
    done = each(*way, "--block", "4K", "-r2", "--retry-delay", "0", job, input=data)
    assert done.code == 0
    for attempt in "123":
        parts = sorted(tmp_path.glob(f"*.{attempt}"), key=lambda path: int(path.stem))
        assert len(parts) > 2
        assert b"".join(part.read_bytes() for part in parts) == data
    assert kept_blocks(state) == []


@pytest.mark.slow
def test_the_document_has_the_place_of_each_block(pqrun):
    done = pqrun("each", "--json", "--pipe", "-N", "2", "--header", ":", "cat", input=b"a\n1\n22\n333\n")
    assert [job["block"] for job in done.document["jobs"]] == [
        {"number": 1, "offset": 2, "bytes": 5},
        {"number": 2, "offset": 7, "bytes": 4},
    ]


@pytest.mark.slow
def test_a_dry_run_prints_a_command_for_each_block_and_keeps_none(each, tmp_path, state):
    assert each("--dry-run", "--pipe", "-N", "2", "wc {#}", input=numbers(5)).lines == [
        "wc 1",
        "wc 2",
        "wc 3",
    ]
    assert kept_blocks(state) == []


@pytest.mark.slow
def test_a_failed_block_is_kept_for_resume_failed(each, pqrun, tmp_path, state):
    job = "[ -e ready ] || [ {#} != 2 ] && cat >> out"
    assert each("-j1", "--pipe", "-N", "2", job, input=numbers(6)).code == 1
    assert kept_blocks(state) == ["2"]
    (tmp_path / "ready").touch()
    assert pqrun("resume", "latest", "--failed").code == 0
    assert (tmp_path / "out").read_bytes() == b"1\n2\n5\n6\n3\n4\n"
    assert kept_blocks(state) == []


def test_nothing_is_left_of_a_run_without_a_journal(each, tmp_path, state):
    done = each(
        "--no-journal", "--pipe", "-N", "1", "cat; exit 1", input=numbers(3), env={"TMPDIR": str(tmp_path)}
    )
    assert (done.code, done.out) == (1, "1\n2\n3\n")
    assert [path for path in tmp_path.iterdir() if path.name.startswith("pqrun-")] == []


ROBIN = ("--pipe", "--round-robin")


@pytest.mark.slow
def test_jobs_that_stay_get_one_block_after_another(each, tmp_path, state):
    data = numbers(100_000)
    done = each("-j3", *ROBIN, "--block", "10K", "cat > part.{#}", input=data)
    parts = [path.read_bytes() for path in sorted(tmp_path.glob("part.*"))]
    assert (done.code, len(parts)) == (0, 3)
    assert sorted(b"".join(parts).splitlines(), key=int) == data.splitlines()
    assert all(parts), "each of the jobs got a block, however busy the machine is"
    assert kept_blocks(state) == []


def test_there_are_no_more_jobs_that_stay_than_blocks(each):
    assert sorted(each("-j8", *ROBIN, "-N1", "wc -l", input=numbers(3)).lines) == ["1", "1", "1"]


@pytest.mark.slow
def test_each_job_that_stays_gets_the_header_once(each):
    done = each("-j2", *ROBIN, "-N1", "--header", ":", "cat", input=b"head\n" + numbers(100))
    assert done.lines.count("head") == 2
    assert len(done.lines) == 102


@pytest.mark.slow
def test_a_job_that_is_slow_gets_less(each, tmp_path):
    job = "if [ {#} = 1 ]; then head -c 1 > /dev/null; while [ ! -e done ]; do sleep 0.01; done; cat; else cat > rest; touch done; fi | wc -c"
    wide = (b"x" * 99 + b"\n") * 50_000
    done = each("-j2", *ROBIN, "--block", "100K", job, input=wide, env={"LC_ALL": "C"})
    # The second job can't end before the input does, which the first one does not hold up.
    assert done.code == 0
    assert (tmp_path / "rest").stat().st_size > 4_000_000


@pytest.mark.slow
def test_a_retry_of_a_job_that_stays_reads_all_its_blocks_again(each, tmp_path, state):
    job = 'cat > $PQRUN_JOB_ID.$PQRUN_ATTEMPT; [ "$PQRUN_ATTEMPT" = 2 ]'
    done = each("-j2", "-r1", "--retry-delay", "0", *ROBIN, "--block", "4K", job, input=numbers(5000))
    assert done.code == 0
    for job in "12":
        assert (tmp_path / f"{job}.1").read_bytes() == (tmp_path / f"{job}.2").read_bytes()
    both = (tmp_path / "1.2").read_bytes() + (tmp_path / "2.2").read_bytes()
    assert sorted(both.splitlines(), key=int) == numbers(5000).splitlines()
    assert kept_blocks(state) == []


def test_a_job_that_fails_halfway_reads_from_the_beginning_again(each, tmp_path):
    job = '[ "$PQRUN_ATTEMPT" = 2 ] || { head -n1 > /dev/null; exit 1; }; cat'
    done = each("-j1", "-r1", "--retry-delay", "0", *ROBIN, "--block", "1K", job, input=numbers(50_000))
    assert (done.code, done.stdout) == (0, numbers(50_000))


@pytest.mark.slow
def test_input_that_no_job_reads_is_told(live, state):
    run = live("each", "-q", "-j2", *ROBIN, "-N1", "read line")
    run.stdin.write(numbers(2))
    run.stdin.flush()
    for _ in range(3000):
        try:
            run.stdin.write(numbers(1))
            run.stdin.flush()
        except BrokenPipeError:
            break
        if run.poll() is not None:
            break
        time.sleep(0.01)
    _, err = run.communicate()
    assert run.returncode == 1
    assert b"all jobs have ended, and nothing reads the rest of the input" in err


@pytest.mark.slow
def test_after_a_kill_jobs_that_stay_run_again_with_what_they_had_got(live, pqrun, tmp_path, state):
    run = live("each", "-q", "-j2", *ROBIN, "-N", "100", "cat > part.{#}.$$; mv part.{#}.$$ done.{#}")
    run.stdin.write(numbers(1000))
    run.stdin.flush()
    wait_for(lambda: sum(path.stat().st_size for path in tmp_path.glob("part.*")) == len(numbers(1000)))
    run.kill()
    run.wait()
    assert pqrun("resume", "latest").code == 3
    both = b"".join(path.read_bytes() for path in tmp_path.glob("done.*"))
    assert sorted(both.splitlines(), key=int) == numbers(1000).splitlines()
    assert kept_blocks(state) == []


@pytest.mark.slow
def test_jobs_that_stay_end_when_the_run_is_to_stop(live, pqrun, tmp_path, state):
    run = live("each", "-q", "-j2", *ROBIN, "-N", "1", "cat >> got")
    run.stdin.write(numbers(10))
    run.stdin.flush()
    wait_for(lambda: (tmp_path / "got").exists() and len((tmp_path / "got").read_bytes().splitlines()) == 10)
    assert pqrun("stop").code == 0
    assert run.wait() == 3


JOB = "cat > part.{#}.$$; [ -e go ] || [ {#} -lt 3 ] || sleep 100; mv part.{#}.$$ done.{#}"


def kill_while_it_runs(live, tmp_path, *words, stdin):
    """Start a run whose third job waits, and kill pqrun while that job runs."""
    run = live("each", "-q", "-j1", *words, JOB)
    run.stdin.write(stdin)
    run.stdin.flush()
    wait_for(lambda: any(path.stat().st_size for path in tmp_path.glob("part.3.*")))
    run.kill()
    run.wait()


@pytest.mark.slow
def test_after_a_kill_every_block_that_was_read_runs_once_to_its_end(live, pqrun, tmp_path, state):
    kill_while_it_runs(live, tmp_path, "--pipe", "-N", "1000", stdin=numbers(5000))
    (tmp_path / "go").touch()
    done = pqrun("resume", "latest")
    parts = [path.read_bytes() for path in sorted(tmp_path.glob("done.*"))]
    assert len(parts) >= 4  # as many as pqrun had read
    assert b"".join(parts) == numbers(1000 * len(parts))
    assert done.code == 3  # the rest of the stream is gone
    assert kept_blocks(state) == []


@pytest.mark.slow
def test_after_a_kill_the_rest_of_a_file_is_processed(live, pqrun, tmp_path, state):
    data = numbers(10_000)
    (tmp_path / "file").write_bytes(data)
    kill_while_it_runs(live, tmp_path, "--pipe-part", "-a", "file", "--block", "5K", stdin=b"")
    (tmp_path / "go").touch()
    done = pqrun("resume", "latest")
    assert done.code == 0, done.err
    parts = sorted(tmp_path.glob("done.*"), key=lambda path: int(path.suffix[1:]))
    assert b"".join(path.read_bytes() for path in parts) == data


@pytest.mark.slow
def test_a_file_that_became_shorter_is_noticed(live, pqrun, tmp_path, state):
    (tmp_path / "file").write_bytes(numbers(10_000))
    kill_while_it_runs(live, tmp_path, "--pipe-part", "-a", "file", "--block", "5K", stdin=b"")
    (tmp_path / "go").touch()
    (tmp_path / "file").write_bytes(numbers(100))
    done = pqrun("resume", "latest")
    assert done.code == 1
    assert "is shorter than it was" in done.err


@pytest.mark.slow
@pytest.mark.parametrize("way", [("--pipe-part", "-a", "file"), ("-j1", *ROBIN)])
def test_a_job_fails_if_its_input_becomes_shorter_while_it_reads(each, tmp_path, state, way):
    data = numbers(300_000)
    (tmp_path / "file").write_bytes(data)
    job = "head -c 1 >/dev/null; for file in file $PQRUN_STATE_DIR/runs/*/blocks/*; do [ ! -e $file ] || : >$file; done; cat"
    done = each(*way, "--block", "10M", job, input=data)
    assert done.code == 1
    assert "cannot read block 1: " in done.err and "it is shorter than it was" in done.err


def limited(kind, most):
    """Return the option that starts pqrun with a limit of the system."""
    return {"preexec_fn": lambda: resource.setrlimit(kind, (most, most))}


@pytest.mark.slow
@pytest.mark.parametrize("way", [("--pipe",), ROBIN])
def test_a_block_that_cannot_be_kept_is_a_failure_of_pqrun(pqrun, tmp_path, way):
    words = ("each", "-q", "--no-journal", "-j1", *way, "--block", "100K", "cat >/dev/null")
    limit = limited(resource.RLIMIT_FSIZE, 8192)
    done = pqrun(*words, input=numbers(100_000), env={"TMPDIR": str(tmp_path)}, **limit)
    assert done.code == 4
    assert f"cannot keep a block: {tmp_path}/" in done.err and "/blocks/1: File too large" in done.err


@pytest.mark.slow
def test_more_jobs_that_stay_than_descriptors_lose_nothing(pqrun, state):
    words = ("each", "-q", "-j100", *ROBIN, "--block", "10K", "wc -l")
    done = pqrun(*words, input=numbers(100_000), **limited(resource.RLIMIT_NOFILE, 64))
    assert (done.code, sum(map(int, done.lines))) == (0, 100_000)
    assert done.err.count("Too many open files") == 1


@pytest.mark.slow
def test_a_restarted_job_that_stayed_reads_again_what_it_had_got(live, pqrun, tmp_path, state):
    job = "if [ {#} = 1 ] && [ ! -e again ]; then head -n1 >/dev/null; exit 1; fi; cat > part.{#}; touch done.{#}"
    run = live("each", "-q", "-j2", *ROBIN, "-N", "100", job)
    run.stdin.write(numbers(1000))
    run.stdin.flush()
    wait_for(lambda: '"failed"' in pqrun("show", "latest", "--json").out)
    (tmp_path / "again").touch()
    assert pqrun("restart", "1").code == 0
    wait_for(lambda: (tmp_path / "done.1").exists())
    run.communicate()
    assert run.returncode == 0
    both = b"".join(path.read_bytes() for path in tmp_path.glob("part.*"))
    assert sorted(both.splitlines(), key=int) == numbers(1000).splitlines()


@pytest.mark.slow
def test_blocks_are_found_in_a_directory_that_was_moved(live, pqrun, tmp_path, state):
    kill_while_it_runs(live, tmp_path, "--run-dir", "run", "--pipe", "-N", "1000", stdin=numbers(5000))
    (tmp_path / "go").touch()
    os.rename(tmp_path / "run", tmp_path / "moved")
    done = pqrun("resume", "./moved")
    assert done.code == 3, done.err
    assert len(list(tmp_path.glob("done.*"))) >= 4


@pytest.mark.slow
def test_the_input_is_read_only_as_fast_as_jobs_take_it(live, tmp_path, state, most_memory):
    run = live("each", "-q", "-j2", "--pipe", "--block", "1M", "cat >/dev/null; sleep 100")
    os.set_blocking(run.stdin.fileno(), False)
    data, written = b"x" * 99 + b"\n", 0
    # Two blocks are being read, and two for each worker wait.
    wait_for(lambda: len(kept_blocks(state)) >= 6 or write_some(run.stdin, data * 10_000))
    quiet = 0
    while quiet < 20:
        try:
            written += os.write(run.stdin.fileno(), data * 10_000)
            quiet = 0
        except BlockingIOError:
            quiet += 1
            time.sleep(0.05)
    assert written < 20 << 20
    assert len(kept_blocks(state)) == 6
    assert most_memory(run.pid) < 100 << 10


def write_some(stream, data):
    try:
        os.write(stream.fileno(), data)
    except BlockingIOError:
        pass


@pytest.mark.slow
def test_memory_does_not_grow_with_the_input(live, tmp_path, state, most_memory):
    run = live("each", "-q", "-j2", "--pipe", "wc -l >> counts; [ ! -e hold ] || sleep 100")
    line = b"x" * 99 + b"\n"
    for _ in range(30):
        run.stdin.write(line * 10_486)
    run.stdin.flush()
    early = most_memory(run.pid)
    for _ in range(170):
        run.stdin.write(line * 10_486)
    run.stdin.flush()
    late = most_memory(run.pid)
    run.stdin.close()
    assert run.wait() == 0
    assert sum(map(int, (tmp_path / "counts").read_text().split())) == 200 * 10_486
    assert late < early + (16 << 10)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--pipe", "cat", ":::", "a"), "jobs have no arguments"),
        (("--pipe",), "needs a command"),
        (("--pipe", "echo", "{}"), "stands for an argument, and a job of --pipe has none"),
        (("--pipe", "-0", "cat"), "--null is about arguments"),
        (("--pipe", "-X", "cat"), "-X is about arguments"),
        (("--pipe", "--block", "-1", "cat"), "--block -N needs --pipe-part"),
        (("--pipe", "--block", "0", "cat"), "a block needs a size"),
        (("--pipe", "--shard", "1/2", "cat"), "--shard can't be combined"),
        (("--pipe", "--on", "dask://127.0.0.1:9", "cat"), "splits the input on this machine"),
        (
            ("--pipe-part", "-a", "file", "--on", "dask://127.0.0.1:9", "cat"),
            "splits the input on this machine",
        ),
        (
            ("--pipe", "--round-robin", "--on", "dask://127.0.0.1:9", "cat"),
            "splits the input on this machine",
        ),
        (("--pipe", "--regexp", "--recend", "(", "cat"), "invalid regular expression"),
        (("--pipe-part", "cat"), "--pipe-part needs a file"),
        (("--pipe-part", "-a", "none", "cat"), "cannot read none"),
        (("--pipe-part", "-a", "/dev/null", "cat"), "is not a regular file"),
        (("--pipe-part", "-a", "file", "-N", "3", "cat"), "--pipe-part reads no records"),
        (("--block", "1M", "cat"), "--block needs --pipe"),
        (("--pipe", "-L2", "--recend", "x", "cat"), "-L counts lines"),
        (("--pipe", "-N", "0", "cat"), "a block has at least one record"),
        (("--pipe", "-n", "0", "cat"), "a block has at least one record"),
        (("--pipe", "--cat", "wc {}"), "/dev/stdin"),
        (("--pipe-part", "-a", "file", "--round-robin", "cat"), "--round-robin needs --pipe"),
    ],
)
def test_what_is_refused(each, words, said):
    done = each(*words, input="a\n")
    assert done.code == 2
    assert said in done.err.replace("\n", " ")


@pytest.fixture(scope="module")
def gnu(tmp_path_factory):
    """`gnu(*options, data)`: the blocks that GNU parallel cuts."""
    home = tmp_path_factory.mktemp("gnu")
    (home / ".parallel").mkdir()
    (home / ".parallel" / "will-cite").touch()
    env = {**os.environ, "HOME": str(home), "PARALLEL_HOME": str(home / ".parallel")}

    def blocks(*options, data):
        command = ["parallel", "-k", *options, "base64 -w0; echo"]
        done = subprocess.run(command, input=data, capture_output=True, env=env, timeout=60)
        return done.stdout.split()

    return blocks


@pytest.mark.slow
@pytest.mark.skipif(not INSTALLED, reason="GNU parallel is not installed")
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(
    st.lists(st.sampled_from([b"a", b"bb", b">c", b"ccccccc", b"d>"]), max_size=25).map(
        lambda records: b"\n".join(records)
    ),
    st.sampled_from(
        [
            ("--block", "7"),
            ("--block", "20"),
            ("-N", "3"),
            ("-L", "2", "--block", "12"),
            ("--recend", "", "--block", "5"),
            ("--recstart", ">", "--block", "9"),
            ("--recend", "c\\n", "--block", "11"),
            ("--header", ":", "--block", "8"),
            ("--header", ":", "-N", "2"),
            ("--header", ":", "--recend", "c\\n", "--block", "11"),
            ("--regexp", "--recend", "[bc]\\n", "--block", "9"),
        ]
    ),
)
def test_blocks_are_those_of_gnu_parallel(gnu, tmp_path_factory, data, options):
    ours = process.run_pqrun(
        "each", "-q", "-k", "--no-journal", "--pipe", *options, "base64 -w0; echo", input=data
    )
    assert ours.stdout.split() == gnu("--pipe", *options, data=data)


def test_the_journal_has_the_place_of_each_block(each, state):
    each("--pipe", "-N", "2", "cat", input=numbers(3))
    journal = next(state.glob("**/journal.jsonl")).read_text().splitlines()
    blocks = [json.loads(line)["job"]["stdin"] for line in journal if '"e":"add"' in line]
    assert [(number, offset, size) for number, offset, size, *_ in blocks] == [(1, 0, 4), (2, 4, 2)]
