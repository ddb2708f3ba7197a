# SPDX-License-Identifier: LGPL-3.0-or-later
"""`--halt` in GNU parallel's grammar: what it stops, and that no exit code hides what was not run."""

import pytest

from pqrun.core import values

CASES = [
    # policy, which fail, how many run, exit code
    ("soon,fail=2", "3 5", 5, 1),
    ("now,fail=1", "1", 1, 1),
    ("soon,success=1", "", 1, 3),
    ("soon,done=4", "2", 4, 1),
    ("soon,done=9", "", 9, 0),
    ("soon,fail=23%", "1 4 6", 6, 1),
    ("now,done=50%", "", 5, 3),
]


@pytest.mark.slow
@pytest.mark.parametrize(("policy", "fails", "count", "code"), CASES)
def test_it_stops_at_the_number_and_the_exit_code_says_so(pqrun, policy, fails, count, code):
    command = f"echo {{}}; for n in {fails or '-'}; do test {{}} != $n || exit 1; done"
    done = pqrun("each", "-q", "-k", "-j1", "--no-journal", "--halt", policy, command, ":::", *"123456789")
    assert (done.code, done.lines) == (code, list("123456789"[:count]))


@pytest.mark.slow
def test_of_a_stream_a_percentage_is_one_of_all_that_comes(pqrun):
    numbers = "".join(f"{n}\n" for n in range(40))
    done = pqrun("each", "-q", "-j1", "--max-queue", "2", "--halt", "soon,done=10%", "echo", input=numbers)
    assert (done.code, done.lines) == (3, ["0", "1", "2", "3"])


@pytest.mark.slow
def test_soon_lets_running_jobs_finish_and_now_does_not(live, tmp_path):
    for how, code in (("soon", 1), ("now", 1)):
        for name in ("gate", "began", "ended"):
            (tmp_path / name).unlink(missing_ok=True)
        command = (
            "if test {} = 1; then touch began; until test -e gate; do sleep 0.02; done; touch ended; "
            "elif test {} = 2; then until test -e began; do sleep 0.02; done; exit 1; else touch three; fi"
        )
        process = live("each", "-q", "-j2", "--halt", f"{how},fail=1", command, ":::", "1", "2", "3")
        if how == "soon":
            while b"halt: starting no more jobs" not in process.stderr.readline():
                pass
            (tmp_path / "gate").touch()
        assert process.wait(60) == code
        assert (tmp_path / "ended").exists() == (how == "soon")
        assert not (tmp_path / "three").exists()


@pytest.mark.slow
def test_fail_fast_is_now_at_the_first_failure(pqrun):
    done = pqrun("each", "-q", "-j1", "--fail-fast", "echo {}; test {} != 2", ":::", "1", "2", "3")
    assert (done.code, done.lines) == (1, ["1", "2"])
    assert pqrun("each", "--fail-fast", "--halt", "now,fail=2", "true", ":::", "1").code == 2


@pytest.mark.slow
def test_a_failure_counts_only_when_it_is_final_and_not_allowed(run):
    text = """
    jobs:
      - {run: exit 1, allow_failure: true}
      - {id: flaky, run: 'test -e again || { touch again; exit 1; }', retries: {max: 1, delay: 0}}
      - {id: last, run: exit 1, needs: flaky}
      - {run: echo not reached, needs: {ended: last}}
    """
    done = run(text, "--json", "-j1", "--halt", "soon,fail=1")
    assert done.code == 1
    assert list(done.states.values()) == ["failed", "ok", "failed", "queued"]


@pytest.mark.parametrize(
    "policy",
    ["fail=1", "later,fail=1", "now,fails=1", "now,fail", "now,fail=0", "now,fail=101%", "now,fail=x"],
)
def test_what_is_no_policy_is_refused(policy):
    with pytest.raises(ValueError):
        values.halt(policy)


@pytest.mark.slow
def test_a_job_file_may_say_it_and_the_command_line_goes_over_it(run):
    text = "halt: soon,done=1\njobs: [echo 1, echo 2, echo 3]"
    assert run(text, "-q", "-j1").lines == ["1"]
    assert run(text, "-q", "-j1", "--halt", "soon,done=2").lines == ["1", "2"]
