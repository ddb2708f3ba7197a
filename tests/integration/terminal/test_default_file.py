# SPDX-License-Identifier: LGPL-3.0-or-later
"""`pqrun run` without a file at a terminal: the job file with the default name, here or above, else help."""

import os
import sys

import pytest

from .conftest import ROOT, Terminal


@pytest.fixture
def run_here(tmp_path):
    """`run_here(directory)`: the exit code and the last screen of `pqrun run` in that directory."""

    def run(directory, *words):
        argv = [sys.executable, "-m", "pqrun", "run", "-q", "--no-journal", *words]
        window = Terminal(argv, 100, 40, env={"PYTHONPATH": str(ROOT)}, cwd=tmp_path / directory)
        try:
            return window.finish(), window.read_all()
        finally:
            window.close()

    (tmp_path / "here" / "below").mkdir(parents=True)
    return run


@pytest.mark.slow
def test_the_nearest_file_with_a_default_name_is_run_where_pqrun_was_started(run_here, tmp_path):
    (tmp_path / "pqrun.json").write_text('{"jobs": ["echo the $(pwd) of json"]}')
    code, shown = run_here("here/below")
    assert code == 0 and f"the {tmp_path}/here/below of json" in shown.replace("\n", "")
    (tmp_path / "here" / "pqrun.yml").write_text("jobs: [echo this is yml]")
    assert "this is yml" in run_here("here/below")[1]
    (tmp_path / "here" / "pqrun.yaml").write_text("jobs: [echo this is yaml, exit 3]")
    code, shown = run_here("here")
    assert code == 1 and "this is yaml" in shown


@pytest.mark.slow
def test_it_is_looked_for_where_jobs_start(run_here, tmp_path):
    (tmp_path / "pqrun.yaml").write_text("jobs: [echo wrong]")
    (tmp_path / "here" / "pqrun.yaml").write_text("jobs: [pwd]")
    code, shown = run_here(".", "-C", "here/below")
    assert code == 0 and f"{tmp_path}/here/below" in shown.replace("\n", "")
    code, shown = run_here(".", "-C", "none")
    assert code == 2 and "cannot enter none: No such file or directory" in shown


@pytest.mark.slow
def test_without_one_it_helps(run_here, tmp_path):
    (tmp_path / "here" / "pqrun.yaml").mkdir()  # no file
    code, shown = run_here("here/below")
    assert code == 2 and "Usage: pqrun run" in shown
    assert (
        "\npqrun: error: nothing to run: name a job file, or pipe in commands (there is no pqrun.yaml"
        in shown
    )
    assert len(shown.rstrip().split("\n")) <= 24, "the short help, which fits on a screen"


@pytest.mark.slow
def test_a_mistake_in_it_is_shown_with_its_place(run_here, tmp_path):
    (tmp_path / "pqrun.yaml").write_text("jobs:\n- rum: x\n")
    code, shown = run_here("here")
    assert code == 2 and "../pqrun.yaml:2:3: error: unknown key `rum`" in shown


@pytest.mark.slow
@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to another user")
def test_one_above_of_another_user_has_to_be_named(run_here, tmp_path):
    (tmp_path / "pqrun.yaml").write_text("jobs: [echo planted]")
    os.chown(tmp_path / "pqrun.yaml", 65534, 65534)
    code, shown = run_here("here")
    assert code == 2
    assert "../pqrun.yaml belongs to another user: name it to run it: pqrun run ../pqrun.yaml" in shown
    assert "planted" in run_here(".")[1]
