# SPDX-License-Identifier: LGPL-3.0-or-later
"""The modules by layer: `python docs/modules.py` writes their table into docs/architecture.md.

What is said of each is the first sentence of its own docstring. A test holds the layers, and compares
the table with the modules.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "pqrun"
DOCUMENT = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- made by docs/modules.py -->", "<!-- end -->"

MODEL, DECISIONS, MACHINE, INTERFACES = range(4)
TITLES = ("Pure model", "Pure decisions and folds", "Engine and I/O", "Interfaces")
ROOMS = {
    MODEL: "characters errors events expansion hints lifecycle model news unicodejson words",
    DECISIONS: "alarms backlog graph ledger limits metrics patience ready running scheduler starts task",
    MACHINE: """
        afar bell capture clock control engine executors here input jobfile journal machine reactor settings signals
        teller templates testing threads tidying workers
    """,
    INTERFACES: """
        __init__ __main__ admission app cli detaching display dryrun handles library queue reports
        resuming serving subscribers top upkeep workshop
    """,
}
"""A room is a module, or a directory of them; it may use its own layer and those below."""
LAYERS = {room: layer for layer, rooms in ROOMS.items() for room in rooms.split()}

FILES = sorted(PACKAGE.rglob("*.py"))


def name_of(path: Path) -> str:
    """`executors.child` for that file."""
    return ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__")


def room_of(path: Path) -> str:
    """`executors` for that file."""
    return name_of(path).partition(".")[0]


@cache
def parsed(path: Path) -> ast.Module:
    """Its syntax tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


def about(path: Path) -> str:
    """The first paragraph of what the module says of itself, in one line."""
    told = ast.get_docstring(parsed(path)) or ""
    return " ".join(told.partition("\n\n")[0].split()).replace("|", "\\|")


def tables() -> str:
    """One table for each layer, in Markdown."""
    parts = []
    for layer, title in enumerate(TITLES):
        rows = [
            f"| `{path.relative_to(PACKAGE)}` | {about(path)} |"
            for path in FILES
            if LAYERS.get(room_of(path)) == layer
        ]
        parts.append("\n".join([f"### {layer + 1}. {title}", "", "| module | is |", "|---|---|", *rows]))
    return "\n\n".join(parts)


def with_tables(text: str) -> str:
    """The document with the tables as they should be."""
    return re.sub(f"{BEGIN}.*{END}", lambda _: f"{BEGIN}\n\n{tables()}\n\n{END}", text, flags=re.DOTALL)


if __name__ == "__main__":
    DOCUMENT.write_text(with_tables(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
