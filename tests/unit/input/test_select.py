# SPDX-License-Identifier: LGPL-3.0-or-later
import pytest

from pqrun.core.errors import UserError
from pqrun.core.selectors import select

JOBS = """\
jobs:
  - {id: fetch-a, run: x, tags: [net]}
  - {id: fetch-b, run: x, tags: [net, slow], priority: low}
  - {id: build, run: x, needs: [fetch-a]}
  - {id: test, run: x, needs: [build], matrix: {PY: ["3.11", "3.12"]}}
  - {id: report, run: x, needs: {ended: [test]}}
  - {id: all, run: x}
  - {id: "fetch-*", run: x}
  - make
"""


def ids(files, **selectors):
    return [job.id for job in select(files.load(JOBS).jobs, **selectors)]


@pytest.mark.parametrize(
    ("selectors", "expected"),
    [
        (["fetch-a"], ["fetch-a"]),
        (["fetch-?"], ["fetch-a", "fetch-b", "fetch-*"]),
        (["fetch-*"], ["fetch-*"]),
        (["build"], ["fetch-a", "build"]),
        (["test[PY=3.12]"], ["fetch-a", "build", "test[PY=3.12]"]),
        (["test"], ["fetch-a", "build", "test[PY=3.11]", "test[PY=3.12]"]),
        (["test[*12]"], ["fetch-a", "build", "test[PY=3.12]"]),
        (["tag:slow", "9"], ["fetch-b", "9"]),
        (["priority:low"], ["fetch-b"]),
        (["all"], ["all"]),
    ],
)
def test_only_takes_what_is_selected_and_what_that_needs(selectors, expected, files):
    assert ids(files, only=selectors) == expected


@pytest.mark.parametrize(
    ("selectors", "expected"),
    [
        (["tag:net"], ["all", "fetch-*", "9"]),
        (
            ["report"],
            ["fetch-a", "fetch-b", "build", "test[PY=3.11]", "test[PY=3.12]", "all", "fetch-*", "9"],
        ),
        (["test[PY=3.11]"], ["fetch-a", "fetch-b", "build", "test[PY=3.12]", "all", "fetch-*", "9"]),
        (["*"], []),
    ],
)
def test_skip_leaves_out_what_is_selected_and_what_needs_that(selectors, expected, files):
    assert ids(files, skip=selectors) == expected


def test_skip_goes_over_only(files):
    assert ids(files, only=["test"], skip=["test[PY=3.12]"]) == ["fetch-a", "build", "test[PY=3.11]"]


def test_nothing_selected_is_everything(files):
    assert len(ids(files)) == 9


def test_all_is_every_job_unless_one_is_called_so(files):
    assert len(select(files.load("jobs: [a, b]").jobs, only=["all"])) == 2


@pytest.mark.parametrize(
    ("selector", "message"),
    [
        ("biuld", "--only: no job matches `biuld` (did you mean `build`?)"),
        ("tag:x", "--only: no job matches `tag:x`"),
        ("zzz*", "--only: no job matches `zzz*`"),
        ("priority:urgent", "--only: not a priority: `urgent` (write critical, high, normal or low)"),
    ],
)
def test_a_selector_of_nothing_is_an_error(selector, message, files):
    with pytest.raises(UserError) as raised:
        ids(files, only=[selector])
    assert str(raised.value) == message
