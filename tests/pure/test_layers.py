# SPDX-License-Identifier: LGPL-3.0-or-later
"""Holds the architecture: who may import whom, how long a file may be, and that the document is true."""

import ast
import importlib.util
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MOST_LINES = 400
IMPURE = {
    "os", "time", "signal", "subprocess", "threading", "socket", "select", "selectors", "fcntl", "resource",
    "asyncio", "multiprocessing", "tempfile", "shutil", "pathlib", "io", "sys", "datetime",
}  # fmt: skip

_found = importlib.util.spec_from_file_location("modules", ROOT / "docs" / "modules.py")
modules = importlib.util.module_from_spec(_found)
_found.loader.exec_module(modules)
FILES, LAYERS, name_of, parsed = modules.FILES, modules.LAYERS, modules.name_of, modules.parsed


def layer_of(name):
    return LAYERS.get(name.partition(".")[0], modules.INTERFACES)


def imports(path, *, when_loaded=False):
    """What a file imports anywhere, or only by being loaded: not in functions, nor for type checkers."""
    tree = parsed(path)
    later = set()
    for node in ast.walk(tree):
        for_checkers = isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)
        if when_loaded and (for_checkers or isinstance(node, ast.FunctionDef)):
            later.update(ast.walk(node))
    found = set()
    for node in set(ast.walk(tree)) - later:
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def ours(path, *, when_loaded=False):
    """The modules of ours that a file imports."""
    known = {name_of(file) for file in FILES}
    named = imports(path, when_loaded=when_loaded)
    return {name for name in known if f"pqrun.{name}" in named} - {name_of(path)}


def test_every_module_has_a_layer_and_every_room_is_there():
    assert {modules.room_of(path) for path in FILES} - set(LAYERS) == set(), "see docs/modules.py"
    assert set(LAYERS) - {modules.room_of(path) for path in FILES} == set()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_down_only(path):
    layer = layer_of(name_of(path))
    assert [name for name in sorted(ours(path)) if layer_of(name) > layer] == []


@pytest.mark.parametrize("path", [p for p in FILES if layer_of(name_of(p)) <= modules.DECISIONS], ids=name_of)
def test_what_decides_knows_no_clock_no_process_and_no_file(path):
    assert sorted({name.partition(".")[0] for name in imports(path)} & IMPURE) == []
    called = {ast.unparse(node.func) for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)}
    assert called & {"open", "print", "input"} == set()


def test_no_module_needs_itself_in_the_end():
    TopologicalSorter({name_of(path): ours(path, when_loaded=True) for path in FILES}).prepare()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_is_short_and_says_what_it_is_for(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES, "which two things is it?"
    assert ast.get_docstring(parsed(path)), "a module says what it is for and what it must not do"


def test_every_source_file_says_under_which_licence_it_is():
    sources = [*FILES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "docs").glob("*.py"), ROOT / ".ci" / "run"]
    heads = {path: path.read_text(encoding="utf-8").split("\n", 3)[:2] for path in sources}
    assert [
        str(p) for p, head in heads.items() if "# SPDX-License-Identifier: LGPL-3.0-or-later" not in head
    ] == []


def test_the_document_tells_of_every_module_what_it_says_of_itself():
    text = modules.DOCUMENT.read_text(encoding="utf-8")
    assert modules.with_tables(text) == text, "run `python docs/modules.py`"
