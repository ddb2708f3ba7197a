# SPDX-License-Identifier: LGPL-3.0-or-later
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pqrun.core.job import Command, JobSpec, Need, Priority, RetryPolicy
from pqrun.input.command_list import MAX_LINE_BYTES, CommandList, LineError


def read(data, given=None, *, null=False, pieces=None):
    """The jobs in `data`, and the error at which reading ended, if it did."""
    lines = CommandList(given or {}, null=null)
    found = []
    try:
        for piece in pieces if pieces is not None else [data]:
            lines.feed(piece)
            while job := lines.take():
                found.append(job)
        lines.end()
        while job := lines.take():
            found.append(job)
    except LineError as error:
        return found, str(error)
    return found, None


def commands(data, **more):
    found, error = read(data, **more)
    return [job.work.run for job in found] + ([error] if error else [])


def test_a_plain_line_is_a_job_with_all_that_the_command_line_says():
    given = {
        "timeout": 5.0,
        "retry": {"max": 2},
        "env": {"A": "b"},
        "priority": Priority.LOW,
        "shell": ("bash", "-c"),
    }
    assert read(b"echo a\n", given) == (
        [
            JobSpec(
                "1",
                Command("echo a", env=(("A", "b"),), shell=("bash", "-c")),
                priority=Priority.LOW,
                timeout=5.0,
                retry=RetryPolicy(max=2),
                named=False,
                file="stdin",
                line=1,
            )
        ],
        None,
    )


def test_a_comment_sets_the_fields_of_its_line():
    line = (
        b"make docs # pqrun: id=docs priority=high timeout=10m retries=5 retry_delay=2s retry_on=5,timeout\n"
    )
    found, _ = read(line, {"timeout": 1.0, "retry": {"max_delay": 9.0}})
    assert found == [
        JobSpec(
            "docs",
            Command("make docs"),
            priority=Priority.HIGH,
            timeout=600.0,
            retry=RetryPolicy(max=5, delay=2.0, max_delay=9.0, on=frozenset({5, "timeout"})),
            file="stdin",
            line=1,
        )
    ]


def test_a_comment_may_hold_every_key_that_fits_into_a_word():
    found, error = read(
        b"make docs # pqrun: name=docs\n"
        b"make up\t#  pqrun: needs=docs tags=a,b 'cwd=my dir' allow_failure=true success_codes=3,0 "
        b"rerun=never "
        b"signal=15 slots=2 grace=0 idle_timeout=1s pools=net:2,gpu creates=x stdin=y leftovers=keep\n",
    )
    assert error is None
    assert found[1] == JobSpec(
        "2",
        Command("make up", cwd="my dir", stdin="y", signal="SIGTERM", keep_leftovers=True),
        idle_timeout=1.0,
        grace=0.0,
        needs=(Need("docs"),),
        slots=2,
        pools=(("net", 2), ("gpu", 1)),
        tags=("a", "b"),
        success_codes=(0, 3),
        allow_failure=True,
        rerun=False,
        creates="x",
        named=False,
        file="stdin",
        line=2,
    )


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", []),
        (b"a\nb", ["a", "b"]),
        (b"\n  \n\t\na\n\n", ["a"]),
        (b"# a\n  # b\n#!/bin/sh\nc #d\n", ["c #d"]),
        (b"a\r\nb\r\n\r\n", ["a", "b"]),
        (b"\xef\xbb\xbfa\n", ["a"]),
        (b"\xef\xbb", ["\udcef\udcbb"]),
        (b"a \\\nb \\\r\n  c\nd\n", ["a b   c", "d"]),
        (b"a\\\\\nb\\\\\\\nc\n", ["a\\\\", "b\\\\c"]),
        (b"a \\", ["a "]),
        (b"\\\n\\\n", []),
        (b"\\\n# a\nb", ["b"]),
        (b"# a \\\nb\n", ["b"]),
        (b"a \\\n\nb\n", ["a ", "b"]),
        (b"\xff\xfe \xe4\n", ["\udcff\udcfe \udce4"]),
        ("ü {} $x 'a # pqrun: b=c'\n".encode(), ["ü {} $x 'a # pqrun: b=c'"]),
        (b'echo "a # pqrun: x=y"\n', ['echo "a # pqrun: x=y"']),
        (b'echo "a\\" # pqrun: x=y"\n', ['echo "a\\" # pqrun: x=y"']),
        (b"echo a\\ # pqrun: x=y\n", ["echo a\\ # pqrun: x=y"]),
        (b"echo a#pqrun: x=y\n", ["echo a#pqrun: x=y"]),
        (b"echo # don't # pqrun: tags=x\n", ["echo # don't"]),
    ],
)
def test_lines_are_read_as_a_shell_would(data, expected):
    assert commands(data) == expected


def test_with_null_only_nul_characters_separate():
    assert commands(b"a\nb\0\0# c\0d \\\0e # pqrun: id=x\0", null=True) == ["a\nb", "# c", "d \\", "e"]
    found, _ = read(b"a\0b\nc # pqrun: id=x", null=True)
    assert [(job.id, job.work.run, job.line) for job in found] == [("1", "a", 1), ("x", "b\nc", 2)]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"a\nb\0c\n", "stdin:2: a NUL character (if the commands are NUL-separated, use -0)"),
        (b"a\nb\0", "stdin:2: a NUL character (if the commands are NUL-separated, use -0)"),
        (b"a\nb \\\nc\0\n", "stdin:3: a NUL character (if the commands are NUL-separated, use -0)"),
        (b"a\nb # pqrun: id=x\nc # pqrun: id=x\n", "stdin:3: duplicate id `x`"),
        (b"a\nb # pqrun: id=1\n", "stdin:2: the id `1` is the number of a job without an id"),
        (
            b"a # pqrun: id=2\nb\n",
            "stdin:2: this job's number is 2, which is the id of an earlier job",
        ),
        (b"a # pqrun: id\n", "stdin:1: `id` after `# pqrun:` is not key=value"),
        (
            b"a # pqrun: tiemout=1\n",
            "stdin:1: unknown key `tiemout` after `# pqrun:` (did you mean `timeout`?)",
        ),
        (
            b"a # pqrun: timeout=ten\n",
            "stdin:1: `timeout`: not a duration: `ten` (write seconds, or a value such as 250ms, 90s, 10m, 1h30m)",
        ),
        (b"a # pqrun: id=x name=y\n", "stdin:1: `id` is given twice after `# pqrun:`"),
        (b"a # pqrun: id='x\n", "stdin:1: a quote that is not closed after `# pqrun:`"),
        (b"a # pqrun: needs=b\n", "stdin:1: unknown need `b` (a line can only need jobs above it)"),
        (b"a # pqrun: needs=1\n", "stdin:1: unknown need `1` (a line can only need jobs above it)"),
    ],
)
def test_reading_ends_where_it_has_to_and_what_was_before_is_good(data, expected):
    found, error = read(data)
    assert error == expected
    assert [job.work.run for job in found] == ["a", "b"][: len(found)]


def test_an_error_is_raised_again_when_asked_again():
    lines = CommandList({})
    lines.feed(b"\0\n")
    for _ in range(2):
        with pytest.raises(LineError, match="NUL"):
            lines.take()


def test_a_line_may_have_16_mib_and_not_a_byte_more():
    long = b"a" * MAX_LINE_BYTES
    assert [len(command) for command in commands(long + b"\nb")] == [MAX_LINE_BYTES, 1]
    assert commands(b"x\n" + long + b"b\n") == ["x", "stdin:2: a line over 16 MiB"]
    assert commands(b"x\n" + long + b"b") == ["x", "stdin:2: a line over 16 MiB"]
    half = b"a" * (MAX_LINE_BYTES // 2)
    assert commands(b"x\n" + b"\\\n".join([half, half, half])) == ["x", "stdin:2: a line over 16 MiB"]


def test_an_endless_line_is_given_up_before_it_is_read():
    lines = CommandList({})
    piece = b"a" * (1024 * 1024)
    with pytest.raises(LineError, match="16 MiB"):
        for _ in range(18):
            lines.feed(piece)
            assert lines.take() is None


def test_a_job_comes_out_as_soon_as_its_line_has_ended():
    lines = CommandList({})
    lines.feed(b"a\nb")
    assert lines.take().work.run == "a"
    assert lines.take() is None
    lines.feed(b"c\n")
    assert lines.take().work.run == "bc"
    assert (lines.take(), lines.number) == (None, 2)


def test_another_file_goes_on_with_the_numbers_and_not_with_the_line():
    lines = CommandList({}, file="a.txt", after=2)
    lines.feed(b"x\n\ny \\")
    lines.end()
    found = [lines.take(), lines.take()]
    assert lines.take() is None
    lines.begin("b.txt")
    lines.feed(b"\xef\xbb\xbfz\n")
    lines.end()
    found.append(lines.take())
    assert [(job.id, job.work.run, job.file, job.line) for job in found] == [
        ("3", "x", "a.txt", 1),
        ("4", "y ", "a.txt", 3),
        ("5", "z", "b.txt", 1),
    ]


def test_jobs_that_have_the_same_settings_share_them():
    (a, b), _ = read(b"a # pqrun: retries=3 tags=x\nb # pqrun: tags=x retries=3\n")
    assert a.retry is b.retry
    assert a.tags is b.tags


@given(st.binary(max_size=60), st.booleans(), st.integers(1, 7))
def test_it_does_not_matter_how_the_bytes_come(data, null, size):
    pieces = [data[at : at + size] for at in range(0, len(data), size)]
    whole, error = read(data, null=null)
    parts, other = read(data, null=null, pieces=pieces)
    assert (parts, other) == (whole, error)


@given(
    st.lists(
        st.sampled_from(
            [b"a", b"# pqrun: id=x", b" # pqrun: id=", b"\\", b"\n", b"\r", b"'", b'"', b" ", b"2", b"\0"]
        )
    )
)
def test_no_bytes_make_it_fail_otherwise_than_by_ending(parts):
    read(b"".join(parts))
    read(b"".join(parts), null=True)


def test_a_line_that_is_passed_over_keeps_its_number():
    lines = CommandList({})
    lines.feed(b"true # pqrun: bogus=1\ntrue\ntrue # pqrun: needs=2\n")
    lines.end()
    with pytest.raises(LineError, match="unknown key `bogus`"):
        lines.take()
    assert lines.pass_over()
    assert lines.take().id == "2"
    assert lines.take().needs == (Need("2"),)
