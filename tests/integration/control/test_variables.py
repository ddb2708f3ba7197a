# SPDX-License-Identifier: LGPL-3.0-or-later
"""`$NAME` in the values of a job file that is added to a live run: over what the run says for its jobs."""

import pytest

from pqrun.core.errors import InternalFailure

JOBS = """\
env: {P: "file:$P", CALLER: "$CALLER"}
jobs:
  - {run: 'echo "$P $CALLER $Q $LITERAL" > found', env: {Q: "$P-$PQRUN_JOB_ID"}, id: one}
"""


@pytest.mark.slow
def test_values_are_expanded_where_the_job_runs(queue, tmp_path):
    one = queue("--env", "P=run:$x", "--env", "LITERAL=$HOME", env={"CALLER": "of the queue"})
    (tmp_path / "jobs.yaml").write_text(JOBS)
    assert one("add", "-f", "jobs.yaml", env={"CALLER": "of add"}).code == 0
    assert one("wait", "one").code == 0
    assert (tmp_path / "found").read_text() == "file:run:$x of the queue file:run:$x-one $HOME\n"
    assert one("add", "--id", "two", 'echo "$P" > found').code == 0
    assert one("wait", "two").code == 0
    assert (tmp_path / "found").read_text() == "run:$x\n"


@pytest.mark.slow
def test_a_client_that_speaks_for_itself_names_what_is_to_be_expanded(queue, tmp_path, until):
    one = queue(env={"CALLER": "x"})
    one.add(
        "echo $A $B > found", env={"A": "$CALLER", "B": "$CALLER"}, expand=["A"], cwd=str(tmp_path), id="a"
    )
    assert one("wait", "a").code == 0
    assert (tmp_path / "found").read_text() == "x $CALLER\n"
    for wrong in (["C"], "A", [1], [["A"]], {"A": 1}, 7):
        with pytest.raises(InternalFailure, match="not a job"):
            one.add("true", env={"A": ""}, expand=wrong)
