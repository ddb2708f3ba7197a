# SPDX-License-Identifier: LGPL-3.0-or-later
"""`--results DIR`: what each job printed, and its record, in a directory of its own."""

import json
import os

import pytest

from pqrun.core.job import Command, JobSpec
from pqrun.core.job_row import JobRow
from pqrun.reports.results_dir import extract, safe_name


def test_each_job_has_its_directory(run, tmp_path):
    jobs = "printf 'a\\0b'; echo e >&2  # pqrun: id=../x/[y]\nexit 3\nseq 100000 | tail -c 300000\n"
    ended = run("-j1", "-q", "--results", "out/deep", "--output", "none", jobs=jobs)
    assert ended.returncode == 1
    where = tmp_path / "out" / "deep"
    assert sorted(path.name for path in where.iterdir()) == ["1-.._x_y_", "2-2", "3-3"]
    first = where / "1-.._x_y_"
    assert (first / "stdout").read_bytes() == b"a\0b"
    assert (first / "stderr").read_bytes() == b"e\n"
    meta = json.loads((first / "meta.json").read_text())
    assert (meta["id"], meta["state"], meta["exit"], meta["stdout_bytes"]) == ("../x/[y]", "ok", 0, 3)
    assert meta["stdout"] == str(first / "stdout")
    assert json.loads((where / "2-2" / "meta.json").read_text())["exit"] == 3
    assert (where / "3-3" / "stdout").stat().st_size == 300000


def test_of_retried_jobs_the_last_attempt(run, tmp_path):
    jobs = "echo $PQRUN_ATTEMPT; [ $PQRUN_ATTEMPT = 2 ]\n"
    run("-q", "-r3", "--retry-delay", "1ms", "--results", "out", "--no-journal", jobs=jobs)
    assert (tmp_path / "out" / "1-1" / "stdout").read_text() == "2\n"
    assert json.loads((tmp_path / "out" / "1-1" / "meta.json").read_text())["attempts"] == 2


def test_a_directory_that_cannot_be_made_is_told_before_anything_starts(run, tmp_path):
    (tmp_path / "file").write_text("")
    ended = run("--results", "file/x", jobs="touch started\n")
    assert ended.returncode == 2
    assert b"cannot create file/x: Not a directory" in ended.stderr
    assert not (tmp_path / "started").exists()


def test_what_cannot_be_written_later_is_pqruns_failure(run, tmp_path):
    jobs = "rm -rf out; echo x > out\n"
    ended = run("--results", "out", jobs=jobs)
    assert ended.returncode == 4
    assert b"cannot write" in ended.stderr


@pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
def test_what_is_extracted_leaves_no_file_open(tmp_path):
    before = os.listdir("/proc/self/fd")
    found = extract(JobRow(7, JobSpec("a", Command("true"))), str(tmp_path))
    assert (found.stdout, found.stderr) == (f"{tmp_path}/7-a/stdout", f"{tmp_path}/7-a/stderr")
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_names_are_safe_and_short():
    assert safe_name("a/b\0c\u202e d") == "a_b_c_d"
    assert len(safe_name("x" * 500)) == 80
