# SPDX-License-Identifier: LGPL-3.0-or-later
"""The pictures in the docs show the table as it is."""

import html
import re
from xml.etree import ElementTree

import pytest

from pqrun.ui.live.layout import footer

from .conftest import ROOT, load_picture, load_script


def texts(svg):
    """What can be read in it, whatever the version of rich that drew it."""
    return [
        html.unescape(text).replace("\xa0", " ").rstrip()
        for text in re.findall(r"<text[^>]*>([^<]*)</text>", svg)
    ]


def test_the_picture_is_current():
    night = load_picture()
    assert texts(night.PICTURE.read_text(encoding="utf-8")) == texts(night.picture()), (
        "the table looks different now: run `python docs/live_svg.py`, and look at docs/live.svg"
    )


def test_the_picture_asks_no_other_host_for_anything():
    night = load_picture()
    for svg in (night.PICTURE.read_text(encoding="utf-8"), night.picture()):
        assert "@font-face" not in svg and "url(http" not in svg and "Fira" not in svg
        assert "font-family: monospace" in svg


SVG = "{http://www.w3.org/2000/svg}"


def lines_of_film(script, svg):
    """The lines that are seen at some time."""
    found = []
    for group in ElementTree.fromstring(svg).iterfind(f"{SVG}defs/{SVG}g"):
        line = ""
        for text in group.iterfind(f"{SVG}text"):
            line = line.ljust(round(float(text.get("x")) / script.CELL)) + text.text.replace("\xa0", " ")
        found.append(line.rstrip())
    return found


def test_the_moving_picture_opens_the_readme_and_shows_the_table_and_the_page_as_they_are():
    script = load_script("run_svg")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(r"!\[[^]]+\]\(([^)]+)\)", readme)[1] == "docs/run.svg"
    lines = lines_of_film(script, script.PICTURE.read_text(encoding="utf-8"))
    night = load_picture()
    facts = night.facts_at(night.MOMENT, 24, night.simulated_events())
    keys = "".join(text for text, _ in footer(facts, 79).pieces)
    wanted = [f"{script.PROMPT}{script.COMMAND}", keys, "FAILED test[PY=3.12]: exit 1 after"]
    missing = [line for line in wanted if not any(one.startswith(line) for one in lines)]
    assert missing == [], "run `python docs/run_svg.py`, and look at docs/run.svg"
    assert any(re.search(r"again in \ds", line) for line in lines)


def test_the_moving_picture_is_small_asks_no_other_host_and_stands_still_if_wanted():
    svg = load_script("run_svg").PICTURE.read_text(encoding="utf-8")
    assert len(svg.encode()) < 300_000
    assert not re.search(r"@font-face|url\(|@import|<script|<image", svg)
    assert set(re.findall(r"https?://[^\"]+", svg)) == {"http://www.w3.org/2000/svg"}
    assert "@media (prefers-reduced-motion:reduce){#film{animation:none}}" in svg


def test_the_moving_picture_is_drawn_anew_only_if_it_shows_something_else(tmp_path):
    script = load_script("run_svg")

    def frames(*lines):
        return [script.Frame(0.0, tuple((script.TextRun(0, line, script.Look("red")),) for line in lines))]

    picture = tmp_path / "run.svg"
    script.draw(picture, frames("ok in 9.3s", "pqrun show zvka44"), "a")
    first = picture.read_bytes()
    script.draw(picture, frames("ok in 710ms", "pqrun show 3bxmqe"), "a")
    assert picture.read_bytes() == first
    script.draw(picture, frames("failed in 9.3s", "pqrun show zvka44"), "a")
    assert picture.read_bytes() != first


@pytest.mark.slow
def test_the_moving_picture_is_of_a_real_terminal():
    script = load_script("run_svg")
    frames = script.played("./say", {"say": "printf 'one \\033[1;31mtwo\\033[0m\\n'; sleep 0.5; echo three"})
    svg = script.film(frames, "<say>")
    lines = lines_of_film(script, svg)
    assert lines.index("$ ./say") < lines.index("one two") < lines.index("three")
    assert svg.count("translateY") == len(frames) + 1 and "&lt;say&gt;" in svg
    red = re.search(r"\.(s\d+)\{fill:#f4606c;font-weight:700\}", svg)[1]
    assert f'class="{red}">two<' in svg


def test_pictures_of_the_live_page_are_taken_anew_only_for_another_page(tmp_path, monkeypatch):
    script = load_script("page_pictures")
    present = (ROOT / "docs" / "page-light-390.png").read_bytes()
    taken = []

    def take(directory):
        taken.append(directory)
        for name in script.LIVE_PICTURES:
            (directory / name).write_bytes(present)

    monkeypatch.setattr(script, "take_live", take)
    for number, of in enumerate((b"one page", b"one page", b"another"), 1):
        monkeypatch.setattr(script, "digest", lambda of=of: of)
        script.update_live(tmp_path)
        assert len(taken) == (2 if number == 3 else 1)
    (tmp_path / script.LIVE_PICTURES[0]).unlink()
    script.update_live(tmp_path)
    assert len(taken) == 3
