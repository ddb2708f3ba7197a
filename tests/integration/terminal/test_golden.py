# SPDX-License-Identifier: LGPL-3.0-or-later
"""The golden screens, all together: which there are, and that a terminal breaks no line and no word of them."""

import re
from itertools import pairwise
from pathlib import Path

import pytest

from pqrun.core.layout import cells

GOLDEN = Path(__file__).parent / "golden"
SIZES = ((80, 24), (56, 20), (110, 40), (200, 50))
SCREENS = (
    "check", "end-ok", "end-stopped", "error", "help", "help-run", "mixed", "ps", "runs", "show", "top", "usage",
    "value", "waiting",
)  # fmt: skip
DRAWN = ("end-", "mixed", "top", "waiting")
FILES = [f"{name}-{columns}x{rows}.txt" for name in SCREENS for columns, rows in SIZES]


def test_each_screen_is_there_at_each_size():
    assert sorted(path.name for path in GOLDEN.iterdir()) == sorted(FILES)


@pytest.mark.parametrize("name", FILES)
def test_no_line_is_wider_than_the_screen_and_no_word_is_broken_by_it(name):
    columns = int(re.search(r"(\d+)x", name)[1])
    lines = (GOLDEN / name).read_text(encoding="utf-8").split("\n")
    assert [line for line in lines if cells(line) > columns] == []
    if name.startswith(DRAWN):  # the others are kept as they were written, before a terminal could break them
        broken = [
            (line, below)
            for line, below in pairwise(lines)
            if cells(line) == columns and re.search(r"\w$", line) and re.match(r"\w", below)
        ]
        assert broken == []
