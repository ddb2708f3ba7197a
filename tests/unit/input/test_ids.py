# SPDX-License-Identifier: LGPL-3.0-or-later
"""Ids and tags: text of every language; those of a matrix are made from values that may be anything."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as some

from pqrun.control.job_payload import JobPayload
from pqrun.core.errors import Rejected
from pqrun.core.text import is_printable
from pqrun.core.values import InvalidValue, job_id, tag
from pqrun.input.jobfile import load
from pqrun.library.config import _check_id

LANGUAGES = [
    "می\u200cخواهم", "क\u094d\u200dष", "👨\u200d👩\u200d👧", "全角\u3000空白", "a\u00a0b", "1\u202f000 €", "שלום\u200f!",
    "\u0601 ١٢", "ភាសា\u200bខ្មែរ", "\u1826\u180e\u1820", "👩🏽\u200d🚀", "e\u0301", "🏴", "\U0001fae9",
]  # fmt: skip
NO_TEXT = [
    "a\nb",
    "a\tb",
    "\x1b[2J",
    "\x7f",
    "\x85",
    "\u2028",
    "\u202eabc",
    "\u2066a",
    "\udcff",
    "\ue000",
    "\ufdd0",
    "\U000e0041",
]


def converters():
    incoming = JobPayload()
    return (
        job_id,
        tag,
        _check_id,
        lambda text: incoming.job({"id": text, "run": "true"}),
    )


@pytest.mark.parametrize("text", LANGUAGES, ids=ascii)
def test_text_of_every_language_may_be_an_id_and_a_tag(text):
    for convert in converters():
        convert(text)


@pytest.mark.parametrize("text", NO_TEXT, ids=ascii)
def test_what_steers_or_is_no_text_may_not(text):
    for convert in converters():
        with pytest.raises((InvalidValue, Rejected, ValueError)):
            convert(text)


def jobs_of(axes, **more):
    text = json.dumps({"jobs": [{"id": "t", "run": "true", "matrix": axes, **more}]}, ensure_ascii=True)
    return load(["jobs.json"], {}, read=lambda _: text.encode()).jobs


def test_values_are_free_and_ids_are_made_from_them():
    values = [
        "x" * 300,
        "x" * 300 + "y",
        "two\nlines",
        "a\ttab",
        "می\u200cخواهم",
        "全角\u3000",
        "\u202eturned",
        "",
        "a,B=b]",
    ]
    jobs = jobs_of({"A": values})
    assert [dict(job.work.env)["A"] for job in jobs] == values
    ids = [job.id for job in jobs]
    assert ids[2:] == [
        "t[A=two\\nlines]", "t[A=a\\ttab]", "t[A=می\u200cخواهم]", "t[A=全角\u3000]", "t[A=\\u202eturned]", "t[A=]", "t[A=a,B=b]]",
    ]  # fmt: skip
    assert all(id.startswith("t[A=xxx") and len(id) == 200 for id in ids[:2]) and ids[0] != ids[1]
    assert [job.id for job in jobs_of({"A": [values[1]]})] == [ids[1]], "whatever else is in the file"


def test_values_that_would_look_alike_get_different_ids():
    jobs = jobs_of({"A": ["1", "1,B=2"], "B": ["2,B=3", "3"]})
    assert len({job.id for job in jobs}) == 4
    jobs = jobs_of({"A": ["a\\nb", "a\nb"]})
    assert jobs[0].id == "t[A=a\\nb]" and jobs[1].id.startswith("t[A=a\\nb…")
    jobs = jobs_of({"X": [f"{'x' * 250}{n}" for n in range(50)]})
    assert len({job.id for job in jobs}) == 50


def test_a_long_id_of_its_own_with_a_matrix():
    text = json.dumps(
        {
            "jobs": [
                {"id": "i" * 200, "run": "true", "matrix": {"A": ["1", "2"]}},
                {"run": "true", "needs": ["i" * 200]},
            ]
        }
    )
    first, second, last = load(["jobs.json"], {}, read=lambda _: text.encode()).jobs
    assert len(first.id) == len(second.id) == 200 and first.id != second.id
    assert [need.job for need in last.needs] == [first.id, second.id]


@given(
    some.lists(
        some.text(max_size=300).filter(lambda text: "\0" not in text), min_size=1, max_size=5, unique=True
    )
)
def test_any_values_make_good_ids(values):
    ids = [job.id for job in jobs_of({"A": values})]
    assert len(set(ids)) == len(values)
    assert all(is_printable(id) and 0 < len(id) <= 200 for id in ids)
