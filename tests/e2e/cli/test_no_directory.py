# SPDX-License-Identifier: LGPL-3.0-or-later
"""A current directory that has been deleted, and a home that there is not: it runs, or says why not."""

import os
import subprocess
import sys

import pytest

DELETED = (
    "pqrun: the current directory has been deleted: change to another one, or give -C an absolute path\n"
)


@pytest.fixture
def gone(tmp_path):
    """What makes a program start in a directory that is deleted then."""
    count = iter(range(1000))

    def enter():
        directory = tmp_path / f"gone-{os.getpid()}-{next(count)}"
        directory.mkdir()
        os.chdir(directory)
        directory.rmdir()

    return {"preexec_fn": enter}


@pytest.mark.slow
@pytest.mark.parametrize(
    "words",
    [
        ["run"],
        ["run", "--no-journal"],
        ["each", "echo", ":::", "a"],
        ["each", "--dry-run", "echo", ":::", "a"],
        ["serve"],
        ["serve", "--detach"],
        ["show", "./run"],
        ["run", "-C", "/", "--run-dir", "kept", "--joblog", "{}"],
    ],
    ids=" ".join,
)
def test_without_a_current_directory_a_command_runs_or_says_so_in_a_line(pqrun, tmp_path, gone, words):
    absolute = "-C" in words
    words = [str(tmp_path / word) if word in ("kept",) else word.format(tmp_path / "log") for word in words]
    done = pqrun(*words, input="echo ran\n", **gone)
    assert tuple(done) == ((0, "ran\n") if absolute else (2, ""))
    assert absolute or done.err == DELETED
    assert not os.path.exists(os.path.join(os.environ["PQRUN_STATE_DIR"], "runs", "queue"))


@pytest.mark.slow
def test_each_runs_in_a_directory_that_is_named_in_full(pqrun, tmp_path, gone):
    assert tuple(pqrun("each", "-q", "-C", tmp_path, "pwd", ":::", "-P", **gone)) == (0, f"{tmp_path}\n")


@pytest.mark.slow
def test_a_run_goes_on_where_it_began(pqrun, tmp_path, gone):
    assert pqrun("run", "--run-dir", tmp_path / "kept", input="pwd; test -e go\n").code == 1
    (tmp_path / "go").touch()
    assert tuple(pqrun("resume", "-q", "--failed", tmp_path / "kept", **gone)) == (0, f"{tmp_path}\n")


@pytest.mark.slow
def test_jobs_are_added_to_a_queue_that_began_elsewhere(pqrun, tmp_path, gone):
    assert pqrun("serve", "--detach", "-C", tmp_path, **gone).code == 0
    try:
        (tmp_path / "in").write_text("read\n")
        refused = pqrun("add", "--run", "queue", "pwd", **gone)
        assert (refused.code, refused.err) == (2, DELETED)
        refused = pqrun("add", "--run", "queue", "-C", tmp_path, "--stdin", "in", "pwd", **gone)
        assert (refused.code, refused.err) == (2, DELETED)
        words = ["-C", tmp_path, "--stdin", tmp_path / "in", "cat; pwd"]
        assert pqrun("add", "--run", "queue", *words, **gone).code == 0
        pqrun("wait", "--run", "queue", "1", **gone)
        assert pqrun("logs", "queue", "1", **gone).out == f"read\n{tmp_path}\n"
    finally:
        assert pqrun("stop", "--run", "queue", **gone).code == 0
    again = pqrun("serve", "--detach", **gone)  # restored: it starts jobs where it did
    assert again.code == 0
    assert pqrun("stop", "--run", "queue", **gone).code == 0


@pytest.mark.slow
def test_a_program_without_a_directory_has_a_queue(surroundings, tmp_path, gone):
    program = tmp_path / "program.py"
    program.write_text(
        "from pqrun import Job, Queue\n"
        "with Queue(lambda context, job: None) as queue:\n"
        "    print(queue.enqueue(Job.shell('echo ran')).result(30).stdout)\n"
        f"    print(queue.enqueue(Job.shell('pwd', cwd={str(tmp_path)!r})).result(30).stdout)\n"
        "    try:\n"
        "        Job.shell('pwd', cwd='sub')\n"
        "    except OSError as error:\n"
        "        print(error.strerror)\n"
    )
    out = subprocess.check_output(
        [sys.executable, program], env=surroundings, stderr=subprocess.STDOUT, text=True, timeout=60, **gone
    )
    said = "the current directory has been deleted: give `cwd` as an absolute path"
    assert out == f"b'ran\\n'\n{f'{tmp_path}{chr(10)}'.encode()}\n{said}\n"


NO_HOME = (
    "import os, sys\n"
    "import pwd\n"
    "def getpwuid(uid): raise KeyError(uid)\n"
    "pwd.getpwuid = getpwuid\n"
    "sys.argv = ['pqrun', *sys.argv[1:]]\n"
    "from pqrun.cli.main import entry\n"
    "entry()\n"
)


def as_nobody_known(words, cwd, env, input=b"echo ran\n", **variables):
    return subprocess.run(
        [sys.executable, "-c", NO_HOME, *map(str, words)],
        input=input, capture_output=True, cwd=cwd, env={**env, **variables}, timeout=60, check=False,
    )  # fmt: skip


@pytest.fixture
def nobodys(surroundings):
    """The environment of a user who has no home."""
    without = ("HOME", "PQRUN_STATE_DIR", "XDG_STATE_HOME")
    return {name: value for name, value in surroundings.items() if name not in without}


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere platformdirs knows")
@pytest.mark.parametrize(
    "variables", [{}, {"HOME": ""}, {"HOME": "here"}, {"XDG_STATE_HOME": "state"}], ids=str
)
def test_without_a_home_nothing_is_made_and_the_cure_is_told(nobodys, tmp_path, variables):
    for words in (["run"], ["serve", "--detach"], ["runs"], ["add", "true"]):
        done = as_nobody_known(words, tmp_path, nobodys, **variables)
        assert (done.returncode, done.stdout) == (2, b"")
        told = b"pqrun: no home directory to keep runs in: set PQRUN_STATE_DIR, or use --run-dir or"
        assert done.stderr.startswith(told) and done.stderr.count(b"\n") == 1
    assert os.listdir(tmp_path) == []


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere platformdirs knows")
@pytest.mark.parametrize("words", [["--no-journal"], ["--run-dir", "kept"]], ids=" ".join)
def test_without_a_home_a_run_needs_none_that_says_where_or_that_keeps_nothing(nobodys, tmp_path, words):
    done = as_nobody_known(["run", *words], tmp_path, nobodys)
    assert (done.returncode, done.stdout) == (0, b"ran\n"), done.stderr
    assert set(os.listdir(tmp_path)) <= {"kept"}
    done = as_nobody_known(["run"], tmp_path, nobodys, PQRUN_STATE_DIR=str(tmp_path / "state"))
    assert (done.returncode, done.stdout) == (0, b"ran\n"), done.stderr


@pytest.mark.parametrize("home", ["/proc/self", "file"])
def test_a_home_that_can_not_be_written_is_told_with_the_cure(nobodys, tmp_path, home):
    (tmp_path / "file").touch()  # where not even root can make a directory
    done = as_nobody_known(["run"], tmp_path, nobodys, HOME=str(tmp_path / home))
    assert (done.returncode, done.stdout) == (4, b"")
    assert done.stderr.startswith(f"pqrun: {'cannot create /' if home != 'file' else tmp_path}".encode())
    assert b" (set PQRUN_STATE_DIR, or use --run-dir or" in done.stderr
