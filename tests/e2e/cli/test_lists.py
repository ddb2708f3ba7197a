# SPDX-License-Identifier: LGPL-3.0-or-later
"""Lists of commands are looked through before they run, and by `check`."""

import os

import pytest

WRONG = """\
touch ran
# a comment
echo a # pqrun: id=a tiemout=3
echo b # pqrun: id=b
echo b # pqrun: id=b
echo \\
  c # pqrun: priority=urgent
echo d # pqrun: needs=nobody
echo e # pqrun: id=b timeout=x
"""
SAID = [
    "list:3:8: error: unknown key `tiemout` after `# pqrun:` (did you mean `timeout`?)",
    "list:5:8: error: duplicate id `b`",
    "list:6:1: error: `priority`: not a priority: `urgent` (write critical, high, normal or low)",
    "list:8:8: error: unknown need `nobody` (a line can only need jobs above it)",
    "list:9:8: error: `timeout`: not a duration: `x` (write seconds, or a value such as 250ms, 90s, 10m, 1h30m)",
]


def errors(done):
    return [line for line in done.err.splitlines() if ": error: " in line]


@pytest.fixture
def wrong(tmp_path):
    (tmp_path / "list").write_text(WRONG)
    return tmp_path


@pytest.mark.slow
def test_check_says_all_that_is_wrong_with_a_list(pqrun, wrong):
    done = pqrun("check", "list")
    assert (done.code, errors(done)) == (2, SAID)
    assert "    3 | echo a # pqrun: id=a tiemout=3\n      |        ^\n" in done.err
    done = pqrun("check", "-", input=WRONG)
    assert (done.code, errors(done)) == (2, [line.replace("list", "stdin") for line in SAID])


@pytest.mark.slow
def test_check_reads_lists_and_job_files_together(pqrun, tmp_path):
    (tmp_path / "jobs.yaml").write_text("jobs: [true, {run: 'true', timeout: x}]\n")
    (tmp_path / "list").write_text("echo a\necho b # pqrun: id=b\n\necho c # pqrun: needs=b\n")
    (tmp_path / "nul").write_bytes(b"echo a\necho \0\n")
    done = pqrun("check", "list")
    assert (done.code, done.out) == (0, "list: 3 jobs, no problems\n")
    assert pqrun("check", "nul").err.startswith("nul:2:1: error: a NUL character")
    done = pqrun("check", "jobs.yaml", "list", "nul")
    assert done.code == 2 and len(errors(done)) == 2


@pytest.mark.slow
@pytest.mark.parametrize("how", ["file", "stdin", "dry-run", "two"])
def test_nothing_of_a_file_runs_if_a_comment_in_it_is_wrong(pqrun, wrong, how):
    (wrong / "first").write_text("touch ran\n")
    words = {"file": ["list"], "stdin": [], "dry-run": ["--dry-run", "list"], "two": ["first", "list"]}[how]
    with open(wrong / "list") as file:
        done = pqrun("run", *words, **({"stdin": file} if how == "stdin" else {}))
    assert (done.code, done.out) == (2, "")
    assert errors(done) == [line.replace("list", "stdin" if how == "stdin" else "list") for line in SAID]
    assert not (wrong / "ran").exists()
    assert pqrun("runs", "--json").document["runs"] == []


@pytest.mark.slow
def test_what_a_comment_asks_for_has_to_be_there(pqrun, tmp_path):
    (tmp_path / "jobs.yaml").write_text("pools: {net: 2}\njobs: [{id: taken, run: touch ran}]\n")
    (tmp_path / "list").write_text(
        "echo # pqrun: pools=net:2\necho # pqrun: pools=net:3\necho # pqrun: pools=cpu\necho # pqrun: id=taken\n"
    )
    done = pqrun("run", "jobs.yaml", "list")
    assert done.code == 2 and not (tmp_path / "ran").exists()
    assert errors(done) == [
        "list:2:1: error: 3 of the pool `net`, which has 2",
        "list:3:1: error: unknown pool `cpu` (create it with --pool cpu=1)",
        "list:4:1: error: duplicate id `taken`",
    ]


@pytest.mark.slow
def test_behind_a_stream_only_what_stands_in_the_file_itself_is_known(pqrun, tmp_path):
    (tmp_path / "list").write_text("echo # pqrun: needs=above\n")
    done = pqrun("run", "-q", "-", "list", input="true # pqrun: id=above\n")
    assert done.code == 0, done.err
    (tmp_path / "list").write_text("echo # pqrun: needs=above\necho # pqrun: x=y\n")
    done = pqrun("run", "-q", "-", "list", input="touch ran # pqrun: id=above\n")
    assert (
        done.code == 2
        and errors(done) == [line for line in errors(done) if line.startswith("list:2:6: ")] != []
    )
    assert not (tmp_path / "ran").exists()


@pytest.mark.slow
def test_what_was_looked_through_is_read_from_its_beginning(pqrun, tmp_path):
    lines = "".join(f"echo {n} # pqrun: id=n{n}\n" for n in range(20_000))
    (tmp_path / "list").write_text(lines)
    fd = os.open(tmp_path / "list", os.O_RDONLY)
    os.lseek(fd, lines.index("echo 19990 "), os.SEEK_SET)
    done = pqrun("run", "-q", "-k", stdin=fd)
    os.close(fd)
    assert done.out.split() == [str(n) for n in range(19990, 20_000)], done.err


def test_a_nul_in_a_file_ends_the_reading_as_before(pqrun, tmp_path):
    (tmp_path / "list").write_bytes(b"echo a # pqrun: id=a\necho \0\necho # pqrun: x=y\n")
    done = pqrun("run", "-q", "list")
    assert (done.code, done.out) == (1, "a\n")
