# SPDX-License-Identifier: LGPL-3.0-or-later
"""The texts that say when a job may start."""

import time
from datetime import datetime

import pytest

from pqrun.core import field_types
from pqrun.core.values import InvalidValue
from pqrun.input.defaults import SpecBuilder, start_time


@pytest.fixture(autouse=True)
def zone(monkeypatch):
    """A zone with summer time, an hour ahead of UTC."""
    monkeypatch.setenv("TZ", "CET-1CEST,M3.5.0,M10.5.0/3")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


NOW = "2027-01-31 12:00:00+01:00"


@pytest.mark.parametrize(
    ("text", "means"),
    [
        ("22:00", "2027-01-31 22:00+01:00"),
        ("7:05", "2027-02-01 07:05+01:00"),
        ("12:00", "2027-02-01 12:00+01:00"),
        ("11:30Z", "2027-01-31 11:30Z"),
        ("10:30Z", "2027-02-01 10:30Z"),
        ("10:00-02:00", "2027-01-31 10:00-02:00"),
        ("2027-07-01", "2027-07-01 00:00+02:00"),
        ("2027-07-01 6:30", "2027-07-01 06:30+02:00"),
        ("2027-07-01T06:30:15", "2027-07-01 06:30:15+02:00"),
        ("2027-07-01 06:30:15Z", "2027-07-01 06:30:15Z"),
        ("2027-07-01 06:30+0530", "2027-07-01 06:30+05:30"),
        ("+1h30m", "2027-01-31 13:30+01:00"),
        ("@1800000000", "2027-01-15 08:00Z"),
        ("2028-02-29", "2028-02-29 00:00+01:00"),
    ],
)
def test_a_text_means_a_time(text, means):
    assert start_time(field_types.start_time(text), at(NOW)) == at(means)


def test_now_means_no_time():
    assert field_types.start_time("now") == "now"
    assert start_time("now") == 0
    job = SpecBuilder({"not_before": "now"}).make("true", {}, id="a", named=True, file=None, line=0)
    assert job.not_before is None


@pytest.mark.parametrize(
    "text",
    [
        "", "x", "22", "24:00", "9:60", "9:00:60", "2027-13-01", "2027-02-29", "2100-02-29", "2027-04-31", "1970-01-02",
        "2027-01-31+01:00", "2027-01-3110:00", "T10:00", "10:00 ", "10:00+24:00", "10:00+01:60", "+", "+soon", "@", "@-1",
        "@1e9", "2027-01-31 ", "Z", "２２:00",
    ],
)  # fmt: skip
def test_anything_else_is_refused(text):
    with pytest.raises(InvalidValue):
        field_types.start_time(text)


def test_a_time_that_summer_time_leaves_out_or_repeats_is_one_moment():
    for text in ("2027-03-28 02:30", "2027-10-31 02:30"):
        assert (
            abs(start_time(field_types.start_time(text)) - at(text.replace(" 02:30", " 02:30+01:30"))) <= 3600
        )


def test_a_duration_counts_from_the_reading_of_the_job():
    before = time.time()
    job = SpecBuilder({}).make("true", {"not_before": "+10s"}, id="a", named=True, file=None, line=0)
    assert before + 10 <= job.not_before <= time.time() + 10
