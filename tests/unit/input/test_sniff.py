# SPDX-License-Identifier: LGPL-3.0-or-later
import pytest

from pqrun.input.sources import looks_like_job_file


@pytest.mark.parametrize(
    "head",
    [
        b"jobs:\n  - a\n", b"# a comment\n\n  \nworkers: 4\n", b"\xef\xbb\xbfjobs:", b"---\njobs:",
        b"--- # x\n", b"{\n",
        b'{"jobs": ["a"]}', b"{jobs: [a]}", b"{}", b"x-a: 1\n", b'"jobs": [a]\n', b"env:\t{A: b}\n",
        b"jobs :\n",
        b"max_queue: 5\r\n", b"defaults: {}", b"pools: {}", b"  jobs:\n",
    ],
)  # fmt: skip
def test_a_job_file_is_told_by_its_first_line(head):
    assert looks_like_job_file(head, True) is True


@pytest.mark.parametrize(
    "head",
    [
        b"", b"\n\n# x\n", b"make\n", b"jobs -l\n", b"env A=b c\n", b"jobs:x\n", b"{ echo a; echo b; }\n",
        b"{ make\n",
        b"----\n", b"\0jobs:\n", b"echo jobs: a\n", b"jobs", b"\xff\xfe", b"x: a\n",
    ],
)  # fmt: skip
def test_what_begins_otherwise_is_a_list_of_commands(head):
    assert looks_like_job_file(head, True) is False


@pytest.mark.parametrize("head", [b"", b"# x\n", b"\n", b"jobs", b"jobs:", b"make", b"#" * 9999])
def test_a_line_that_has_not_ended_says_nothing_yet(head):
    assert looks_like_job_file(head, False) is None


def test_a_long_line_is_no_key_and_needs_no_end():
    assert looks_like_job_file(b"a" * 5000, False) is False
    assert looks_like_job_file(b"{" + b'"a":' * 5000, False) is True
