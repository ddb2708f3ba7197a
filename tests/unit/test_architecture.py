# SPDX-License-Identifier: LGPL-3.0-or-later
"""Hold the architecture: which package imports which, what the core may not touch, how long files and functions are."""

import ast
import re
import subprocess
from collections import Counter, defaultdict
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "pqrun"
FLOORS = (
    {"core"}, {"output"}, {"engine"}, {"input"}, {"journal"}, {"executors"}, {"control"}, {"ui", "reports"},
    {"library", "app"}, {"cli"},
)  # fmt: skip
FLOOR_OF = {package: floor for floor, packages in enumerate(FLOORS) for package in packages}
AT_THE_TOP_OF_THE_REPOSITORY = {
    "CHANGELOG.md", "CONTRIBUTING.md", "LICENSE", "README.md", "SECURITY.md", "benchmarks", "completions", "docs",
    "eslint.config.mjs", "examples", "noxfile.py", "pqrun", "pyproject.toml", "tests",
}  # fmt: skip
AT_THE_TOP = {"__init__.py", "__main__.py", "testing.py"}
IMPURE = {
    "os", "time", "signal", "subprocess", "threading", "socket", "select", "selectors", "fcntl", "resource",
    "asyncio", "multiprocessing", "tempfile", "shutil", "pathlib", "io", "sys", "datetime",
}  # fmt: skip
ALLOWED = {"core.values": {"signal"}}  # a table of names
MAX_LINES, MAX_MODULES, MAX_FUNCTION_LINES = 400, 270, 40
# The turn, from its first to its last step: a function for each step would cost every job a call for each.
LONGER_FUNCTIONS = {"engine.engine: Engine._turn"}

FILES = sorted(PACKAGE.rglob("*.py"))
TREES = {path: ast.parse(path.read_text(encoding="utf-8")) for path in FILES}


def name_of(path):
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def imports(path):
    """The modules that a file imports anywhere: when it is loaded, in functions, and for type checkers."""
    found = set()
    for node in ast.walk(TREES[path]):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path} imports relatively"
            found.add(node.module)
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
    return found


def ours(path):
    """The modules of pqrun that a file imports."""
    named = imports(path)
    return {name for name in map(name_of, FILES) if f"pqrun.{name}" in named} - {name_of(path)}


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="this is no checkout")
def test_the_top_of_the_repository_has_only_what_belongs_there():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    names = {line.partition("/")[0] for line in tracked.splitlines()}
    assert {name for name in names if not name.startswith(".")} == AT_THE_TOP_OF_THE_REPOSITORY


def test_there_are_twelve_packages_and_nothing_else_at_the_top():
    assert {path.name for path in PACKAGE.iterdir() if path.is_dir()} - {"__pycache__"} == set(FLOOR_OF)
    assert {path.name for path in PACKAGE.glob("*.py")} == AT_THE_TOP
    assert len(FILES) <= MAX_MODULES


@pytest.mark.parametrize("path", [p for p in FILES if p.parent != PACKAGE], ids=name_of)
def test_a_package_imports_only_from_those_below_it(path):
    own = name_of(path).partition(".")[0]
    others = {name.partition(".")[0] for name in ours(path)} - {own}
    assert [name for name in sorted(others) if FLOOR_OF.get(name, 99) >= FLOOR_OF[own]] == []


@pytest.mark.parametrize("path", [p for p in FILES if name_of(p).startswith("core")], ids=name_of)
def test_the_core_knows_no_clock_no_process_and_no_file(path):
    assert (
        sorted(
            {name.partition(".")[0] for name in imports(path)} & IMPURE - ALLOWED.get(name_of(path), set())
        )
        == []
    )
    called = {ast.unparse(node.func) for node in ast.walk(TREES[path]) if isinstance(node, ast.Call)}
    assert called & {"open", "print", "input"} == set()


def test_no_module_needs_itself_in_the_end():
    TopologicalSorter({name_of(path): ours(path) for path in FILES}).prepare()


def test_files_are_short_and_say_what_they_are_for():
    assert [
        name_of(path) for path in FILES if len(path.read_text(encoding="utf-8").splitlines()) > MAX_LINES
    ] == []
    assert [name_of(path) for path in FILES if not ast.get_docstring(TREES[path])] == []


def functions(node, name=""):
    """Yield the functions of a tree with their names, each after those around it."""
    for child in ast.iter_child_nodes(node):
        inner = name
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            inner = f"{name}.{child.name}".lstrip(".")
            if not isinstance(child, ast.ClassDef):
                yield inner, child
        yield from functions(child, inner)


def test_functions_are_short():
    longer = {
        f"{name_of(path)}: {name}"
        for path in FILES
        for name, node in functions(TREES[path])
        if node.end_lineno - node.lineno >= MAX_FUNCTION_LINES
    }
    assert longer == LONGER_FUNCTIONS


PACKAGES = [path for path in FILES if path.name == "__init__.py" and path.parent != PACKAGE]


@pytest.mark.parametrize("path", PACKAGES, ids=name_of)
def test_a_package_lists_its_files(path):
    listed = set(re.findall(r"\w+", ast.get_docstring(TREES[path])))
    assert {file.stem for file in path.parent.glob("*.py")} - {"__init__"} - listed == set()


def test_a_class_name_means_one_thing():
    places = defaultdict(list)
    for path in FILES:
        for node in ast.walk(TREES[path]):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(name_of(path))
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def private_names_of_others(tree):
    """Yield the private attributes that a class reads, but neither defines nor assigns."""
    for owner in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
        attributes = [node for node in ast.walk(owner) if isinstance(node, ast.Attribute)]
        own = {node.attr for node in attributes if isinstance(node.ctx, ast.Store)}
        own |= {name.rpartition(".")[2] for name, _ in functions(owner)} | {"_replace"}  # of a NamedTuple
        read = {node.attr for node in attributes if node.attr.startswith("_")}
        yield from (f"{owner.name}: {name}" for name in sorted(read - own))


@pytest.mark.parametrize("path", sorted((PACKAGE / "ui" / "top").glob("*.py")), ids=name_of)
def test_the_parts_of_the_screen_use_only_what_is_public_of_each_other(path):
    assert list(private_names_of_others(TREES[path])) == []


def test_constants_say_what_they_bound_and_in_which_unit():
    words = (
        "MOST",
        "LONGEST",
        "LEAST",
        "DEEPEST",
        "LARGEST",
        "WIDEST",
        "PATIENCE",
        "NAP",
        "LINGER",
        "SOON",
        "DOUBT",
    )
    counted = Counter()
    for path in FILES:
        for node in TREES[path].body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            counted.update(t.id for t in targets if isinstance(t, ast.Name) and t.id.isupper())
    assert [name for name in counted if set(name.strip("_").split("_")) & set(words)] == []


def test_every_source_file_names_its_licence():
    sources = [*FILES, *(ROOT / "tests").rglob("*.py"), *(ROOT / "docs").glob("*.py"), ROOT / ".ci" / "run"]
    heads = {path: path.read_text(encoding="utf-8").split("\n", 3)[:2] for path in sources}
    assert [
        str(p) for p, head in heads.items() if "# SPDX-License-Identifier: LGPL-3.0-or-later" not in head
    ] == []


RETIRED = """
    Afar Alarms Asking Bearing Bell Board Book Brush Ceiling Comer Contender Containment Desk Digest Direct Draft
    Ears Errand Fences Form Glimpse Glimpses Growing Guardian Guest Halting Handles Here Incoming Intake Joined Kinship
    Lanes LastPage Launcher Ledger LinesSource Link Matrices Member Offer Outlet Pace Past Patience PoliteContainment
    Recovery Remains Seen Served Sheet Shelf Shorter Slots Stage Starts Surroundings Tags Tally Talk Teller Telling
    Tidying Tireless Unfit Unstartable Verdict Walk Wanted Warden Watch Whole Workshop
""".split()  # noqa: SIM905


def test_retired_names_of_classes_do_not_come_back():
    classes = {n.name for tree in TREES.values() for n in ast.walk(tree) if isinstance(n, ast.ClassDef)}
    assert sorted(classes & set(RETIRED)) == []
