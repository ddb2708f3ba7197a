# SPDX-License-Identifier: LGPL-3.0-or-later
"""Keys are told from text that is typed for the shell, by the number of waiting bytes and by time."""

import pytest

from pqrun.ui.live.type_ahead import ALONE_SECONDS, CONFIRM_SECONDS, PAUSE_SECONDS, Confirmation, TypeAhead

KEYS = "qp+-=o?"


def keys_of(presses):
    """Return the keys that are read, and the text that is left, of (text, seconds after the last) pairs."""
    typing, waiting, read, now = TypeAhead(), "", "", 100.0

    def pass_until(end):
        nonlocal waiting, read, now
        while waiting and now < end:
            delay = typing.delay(len(waiting), now)
            if not delay:
                read += waiting[-1]
                typing.read(waiting[-1], known=waiting[-1] in KEYS)
                waiting = ""
            now += delay
        now = max(now, end)

    for text, pause in presses:
        pass_until(now + pause)
        waiting += text
    pass_until(now + 9)
    return read, waiting


def typed(text, pause):
    return [(letter, pause) for letter in text]


@pytest.mark.parametrize(
    ("presses", "read", "left"),
    [
        ([("p", 0)], "p", ""),
        ([("p", 0), ("p", 0.5)], "pp", ""),
        ([("p", 0), ("p", 5)], "pp", ""),
        ([("pqrun ps\n", 0)], "", "pqrun ps\n"),
        ([("\x1b[A", 0)], "", "\x1b[A"),
        (typed("pqrun ps\n", 0.15), "p", "qrun ps\n"),
        (typed("pqrun ps\n", 0.02), "p", "qrun ps\n"),
        (typed("ls -l\n", 0.15), "l", "s -l\n"),
        (typed("+++", 0.05), "+++", ""),
        ([("ls", 0), ("o", PAUSE_SECONDS + 0.1)], "o", ""),
        ([("ls", 0), ("o", PAUSE_SECONDS - 0.1)], "", "lso"),
        ([("ls", 0), ("o", PAUSE_SECONDS + 0.1), ("p", ALONE_SECONDS / 2)], "", "lsop"),
    ],
)
def test_what_is_read_and_what_is_left(presses, read, left):
    assert keys_of(presses) == (read, left)


def test_a_key_that_asks_acts_when_it_is_pressed_again_or_with_enter():
    asked = Confirmation()
    assert asked.press("q", 0.0, asks=True) == ""
    assert asked.pending(CONFIRM_SECONDS / 2) == "q"
    assert asked.press("q", CONFIRM_SECONDS / 2, asks=True) == "q"
    assert asked.pending(CONFIRM_SECONDS / 2) == ""
    assert asked.press("p", 10.0, asks=True) == ""
    assert asked.press("\n", 11.0, asks=False) == "p"


def test_another_key_or_two_seconds_end_the_question():
    asked = Confirmation()
    asked.press("q", 0.0, asks=True)
    assert asked.press("p", 1.0, asks=True) == ""
    assert asked.pending(1.5) == "p"
    assert asked.pending(1.0 + CONFIRM_SECONDS) == ""
    assert asked.press("p", 1.0 + CONFIRM_SECONDS, asks=True) == ""
    assert asked.press("o", 3.5, asks=False) == "o"
