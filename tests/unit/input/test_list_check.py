# SPDX-License-Identifier: LGPL-3.0-or-later
"""All wrong comments of some lists are found before the first job runs, and nothing else is called wrong."""

import pytest

from pqrun.core.errors import UserError
from pqrun.core.layout import Layout
from pqrun.input.command_list import CommandList
from pqrun.input.jobfile.problems import JobFileError
from pqrun.input.list_check import ListPart, check_list


def checked(*texts, whole=True, size=7, after=0, **more):
    """The number of jobs of lists `a`, `b` and so on, which are read in small pieces, or the problems found."""

    def part(name, text):
        data = text.encode()
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        return ListPart(name, pieces.__iter__, whole)

    try:
        parts = [part(name, text) for name, text in zip("abcd", texts, strict=False)]
        return check_list(CommandList({}, file="a", after=after), parts, **more)
    except JobFileError as error:
        return [("abcd"[one.rank], one.line, one.column, one.message) for one in error.problems]


def test_the_jobs_of_all_lists_are_counted():
    assert checked("echo 1\n# no job\n\necho 2", "echo \\\n 3\n", "") == 3
    assert checked("true # pqrun: id=x\n", "true # pqrun: needs=x\n") == 2
    assert checked("true # pqrun: needs=4\n", "true # pqrun: needs=5\n", after=4) == [
        ("a", 1, 6, "unknown need `4` (a line can only need jobs above it)")
    ]


@pytest.mark.parametrize("size", [7, 1000])
def test_every_wrong_comment_is_found_and_numbers_go_on_below_it(size):
    first = "true # pqrun: id=x\nfalse # pqrun: x\ntrue # pqrun: id=x\ntrue\ntrue # pqrun: needs=y\n"
    found = checked(first, "echo\necho # pqrun: needs=2 timeout=y\n", size=size)
    assert [problem[:3] for problem in found] == [("a", 2, 7), ("a", 3, 6), ("a", 5, 6), ("b", 2, 6)]
    assert (
        found[0][3].startswith("`x` after `# pqrun:` is not key=value") and found[1][3] == "duplicate id `x`"
    )
    assert checked("true # pqrun: x\ntrue\ntrue # pqrun: needs=2\n")[1:] == []


def test_a_line_at_which_reading_ends_is_wrong_only_if_all_is_checked():
    nul = "echo 1\necho \0\necho # pqrun: x\n"
    told = ("a", 2, 1, "a NUL character (if the commands are NUL-separated, use -0)")
    assert checked(nul) == 1
    assert checked(nul, everything=True) == [told]
    assert checked(nul, "echo # pqrun: x\n", everything=True) == [
        told
    ]  # the numbers of its jobs are not known
    wrong_before = checked("echo # pqrun: x\n" + nul, "echo # pqrun: x\n")
    assert [problem[:2] for problem in wrong_before] == [("a", 1)]


def test_behind_a_list_that_is_not_checked_only_what_is_wrong_in_itself_counts():
    texts = ("true # pqrun: needs=above\n", "true # pqrun: needs=above\ntrue # pqrun: x\n")
    assert [problem[:2] for problem in checked(*texts)] == [("a", 1), ("b", 1), ("b", 2)]
    assert [problem[:2] for problem in checked(*texts, whole=False)] == [("b", 2)]


def test_a_job_that_does_not_fit_is_wrong_at_its_line():
    def fits(job):
        if job.slots > 4:
            raise UserError(f"{job.file}:{job.line}: {job.slots} slots")
        if job.timeout:
            raise UserError("no time limits here")

    text = "true\ntrue # pqrun: slots=5\ntrue # pqrun: timeout=1s\n"
    assert checked("true # pqrun: slots=4\n", text, fits=fits) == [
        ("b", 2, 1, "5 slots"), ("b", 3, 1, "no time limits here")
    ]  # fmt: skip


def test_the_text_of_a_wrong_line_is_shown():
    with pytest.raises(JobFileError) as found:
        part = ListPart("a", [b"true\nfalse # pqrun: x=y\n"].__iter__)
        check_list(CommandList({}, file="a"), [part])
    shown = "\n".join(found.value.shown(Layout(80, lambda _style, text: text)))
    assert "false # pqrun: x=y" in shown and "true" not in shown
