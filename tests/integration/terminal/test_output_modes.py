# SPDX-License-Identifier: LGPL-3.0-or-later
"""What comes out of pqrun, byte for byte: as recorded here, and as GNU parallel has it if installed."""

import os
import shutil
import subprocess
import sys

import pytest

from .conftest import ROOT

PARALLEL = shutil.which("parallel")
JOBS = """\
sleep 0.2; printf 'one\\ntwo'  # pqrun: id=a
printf 'three\\nfour\\n\\n\\tfive\\n'; printf 'err\\nor' >&2  # pqrun: id=b
true  # pqrun: id=c
printf '\\0\\377\\r\\nsix\\r\\n\\033[31m::error::x\\033[0m\\n'  # pqrun: id=d
seq 20000  # pqrun: id=e
printf 'no newline'; exit 3  # pqrun: id=f
"""
NUMBERS = "".join(f"{n}\n" for n in range(1, 20001))
OUT = {
    "a": b"one\ntwo",
    "b": b"three\nfour\n\n\tfive\n",
    "c": b"",
    "d": b"\0\xff\r\nsix\r\n\x1b[31m::error::x\x1b[0m\n",
    "e": NUMBERS.encode(),
    "f": b"no newline",
}
ERR = {"b": b"err\nor"}


def tagged(name, data):
    lines = data.removesuffix(b"\n").split(b"\n") if data else []
    return b"".join(name.encode() + b"\t" + line + b"\n" for line in lines)


RECORDED = {
    ("-k",): b"".join(OUT.values()),
    ("-k", "--output", "line"): b"".join(OUT.values()),
    ("-k", "--tag"): b"".join(tagged(name, data) for name, data in OUT.items()),
    ("-k", "--output", "line", "--tag"): b"".join(tagged(name, data) for name, data in OUT.items()),
    ("--output", "none"): b"",
    ("-k", "--show", "failed"): OUT["f"],
    ("-k", "--output", "line", "--show", "failed"): OUT["f"],
}
AS_PARALLEL_HAS_IT = {
    ("-k",): ["-k"],
    ("-k", "--output", "line"): ["-k", "--line-buffer"],
    ("-k", "--tag"): ["-k", "--tagstring", "{1}"],
    ("-k", "--output", "line", "--tag"): ["-k", "--line-buffer", "--tagstring", "{1}"],
}


@pytest.mark.slow
@pytest.mark.parametrize("options", RECORDED, ids=" ".join)
def test_output_is_as_recorded(run, options):
    ended = run("-j3", "-q", *options, jobs=JOBS)
    assert ended.stdout == RECORDED[options]
    assert ended.returncode == 1
    if "none" not in options and "failed" not in options:
        err = tagged("b", ERR["b"]) if "--tag" in options else ERR["b"]
        assert err in ended.stderr


@pytest.mark.slow
@pytest.mark.skipif(not PARALLEL, reason="GNU parallel is not installed")
@pytest.mark.parametrize("options", AS_PARALLEL_HAS_IT, ids=" ".join)
def test_output_is_as_gnu_parallel_has_it(run, options, tmp_path):
    jobs = JOBS
    if "--tag" in options:
        # parallel also puts its tag after each carriage return; for us a line ends with a newline alone. And it
        # glues the next job's tag to a last line without one.
        jobs = JOBS.replace("\\r", "").replace("two'", "two\\n'").replace("no newline'", "no newline\\n'")
    commands = [line.split("  # pqrun")[0] for line in jobs.splitlines()]
    (tmp_path / "names").write_text("\n".join(OUT) + "\n")
    (tmp_path / "commands").write_text("\n".join(commands) + "\n")
    theirs = [PARALLEL, "--will-cite", "-j3", *AS_PARALLEL_HAS_IT[options]]
    both = [*theirs, "eval", "{2}", "::::", "names", "::::+", "commands"]
    environment = {**os.environ, "HOME": str(tmp_path)}
    parallel = subprocess.run(both, capture_output=True, cwd=tmp_path, env=environment, timeout=60)
    ended = run("-j3", "-q", *options, jobs=jobs)
    assert ended.stdout == parallel.stdout


@pytest.mark.slow
def test_without_order_each_piece_is_whole(run):
    jobs = "".join(f"for i in 1 2 3; do echo {n}.$i; sleep 0.01; done\n" for n in range(20))
    lines = run("-j8", "-q", jobs=jobs).stdout.decode().split()
    pieces = [tuple(lines[at : at + 3]) for at in range(0, 60, 3)]
    assert sorted(pieces) == sorted((f"{n}.1", f"{n}.2", f"{n}.3") for n in range(20))


@pytest.mark.slow
def test_lines_are_never_torn(run):
    jobs = "".join(f"for i in 1 2 3 4 5; do printf {n}-; sleep 0.01; echo {n}; done\n" for n in range(8))
    lines = run("-j8", "-q", "--output", "line", jobs=jobs).stdout.decode().split()
    assert sorted(lines) == sorted(f"{n}-{n}" for n in range(8) for _ in range(5))


@pytest.mark.slow
def test_a_resumed_job_is_tagged_by_its_name(run, tmp_path):
    jobs = "echo a; [ -e flag ]  # pqrun: id=first\necho b  # pqrun: id=other\n"
    run("-q", "--run-dir", "kept", jobs=jobs)
    (tmp_path / "flag").write_text("")
    argv = [sys.executable, "-m", "pqrun", "resume", "./kept", "--failed", "-k", "--tag", "-q"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(argv, capture_output=True, cwd=tmp_path, env=environment, timeout=60)
    assert ended.stdout == b"first\ta\n"


@pytest.mark.slow
def test_raw_goes_straight_through(run):
    assert run("-j1", "-q", "--output", "raw", jobs="printf a\nprintf 'b\\n'\n").stdout == b"ab\n"


@pytest.mark.slow
def test_of_retried_jobs_the_last_attempt_is_printed(run):
    jobs = "echo try $PQRUN_ATTEMPT; [ $PQRUN_ATTEMPT = 3 ]\necho other\n"
    for options in ((), ("-k",), ("-k", "--output", "line", "--show", "failed")):
        ended = run("-j1", "-q", "-r2", "--retry-delay", "10ms", *options, jobs=jobs)
        assert sorted(ended.stdout.split(b"\n")) == sorted(
            [b"", b"try 3", b"other"] if "failed" not in options else [b""]
        )


@pytest.mark.slow
def test_output_of_a_job_may_be_larger_than_what_is_kept_in_memory(run):
    jobs = "".join(f"head -c 300000 /dev/zero | tr '\\0' {letter}\n" for letter in "abcdefgh")
    expected = b"".join(letter.encode() * 300000 for letter in "abcdefgh")
    assert run("-j8", "-k", "-q", jobs=jobs).stdout == expected
    assert run("-j8", "-k", "-q", "--no-journal", jobs=jobs).stdout == expected
    assert run("-j8", "-k", "-q", "--output", "line", jobs=jobs).stdout == expected


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [(), ("-k",), ("--output", "line"), ("--output", "line", "-k"), ("--show", "failed")]
)
def test_each_line_begins_with_its_tag_also_after_one_without_an_end(run, options):
    jobs = "printf 'a1\\na2'; printf e1 >&2; exit 1  # pqrun: id=a\nprintf b1; printf e2 >&2; exit 1  # pqrun: id=b\n"
    ended = run("-q", "-j1", "--progress", "none", "--tag", *options, jobs=jobs)
    assert sorted(ended.stdout.split(b"\n")) == [b"", b"a\ta1", b"a\ta2", b"b\tb1"]
    assert {b"a\te1", b"b\te2"} <= set(ended.stderr.split(b"\n"))


@pytest.mark.slow
def test_a_tag_stands_at_line_beginnings_alone_however_long_the_line(run):
    jobs = "head -c 3500000 /dev/zero | tr '\\0' x; echo; echo end  # pqrun: id=long\n"
    for mode in ("group", "line"):
        out = run("-q", "--tag", "--output", mode, jobs=jobs).stdout
        assert out == b"long\t" + b"x" * 3500000 + b"\nlong\tend\n"


def test_in_order_by_line_the_next_job_is_shown_as_soon_as_it_is_its_turn(tmp_path):
    go, first = tmp_path / "go", tmp_path / "first"
    os.mkfifo(go)
    os.mkfifo(first)
    jobs = f"read x < {first}; echo one\necho two; read x < {go}; echo three\n"
    argv = [sys.executable, "-m", "pqrun", "run", "-k", "--output", "line", "-j2", "-q", "--no-journal"]
    running = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    running.stdin.write(jobs.encode())
    running.stdin.close()
    with first.open("w") as pipe:
        pipe.write("\n")
    assert running.stdout.readline() == b"one\n"
    assert running.stdout.readline() == b"two\n"  # although its job has not ended
    with go.open("w") as pipe:
        pipe.write("\n")
    assert running.stdout.read() == b"three\n"
    assert running.wait(30) == 0


@pytest.mark.slow
def test_no_escape_sequence_where_there_is_no_terminal(run):
    jobs = "printf '\\033[2Jx\\n' >&2; exit 1\n"
    ended = run(jobs=jobs)
    assert b"\x1b" not in ended.stderr.replace(b"\x1b[2Jx\n", b"", 1)
    assert b"\x1b[" in run("--color", "always", jobs="false\n").stderr
    assert b"\x1b[" in run(jobs="false\n", env={"FORCE_COLOR": "1"}).stderr
    assert b"\x1b" not in run(jobs="false\n", env={"FORCE_COLOR": "1", "NO_COLOR": "1"}).stderr
    assert b"\x1b" not in run("--progress", "live", jobs="false\n").stderr


@pytest.mark.slow
def test_rich_is_not_loaded_where_nothing_needs_it(run):
    script = "import sys\nfrom pqrun.cli.main import main\ntry:\n    main()\nfinally:\n"
    script += "    print(sorted(m for m in sys.modules if m.partition('.')[0] == 'rich'))\n"
    ended = subprocess.run(
        [sys.executable, "-c", script, "run", "--no-journal", "--color", "always"],
        input=b"echo hi\nfalse\n", capture_output=True, timeout=60,
    )  # fmt: skip
    assert ended.stdout.endswith(b"[]\n"), ended
