# SPDX-License-Identifier: LGPL-3.0-or-later
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pqrun.core import values
from pqrun.core.job import Priority
from pqrun.core.job_fields import JOB_FIELDS, RETRY_FIELDS, TOP_LEVEL_FIELDS
from pqrun.core.values import InvalidValue

FIELDS = (*JOB_FIELDS, *RETRY_FIELDS, *TOP_LEVEL_FIELDS)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("90", 90.0), ("1.5", 1.5), (".5", 0.5), ("250ms", 0.25), ("90s", 90.0), ("1h30m", 5400.0),
        ("1.5h", 5400.0),
        ("2d", 172800.0), ("0", 0.0), ("0s", 0.0), ("1m1s", 61.0), ("017", 17.0),
    ],
)  # fmt: skip
def test_a_duration_is_seconds(text, seconds):
    assert values.duration(text) == seconds


@pytest.mark.parametrize(
    "text",
    ["", "-1", "-1s", "nan", "inf", "1e3", "1e999", "1h 30m", "10 minutes", "1:30", "1M", "m", "1hh",
     "9" * 400, "1_0",
     "٣", " 1", "+1", "4000000000", "9999999h"],
)  # fmt: skip
def test_what_is_no_duration_is_refused_with_what_is_accepted(text):
    with pytest.raises(InvalidValue) as refused:
        values.duration(text)
    assert refused.value.hint
    assert len(str(refused.value)) < 200


@given(st.floats(0, 1e9))
def test_a_duration_survives_being_written_as_seconds(seconds):
    assert math.isclose(values.duration(f"{seconds:.9f}"), seconds, abs_tol=1e-8)


@pytest.mark.slow
@given(st.text())
def test_no_text_makes_a_converter_fail_otherwise_than_by_refusing(text):
    for convert in (*(field.type.parse for field in FIELDS), values.size, values.env_pair, values.variable):
        try:
            convert(text)
        except InvalidValue as refused:
            assert refused.what and str(refused).isprintable()


@pytest.mark.parametrize(
    ("text", "amount"),
    [("0", 0), ("64K", 65536), ("64k", 65536), ("10M", 10485760), ("1GiB", 2**30), ("1.5K", 1536),
     ("1KB", 1000),
     ("2 MB", 2000000), ("5B", 5), ("1T", 2**40)],
)  # fmt: skip
def test_a_size_is_bytes(text, amount):
    assert values.size(text) == amount


@pytest.mark.parametrize("text", ["", "-1", "K", "1X", "1iB", "1e3", "99999999T"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(InvalidValue):
        values.size(text)


@pytest.mark.parametrize("text", ["TERM", "SIGTERM", "term", "15"])
def test_a_signal_has_several_names(text):
    assert values.signal_name(text) == "SIGTERM"


@pytest.mark.parametrize("text", ["", "FOO", "0", "-9", "999999999999", "SIG"])
def test_what_is_no_signal_is_refused(text):
    with pytest.raises(InvalidValue):
        values.signal_name(text)


def test_a_list_of_ends_holds_codes_signals_and_words():
    assert values.code_list("5, 6,TERM,timeout,signal,any") == {5, 6, "SIGTERM", "timeout", "signal", "any"}
    assert values.code_list(["0", "255", "KILL"]) == {0, 255, "SIGKILL"}


@pytest.mark.parametrize("text", ["", "5,,6", "256", "-1", "never"])
def test_what_is_no_end_is_refused(text):
    with pytest.raises(InvalidValue):
        values.code_list(text)


def test_a_pair_is_cut_at_the_first_equals_sign():
    assert values.env_pair("A=b=c") == ("A", "b=c")
    assert values.env_pair("A=") == ("A", "")
    for wrong in ("A", "=b", "A\0=b", "A=\0"):
        with pytest.raises(InvalidValue):
            values.env_pair(wrong)


def test_an_id_is_printable_text_of_1_to_200_characters():
    for right in ("a", "fetch data", "ä/ü", "test[PY=3.11]", "x" * 200):
        assert values.job_id(right) == right
    for wrong in ("", "x" * 201, "a\tb", "a\nb", "\x1b", "\udcff"):
        with pytest.raises(InvalidValue):
            values.job_id(wrong)


def test_priorities_have_four_names():
    assert [values.priority(name) for name in ("critical", "high", "normal", "low")] == [
        Priority.CRITICAL,
        Priority.HIGH,
        Priority.NORMAL,
        Priority.LOW,
    ]
    with pytest.raises(InvalidValue, match="write critical, high, normal or low"):
        values.priority("HIGH")


@pytest.mark.parametrize("text", ["1.0", "0x1", "1_0", "", "²", "1e3", "true"])
def test_what_is_no_whole_number_is_refused(text):
    with pytest.raises(InvalidValue, match="not a whole number"):
        values.whole_number(text, 0, 10)


@pytest.mark.parametrize("text", ["-1", "11", "9" * 5000])
def test_a_number_out_of_range_is_refused(text):
    with pytest.raises(InvalidValue, match="out of range"):
        values.whole_number(text, 0, 10)


def test_every_example_of_a_key_that_takes_a_word_is_accepted():
    for key in FIELDS:
        if key.example[0] not in "[{":
            key.type.parse(key.example)
