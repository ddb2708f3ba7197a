# SPDX-License-Identifier: LGPL-3.0-or-later
"""What a right file becomes."""

import json

import pytest

from pqrun.core.job import Command, JobSpec, Need, Pool, Priority, RetryPolicy
from pqrun.input.jobfile.loading import JobFile

FULL = """\
workers: 4
max_queue: 1000
defaults: {timeout: 30m, retries: 1}
env: {LANG: C.UTF-8}
pools: {net: 4, gpu: [0, 1]}
jobs:
  - echo hello
  - id: fetch
    run: curl -fsS "$URL" -o data.gz
    env: {URL: "https://example.org/data.gz"}
    priority: high
    timeout: 2m
    retries: {max: 5, delay: 1s, backoff: linear, factor: 3, max_delay: 1m, jitter: 0.1,
              on: [5, 6, TERM, timeout], permanent: [22]}
    pools: {net: 1}
    tags: [nightly]
  - id: test
    needs: [fetch]
    command: [pytest, -k, 1]
    slots: 2
    cwd: app
    allow_failure: true
    success_codes: [5, 0]
    rerun: never
    grace: 10s
    idle_timeout: 90
    signal: INT
    stdin: words.txt
    shell: bash -eu -c
    leftovers: keep
    creates: out.txt
"""
ENV = (("LANG", "C.UTF-8"),)


def test_every_key_reaches_the_job(files):
    assert files.load(FULL) == JobFile(
        [
            JobSpec(
                "1",
                Command("echo hello", env=ENV),
                timeout=1800.0,
                retry=RetryPolicy(max=1),
                named=False,
                file="jobs.yaml",
                line=7,
            ),
            JobSpec(
                "fetch",
                Command('curl -fsS "$URL" -o data.gz', env=(*ENV, ("URL", "https://example.org/data.gz"))),
                priority=Priority.HIGH,
                timeout=120.0,
                retry=RetryPolicy(
                    max=5,
                    delay=1.0,
                    backoff="linear",
                    factor=3.0,
                    max_delay=60.0,
                    jitter=0.1,
                    on=frozenset({5, 6, "SIGTERM", "timeout"}),
                    permanent=frozenset({22}),
                ),
                pools=(("net", 1),),
                tags=("nightly",),
                file="jobs.yaml",
                line=8,
            ),
            JobSpec(
                "test",
                Command(
                    ("pytest", "-k", "1"),
                    cwd="app",
                    env=ENV,
                    shell=("bash", "-eu", "-c"),
                    stdin="words.txt",
                    signal="SIGINT",
                    keep_leftovers=True,
                ),
                timeout=1800.0,
                idle_timeout=90.0,
                grace=10.0,
                retry=RetryPolicy(max=1),
                needs=(Need("fetch"),),
                slots=2,
                success_codes=(0, 5),
                allow_failure=True,
                rerun=False,
                creates="out.txt",
                file="jobs.yaml",
                line=17,
            ),
        ],
        workers="4",
        max_queue=1000,
        pools=(Pool("net", 4), Pool("gpu", 2, ("0", "1"))),
    )


@pytest.mark.parametrize(
    "text", ["no", "off", "1e3", "0o17", "12:30:45", "017", "1_000", "true", "2024-01-01", "=", "5"]
)
def test_a_scalar_stays_what_it_looks_like(text, files):
    found = files.load(
        f"env: {{A: {text}}}\njobs:\n  - id: x{text}\n    run: {text}\n    tags: [{text}]\n  - {text}\n"
    )
    assert [(job.id, job.work.run, job.work.env) for job in found.jobs] == [
        (f"x{text}", text, (("A", text),)),
        ("2", text, (("A", text),)),
    ]
    assert found.jobs[0].tags == (text,)


@pytest.mark.parametrize("null", ['""', "''", '"null"', '"~"'])
def test_what_is_in_quotes_is_never_nothing(null, files):
    found = files.load(f"jobs:\n  - run: a\n    env: {{A: {null}}}\n")
    assert found.jobs[0].work.env == (("A", null[1:-1]),)


def test_jobs_may_be_a_map_keyed_by_id(files):
    found = files.load("jobs:\n  a: make\n  b: {run: make test, needs: a}\n  'no': y\n")
    assert [(job.id, job.work.run, job.needs, job.named, job.line) for job in found.jobs] == [
        ("a", "make", (), True, 2),
        ("b", "make test", (Need("a"),), True, 3),
        ("no", "y", (), True, 4),
    ]


@pytest.mark.parametrize("run", ["run", "command", "cmd"])
@pytest.mark.parametrize("id", ["id", "name"])
def test_other_spellings_are_accepted(run, id, files):
    (job,) = files.load(f"jobs: [{{{id}: a, {run}: b}}]").jobs
    assert (job.id, job.work.run) == ("a", "b")


def test_json_is_read_the_same_way(files):
    document = {
        "workers": "50%",
        "jobs": [{"id": "a", "run": "echo ü", "retries": 2, "timeout": 1.5}, "true"],
    }
    plain = files.load(json.dumps(document, ensure_ascii=False), name="jobs.json")
    assert [(job.id, job.work.run, job.retry.max, job.timeout) for job in plain.jobs] == [
        ("a", "echo ü", 2, 1.5),
        ("2", "true", 0, None),
    ]
    assert plain.workers == "50%"
    assert files.load(json.dumps(document, indent="\t"), name="jobs.json").jobs[0].work == plain.jobs[0].work
    assert files.load(json.dumps(document, separators=(",", ":")), name="jobs.json").jobs[1].work == Command(
        "true"
    )


def test_pairs_of_surrogates_in_json_are_one_character(files):
    text = json.dumps({"jobs": ["echo \U0001f600 \\ud83d\\ude00 /"]}).replace("/", "\\/")
    assert "\\ud83d\\ude00" in text
    assert files.load(text).jobs[0].work.run == "echo \U0001f600 \\ud83d\\ude00 /"


def test_a_byte_order_mark_and_crlf_are_tolerated(files):
    found = files.load("\ufeffjobs:\r\n  - run: |\r\n      a\r\n      b\r\n  - c\r\n")
    assert [(job.work.run, job.line) for job in found.jobs] == [("a\nb\n", 2), ("c", 5)]


def test_anchors_and_merge_keys_work_and_the_jobs_own_keys_win(files):
    found = files.load(
        "x-base: &base {timeout: 5, cmd: make, env: {A: 1}}\n"
        "x-more: &more {timeout: 6, grace: 7, tags: [x]}\n"
        "jobs:\n"
        "  - {<<: *base}\n"
        "  - {<<: [*base, *more], timeout: 8, run: other}\n"
        "  - &last {<<: *more, run: last}\n"
        "  - {<<: *last, id: again}\n"
    )
    assert [(job.id, job.work.run, job.timeout, job.grace, job.tags, job.work.env) for job in found.jobs] == [
        ("1", "make", 5.0, 5.0, (), (("A", "1"),)),
        ("2", "other", 8.0, 7.0, ("x",), (("A", "1"),)),
        ("3", "last", 6.0, 7.0, ("x",), ()),
        ("again", "last", 6.0, 7.0, ("x",), ()),
    ]


def test_a_map_of_jobs_may_merge_others_in(files):
    found = files.load("x-jobs: &more {a: make, b: make b}\njobs:\n  <<: *more\n  b: other\n  c: make c\n")
    assert [(job.id, job.work.run) for job in found.jobs] == [("b", "other"), ("c", "make c"), ("a", "make")]


def test_jobs_may_be_an_alias(files):
    found = files.load("x-jobs: &all [a, b]\njobs: *all\n")
    assert [job.work.run for job in found.jobs] == ["a", "b"]


def test_keys_at_the_top_that_begin_with_x_are_ignored(files):
    assert len(files.load("x-a: {what: [ever]}\nx-: 1\njobs: [a]\n").jobs) == 1


@pytest.mark.parametrize("workers", ["4", "50%", "+1", "-1", "auto"])
def test_workers_are_kept_as_written(workers, files):
    assert files.load(f"workers: {workers}\njobs: [a]").workers == workers


def test_a_timeout_of_nothing_is_none(files):
    found = files.load(
        "defaults: {timeout: 5, idle_timeout: 5}\njobs: [{run: a, timeout: 0, idle_timeout: 0s}]"
    )
    assert (found.jobs[0].timeout, found.jobs[0].idle_timeout) == (None, None)


def test_the_job_wins_over_the_command_line_and_that_over_the_file(files):
    text = (
        "env: {A: file, B: file, C: file}\n"
        "defaults:\n"
        "  timeout: 1\n"
        "  grace: 1\n"
        "  env: {B: defaults, C: defaults}\n"
        "  retries: {max: 1, delay: 1, max_delay: 1, jitter: 0.1}\n"
        "jobs:\n"
        "  - {run: a, timeout: 3, env: {C: job}, retries: {delay: 3}}\n"
    )
    given = {
        "timeout": 2.0,
        "grace": 2.0,
        "idle_timeout": 2.0,
        "env": {"C": "given", "D": "given"},
        "retry": {"max": 2, "max_delay": 2.0, "on": frozenset({5})},
        "shell": ("bash", "-c"),
        "signal": "SIGINT",
        "priority": Priority.LOW,
        "stdin": "in",
    }
    (job,) = files.load(text, given).jobs
    assert job == JobSpec(
        "1",
        Command(
            "a",
            env=(("A", "file"), ("B", "defaults"), ("C", "job"), ("D", "given")),
            shell=("bash", "-c"),
            signal="SIGINT",
            stdin="in",
        ),
        priority=Priority.LOW,
        timeout=3.0,
        idle_timeout=2.0,
        grace=2.0,
        retry=RetryPolicy(max=2, delay=3.0, max_delay=2.0, jitter=0.1, on=frozenset({5})),
        named=False,
        file="jobs.yaml",
        line=8,
    )


def test_defaults_may_hold_a_command_a_matrix_and_needs(files):
    found = files.load(
        "defaults: {run: make $T, matrix: {T: [x, y]}, needs: first}\n"
        "jobs:\n"
        "  - {id: first, run: setup, matrix: {U: [1]}}\n"
        "  - id: second\n"
        "  - {id: third, needs: []}\n"
    )
    assert [(job.id, job.work.run, job.work.env, job.needs) for job in found.jobs] == [
        ("first[U=1]", "setup", (("U", "1"),), ()),
        ("second[T=x]", "make $T", (("T", "x"),), (Need("first[U=1]"),)),
        ("second[T=y]", "make $T", (("T", "y"),), (Need("first[U=1]"),)),
        ("third[T=x]", "make $T", (("T", "x"),), ()),
        ("third[T=y]", "make $T", (("T", "y"),), ()),
    ]


def test_pools_are_wanted_by_name_by_list_or_by_number(files):
    found = files.load("pools: {net: 4, gpu: [a, b]}\njobs:\n" + "".join(
        f"  - {{run: a, pools: {wanted}}}\n" for wanted in ("net", "[net, gpu]", "{net: 3, gpu: 2}", "[]")
    ))  # fmt: skip
    assert [job.pools for job in found.jobs] == [
        (("net", 1),),
        (("net", 1), ("gpu", 1)),
        (("net", 3), ("gpu", 2)),
        (),
    ]


def test_pools_of_the_command_line_go_over_those_of_the_file(files):
    found = files.load(
        "pools: {net: 1, cpu: 2}\njobs: [{run: a, pools: {net: 3, disk: 1}}]",
        pools=[Pool("net", 3), Pool("disk", 1)],
    )
    assert found.pools == (Pool("net", 3), Pool("cpu", 2), Pool("disk", 1))


def test_what_jobs_have_in_common_is_there_once(files):
    a, b = files.load(
        "env: {A: 1}\ndefaults: {retries: {max: 3}}\njobs:\n" + "  - {run: x, tags: [t, u]}\n" * 2
    ).jobs
    assert a.retry is b.retry
    assert a.work.env is b.work.env
    assert a.tags is b.tags


def test_the_pure_parser_reads_the_same(files, monkeypatch):
    expected = files.load(FULL)
    monkeypatch.setattr("pqrun.input.jobfile.yaml_tree._yaml", None)
    assert files.load(FULL) == expected
    assert files.load('{\n\t"jobs": [\n\t\t"a\\tb"\n\t]\n}').jobs[0].work.run == "a\tb"
    assert "a tab as indentation" in files.says("jobs:\n\t- a\n")
    assert "an escape of no character" in files.says('jobs:\n  - "\\ud83d"\n')
