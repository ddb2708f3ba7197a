# SPDX-License-Identifier: LGPL-3.0-or-later
"""The trials to which GNU parallel's manual puts other tools, as far as they are about `each`.

`docs/from-gnu-parallel.md` lists them. They are smaller here: what breaks a tool breaks it early.
"""

import os
import re
import sys

import pytest

NAME = "My brother's 12\" *** record  (costs $$$).jpg"


@pytest.mark.slow
def test_output_of_jobs_that_run_at_once_does_not_mix(each, tmp_path):
    script = tmp_path / "mycommand"
    halves = "".join(
        f"printf '%0300000d' 0 | tr 0 {sign}{' >&2' if sign in 'bdf' else ''}\n" for sign in "abcdef"
    )
    script.write_text(f"#!/bin/sh\n{halves}echo\necho >&2\n")
    script.chmod(0o755)
    done = each("-j", "8", "./mycommand", "::::", "-", input="".join(f"{n}\n" for n in range(12)))
    whole = "".join(sign * 300_000 for sign in "ace")
    assert (done.code, done.stdout == f"{whole}\n".encode() * 12) == (0, True)
    others = "".join(sign * 300_000 for sign in "bdf")
    assert done.err.count(f"{others}\n") == 12


def test_stderr_is_kept_apart_from_stdout(each):
    done = each("echo out; echo err >&2; echo out; echo err >&2; :", ":::", "x")
    assert (done.code, done.stdout, done.err) == (0, b"out\nout\n", "err\nerr\n")


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
def test_output_larger_than_the_memory_that_is_used(live, most_memory):
    """Of 200 MB that several jobs print at once, only a part is ever in memory."""
    process = live(
        "each", "-q", "--no-journal", "-j4", "yes {} | head -c 50000000", ":::", "a", "b", "c", "d"
    )
    size = most = 0
    while size < 199_000_000 and (data := process.stdout.read(1 << 20)):
        size += len(data)
        most = most_memory(process.pid)
    size += len(process.stdout.read())
    assert (size, process.wait(60)) == (200_000_000, 0)
    assert 1024 < most < 150 * 1024


@pytest.mark.slow
def test_names_that_shells_stumble_over(each, tmp_path):
    (tmp_path / NAME).write_text("found")
    found = "".join(f"{path.name}\n" for path in tmp_path.glob("My*jpg"))
    assert each("cat", input=found).stdout == b"found"
    assert each("cat {} && echo {.} {/}", input=found).lines == [f"found{NAME[:-4]} {NAME}"]


@pytest.mark.slow
def test_a_command_may_be_composed_of_several(each):
    assert each("echo", "foo;", "echo", "{}", input="bar\n").lines == ["foo", "bar"]
    assert each("echo {} | tr a-z A-Z > {}.up && cat {}.up", input="bar\n").lines == ["BAR"]


@pytest.mark.slow
def test_an_argument_may_be_put_in_more_than_once(each):
    assert each("echo", "{}", "foo", "{}", input="bar\n").lines == ["bar foo bar"]


@pytest.mark.slow
def test_the_length_of_an_argument_has_no_small_limit(each):
    """Longer than any argument of a program may be: what the shell does itself gets it all the same."""
    long = "x" * 1_000_000
    done = each("echo {.}", input=f"{long}.foo\n")
    assert (done.code, len(done.stdout)) == (0, len(long) + 1)
    done = each("printf %s {} | wc -c", input="x" * 131_000)
    assert [int(line) for line in done.lines] == [131_000]


def test_many_words_take_no_longer_than_their_bytes(each):
    words = "w " * 1000
    done = each("-j4", f"yes '{words}' | head -c 2000000; : ", ":::", *"abcde")
    assert (done.code, len(done.stdout)) == (0, 10_000_000)


@pytest.mark.slow
def test_a_very_long_line_of_output_is_passed_on(each):
    done = each("printf '%050000000d\\n' 0; :", ":::", "a")
    assert (done.code, len(done.stdout), done.stdout.count(b"\n")) == (0, 50_000_001, 1)


@pytest.mark.slow
def test_a_hundred_thousand_arguments_are_a_hundred_thousand_jobs(commands, tmp_path, pqrun):
    (tmp_path / "numbers").write_text("".join(f"{n}\n" for n in range(100_000)))
    found = commands("echo {#} {.}.txt", ":::", "x", "::::", "numbers")
    assert (len(found), found[99_999]) == (100_000, "echo 100000 x 99999.txt")
    done = pqrun(
        "each", "--dry-run", "echo {#} {}", "::::", "-", input="".join(f"{n}\n" for n in range(5000))
    )
    assert done.lines == [f"echo {n + 1} {n}" for n in range(5000)]


@pytest.mark.slow
def test_two_thousand_arguments_for_real(each, tmp_path):
    done = each("-j4", "echo {#} {}", input="".join(f"a{n}\n" for n in range(2000)))
    assert (done.code, done.lines) == (0, [f"{n + 1} a{n}" for n in range(2000)])


@pytest.mark.slow
def test_many_empty_lines_are_as_many_empty_arguments(each):
    done = each("-j4", "printf '<%s>\\n'", input="\n" * 500)
    assert (done.code, done.lines) == (0, ["<>"] * 500)


def test_nothing_is_left_in_the_place_for_temporary_files(each, tmp_path):
    place = tmp_path / "tmp"
    place.mkdir()
    done = each("--no-journal", "echo {}; echo err >&2", ":::", "a", "b", env={"TMPDIR": str(place)})
    assert (done.code, os.listdir(place)) == (0, [])


def test_the_page_lists_them_all():
    page = (os.path.dirname(__file__), "..", "..", "..", "docs", "from-gnu-parallel.md")
    with open(os.path.join(*page), encoding="utf-8") as file:
        text = file.read()
    with open(__file__, encoding="utf-8") as file:
        tests = re.findall(r"^def (test_\w+)", file.read(), re.MULTILINE)
    named = set(re.findall(r"`(test_\w+)`", text))
    assert named == set(tests) - {"test_the_page_lists_them_all"}
