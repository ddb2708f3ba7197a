# SPDX-License-Identifier: LGPL-3.0-or-later
"""The pages, the scripts that make some of them, and what a page explains."""

import importlib.util
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


def script(name):
    """`docs/NAME.py` as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def page(name):
    """A page's text."""
    return (DOCS / name).read_text(encoding="utf-8")


def explained(text):
    """What stands in backticks in the first cell of a row whose other cells say something in words."""
    found = set()
    for row in re.findall(r"^\| (.*) \|$", text, re.MULTILINE):
        term, *rest = re.split(r" \| |^\| | \|$", row)
        about = re.sub(r"`[^`]*`", "", " ".join(rest))
        if re.search(r"[a-z]{2,}", about):
            found.update(re.findall(r"`([^`]+)`", term))
    return found


def blocks(text, language):
    """The fenced blocks of that language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
