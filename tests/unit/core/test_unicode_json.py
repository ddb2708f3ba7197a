# SPDX-License-Identifier: LGPL-3.0-or-later
"""The arguments of a job by name, and by place where there is no name of use."""

import json

import pytest

from pqrun.core.job import UNKNOWN_SIZE, Command, InputBlock, JobSpec
from pqrun.core.text import arguments_by_name
from pqrun.core.unicode_json import argument_facts, as_json

USUAL = JobSpec("a", Command("true"))


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ((), {"1": "x", "2": "y", "3": "z"}),
        (("city", "year", "size", "more"), {"city": "x", "year": "y", "size": "z"}),
        (("city",), {"city": "x", "2": "y", "3": "z"}),
        (("", "year"), {"1": "x", "year": "y", "3": "z"}),
        (("city", "city"), {"city": "x", "2": "y", "3": "z"}),
        (("3", "2", "1"), {"1": "x", "2": "y", "3": "z"}),
        (("\udcff", "\udcfe", "٢"), {"1": "x", "2": "y", "٢": "z"}),
    ],
)
def test_each_argument_has_a_key_of_its_own(names, expected):
    assert arguments_by_name(USUAL._replace(arg_names=names, args=("x", "y", "z"))) == expected


def test_a_job_without_arguments_has_no_member_for_them():
    assert argument_facts(USUAL) == argument_facts(USUAL._replace(work=None)) == {}


def test_bytes_that_are_no_text_stand_beside_the_arguments():
    facts = argument_facts(USUAL._replace(args=("a\udcff\x1b[31m", "b"), arg_names=("name",)))
    assert json.loads(as_json(facts)) == {
        "args": {"name": "a\ufffd\x1b[31m", "2": "b"}, "args_bytes": {"name": "Yf8bWzMxbQ==", "2": "Yg=="},
    }  # fmt: skip


@pytest.mark.parametrize(("size", "shown"), [(9, 9), (UNKNOWN_SIZE, None)])
def test_a_job_of_a_block_has_the_place_of_the_block(size, shown):
    work = Command("cat", stdin=InputBlock(2, 7, size, "/a"))
    assert argument_facts(USUAL._replace(work=work)) == {"block": {"number": 2, "offset": 7, "bytes": shown}}
