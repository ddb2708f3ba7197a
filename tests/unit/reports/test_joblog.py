# SPDX-License-Identifier: LGPL-3.0-or-later
"""The job log, byte by byte as GNU parallel writes it."""

import re
import shutil
import subprocess

import pytest
from reported import CELLS, Cell, job, play

from pqrun.core.job import Command, ExitedWith, JobSpec, KilledBySignal, NotStarted
from pqrun.core.settings import ReportSettings

COMMANDS = [
    "echo out; echo err >&2",
    "false",
    "kill -9 $$",
    "sleep 9",
    "echo 'a\nb'",
    "printf 'x\ty'",
    "exit 200",
]
LINE = re.compile(rb"(\d+)\t:\t( *\d+\.\d{3})\t( *\d+\.\d{3})\t0\t(\d+)\t(-?\d+)\t(\d+)\t(.*)\n", re.DOTALL)


def log_of(directory, cell, **more):
    path = directory / "joblog"
    play(directory, cell, settings=ReportSettings(joblog=str(path)), **more)
    return path.read_bytes()


@pytest.mark.slow
def test_it_is_what_parallel_writes_but_for_the_times(tmp_path):
    if shutil.which("parallel") is None:
        pytest.skip("needs GNU parallel")
    theirs = tmp_path / "theirs"
    subprocess.run(
        ["parallel", "--will-cite", "-0", "-j1", "--timeout", "0.3", "--joblog", theirs],
        input="\0".join(COMMANDS).encode(),
        capture_output=True,
        env={"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)},
    )
    ends = [
        ExitedWith(0),
        ExitedWith(1),
        KilledBySignal("SIGKILL"),
        ExitedWith(0),
        ExitedWith(0),
        ExitedWith(0),
        ExitedWith(200),
    ]
    jobs = [
        (JobSpec(str(n), Command(run), timeout=1.0, named=False), [end], 9.0 if run == "sleep 9" else 0.25)
        for n, (run, end) in enumerate(zip(COMMANDS, ends, strict=True), 1)
    ]
    outputs = {1: (b"out\n", b"err\n"), 5: (b"a\nb\n", b""), 6: (b"x\ty", b"")}
    ours = log_of(tmp_path, Cell(jobs, 1, slots=1), outputs={"all": (b"", b""), **outputs})
    head, _, theirs_rest = theirs.read_bytes().partition(b"\n")
    assert ours.partition(b"\n")[0] == head
    found = [LINE.fullmatch(line + b"\n") for line in ours.partition(b"\n")[2].splitlines()]
    wanted = [LINE.fullmatch(line + b"\n") for line in theirs_rest.splitlines()]
    assert all(found) and all(wanted)
    assert [line.group(1, 4, 5, 6, 7) for line in found] == [line.group(1, 4, 5, 6, 7) for line in wanted]
    assert [len(line[2]) for line in found] == [len(line[2]) for line in wanted]


def test_times_are_the_epochs_and_the_runtimes(tmp_path):
    lines = log_of(tmp_path, CELLS["ok"]).splitlines()
    assert lines[1:] == [
        b"2\t:\t1700000000.000\t     1.000\t0\t0\t0\t0\trun b",
        b"1\t:\t1700000000.000\t     1.000\t0\t0\t0\t0\trun a",
        b"3\t:\t1700000001.000\t     0.250\t0\t0\t0\t0\trun c",
    ]


def test_what_we_stopped_has_minus_one_and_what_is_to_run_again_is_not_there(tmp_path):
    def facts(cell):
        return [
            tuple(line.split(b"\t")[i] for i in (0, 6, 7))
            for line in log_of(tmp_path, CELLS[cell]).splitlines()[1:]
        ]

    assert facts("timeout") == [(b"2", b"0", b"0"), (b"1", b"-1", b"15")]
    assert facts("int") == [(b"1", b"0", b"0")]
    assert facts("skipped") == [(b"1", b"1", b"0")]
    assert facts("not started") == [(b"1", b"127", b"0")]
    assert facts("tried in vain") == [(b"1", b"3", b"0")]


def test_a_signal_without_a_name_has_its_number(tmp_path):
    line = log_of(tmp_path, Cell([job("a", exit=KilledBySignal("SIG40"))], 1)).splitlines()[1]
    assert line.split(b"\t")[6:8] == [b"0", b"40"]


def test_commands_of_any_bytes_are_written_as_they_were(tmp_path):
    specs = [
        JobSpec("a", Command(b"echo \xff\xfe".decode("utf-8", "surrogateescape"))),
        JobSpec("b", Command(("printf", "%s", "two words"))),
        JobSpec("c", Command("\ud800")),
    ]
    text = log_of(tmp_path, Cell([(spec, [ExitedWith(0)], 1.0) for spec in specs], 0, slots=1))
    commands = [line.rpartition(b"\t")[2] for line in text.splitlines()[1:]]
    assert commands == [b"echo \xff\xfe", b"printf %s 'two words'", b"?"]


def test_a_job_that_never_began_began_when_it_ended(tmp_path):
    line = log_of(tmp_path, Cell([job("a", 0.0, NotStarted(126, "no"))], 1)).splitlines()[1]
    assert line == b"1\t:\t1700000000.000\t     0.000\t0\t0\t126\t0\trun a"
