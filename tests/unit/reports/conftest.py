# SPDX-License-Identifier: LGPL-3.0-or-later
"""A run for every way in which one can end: played on a fake clock, and by the program itself."""

import pytest
from real import KILLED, RUNS, really
from reported import CELLS, play


@pytest.fixture(scope="session")
def really_run(tmp_path_factory):
    """The runs by the program itself, each made once."""
    found = {}

    def run(name):
        if name not in found:
            found[name] = really(tmp_path_factory.mktemp("real"), {**RUNS, **KILLED}[name])
        return found[name]

    return run


REAL = [pytest.param(name, marks=pytest.mark.slow) for name in (*RUNS, *KILLED)]


@pytest.fixture(params=[*CELLS, *REAL], ids=lambda name: name.replace(" ", "-"))
def cell(request, tmp_path, really_run):
    """Each of them, at its end."""
    if request.param not in CELLS:
        return really_run(request.param)
    played = play(tmp_path, CELLS[request.param], outputs={"all": (b"some output\n", b"and an error\n")})
    assert played.code == CELLS[request.param].code
    assert played.reports.failures == []
    return played
