# SPDX-License-Identifier: LGPL-3.0-or-later
"""Check the README and the pages that belong to it: console blocks run, names exist, links lead somewhere."""

import json
import os
import re
import shutil

import pytest

from pqrun.cli.commands import MODULES
from pqrun.cli.foreign_verbs import TOOLS

from .pages import DOCS, ROOT, blocks

README = (ROOT / "README.md").read_text(encoding="utf-8")
PAGES = {"README.md": README} | {
    str(path.relative_to(ROOT)): path.read_text(encoding="utf-8")
    for path in sorted(
        [
            *DOCS.rglob("*.md"),
            *(
                ROOT / name
                for name in ("CHANGELOG.md", "examples/README.md", "CONTRIBUTING.md", "SECURITY.md")
            ),
        ]
    )
}
TROUBLE = blocks(PAGES["docs/troubleshooting.md"], "console")
MAX_LINES = {"README.md": 160, "docs/architecture.md": 150}

STRANGERS = {word for verbs in TOOLS.values() for verb in verbs if verb.means for word in verb.words}


@pytest.mark.slow
def test_what_the_readme_shows_is_what_happens(console):
    for file in blocks(README, "yaml"):  # the first line names the file
        (console.directory / file.partition("\n")[0].removeprefix("# ")).write_text(file)
    shown = blocks(README, "console")
    assert len(shown) >= 4
    for block in shown:
        console.check(block)


@pytest.mark.slow
@pytest.mark.parametrize("block", TROUBLE, ids=lambda block: block.split("\n", 1)[0].removeprefix("$ ")[:40])
def test_what_the_page_on_troubles_shows_is_what_happens(console, block):
    console.check(block)


@pytest.mark.slow
def test_the_examples_for_a_first_look_run(console):
    shutil.copytree(ROOT / "examples", console.directory / "examples")
    console.check(
        "$ pqrun run examples/quickstart.yaml -q -k --tag\n1\thello\ncount\t1\ncount\t2\ncount\t3\n"
        "words[WORD=one]\tword one\nwords[WORD=two]\tword two\n"
    )
    assert console.run("pqrun run -q -j2 --output none < examples/nightly.txt && echo fine").endswith(
        "fine\n"
    )
    jobs = json.loads(console.run("pqrun show --json"))["jobs"]
    assert [job["id"] for job in jobs] == ["docs", "backup", "flaky", "slow"]
    assert [job["state"] for job in jobs] == ["ok", "ok", "ok", "timeout"]


@pytest.mark.parametrize("name", MAX_LINES)
def test_pages_for_a_first_look_are_short(name):
    assert len(PAGES[name].splitlines()) <= MAX_LINES[name]


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


@pytest.mark.parametrize("name", ["README.md", "docs/compared.md", "docs/troubleshooting.md"])
def test_options_that_it_names_are_there(name):
    options = set(re.findall(r"`(--?[a-z][a-z-]*)", PAGES["docs/cli.md"]))
    theirs = {"--joblog", "--resume", "--each-line", "--journal", "-y", "--color"}
    assert set(re.findall(r"`(--?[a-z][a-z-]*)", PAGES[name])) - options - theirs == set()


@pytest.mark.parametrize("name", PAGES)
def test_commands_that_pages_name_are_there(name):
    assert set(re.findall(r"`pqrun ([a-z]+)", PAGES[name])) - set(MODULES) <= {*STRANGERS}
