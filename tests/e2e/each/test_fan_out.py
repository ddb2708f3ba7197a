# SPDX-License-Identifier: LGPL-3.0-or-later
"""`for`, `creates` and needs of many jobs, read and run."""

import errno
import json
import os

import pytest

from pqrun.core.job import ExitedWith, JobSpec, SelfReport
from pqrun.executors.local.created_file import Creation
from pqrun.input.jobfile import JobFileError, load

A_JOB = JobSpec("a", work=None)


@pytest.fixture
def read(tmp_path, monkeypatch):
    """`read(text)` loads a job file whose files are in `tmp_path`."""
    monkeypatch.chdir(tmp_path)
    return lambda text: load(["jobs.yaml"], {}, read=lambda _: text.encode())


def wrong(read, text):
    with pytest.raises(JobFileError) as raised:
        read(text)
    return str(raised.value)


def table(loaded):
    return {job.id: dict(job.work.env) for job in loaded.jobs}


def test_a_job_runs_once_for_each_file_of_a_pattern(read, tmp_path):
    for name in ("b.png", "a.png", "c.txt", ".hidden.png"):
        (tmp_path / name).touch()
    loaded = read('jobs: [{id: thumb, run: x, for: {glob: "*.png"}}]')
    assert table(loaded) == {"thumb[FILE=a.png]": {"FILE": "a.png"}, "thumb[FILE=b.png]": {"FILE": "b.png"}}


def test_a_pattern_may_go_down_into_directories(read, tmp_path):
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / "c.py").touch()
    (tmp_path / "d.py").touch()
    loaded = read('jobs: [{id: j, run: x, for: {glob: "**/*.py", as: SRC}}]')
    assert [dict(job.work.env)["SRC"] for job in loaded.jobs] == ["a/b/c.py", "d.py"]


def test_files_are_looked_for_where_the_job_starts(read, tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "x.c").touch()
    text = 'defaults: {cwd: app}\njobs: [{id: j, run: x, for: {glob: "*.c"}}, {id: k, run: x, for: {glob: "*.c"}, cwd: .}]'
    assert list(table(read(text))) == ["j[FILE=x.c]"]


def test_a_job_runs_once_for_each_line_that_is_not_blank(read, tmp_path):
    (tmp_path / "hosts").write_bytes(b"\xef\xbb\xbfa\r\n\n  \nb c\n#d\na\n")
    loaded = read("jobs: [{id: ping, run: x, for: {lines: hosts}}]")
    assert table(loaded) == {
        "ping[LINE=a]": {"LINE": "a"}, "ping[LINE=b c]": {"LINE": "b c"}, "ping[LINE=#d]": {"LINE": "#d"},
    }  # fmt: skip


def test_a_job_runs_once_for_each_value(read):
    loaded = read("jobs: [{id: j, run: x, env: {A: b}, for: {values: [one, 2, true]}}]")
    assert table(loaded) == {
        "j[VALUE=one]": {"VALUE": "one", "A": "b"},
        "j[VALUE=2]": {"VALUE": "2", "A": "b"},
        "j[VALUE=true]": {"VALUE": "true", "A": "b"},
    }


def test_each_combination_of_a_matrix_runs_for_each_value(read):
    loaded = read("jobs: [{id: j, run: x, matrix: {P: [1, 2]}, for: {values: [a, b], as: V}}]")
    assert [job.id for job in loaded.jobs] == [
        "j[P=1,V=a]", "j[P=1,V=b]", "j[P=2,V=a]", "j[P=2,V=b]",
    ]  # fmt: skip


def test_defaults_may_say_for_what_jobs_are_run(read):
    loaded = read(
        "defaults: {for: {values: [a, b]}}\njobs: [{id: i, run: x}, {id: j, run: x, for: {values: [c]}}]"
    )
    assert [job.id for job in loaded.jobs] == ["i[VALUE=a]", "i[VALUE=b]", "j[VALUE=c]"]


def test_a_job_without_an_id_gets_numbers(read):
    assert [job.id for job in read("jobs: [{run: x, for: {values: [a, b]}}, y]").jobs] == ["1", "2", "3"]


def test_names_that_make_no_good_ids_are_shown_as_well_as_they_can_be(read, tmp_path):
    (tmp_path / "new\nline").touch()
    (tmp_path / ("x" * 250)).touch()
    (tmp_path / ("x" * 249 + "y")).touch()
    found = [job.id for job in read('jobs: [{id: j, run: x, for: {glob: "*"}}]').jobs]
    assert found[0] == "j[FILE=new\\nline]"
    assert len(set(found)) == 3 and all(len(id) <= 200 and id.isprintable() for id in found)


def test_paths_of_the_job_know_the_variables(read, tmp_path):
    (tmp_path / "in.d").mkdir()
    (tmp_path / "in.d" / "a.b.png").touch()
    text = """
    jobs:
      - id: j
        run: x
        for: {glob: "in.d/*", as: F}
        matrix: {S: [small]}
        stdin: $F
        creates: out/${S}-${F##*/}.$HOME.${F%.*}.${F%%.*}.${F#*.}.$X
    """
    (job,) = read(text).jobs
    assert job.work.stdin == "in.d/a.b.png"
    assert job.creates == "out/small-a.b.png.$HOME.in.d/a.b.in.d/a.b.png.$X"


def test_needs_by_the_id_before_the_brackets_are_of_all_of_them(read):
    text = "jobs: [{id: a, run: x, for: {values: [1, 2]}}, {id: b, run: y, needs: a}]"
    assert [need.job for need in read(text).jobs[2].needs] == ["a[VALUE=1]", "a[VALUE=2]"]


def test_a_pattern_of_no_file_is_a_warning_and_nobody_waits_for_it(read):
    loaded = read('jobs: [{id: a, run: x, for: {glob: "*.nope"}}, {id: b, run: y, needs: [a]}]')
    assert [(job.id, job.needs) for job in loaded.jobs] == [("b", ())]
    (warning,) = loaded.warnings
    assert "jobs.yaml:1:29: warning: `for`: no file matches the pattern `*.nope`" in warning


def test_an_empty_list_of_lines_is_a_warning_too(read, tmp_path):
    (tmp_path / "hosts").write_text("\n\n")
    assert "no line in `hosts`" in read("jobs: [x, {run: x, for: {lines: hosts}}]").warnings[0]


@pytest.mark.parametrize(
    ("loop", "said"),
    [
        ("[a, b]", "expected a map with `glob`, `lines` or `values`, found a list"),
        ("{}", "expected one of `glob`, `lines` and `values`"),
        ("{as: X}", "expected one of `glob`, `lines` and `values`"),
        ("{glob: a, lines: b}", "expected one of `glob`, `lines` and `values`"),
        ("{lines: nowhere}", "cannot read `nowhere`: no such file or directory"),
        ("{values: []}", "no values"),
        ("{values: [a, a]}", "the value `a` again"),
        ("{values: [a], as: 'A=B'}", "a variable's name with `=` in it"),
        ("{values: [a], each: b}", "unknown key `each`"),
        ("{glob: null}", "nothing (unquoted `null`)"),
        ("{values: {a: b}}", "expected a list of values, found a map"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(read, loop, said):
    text = wrong(read, f"jobs:\n  - run: x\n    for: {loop}\n")
    assert said in text and text.startswith("jobs.yaml:3:")


def test_too_many_values_are_refused(read, tmp_path):
    (tmp_path / "lines").write_text("".join(f"{n}\n" for n in range(100_001)))
    assert "100,001 values; at most 100,000" in wrong(read, "jobs: [{run: x, for: {lines: lines}}]")


def test_json_without_a_mistake_is_read_as_yaml_would_read_it(read, tmp_path):
    text = """{"workers": 3, "env": {"L": "C"}, "jobs": [
      {"id": "a", "run": "x", "retries": {"max": 2, "delay": 1.50}, "timeout": "5m", "tags": ["t", 1e3]},
      {"run": ["p", "\\u00e9", true, 007.0], "needs": "a", "allow_failure": true}, "plain # no comment",
      {"id": "c", "run": "y", "for": {"values": [1, 2.50, false]}}]}""".replace("007.0", "7.0")
    quick = read(text)
    slow = read("# so that it is no JSON\n" + text)
    assert [job._replace(line=job.line + 1) for job in quick.jobs] == slow.jobs
    assert quick._replace(jobs=[]) == slow._replace(jobs=[])
    assert [job.line for job in quick.jobs] == [2, 3, 3, 4, 4, 4]


def test_json_with_a_mistake_is_still_told_where(read):
    text = '{"jobs": {"a": {"run": "x"},\n  "b": {"run": "y", "tiemout": 3}}}'
    assert "jobs.yaml:2:21: error: unknown key `tiemout`" in wrong(read, text)
    assert "duplicate key" in wrong(read, '{"jobs": {"a": "x", "a": "y"}}')


@pytest.mark.slow
def test_values_arrive_in_the_environment_of_the_jobs(run, tmp_path):
    (tmp_path / "my file.txt").write_text("content")
    text = 'jobs: [{run: "cat \\"$FILE\\"; echo \\" $SIZE\\"", for: {glob: "my*"}, matrix: {SIZE: [1, 2]}}]'
    done = run(text, "-q", "-k")
    assert (done.code, done.lines) == (0, ["content 1", "content 2"])


@pytest.mark.slow
def test_what_is_there_already_is_not_made_again(run, tmp_path):
    text = """
    jobs:
      - {id: make, run: 'echo made >> "$FILE.out"', for: {glob: "*.in"}, creates: $FILE.out}
      - {id: use, run: cat *.out, needs: make}
    """
    for name in ("a.in", "b.in"):
        (tmp_path / name).touch()
    (tmp_path / "a.in.out").write_text("there\n")
    first = run(text, "--json", "--output", "none")
    assert first.states == {"make[FILE=a.in]": "ok", "make[FILE=b.in]": "ok", "use": "ok"}
    jobs = first.jobs
    assert jobs["make[FILE=a.in]"]["message"] == "cached: a.in.out exists"
    assert (jobs["make[FILE=a.in]"]["exit"], jobs["make[FILE=b.in]"]["message"]) == (0, None)
    metrics = first.document["metrics"]
    assert [metrics[name] for name in ("jobs_enqueued", "jobs_dequeued", "jobs_completed")] == [3, 3, 3]
    assert (tmp_path / "a.in.out").read_text() == "there\n"
    assert (tmp_path / "b.in.out").read_text() == "made\n"
    assert run(text, "-q").lines == ["there", "made"]


@pytest.mark.slow
def test_a_file_that_a_failed_attempt_has_left_does_not_count(run, tmp_path):
    text = """
    jobs:
      - {id: a, run: 'echo x >> all; cp all half; test $(wc -l < all) = 2', creates: half, retries: {max: 1, delay: 0}}
    """
    done = run(text, "--json")
    assert (done.code, done.jobs["a"]["attempts"], done.jobs["a"]["message"]) == (0, 2, None)
    assert (tmp_path / "half").read_text() == "x\nx\n"
    assert (tmp_path / "half.failed").read_text() == "x\n"


ENDS = {"fails": "exit 3", "is killed": "kill -9 $$", "takes too long": "sleep 100"}


@pytest.mark.slow
@pytest.mark.parametrize("end", ENDS)
def test_what_a_job_that_does_not_end_well_has_made_is_moved_aside_and_made_again(run, tmp_path, end):
    job = {"id": "a", "run": f"echo half > out.gz; {ENDS[end]}", "creates": "out.gz", "timeout": 2}
    done = run(json.dumps({"jobs": [job]}), "--json")
    assert done.code == 1
    assert not (tmp_path / "out.gz").exists()
    assert (tmp_path / "out.gz.failed").read_text() == "half\n"
    assert done.jobs["a"]["message"] == "moved out.gz to out.gz.failed"
    assert done.err.count("note  ") == 1

    job["run"] = "echo whole > out.gz"
    assert run(json.dumps({"jobs": [job]})).code == 0
    assert (tmp_path / "out.gz").read_text() == "whole\n"


@pytest.mark.slow
def test_why_a_job_failed_is_told_beside_what_was_moved(run, tmp_path):
    job = {"id": "a", "run": "mkdir out; echo the reason >&2; exit 3", "creates": "out/"}
    (tmp_path / "out.failed").mkdir()
    (tmp_path / "out.failed" / "of before").touch()
    err = run(json.dumps({"jobs": [job]})).err
    assert "    the reason\n" in err
    assert "moved out/ to out.failed.2\n" in err
    assert (tmp_path / "out.failed" / "of before").exists() and (tmp_path / "out.failed.2").is_dir()


def test_only_what_the_attempt_has_made_or_changed_is_moved(tmp_path):
    path = tmp_path / "out"
    path.write_text("by somebody else")
    found = Creation("out", str(path))
    assert found.settle(A_JOB, ExitedWith(3), SelfReport(), stopped=False) == SelfReport()
    assert path.exists()
    path.write_text("changed")
    assert found.settle(A_JOB, ExitedWith(0), SelfReport(), stopped=False) == SelfReport()
    assert path.exists()
    moved = "moved out to out.failed"
    said = SelfReport(message="no room", moved=moved)
    assert found.settle(A_JOB, ExitedWith(0), SelfReport(message="no room"), stopped=True) == said._replace(
        message=f"no room; {moved}"
    )
    assert (path.exists(), (tmp_path / "out.failed").read_text()) == (False, "changed")


def test_what_cannot_be_moved_aside_is_told(tmp_path, monkeypatch):
    def refuse(*_):
        raise OSError(errno.EACCES, "Permission denied")

    found = Creation("out", str(tmp_path / "out"))
    (tmp_path / "out").touch()
    monkeypatch.setattr(os, "rename", refuse)
    told = found.settle(A_JOB, ExitedWith(3), SelfReport(), stopped=False).moved
    assert told == "cannot move out aside (Permission denied): the next run will skip the job"


@pytest.mark.slow
def test_what_creates_names_is_looked_for_where_the_job_starts(run, tmp_path):
    (tmp_path / "app").mkdir()
    (tmp_path / "app" / "out").touch()
    text = "jobs: [{id: a, run: exit 3, cwd: app, creates: out, success_codes: [7]}, {id: b, run: exit 3, creates: out}]"
    assert run(text, "--json").states == {"a": "ok", "b": "failed"}


GRAPH = """
jobs:
  - {id: fetch-a, run: 'true'}
  - {id: fetch-b, run: 'exit 3'}
  - {id: use, run: echo use, needs: "fetch-*"}
  - {id: clean, run: echo clean, needs: {ended: ["fetch-*", use]}}
  - {id: undo, run: echo undo, needs: {failed: [fetch-b]}}
  - {id: mend, run: echo mend, needs: {failed: [fetch-a]}}
  - {id: both, run: echo both, needs: {ok: [fetch-a], ended: [fetch-b]}}
"""


@pytest.mark.slow
def test_needs_may_be_patterns_and_of_other_ends_than_a_good_one(run):
    done = run(GRAPH, "--json", "-j1")
    assert done.code == 1
    assert done.states == {
        "fetch-a": "ok", "fetch-b": "failed", "use": "skipped", "clean": "ok", "undo": "ok", "mend": "skipped",
        "both": "ok",
    }  # fmt: skip


@pytest.mark.slow
def test_a_roll_back_that_was_not_needed_is_no_failure(run):
    done = run("jobs: [{id: a, run: 'true'}, {id: undo, run: 'false', needs: {failed: [a]}}]", "--json")
    assert (done.code, done.states) == (0, {"a": "ok", "undo": "skipped"})


def test_what_an_urgent_job_needs_goes_first(run):
    text = (
        "jobs: [echo 1, echo 2, {id: base, run: echo base}, {run: echo top, needs: base, priority: critical}]"
    )
    assert run(text, "-q", "-j1").lines == ["base", "top", "1", "2"]
