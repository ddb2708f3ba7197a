# SPDX-License-Identifier: LGPL-3.0-or-later
"""No message shows a method where a value is meant: `{shard.index}` is a method of every named tuple."""

import ast
from pathlib import Path

import pytest

import pqrun

FILES = sorted(Path(pqrun.__file__).parent.rglob("*.py"))
INHERITED = {
    name
    for kind in (str, bytes, tuple, list, dict, set, frozenset)
    for name in dir(kind)
    if not name.startswith("_") and callable(getattr(kind, name))
}
"""What texts and collections, and with them all named tuples, can be asked for: never a value."""


MAKERS = ("str", "repr", "format", "quoted", "printable", "safe")


def shown(tree):
    """What f-strings, `str()` and what quotes a text make texts of."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FormattedValue):
            yield node.value
        elif isinstance(node, ast.Call) and ast.unparse(node.func) in MAKERS:
            yield from node.args


def methods_shown(text):
    return [
        f"line {value.lineno}: {ast.unparse(value)}"
        for value in shown(ast.parse(text))
        if isinstance(value, ast.Attribute) and value.attr in INHERITED
    ]


def test_the_check_finds_such_a_message():
    assert methods_shown('f"part {shard.index}/{shard.number}"') == ["line 1: shard.index"]
    assert methods_shown("quoted(str(shard.count))") == ["line 1: shard.count"]


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_no_message_shows_a_method(path):
    assert methods_shown(path.read_text()) == []
