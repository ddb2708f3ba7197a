# SPDX-License-Identifier: LGPL-3.0-or-later
"""Jobs that have to do with one another: needs, matrices, several files."""

import pytest

from pqrun.core.job import Need, Pool


def needs_of(found):
    return {job.id: [tuple(need) for need in job.needs] for job in found.jobs}


def test_needs_may_say_when(files):
    found = files.load(
        "jobs:\n"
        "  - {id: a, run: x}\n"
        "  - {id: b, run: x, needs: {ended: [a], failed: a, ok: [a]}}\n"
        "  - {id: c, run: x, needs: [a, b, a]}\n"
        "  - {id: d, run: x, needs: a}\n"
    )
    assert needs_of(found) == {
        "a": [],
        "b": [("a", "ended"), ("a", "failed"), ("a", "ok")],
        "c": [("a", "ok"), ("b", "ok")],
        "d": [("a", "ok")],
    }


def test_a_need_may_be_a_pattern_which_never_means_the_job_itself(files):
    found = files.load(
        "jobs:\n"
        "  - {id: get-a, run: x}\n"
        "  - {id: get-b, run: x}\n"
        "  - {id: 'get-*', run: x, needs: {ended: 'get-?'}}\n"
        "  - {id: get-all, run: x, needs: 'get-[ab]'}\n"
        "  - {id: exact, run: x, needs: ['get-*']}\n"
        "  - {id: get-end, run: x, needs: ['get-a*']}\n"
    )
    assert needs_of(found) == {
        "get-a": [],
        "get-b": [],
        "get-*": [("get-a", "ended"), ("get-b", "ended")],
        "get-all": [("get-a", "ok"), ("get-b", "ok")],
        "exact": [("get-*", "ok")],
        "get-end": [("get-a", "ok"), ("get-all", "ok")],
    }


def test_the_base_id_of_a_matrix_job_stands_for_all_its_combinations(files):
    found = files.load(
        "jobs:\n"
        "  - {id: test, run: x, matrix: {A: [1, 2]}}\n"
        "  - {id: after, run: x, needs: [test]}\n"
        "  - {id: one, run: x, needs: ['test[A=2]']}\n"
        "  - {id: some, run: x, needs: ['test[*']}\n"
    )
    assert needs_of(found) == {
        "test[A=1]": [],
        "test[A=2]": [],
        "after": [("test[A=1]", "ok"), ("test[A=2]", "ok")],
        "one": [("test[A=2]", "ok")],
        "some": [("test[A=1]", "ok"), ("test[A=2]", "ok")],
    }


def test_a_job_without_an_id_can_be_needed_by_its_number(files):
    assert needs_of(files.load("jobs: [x, {run: y, needs: 1}]")) == {"1": [], "2": [("1", "ok")]}


@pytest.mark.slow
def test_a_chain_of_many_jobs_is_no_problem_and_a_ring_of_many_is_shown_in_short(files):
    def jobs(first):
        return f"jobs:\n  - {{id: j0, run: x{first}}}\n" + "".join(
            f"  - {{id: j{n}, run: x, needs: j{n - 1}}}\n" for n in range(1, 5000)
        )

    assert files.load(jobs("")).jobs[-1].needs == (Need("j4998"),)
    said = files.says(jobs(", needs: j4999"))
    begin = " -> ".join(("j0", *(f"j{n}" for n in range(4999, 4990, -1))))
    end = " -> ".join(f"j{n}" for n in range(9, -1, -1))
    ring = f"{begin} -> … 4981 more … -> {end}"
    assert said.splitlines()[0] == f"jobs.yaml:2:29: error: cyclic needs: {ring}"


@pytest.mark.slow
def test_patterns_in_needs_can_not_make_a_million_of_them(files):
    jobs = "".join(f"  - {{id: a{n}, run: x}}\n  - {{id: b{n}, run: x, needs: 'a*'}}\n" for n in range(1200))
    assert "patterns in `needs` that match more than 1,000,000 jobs" in files.says("jobs:\n" + jobs)
    jobs = "".join(f"  - {{id: a{n}, run: x}}\n  - {{run: x, needs: 'a{n}*'}}\n" for n in range(1001))
    assert "more than 1,000 patterns in `needs`" in files.says("jobs:\n" + jobs)


def test_axes_become_variables_and_part_of_the_id(files):
    found = files.load(
        "jobs:\n"
        "  - id: test\n"
        "    run: tox\n"
        "    env: {A: 1, DB: none}\n"
        "    matrix: {PY: ['3.11', 3.12], DB: [sqlite, pg]}\n"
    )
    assert [(job.id, job.work.env) for job in found.jobs] == [
        (f"test[PY={py},DB={db}]", (("A", "1"), ("DB", db), ("PY", py)))
        for py in ("3.11", "3.12")
        for db in ("sqlite", "pg")
    ]


def test_a_matrix_may_exclude_and_include(files):
    found = files.load(
        "jobs:\n"
        "  - id: t\n"
        "    run: x\n"
        "    matrix:\n"
        "      A: [1, 2]\n"
        "      B: [x, y]\n"
        "      exclude: [{A: 1, B: y}, {A: 2, B: x}]\n"
        "      include: [{A: 3, C: z}, {A: 1, B: x}]\n"
    )
    assert [job.id for job in found.jobs] == ["t[A=1,B=x]", "t[A=2,B=y]", "t[A=3,C=z]"]
    assert [job.id for job in files.load("jobs: [{id: t, run: x, matrix: {include: {A: 1}}}]").jobs] == [
        "t[A=1]"
    ]


def test_combinations_of_a_job_without_an_id_have_numbers(files):
    found = files.load("jobs: [a, {run: b, matrix: {X: [1, 2]}}, c]")
    assert [(job.id, job.work.run, job.work.env, job.named) for job in found.jobs] == [
        ("1", "a", (), False),
        ("2", "b", (("X", "1"),), False),
        ("3", "b", (("X", "2"),), False),
        ("4", "c", (), False),
    ]


def test_numbers_go_on_over_several_files(files):
    found = files.load_all(
        {"a.yaml": "jobs: [x, {id: n, run: y}]", "b.yaml": "jobs: [z, {run: w, needs: [n, 1]}]"}
    )
    assert [(job.id, job.file) for job in found.jobs] == [
        ("1", "a.yaml"),
        ("n", "a.yaml"),
        ("3", "b.yaml"),
        ("4", "b.yaml"),
    ]
    assert found.jobs[3].needs == (Need("n"), Need("1"))


def test_defaults_and_variables_hold_for_the_jobs_of_their_file(files):
    found = files.load_all(
        {"a.yaml": "env: {A: 1}\ndefaults: {timeout: 5}\njobs: [x]", "b.yaml": "jobs: [y]"}
    )
    assert [(job.timeout, job.work.env) for job in found.jobs] == [(5.0, (("A", "1"),)), (None, ())]


def test_several_files_may_say_the_same_or_each_its_own(files):
    found = files.load_all(
        {
            "a.yaml": "workers: 4\npools: {net: 1}\njobs: [x]",
            "b.yaml": "workers: 4\nmax_queue: 5\npools: {net: 1, gpu: [0]}\njobs: [{run: y, pools: net}]",
        }
    )
    assert found[1:-1] == ("4", 5, (Pool("net", 1), Pool("gpu", 1, ("0",))), (), {})


def test_files_that_differ_are_told_at_once(files):
    said = files.says(
        {
            "a.yaml": "workers: 2\npools: {net: 1}\nenv: {A: 1}\njobs: [{id: x, run: y}]\n",
            "b.yaml": "workers: 3\npools: {net: 2}\nenv: {A: 2}\njobs:\n- {id: x, run: z, tiemout: 1}\n",
        }
    )
    assert said == (
        "b.yaml:1:10: error: `workers` differs from a.yaml:1\n"
        "    1 | workers: 3\n"
        "      |          ^\n"
        "  hint: use the same value in all files\n"
        "b.yaml:2:8: error: the pool `net` differs from a.yaml:2\n"
        "    2 | pools: {net: 2}\n"
        "      |        ^\n"
        "  hint: use the same value in all files\n"
        "b.yaml:3:6: error: `env` differs from a.yaml:3\n"
        "    3 | env: {A: 2}\n"
        "      |      ^\n"
        "  hint: use the same value in all files\n"
        "b.yaml:5:8: error: duplicate id `x`\n"
        "    5 | - {id: x, run: z, tiemout: 1}\n"
        "      |        ^\n"
        "  hint: the other one is on a.yaml:4\n"
        "b.yaml:5:19: error: unknown key `tiemout`\n"
        "    5 | - {id: x, run: z, tiemout: 1}\n"
        "      |                   ^\n"
        "  hint: did you mean `timeout`?"
    )


def test_an_id_in_one_file_may_not_be_a_number_in_another(files):
    said = files.says({"a.yaml": "jobs: [{id: '2', run: x}]", "b.yaml": "jobs: [y]"})
    assert said.splitlines()[0] == "a.yaml:1:13: error: the id `2` is the number of a job without an id"


@pytest.mark.parametrize("id", ["01", "+1", "1.0", "0", "3"])
def test_an_id_that_only_looks_like_a_number_is_fine(id, files):
    assert files.load(f"jobs: [x, {{id: '{id}', run: y}}]").jobs[1].id == id


def test_an_id_may_be_the_jobs_own_number(files):
    assert [job.named for job in files.load("jobs: [x, {id: 2, run: y}]").jobs] == [False, True]
