# SPDX-License-Identifier: LGPL-3.0-or-later
"""The run's directory: for us alone, ours, without links, and without names that jobs have chosen."""

import json
import os
import stat
from pathlib import Path

import pytest

from .conftest import lines_of

BY_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give things away")


def modes(directory: Path) -> dict[str, int]:
    """The permissions of all that lies there, the directory itself among it."""
    found = {".": stat.S_IMODE(directory.stat().st_mode)}
    for path in directory.rglob("*"):
        found[str(path.relative_to(directory))] = stat.S_IMODE(path.lstat().st_mode)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("umask", [0o000, 0o077, 0o277, 0o777], ids=oct)
def test_directories_are_0700_and_files_0600_whatever_the_umask(world, umask):
    result = world.pqrun("run", lines=["echo out; echo err >&2; head -c 100000 /dev/zero"], umask=umask)
    assert (result.code, world.pqrun("show", umask=umask).code) == (0, 0)
    found = modes(world.state)
    assert {mode for name, mode in found.items() if (world.state / name).is_dir()} == {0o700}
    assert {mode for name, mode in found.items() if not (world.state / name).is_dir()} == {0o600}
    names = {Path(name).name for name in found}
    assert {"journal.jsonl", "index.db", "lock", "logs", "pack.1", "1.1.out"} <= names


def test_every_parent_that_a_run_directory_needs_is_ours_alone(world):
    result = world.pqrun("run", "--run-dir", "a/b/c/d", lines=["true"], umask=0)
    assert result.code == 0
    modes = [(world.here / part).stat().st_mode & 0o777 for part in ("a", "a/b", "a/b/c", "a/b/c/d")]
    assert modes == [0o700] * 4


def test_a_job_still_gets_the_callers_umask(world):
    assert world.pqrun("run", lines=["umask > ran"], umask=0o027).code == 0
    assert world.read("ran") == "0027\n"


def test_a_directory_of_ours_that_others_may_enter_is_closed_to_them(world):
    (world.here / "rd").mkdir(mode=0o755)
    assert world.pqrun("run", "--run-dir", "rd", lines=["true"]).code == 0
    assert stat.S_IMODE((world.here / "rd").stat().st_mode) == 0o700


@BY_ROOT
def test_a_directory_of_another_owner_is_refused(world):
    (world.here / "rd").mkdir()
    os.chown(world.here / "rd", 12345, 12345)
    result = world.pqrun("run", "--run-dir", "rd", lines=["echo x > ran"])
    assert result.code == 4
    assert "owned by uid 12345, not by you" in result.err
    assert (world.read("ran"), os.listdir(world.here / "rd")) == ("", [])


@pytest.mark.slow
@BY_ROOT
def test_a_recorded_run_of_another_owner_is_neither_gone_on_with_nor_shown(world):
    assert world.pqrun("run", "--run-dir", "rd", lines=["echo x >> ran"]).code == 0
    os.chown(world.here / "rd", 12345, 12345)
    for command in ("resume", "show", "logs"):
        result = world.pqrun(command, "./rd")
        assert (result.code, "owned by uid 12345" in result.err) == (4, True), command
    assert world.counted("ran") == {"x": 1}


@BY_ROOT
def test_a_state_directory_of_another_owner_is_refused(world):
    os.chown(world.state, 12345, 12345)
    result = world.pqrun("run", lines=["echo x > ran"])
    assert (result.code, "owned by uid 12345" in result.err, world.read("ran")) == (4, True, "")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["journal.jsonl", "lock", "logs", "work"])
def test_a_planted_link_is_not_followed(world, name):
    victim = world.here / "victim"
    if name in ("logs", "work"):
        victim.mkdir()
    else:
        victim.write_text("")
    (world.here / "rd").mkdir(mode=0o700)
    (world.here / "rd" / name).symlink_to(victim)
    result = world.pqrun("run", "--run-dir", "rd", lines=["echo x > ran"])
    assert result.code == 4
    assert str(world.here / "rd" / name) in result.err
    assert list(victim.iterdir()) == [] if victim.is_dir() else victim.read_text() == ""
    assert world.read("ran") == ""


def test_a_planted_link_in_place_of_the_directory_is_not_followed(world):
    (world.here / "victim").mkdir()
    (world.here / "rd").symlink_to(world.here / "victim")
    assert world.pqrun("run", "--run-dir", "rd", lines=["true"]).code == 4
    assert os.listdir(world.here / "victim") == []


@pytest.mark.slow
def test_a_link_planted_where_output_goes_is_not_followed(world):
    lines = ["head -c 100000 /dev/zero; exit 1", "echo small; exit 1"]
    assert world.pqrun("run", "--run-dir", "rd", lines=lines).code == 1
    logs = world.here / "rd" / "logs"
    (logs / "0000" / "1.2.out").symlink_to(world.here / "victim")
    (logs / "pack.2").symlink_to(world.here / "victim")
    (world.here / "victim").write_text("precious")
    world.pqrun("resume", "./rd", "--failed")
    assert (world.here / "victim").read_text() == "precious"
    assert world.look("logs", "./rd", "2").stdout == b"small\n"
    assert (logs / "pack.3").read_bytes() == b"small\n"


IDS = ["/", "..", "../../x", "*", "~", "a/b", "/etc/passwd", "-rf", "a'b\"c", "$(touch x)", ".", "ü" * 200]


@pytest.mark.slow
def test_ids_never_become_part_of_a_path(world):
    jobs = {"jobs": [{"id": name, "run": ["printf", "%s", name]} for name in IDS]}
    world.write("jobs.json", json.dumps(jobs))
    result = world.pqrun("run", "jobs.json", "--run-dir", "deep/rd", "--json")
    assert result.code == 0
    names = {path.name for path in (world.here / "deep/rd/logs").rglob("*")}
    assert names == {"pack.1"}
    jobs = [{"id": name, "run": ["sh", "-c", "head -c 100000 /dev/zero"]} for name in IDS]
    world.write("jobs.json", json.dumps({"jobs": jobs}))
    assert world.pqrun("run", "jobs.json", "--run-dir", "deep/big", "-q").code == 0
    names = {path.name for path in (world.here / "deep/big/logs").rglob("*")}
    assert names == {"0000"} | {f"{seq}.1.out" for seq in range(1, len(IDS) + 1)}
    assert sorted(path.name for path in world.here.iterdir()) == ["deep", "jobs.json"]
    assert world.look("logs", "deep/rd", "--", "-rf").stdout == b"-rf"
    assert world.look("logs", "deep/rd", "--", "*", "..", "~").stdout == b"..*~"


def test_a_line_break_is_no_part_of_an_id(world):
    world.write("jobs.json", json.dumps({"jobs": [{"id": "a\nb", "run": "true"}]}))
    assert world.pqrun("run", "jobs.json").code == 2


def test_the_parents_of_a_run_directory_are_made_and_private(world):
    assert world.pqrun("run", "--run-dir", "a/b/c", lines=["true"], umask=0).code == 0
    assert {stat.S_IMODE((world.here / path).stat().st_mode) for path in ("a/b/c",)} == {0o700}


def test_a_directory_that_holds_other_things_is_not_taken(world):
    (world.here / "rd").mkdir()
    (world.here / "rd" / "thesis.tex").write_text("x")
    result = world.pqrun("run", "--run-dir", "rd", lines=["echo x > ran"])
    assert result.code == 2
    assert "thesis.tex" in result.err
    assert world.read("ran") == ""


def test_a_run_directory_that_can_not_be_made_is_told_of(world):
    world.write("file", "")
    result = world.pqrun("run", "--run-dir", "file/rd", lines=["echo x > ran"])
    assert (result.code, "file/rd: Not a directory" in result.err) == (4, True)
    assert world.read("ran") == ""


def test_without_a_journal_nothing_is_left_behind(world):
    temporary = world.here / "tmp"
    temporary.mkdir()
    lines = ["echo out", "echo err >&2; head -c 300000 /dev/zero | tr '\\0' x"]
    result = world.pqrun("run", "--no-journal", "-k", lines=lines, env={"TMPDIR": str(temporary)})
    assert (result.code, len(result.stdout)) == (0, 300004)
    assert list(temporary.iterdir()) == []
    assert list(world.state.iterdir()) == []


@pytest.mark.slow
def test_given_variables_are_recorded_and_inherited_ones_never(world):
    jobs = {
        "env": {"OF_FILE": "value of the file"},
        "jobs": [{"id": "a", "run": "true", "env": {"OF_JOB": "value of the job"}}],
    }
    world.write("jobs.json", json.dumps(jobs))
    secret = {"INHERITED_SECRET": "hunter2 hunter2"}
    assert world.pqrun("run", "jobs.json", "--env", "GIVEN=value given", env=secret).code == 0
    (added,) = lines_of(world.only_run, "add")
    values = dict(added["job"]["env"])
    assert {"OF_FILE", "OF_JOB", "GIVEN"} <= set(values)
    assert world.look("show").code == 0
    for path in world.state.rglob("*"):
        if path.is_file():
            assert b"hunter2" not in path.read_bytes(), path


def test_values_of_variables_are_on_no_command_line(world):
    line = "cat /proc/$$/cmdline /proc/$PPID/cmdline > seen"
    jobs = {"env": {"OF_FILE": "value-of-the-file"}, "jobs": [{"id": "a", "run": line}]}
    world.write("jobs.json", json.dumps(jobs))
    assert world.pqrun("run", "jobs.json").code == 0
    assert "jobs.json" in world.read("seen") and "value-of-the-file" not in world.read("seen")


@pytest.mark.slow
def test_durable_makes_sure_of_the_disk_in_each_turn(world):
    import subprocess
    import sys

    program = (
        "import os, sys; real = os.fdatasync; count = [0]\n"
        "def fdatasync(fd): count[0] += 1; real(fd)\n"
        "os.fdatasync = fdatasync\n"
        "from pqrun.journal import writer; writer._fdatasync = fdatasync\n"
        "from pqrun.cli.main import run\n"
        "sys.argv = ['pqrun', *sys.argv[1:]]\n"
        "code = run(); print(count[0], file=sys.stderr); os._exit(code)"
    )
    counts = {}
    for options in ((), ("--durable",)):
        done = subprocess.run(
            [sys.executable, "-c", program, "run", "-q", "-j1", *options],
            input=b"true\n" * 20, capture_output=True, env=world.environment, cwd=world.here, check=True,
        )  # fmt: skip
        counts[options] = int(done.stderr.split()[-1])
    assert counts[("--durable",)] >= 20 > counts[()]


@pytest.mark.slow
def test_a_list_whose_first_line_is_wrong_leaves_no_directory(world):
    for options in [(), ("--run-dir", "given"), ("--run-dir", "given/below/deep")]:
        done = world.pqrun("run", *options, lines=["echo a # pqrun: tiemout=3", "echo b"])
        assert (done.code, done.stdout) == (2, b"")
        assert list(world.state.glob("runs/*")) == []
        assert not (world.here / "given").exists()
    assert world.pqrun("run", "--results", "/proc/none", lines=["echo a"]).code == 2
    assert list(world.state.glob("runs/*")) == []
    assert world.pqrun("run", lines=["echo a", "echo b # pqrun: tiemout=3"]).code == 1
    assert len(world.runs) == 1
