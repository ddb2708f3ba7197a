# SPDX-License-Identifier: LGPL-3.0-or-later
"""The picture in the README shows the table as it is."""

import html
import re

from .conftest import load_picture


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
