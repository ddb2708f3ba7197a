# SPDX-License-Identifier: LGPL-3.0-or-later
"""Holds the architecture: who may import whom, how long a file may be, and that the document is true."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pqrun"
DOCUMENT = ROOT / "docs" / "architecture.md"
MOST_LINES = 350

MODEL, DECISIONS, MACHINE, INTERFACES = range(4)
LAYERS = {
    "__init__": MODEL, "errors": MODEL, "events": MODEL, "lifecycle": MODEL, "model": MODEL, "news": MODEL,
    "words": MODEL,
    "alarms": DECISIONS, "graph": DECISIONS, "ledger": DECISIONS, "limits": DECISIONS, "metrics": DECISIONS,
    "ready": DECISIONS, "running": DECISIONS, "scheduler": DECISIONS, "starts": DECISIONS, "task": DECISIONS,
    "capture": MACHINE, "clock": MACHINE, "control": MACHINE, "engine": MACHINE, "executors": MACHINE,
    "input": MACHINE, "jobfile": MACHINE, "journal": MACHINE, "reactor": MACHINE, "settings": MACHINE,
    "machine": MACHINE, "signals": MACHINE, "teller": MACHINE, "templates": MACHINE, "testing": MACHINE,
    "__main__": INTERFACES, "app": INTERFACES, "cli": INTERFACES, "display": INTERFACES, "dryrun": INTERFACES,
    "queue": INTERFACES, "reports": INTERFACES, "resuming": INTERFACES,
}  # fmt: skip
IMPURE = {
    "os", "time", "signal", "subprocess", "threading", "socket", "select", "selectors", "fcntl", "resource",
    "asyncio", "multiprocessing", "tempfile", "shutil", "pathlib", "io", "sys", "datetime",
}  # fmt: skip

FILES = sorted(path for path in PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """`executors.child` for that file."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def layer_of(module: str) -> int:
    return LAYERS.get(module.partition(".")[0], INTERFACES)


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports(path: Path, *, when_loaded: bool = False) -> set[str]:
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


def ours(path: Path, *, when_loaded: bool = False) -> set[str]:
    """The modules of ours that a file imports."""
    known = {name_of(file) for file in FILES}
    wanted = {
        name.removeprefix("pqrun.") for name in imports(path, when_loaded=when_loaded) if "pqrun." in name
    }
    return (wanted & known) - {name_of(path)}


def test_every_module_has_a_layer():
    assert {name_of(path).partition(".")[0] or "__init__" for path in FILES} - set(LAYERS) == set()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_imports_point_down_only(path):
    layer = layer_of(name_of(path))
    assert [name for name in sorted(ours(path)) if layer_of(name) > layer] == []


@pytest.mark.parametrize("path", [p for p in FILES if layer_of(name_of(p)) <= DECISIONS], ids=name_of)
def test_what_decides_knows_no_clock_no_process_and_no_file(path):
    roots = {name.partition(".")[0] for name in imports(path)}
    assert sorted(roots & IMPURE) == []
    calls = [node.func for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
    assert not [
        call.id for call in calls if isinstance(call, ast.Name) and call.id in ("open", "print", "input")
    ]


def test_no_module_needs_itself_in_the_end():
    TopologicalSorter({name_of(path): ours(path, when_loaded=True) for path in FILES}).prepare()


@pytest.mark.parametrize("path", FILES, ids=name_of)
def test_a_file_is_short_and_says_what_it_is_for(path):
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST_LINES, "which two things is it?"
    assert text.startswith("# SPDX-License-Identifier: LGPL-3.0-or-later\n")
    assert ast.get_docstring(parsed(path)), "a module says what it is for and what it must not do"


def test_every_test_says_under_which_licence_it_is():
    without = [
        str(path.relative_to(ROOT))
        for path in (ROOT / "tests").rglob("*.py")
        if not path.read_text(encoding="utf-8").startswith("# SPDX-License-Identifier: LGPL-3.0-or-later\n")
    ]
    assert without == []


def test_the_document_names_every_module_and_no_other():
    document = DOCUMENT.read_text(encoding="utf-8")
    named = set(re.findall(r"`([\w/]+\.py)`", document))
    there = {
        str(path.relative_to(PACKAGE)) for path in FILES if path.name not in ("__init__.py", "__main__.py")
    }
    assert {name for name in there if name not in named} == set(), "missing in docs/architecture.md"
    rows = re.findall(r"^\| `([\w/]+\.py)`", document, re.MULTILINE)
    gone = {name for name in rows if not (PACKAGE / name).exists()}
    assert gone == set(), "docs/architecture.md tells of what is no more"
