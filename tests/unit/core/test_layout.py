# SPDX-License-Identifier: LGPL-3.0-or-later
"""Text laid out for a terminal."""

from hypothesis import given
from hypothesis import strategies as some

from pqrun.core.layout import cells, cut, cut_around, cut_middle, pad, wrap

TEXTS = some.text(some.sampled_from("ab -受注é\u0301\u200d/"), max_size=40)


def test_wide_characters_count_two_and_combining_ones_nothing():
    assert [cells(text) for text in ("", "ab", "受注", "e\u0301", "a\u200db")] == [0, 2, 4, 1, 2]


@given(TEXTS, some.integers(1, 30))
def test_what_is_cut_fits_and_shows_that_it_was_cut(text, width):
    for short in (cut(text, width), cut_middle(text, width)):
        assert cells(short) <= width
        assert short == text if cells(text) <= width else "…" in short


def test_ends_are_kept_if_the_middle_is_cut():
    assert (cut("abcdefgh", 5), cut_middle("abcdefgh", 5)) == ("abcd…", "ab…gh")
    assert (cut("受注受注", 4), cut_middle("受注受注", 5)) == ("受…", "受…注")


def test_padded_text_has_the_width():
    assert (pad("受", 4), pad("受", 4, right=True), pad("abcde", 4)) == ("受  ", "  受", "abcde")


@given(TEXTS, some.integers(8, 30))
def test_wrapped_lines_fit_and_words_stay_whole(text, width):
    lines = wrap(text, width, "  ")
    assert all(cells(line) <= width for line in lines)
    kept = " ".join(line.strip(" ") for line in lines).split()
    words = text.split()
    if all(cells(word) <= width - 2 for word in words):
        assert kept == words
    else:
        assert "".join(kept) == "".join(words)


def test_blanks_at_the_beginning_do_not_break_a_word():
    assert wrap("   aaaaaaaa受受", 14, "  ") == ["aaaaaaaa受受"]


def test_lines_after_the_first_are_indented():
    assert wrap("hint: write seconds or a value", 14, " " * 6) == [
        "hint: write",
        "      seconds",
        "      or a",
        "      value",
    ]
    assert wrap("  retry  [0]", 9) == ["  retry", "[0]"]


@given(TEXTS, some.data())
def test_a_line_is_cut_around_the_word(text, data):
    begin = data.draw(some.integers(0, len(text)))
    end = data.draw(some.integers(begin, len(text)))
    width = data.draw(some.integers(10, 40))
    part, first, last = cut_around(text, begin, end, width)
    assert cells(part) <= width
    assert text[begin:end].startswith(part[first:last].rstrip("…")) and (
        last > first or begin == end or cells(part) == width or first == last
    )
