# SPDX-License-Identifier: LGPL-3.0-or-later
"""Who sees a table, colours, or the marks of a CI service."""

import pytest

from pqrun.output.ci_markers import ci_service
from pqrun.ui.terminal import progress_kind, wants_colour

XTERM = {"TERM": "xterm"}


@pytest.mark.parametrize(
    ("asked", "facts", "environment", "kind"),
    [
        ("auto", {}, XTERM, "live"),
        ("auto", {"terminal": False}, XTERM, "plain"),
        ("auto", {}, {}, "plain"),
        ("auto", {}, {"TERM": "dumb"}, "plain"),
        ("auto", {}, {**XTERM, "CI": "true"}, "plain"),
        ("auto", {}, {**XTERM, "CI": "false"}, "live"),
        ("auto", {}, {**XTERM, "GITLAB_CI": "true"}, "plain"),
        ("auto", {"quiet": True}, XTERM, "plain"),
        ("auto", {"json": True}, XTERM, "plain"),
        ("auto", {"raw": True}, XTERM, "plain"),
        ("live", {"raw": True, "json": True}, {**XTERM, "CI": "1"}, "live"),
        ("live", {"terminal": False}, XTERM, "plain"),
        ("live", {}, {"TERM": "dumb"}, "plain"),
        ("plain", {}, XTERM, "plain"),
        ("none", {}, XTERM, "none"),
    ],
)
def test_when_to_animate(asked, facts, environment, kind):
    usual = {"terminal": True, "quiet": False, "json": False, "raw": False}
    assert progress_kind(asked, **{**usual, **facts}, environment=environment) == kind


@pytest.mark.parametrize(
    ("asked", "terminal", "environment", "colour"),
    [
        ("auto", True, XTERM, True),
        ("auto", False, XTERM, False),
        ("auto", True, {"TERM": "dumb"}, False),
        ("auto", True, {**XTERM, "NO_COLOR": "1"}, False),
        ("auto", True, {**XTERM, "NO_COLOR": ""}, True),
        ("auto", False, {"FORCE_COLOR": "1"}, True),
        ("auto", False, {"FORCE_COLOR": ""}, False),
        ("auto", False, {"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
        ("always", False, {"NO_COLOR": "1"}, True),
        ("never", True, {"FORCE_COLOR": "1"}, False),
    ],
)
def test_when_to_colour(asked, terminal, environment, colour):
    assert wants_colour(asked, terminal=terminal, environment=environment) is colour


def test_whose_marks_to_write():
    assert ci_service("auto", {"GITHUB_ACTIONS": "true"}) == "github"
    assert ci_service("auto", {"GITLAB_CI": "true"}) == "gitlab"
    assert ci_service("auto", {"CI": "true"}) == "none"
    assert ci_service("none", {"GITHUB_ACTIONS": "true"}) == "none"
    assert ci_service("gitlab", {}) == "gitlab"
