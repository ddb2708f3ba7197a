# SPDX-License-Identifier: LGPL-3.0-or-later
"""`--shard`: each job to one machine, the same whatever else is in the list, with all that it needs."""

from collections import Counter
from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pqrun.core.errors import UserError
from pqrun.core.job import Command, JobSpec, Need, Shard
from pqrun.core.past import KnownDurations, past_key
from pqrun.core.values import shard as shard_of
from pqrun.input.shard import ShardFilter, assign_shard, describe_shard


def job(name, *needs, run="true"):
    return JobSpec(name, Command(run), needs=tuple(map(Need, needs)))


def unnamed(number, run):
    return JobSpec(str(number), Command(run), named=False)


def ids(jobs):
    return [job.id for job in jobs]


def parts(jobs, count):
    return [assign_shard(jobs, Shard(index, count)) for index in range(1, count + 1)]


@given(some.integers(1, 9), some.sets(some.text(min_size=1, max_size=5), max_size=40))
def test_each_job_is_in_exactly_one_part(count, names):
    jobs = [job(name) for name in names]
    found = Counter(id for part in parts(jobs, count) for id in ids(part))
    assert found == Counter(names)


def test_the_parts_are_of_about_the_same_size():
    sizes = [len(part) for part in parts([job(f"test-{n}") for n in range(1000)], 4)]
    assert min(sizes) > 200


def test_where_a_job_goes_depends_on_its_id_alone():
    jobs = [job(f"t{n}") for n in range(50)]
    fewer = [one for one in reversed(jobs) if one.id not in ("t3", "t17")]
    for whole, less in zip(parts(jobs, 3), parts(fewer, 3), strict=True):
        assert set(ids(less)) == set(ids(whole)) - {"t3", "t17"}
    changed = [one._replace(work=Command("other"), timeout=3.0) for one in jobs]
    assert [ids(part) for part in parts(changed, 3)] == [ids(part) for part in parts(jobs, 3)]


def test_what_decides_is_written_down_and_never_changes():
    """The first eight bytes of SHA-256 modulo the number of parts: other programs may count on it."""
    jobs = [job(name) for name in ("a", "b", "c", "d", "é")]
    assert [ids(part) for part in parts(jobs, 3)] == [["é"], ["a", "b"], ["c", "d"]]
    runs = ["make a", "make b", ("make", "a"), "make a", "make é"]
    hashed = ["make a", "make b", "make\0a", "make a\0" + "2", "make é"]
    numbers = [int.from_bytes(sha256(text.encode()).digest()[:8], "big") % 97 for text in hashed]
    commands = [unnamed(number, run) for number, run in enumerate(runs, 1)]
    found = {id: index for index, part in enumerate(parts(commands, 97)) for id in ids(part)}
    assert [found[job.id] for job in commands] == numbers


def test_a_job_without_an_id_is_known_by_what_it_runs_and_how_often_it_was_there():
    runs = ["make a", "make b", "make a", "make c", "make a"]
    jobs = [unnamed(number, run) for number, run in enumerate(runs, 1)]
    before = [unnamed(number, run) for number, run in enumerate(["new", *runs], 1)]
    whole, more = parts(jobs, 4), parts(before, 4)
    for part, other in zip(whole, more, strict=True):
        found = [one.work.run for one in other if one.work.run != "new"]
        assert found == [one.work.run for one in part]
    assert Counter(id for part in whole for id in ids(part)) == Counter(ids(jobs))


def test_words_are_not_the_same_as_a_text():
    dealers = [ShardFilter(Shard(1, 1000)) for _ in range(2)]
    spec = unnamed(1, "a")
    assert dealers[0]._number(spec) != dealers[1]._number(spec._replace(work=Command(("a", ""))))


def test_what_a_job_needs_comes_along_and_only_where_it_is_needed():
    jobs = [job("build"), job("data"), *[job(f"t{n}", "build") for n in range(9)], job("t9", "data")]
    found = parts(jobs, 3)
    tests = Counter(id for part in found for id in ids(part) if id.startswith("t"))
    assert set(tests.values()) == {1} and len(tests) == 10
    assert all("build" in ids(part) for part in found)
    assert [("data" in ids(part)) == ("t9" in ids(part)) for part in found] == [True] * 3
    for part in found:
        assert ids(part) == [one.id for one in jobs if one.id in ids(part)]


def test_by_time_each_end_of_a_chain_is_in_the_part_with_the_least_time():
    jobs = [job("build"), job("long", "build"), job("a", "build"), job("b", "build"), job("new")]
    times = {"long": 60.0, "a": 30.0, "b": 20.0, "build": 500.0}
    past = KnownDurations({past_key(name, "true", named=True): took for name, took in times.items()})
    found = [ids(assign_shard(jobs, Shard(number, 2), past)) for number in (1, 2)]
    assert [set(part) - {"new"} for part in found] == [{"build", "long"}, {"build", "a", "b"}]
    assert sum("new" in part for part in found) == 1


def test_a_chain_stays_together_where_its_end_belongs():
    jobs = [job("a"), job("b", "a"), job("c", "b"), job("d")]
    alone = [job("c"), job("d")]
    for part, ends in zip(parts(jobs, 2), parts(alone, 2), strict=True):
        chain = ["a", "b", "c"] if "c" in ids(ends) else []
        assert ids(part) == chain + (["d"] if "d" in ids(ends) else [])


@pytest.mark.parametrize(
    ("part", "jobs", "told"),
    [
        ("", "", None), ("a", "a", None), ("a", "ab", None), ("", "a", "none of the one job"),
        ("", "ab", "none of the 2 jobs"),
    ],
)  # fmt: skip
def test_a_part_without_jobs_is_told_of_if_there_are_any(part, jobs, told):
    found = describe_shard([job(name) for name in part], [job(name) for name in jobs], Shard(2, 3))
    assert found == (() if told is None else (f"pqrun: part 2/3 contains {told}",))


def test_in_a_list_of_commands_a_need_is_an_error():
    with pytest.raises(UserError, match="with --shard, only jobs of a job file can have needs"):
        ShardFilter(Shard(1, 2)).takes_line(job("a", "b"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["lines", "jobs.yaml", "each"])
def test_machines_together_run_everything_once(pqrun, tmp_path, kind):
    names = [f"job{n}" for n in range(30)]
    (tmp_path / "lines").write_text("".join(f"echo {name}\n" for name in names))
    listed = "\n".join(f"  - {{id: {name}, run: echo {name}}}" for name in names)
    (tmp_path / "jobs.yaml").write_text(f"jobs:\n{listed}\n")
    words = ["each", "-q", "-k", "echo", ":::", *names] if kind == "each" else ["run", "-q", "-k", kind]
    out = []
    for index in (1, 2):
        done = pqrun(*words[:3], "--shard", f"{index}/2", *words[3:])
        assert done.code == 0
        out.append(done.lines)
    assert Counter(line for lines in out for line in lines) == Counter(names)
    assert all(5 < len(lines) < 25 for lines in out)


@pytest.mark.slow
def test_numbers_are_those_of_the_whole_list(pqrun):
    names = [f"x{n}" for n in range(12)]
    out = []
    for index in (1, 2):
        out += pqrun("each", "-q", "-k", "--shard", f"{index}/2", "echo {#} {}", ":::", *names).lines
    assert sorted(out) == sorted(f"{n + 1} x{n}" for n in range(12))


@pytest.mark.slow
def test_a_part_without_jobs_is_no_failure_and_that_is_said(pqrun):
    dones = [pqrun("each", "--shard", f"{index}/2", "true", ":::", "only") for index in (1, 2)]
    assert [done.code for done in dones] == [0, 0]
    told = [
        f"pqrun: part {index}/2 contains none of the one job" in done.err
        for index, done in enumerate(dones, 1)
    ]
    assert sorted(told) == [False, True]


@pytest.mark.parametrize("shard", ["0/4", "5/4", "1", "a/b", "1/0", "-1/2"])
def test_what_is_no_part_is_refused(shard):
    with pytest.raises(ValueError):
        shard_of(shard)
