# SPDX-License-Identifier: LGPL-3.0-or-later
"""The tutorial, from its first block to its last, in one directory."""

import re

import pytest

from .pages import DOCS, page

BLOCK = re.compile(r"^```(console|text|yaml)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


@pytest.mark.slow
def test_the_tutorial_goes_as_it_is_told(console):
    for kind, text in BLOCK.findall(page("tutorial.md")):
        if kind != "console":
            name = text.partition("\n")[0].removeprefix("# ")
            (console.directory / name).write_text(text)
            continue
        console.check(text)


def test_its_links_lead_somewhere():
    for target in re.findall(r"\]\(([^)#]+)\)", page("tutorial.md")):
        assert (DOCS / target).exists(), target
