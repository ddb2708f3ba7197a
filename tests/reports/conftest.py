# SPDX-License-Identifier: LGPL-3.0-or-later
"""A run for every way in which one can end."""

import pytest
from reported import CELLS, play


@pytest.fixture(params=CELLS, ids=[name.replace(" ", "-") for name in CELLS])
def cell(request, tmp_path):
    """Each of them, played to its end."""
    played = play(tmp_path, CELLS[request.param], outputs={"all": (b"some output\n", b"and an error\n")})
    assert played.code == CELLS[request.param].code
    assert played.reports.failures == []
    return played
