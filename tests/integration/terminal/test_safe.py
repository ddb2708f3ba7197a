# SPDX-License-Identifier: LGPL-3.0-or-later
"""Nothing that comes from a job can steer a terminal."""

import re
import unicodedata
from itertools import pairwise

import pyte
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pqrun.core.text import escape_controls, escape_line, last_line, strip_ansi
from pqrun.output.writer import for_screen, pieces_of_lines, tagged

COLOUR = re.compile(r"\x1b\[[0-9;:]*m")
BITS = "\x1b [ ] 0; 31 m \x07 \x1b\\ \x9b 2J H \b x é \u202e \u200b \ud800 \x00 \x7f ?1049h (0 P ^ 日 \u0591"
NASTY = st.lists(
    st.sampled_from([*BITS.split(" "), "\r", "\t", " ", "\u2028", "\x1b[31m", "\x1b[0m"])
).map("".join)  # fmt: skip


def steers(text, *, keep=""):
    return [
        c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Co", "Zl", "Zp") and c not in keep
    ]


@given(NASTY)
def test_plain_text_holds_nothing_that_steers(text):
    assert steers(strip_ansi(text)) == []
    assert steers(escape_controls(text)) == []


@given(NASTY)
def test_a_line_for_the_screen_holds_whole_colours_alone(text):
    line = escape_line(text)
    assert steers(COLOUR.sub("", line), keep="\t") == []
    if "\x1b" in line:
        assert line.endswith("\x1b[0m")


@pytest.mark.slow
@given(st.binary(max_size=200))
def test_any_bytes_leave_cursor_title_and_other_lines_alone(data):
    screen = pyte.Screen(400, 5)
    stream = pyte.Stream(screen)
    stream.feed("above\r\n")
    line = data.replace(b"\n", b"")
    stream.feed(for_screen(line).decode("utf-8", "replace"))
    assert screen.display[0].rstrip() == "above"
    assert screen.cursor.y in (1, 2, 3)
    assert screen.title == "" and not screen.cursor.hidden


def test_whole_sequences_are_left_out_and_half_ones_shown():
    assert escape_line("a\x1b[2Kb\x1b]8;;http://x\x07link\x1b]8;;\x07c\x1b(B") == "ablinkc"
    assert escape_line("\x1b[1mbold\x1b[") == "\x1b[1mbold\\x1b[\x1b[0m"
    assert strip_ansi("\x1b[1;32mok\x1b[0m\tyes") == "ok yes"
    assert strip_ansi("half \x1b[ [/markup]") == "half \\x1b[ [/markup]"
    assert strip_ansi("\x1b[2 q\x1b[!p\x1b[?1049hx") == "x"
    assert strip_ansi("[red]x[/nope]") == "[red]x[/nope]"


def test_the_last_line_is_the_last_that_says_something():
    assert last_line(b"one\ntwo\n\n \n") == "two"
    assert last_line(b"10%\r20%\r") == "20%"
    assert last_line(b"text\n\x1b[0m\n\x1b[K\n") == "text"
    assert last_line(b"") == ""


def test_what_was_written_over_is_not_shown():
    assert for_screen(b"10%\r20%\r\ndone\r\n") == b"20%\ndone\n"


@given(st.lists(st.binary(max_size=20)))
def test_pieces_of_lines_are_the_same_bytes(pieces):
    cut = list(pieces_of_lines(pieces))
    assert b"".join(piece for piece, _ in cut) == b"".join(pieces)
    for (piece, _), (_, begins) in pairwise(cut):
        assert piece.endswith(b"\n") and begins


@pytest.mark.slow
@given(st.lists(st.sampled_from([b"a\n", b"\n", b"bc", b"\nd\n"])))
def test_each_line_has_one_tag(pieces):
    data = b"".join(pieces)
    out = b"".join(tagged(piece, b"id\t", begins=begins) for piece, begins in pieces_of_lines(pieces))
    assert out == b"".join(b"id\t" + line for line in data.splitlines(keepends=True))
