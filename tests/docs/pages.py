# SPDX-License-Identifier: LGPL-3.0-or-later
"""The pages, the scripts that make some of them, and what a page explains."""

import ast
import importlib.util
import io
import re
import tokenize
from pathlib import Path

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md"), ROOT / "examples" / "README.md"])
EXAMPLES = sorted(path for path in (ROOT / "examples").iterdir() if path.suffix != ".md")
PROGRAMS = sorted((ROOT / "pqrun").rglob("*.py"))


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


def name_of(path):
    """Return the path below the root, as the id of a test."""
    return str(path.relative_to(ROOT))


def messages(tree):
    """Yield the line and the text of each string of a module, without docstrings. `{}` marks a value."""
    skipped = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            skipped.add(id(node.value))
        elif isinstance(node, ast.JoinedStr):
            skipped.update(id(part) for part in node.values)
            parts = (part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
            yield node.lineno, "".join(parts)
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in skipped:
            yield node.lineno, node.value


def remarks(source):
    """Yield the line and the text of each docstring and of each block of comments of a module."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
            yield node.lineno, str(node.value.value)
    block, at = "", 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if token.start[0] != at + 1 and block:
                yield at, block
                block = ""
            block, at = f"{block} {token.string.lstrip('# ')}", token.start[0]
    if block:
        yield at, block


def prose(text):
    """Return a page without its blocks, the text in backticks and the targets of its links."""
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    return re.sub(r"``.+?``|`[^`\n]*`|\]\([^)]*\)|\{#.*\}", "", text)
