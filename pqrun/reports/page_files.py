# SPDX-License-Identifier: LGPL-3.0-or-later
"""The files of the page in `page/`, and how they become one file that opens without a network.

The modules are written for a browser that loads them one by one. In one file they cannot import each other,
so they are joined into one module, the imported ones first. No tool is needed to build the page.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from hashlib import sha256

DIRECTORY = os.path.join(os.path.dirname(__file__), "page")
FIRST_MODULE = "report.js"
_IMPORT = re.compile(r'^import \{[^}]*\} from "\./([a-z_]+\.js)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=(?:async )?function|class|const|let)", re.MULTILINE)
_NOTES = re.compile(r"^[ \t]*(?:/\*(?:(?!\*/).)*\*/|//[^\n]*)\n", re.MULTILINE | re.DOTALL)
_POLICY, _STYLE, _DATA, _SCRIPT = "<!--policy-->", "<!--style-->", "<!--data-->", "<!--script-->"


def page_file(name: str) -> str:
    """Return the text of a file of the page."""
    with open(os.path.join(DIRECTORY, name), encoding="utf-8") as file:
        return file.read()


def joined_modules(first: str = FIRST_MODULE) -> str:
    """Return a module and all that it imports as one module, without comments."""
    texts: dict[str, str] = {}

    def add(name: str) -> None:
        if name in texts:
            return
        text = page_file(name)
        texts[name] = ""  # an import in a circle is not added again
        for found in _IMPORT.finditer(text):
            add(found[1])
        del texts[name]  # to be put behind what it imports
        texts[name] = _NOTES.sub("", _EXPORT.sub("", _IMPORT.sub("", text)))

    add(first)
    return "".join(texts.values())


def single_file(data: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the page with its style, its script and the script elements of `data` in it.

    The content security policy allows only that style and that script, by their hashes, and no connection.
    """
    style, script = page_file("page.css"), joined_modules()
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; "
        "base-uri 'none'; form-action 'none'"
    )
    page = page_file("page.html").replace(_STYLE, f"<style>{style}</style>")
    page = page.replace(_POLICY, f'<meta http-equiv="Content-Security-Policy" content="{policy}">')
    top, rest = page.split(_DATA)
    middle, end = rest.split(_SCRIPT)
    yield top.encode()
    yield from data
    yield f'{middle}<script type="module">{script}</script>{end}'.encode()


def live_page(base: str) -> str:
    """Return the page without data, for a server that has the files of the page at `page/`. `base`: the way there."""
    page = page_file("page.html").replace(_STYLE, f'<link rel="stylesheet" href="{base}page/page.css">')
    page = page.replace(_SCRIPT, f'<script type="module" src="{base}page/live.js"></script>')
    return page.replace(_POLICY, "").replace(_DATA, "")


def page_files() -> dict[str, str]:
    """Return the text of all style sheets and modules, by name."""
    names = sorted(name for name in os.listdir(DIRECTORY) if name.endswith((".js", ".css")))
    return {name: page_file(name) for name in names}


def _hash(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"
