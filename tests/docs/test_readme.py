# SPDX-License-Identifier: LGPL-3.0-or-later
"""The README does not lie: its console blocks are run, what it names is there, its links lead somewhere."""

import os
import re
import shutil

import pytest

from pqrun.cli.app import MODULES

from .pages import DOCS, ROOT, blocks

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {"README.md": README} | {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted(
        [
            *DOCS.glob("*.md"),
            *(ROOT / name for name in ("examples/README.md", "CONTRIBUTING.md", "SECURITY.md")),
        ]
    )
}
BLOCKS = blocks(README, "console")


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.split("\n", 1)[0].removeprefix("$ ")[:40])
def test_what_the_readme_shows_is_what_happens(console, block):
    shutil.copytree(ROOT / "examples", console.directory / "examples")
    console.check(block)


def test_it_is_not_too_long():
    assert len(README.splitlines()) <= 400


def heading_of(line):
    """As a link names it."""
    return re.sub(r"[^\w\- ]", "", line.lstrip("# ").lower()).strip().replace(" ", "-")


@pytest.mark.parametrize("name", PAGES)
def test_links_lead_somewhere(name):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", PAGES[name]):
        if target.startswith(("https://", "http://")):
            continue
        path = (ROOT / name).parent / target if target else ROOT / name
        assert path.exists(), f"{name}: {target}"
        if anchor and path.suffix == ".md":
            lines = path.read_text(encoding="utf-8").split("\n")
            assert anchor in {heading_of(line) for line in lines if line.startswith("#")}, (
                f"{name}: #{anchor}"
            )


def test_every_page_can_be_reached_from_the_readme():
    found, ahead = set(), ["README.md"]
    while ahead:
        name = ahead.pop()
        links = re.findall(r"\]\(([A-Za-z./-]+\.md)[)#]", PAGES[name])
        names = {os.path.normpath(os.path.join(os.path.dirname(name), link)) for link in links} & set(PAGES)
        ahead += names - found
        found |= names
    assert set(PAGES) - found - {"README.md"} == set()


def test_each_of_its_two_commands_is_one_line_of_a_block():
    shown = blocks(README, "sh")
    assert [block.count("\n") for block in shown] == [1, 1]
    assert "pqrun run examples/" in shown[0] and "-m pytest" in shown[1]
    assert all(block.startswith("python3 -m venv .venv && ") for block in shown)


def test_options_that_it_names_are_there():
    options = set(re.findall(r"`(--?[a-z][a-z-]*)", PAGES["docs/cli.md"]))
    theirs = {"--joblog", "--resume", "--each-line", "--journal", "-y", "--color"}
    assert set(re.findall(r"`(--?[a-z][a-z-]*)", README)) - options - theirs == set()


@pytest.mark.parametrize("name", PAGES)
def test_commands_that_pages_name_are_there(name):
    assert set(re.findall(r"`pqrun ([a-z]+)", PAGES[name])) - set(MODULES) == set()
