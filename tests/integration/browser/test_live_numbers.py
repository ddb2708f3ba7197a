# SPDX-License-Identifier: LGPL-3.0-or-later
"""Random runs watched by the live page: at moments when nothing moves, and at the end, its numbers are those of --json."""

import json
from random import Random

import pytest
from support.process import environment, run_pqrun

from .shown_numbers import check_numbers, check_unfinished
from .test_page import NASTY

SEEDS = 5
NAMES = [nasty for nasty in NASTY if nasty.isprintable()]
ENDS = ["true", "true", "true", "exit 1", "exit 75", "kill -SEGV $$", "sleep 0.05", "sleep 0.2; exit 3", "sleep 30",
        "test $PQRUN_ATTEMPT -ge 2", "seq 300; exit 4", "printf 'one\\ntwo' >&2; false"]  # fmt: skip


def random_jobs(random, gate):
    """Jobs that end in all ways but one, which waits at a gate: with matrices, needs, retries, limits, odd names."""
    jobs, known = [{"id": "gate", "run": gate, "priority": "critical"}], []
    for number in range(random.randint(6, 14)):
        end = random.choice(ENDS)
        found = {"run": random.choice([end, end, end, ["no-such-program", "x"]])}
        if random.random() < 0.8:
            found["id"] = f"{number} {random.choice(NAMES)}" if random.random() < 0.4 else f"job-{number}"
            known.append(found["id"])
        if "id" in found and random.random() < 0.25:
            found["matrix"] = {"A": ["1", random.choice(NAMES)], "B": ["x"]}
        if len(known) > 1 and random.random() < 0.25:
            found["needs"] = {random.choice(["ok", "ended", "failed"]): [random.choice(known[:-1])]}
        if end == "sleep 30" or random.random() < 0.2:
            found["timeout"] = 0.3
        if random.random() < 0.4:
            found["retries"] = {"max": random.randint(1, 2), "delay": random.choice(["0s", "100ms"])}
        if random.random() < 0.2:
            found["allow_failure"] = True
        if random.random() < 0.1:
            found["creates"] = "list.json"  # it is there, so that the job is skipped
        found["priority"] = random.choice(["low", "normal", "high"])
        found["tags"] = random.choice([[], ["x"], ["y", random.choice(NAMES)]])
        jobs.append(found)
    return {"jobs": jobs}


def change_some(random, run):
    """Cancel, hold, reprioritize and add some jobs of a run, and restart what has failed."""
    unstarted = [job for job in run.ask("ps")["jobs"] if job["state"] in ("queued", "pending", "waiting")]
    random.shuffle(unstarted)
    for verb, job in zip(("cancel", "hold", "set"), unstarted, strict=False):
        more = {"change": {"priority": "high"}} if verb == "set" else {}
        run.ask(verb, jobs=[job["id"]], **more)
    run.add("echo added; exit 2", id=f"added {random.choice(NAMES)}")
    if random.random() < 0.5:
        run.ask("restart", failed=True)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(SEEDS))
def test_the_numbers_of_random_live_runs_are_those_of_the_documents(
    seed, server, open_live, live_run, gate, until, tmp_path, state
):
    random = Random(seed)
    (tmp_path / "list.json").write_text(json.dumps(random_jobs(random, gate.wait)))
    run = live_run("-q", f"-j{random.randint(2, 3)}", "list.json")

    def document(*words):
        return run_pqrun(*words, "--json", cwd=tmp_path, env=environment(state=state)).document

    def stands_still():
        states = run.states()
        return "waiting" not in states.values() and [*states.values()].count("running") == 1

    page = open_live(run.run)
    page.wait_for_timeout(random.choice([0, 100, 500]))
    run.ask("pause")
    until(stands_still)
    page.locator("h1", has_text="Paused").wait_for()
    check_unfinished(page, lambda: document("ps", "--run", run.run))
    change_some(random, run)
    check_unfinished(page, lambda: document("ps", "--run", run.run))
    run.ask("unpause")
    run.ask("release", jobs=["all"])
    if random.random() < 0.3:
        run.ask("cancel", jobs=["gate"])
    else:
        gate.open()
    code = run.end()
    page.locator(".facts", has_text=f"exit code {code}").wait_for()
    check_numbers(page, document("show", run.run), tmp_path)
