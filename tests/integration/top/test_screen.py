# SPDX-License-Identifier: LGPL-3.0-or-later
"""The screen, driven by keys as a person would, over a run that is only told of."""

import importlib.util
import os
import re
from pathlib import Path

import pytest

from .conftest import NOW, Fake, attempts, job, nightly, screen_of, settled

GOLDEN = Path(__file__).parents[1] / "terminal" / "golden"


def told():
    source = Fake(nightly())
    source.output[4, 1, 1] = b"pg_dump: reading schemas\npg_dump: dumping table orders (62%)\n"
    source.output[4, 1, 2] = b"warning: \x1b[31mslow\x1b[0m [b]disk[/b]\n"
    source.attempts[4] = attempts("exit 3", "running")
    return source


def text(app):
    return "\n".join(screen_of(app))


@pytest.mark.slow
@pytest.mark.parametrize(
    "size", [(80, 24), (56, 20), (110, 40), (200, 50)], ids=lambda size: "x".join(map(str, size))
)
def test_the_screen_is_as_it_was(play, size):
    """`GOLDEN=1 pytest tests/integration/top` writes the pictures anew: look at them."""

    async def script(app, pilot):
        return text(app)

    source = told()
    source.jobs[10] = job(
        10, "waiting", name="mirror[eu-west]", how="exit 7", message="no route to host", most=3, due=NOW + 28
    )
    found = play(source, script, size=size)
    golden = GOLDEN / f"top-{size[0]}x{size[1]}.txt"
    if os.environ.get("GOLDEN"):
        golden.write_text(found + "\n", encoding="utf-8")
    assert found + "\n" == golden.read_text(encoding="utf-8")


@pytest.mark.slow
def test_a_filter_works_while_it_is_typed_and_escape_ends_it(play):
    async def script(app, pilot):
        await pilot.press("slash", *"render")
        await settled(app, pilot)
        assert "2 of 9 jobs" in text(app) and "pack" not in text(app)
        await pilot.press("enter", "f", "f")
        assert str(app.poller.jobs.filter) == "state:running render"
        await settled(app, pilot)
        assert "1 of 9 jobs" in text(app)
        await pilot.press("escape")
        await settled(app, pilot)
        assert "9 jobs" in text(app) and app.focused is app.view.table

    play(told(), script)


@pytest.mark.slow
def test_filters_by_key_go_through_what_is_there(play):
    async def script(app, pilot):
        await pilot.press("t")
        assert app.poller.jobs.filter.tag == "net"
        await pilot.press("t", "t", "l")
        assert (app.poller.jobs.filter.tag, app.poller.jobs.filter.priority) == ("", "critical")
        assert len(app.poller.jobs) == 1

    play(told(), script)


@pytest.mark.slow
def test_orders(play):
    async def script(app, pilot):
        await pilot.press("s")
        await settled(app, pilot)
        assert [app.poller.jobs.at(n).seq for n in range(3)] == [1, 2, 3] and "by number" in text(app)
        await pilot.press("S")
        assert [app.poller.jobs.at(n).seq for n in range(3)] == [9, 8, 7]

    play(told(), script)


@pytest.mark.slow
def test_nothing_is_cancelled_before_somebody_is_sure(play):
    source = told()

    async def script(app, pilot):
        await pilot.press("k")
        await settled(app, pilot)  # the run goes on being looked at behind the question
        assert "Cancel render/chapter-07?" in text(app) and "sync:eu-west" in text(app)
        await pilot.press("n")
        await settled(app, pilot)
        assert source.acts == []
        await pilot.press("k", "y")
        await settled(app, pilot)
        assert source.acts == [("cancel", {"jobs": ["render/chapter-07"], "seq": 4})]

    play(source, script)


@pytest.mark.slow
def test_what_has_ended_is_not_cancelled(play):
    source = told()

    async def script(app, pilot):
        await pilot.press("end", "k")
        await settled(app, pilot)
        assert "has ended (ok)" in text(app) and len(app.screen_stack) == 1

    play(source, script)


@pytest.mark.slow
def test_priority_goes_up_and_down_but_not_of_what_runs(play):
    source = told()

    async def script(app, pilot):
        await pilot.press("plus")
        assert source.acts == []
        await pilot.press("down", "down", "down", "down", "plus", "minus", "minus")
        await settled(app, pilot)
        assert source.acts == [
            ("set", {"jobs": ["render/chapter-08"], "seq": 6, "change": {"priority": name}})
            for name in ("critical", "high", "normal")
        ]

    play(source, script)


@pytest.mark.slow
def test_the_limit_of_a_tag(play):
    source = Fake([job(1, name="plain"), job(2, name="tagged", tags=("net", "disk"))])

    async def script(app, pilot):
        await pilot.press("left_square_bracket")
        await settled(app, pilot)
        assert source.acts == [] and "which tag?" in text(app)
        await pilot.press("down", "right_square_bracket")
        await settled(app, pilot)
        assert source.acts == [] and "tag:net: there is no limit" in text(app)
        await pilot.press("left_square_bracket", "left_square_bracket", "right_square_bracket")
        await settled(app, pilot)
        assert "tag:net: up to 3 at a time" in text(app) and "at most 3" in text(app)
        await pilot.press("right_square_bracket")
        await settled(app, pilot)
        assert "tag:net: any number at a time" in text(app)
        source.limits["disk"] = 1
        await pilot.press("t", "left_square_bracket")  # the first of the tags is listed
        await settled(app, pilot)
        assert "tag:disk: at least 1 at a time" in text(app)
        assert source.acts == [("limit", {"tag": "net", "workers": most}) for most in (3, 2, 3, None)]

    play(source, script)


@pytest.mark.slow
def test_pause_and_workers(play):
    source = told()

    async def script(app, pilot):
        await pilot.press("p")
        await settled(app, pilot)
        assert "PAUSED" in text(app) and "no job starts until p" in text(app)
        await pilot.press("p", "greater_than_sign", "greater_than_sign", "less_than_sign")
        await settled(app, pilot)
        assert "PAUSED" not in text(app)
        assert [(verb, facts.get("workers")) for verb, facts in source.acts] == [
            ("pause", None), ("unpause", None), ("workers", 5), ("workers", 6),
            ("workers", 5),
        ]  # fmt: skip

    play(source, script)


@pytest.mark.slow
def test_a_refusal_is_told(play):
    source = told()
    source.refuses = "the run is ending"

    async def script(app, pilot):
        await pilot.press("p")
        await settled(app, pilot)
        assert "the run is ending" in text(app)

    play(source, script)


@pytest.mark.slow
def test_a_job_that_has_ended_is_run_again_if_somebody_is_sure(play):
    source = told()

    async def script(app, pilot):
        await pilot.press("r")  # on one that runs
        await settled(app, pilot)
        assert "has not ended" in text(app) and len(app.screen_stack) == 1
        await pilot.press("down", "down", "r")
        await settled(app, pilot)
        assert "Run test[py3.12-macos] again?" in text(app)
        await pilot.press("n", "r", "y")
        await settled(app, pilot)
        assert source.acts == [
            ("restart", {"jobs": ["test[py3.12-macos]"]})
        ] and "in the queue again" in text(app)

    play(source, script)


@pytest.mark.slow
def test_of_jobs_with_one_id_only_the_last_can_run_again(play):
    source = Fake([job(1, "failed", name="nightly"), job(2, "failed", name="nightly", ended=NOW - 5)])

    async def script(app, pilot):
        assert app.view.table.selected == 2
        await pilot.press("down", "r")
        await settled(app, pilot)
        assert "a later job has the same id" in text(app) and len(app.screen_stack) == 1
        await pilot.press("up", "r", "y")
        await settled(app, pilot)
        assert source.acts == [("restart", {"jobs": ["nightly"]})]

    play(source, script)


@pytest.mark.slow
def test_a_run_that_has_ended_is_gone_on_with(play):
    source = told()
    source.live, source.state = False, "stopped"

    async def script(app, pilot):
        await pilot.press("r")
        await settled(app, pilot)
        assert "pqrun resume k3f9 --failed ?" in text(app)
        await pilot.press("y")
        return app

    assert play(source, script).return_value == ["pqrun", "resume", "k3f9", "--failed"]


@pytest.mark.slow
def test_a_run_in_which_nothing_is_left_is_not_gone_on_with(play):
    async def script(app, pilot):
        await pilot.press("r")
        await settled(app, pilot)
        assert "no job failed" in text(app) and len(app.screen_stack) == 1

    source = Fake([job(1, "ok")], live=False)
    play(source, script)


@pytest.mark.slow
def test_the_run_is_stopped_and_a_job_put_first(play):
    source = told()

    async def script(app, pilot):
        await pilot.press("X", "n", "X", "y")
        await settled(app, pilot)
        assert "is stopping" in text(app)
        await pilot.press("u")
        await settled(app, pilot)
        assert "runs already" in text(app)
        await pilot.press("slash", *"pack", "enter", "u")
        await settled(app, pilot)
        assert [verb for verb, _ in source.acts] == ["stop", "set"]
        assert source.acts[1][1] == {"jobs": ["pack"], "seq": 7, "front": True}

    play(source, script)


@pytest.mark.slow
def test_the_log_grows_is_searched_and_opened(play):
    source = told()

    async def script(app, pilot):
        source.output[4, 1, 1] += b"orders done\n"
        await settled(app, pilot)
        assert "orders done" in text(app)
        await pilot.press("enter")
        await settled(app, pilot)
        assert not app.view.table.display or app.view.table.size.height == 0
        await pilot.press("slash", *"DISK", "enter")
        await settled(app, pilot)
        assert app.view.log_view.found_row == 2 and "in 1 lines" in text(app)
        await pilot.press("n", "o", "o")
        await settled(app, pilot)
        assert "reading schemas" not in text(app) and "[b]disk[/b]" in text(app)
        await pilot.press("escape")
        await settled(app, pilot)
        assert app.focused is app.view.table and "pack" in text(app)

    play(source, script)


@pytest.mark.slow
def test_other_attempts_can_be_read(play):
    source = told()
    source.output[5, 1, 1] = b"of the first try\n"
    source.output[5, 2, 1] = b"of the second try\n"

    async def script(app, pilot):
        await pilot.press("down")
        await settled(app, pilot)
        assert "of the second try" in text(app)
        await pilot.press("a")
        await settled(app, pilot)
        assert "of the first try" in text(app) and "try 1/3" in text(app)

    play(source, script)


@pytest.mark.slow
def test_the_selected_job_stays_selected_when_it_moves(play):
    source = told()

    async def script(app, pilot):
        await pilot.press("down")
        assert app.view.table.selected == 5
        source.jobs[5] = job(5, "ok", name="db:backup --full")
        await settled(app, pilot)
        assert app.view.table.selected == 5 and app.poller.jobs.row_of(5) > 5

    play(source, script)


@pytest.mark.slow
def test_the_end_of_the_run_is_told_and_all_of_it_stays(play):
    source = told()

    async def script(app, pilot):
        source.live, source.state = False, "stopped"
        await settled(app, pilot)
        assert "the run has stopped" in text(app) and "pqrun resume k3f9 --failed" in text(app)
        assert "reading schemas" in text(app) and len(app.poller.jobs) == 9
        await pilot.press("p", "k")
        source.trouble = "no run is recorded in /gone"
        await settled(app, pilot)
        assert "the run is gone" in text(app) and len(app.poller.jobs) == 9
        assert [verb for verb, _ in source.acts] == ["pause"]  # which the source itself refuses

    play(source, script)


@pytest.mark.slow
def test_a_window_of_another_size_shows_the_same(play):
    source = told()
    source.jobs.update({n: job(n) for n in range(100, 400)})

    async def script(app, pilot):
        await pilot.press("end", "up")
        before = app.view.table.selected
        for size in ((56, 16), (150, 50), (20, 6), (80, 24)):
            await pilot.resize_terminal(*size)
            await settled(app, pilot)
            assert app.view.table.selected == before
            assert len(screen_of(app)) == size[1]
        assert before in [one.seq for one in app.view.table.visible_jobs()]

    play(source, script)


@pytest.mark.slow
def test_of_many_jobs_only_those_that_are_seen_are_drawn(play):
    source = Fake([job(n, timeout=60.0) for n in range(1, 10_001)])

    async def script(app, pilot):
        await pilot.press("end")
        await settled(app, pilot)
        assert app.view.table.selected == 10_000 and len(app.view.table.visible_jobs()) < 40
        await pilot.press("home", "pagedown")
        assert app.poller.jobs.row_of(app.view.table.selected) < 40
        source.jobs[7] = job(7, "running", began=NOW)
        await settled(app, pilot)
        assert app.poller.jobs.at(0).seq == 7

    play(source, script)


@pytest.mark.slow
def test_names_and_output_are_never_markup(play):
    source = Fake([job(1, "running", name="[red]x[/red] [@click=app.quit]y[/]", command="echo [b]")])

    async def script(app, pilot):
        shown = text(app)
        assert shown.count("[red]x[/red] [@click=app.quit]y") >= 2
        await pilot.press("k")
        assert "Cancel [red]x[/red]" in text(app)
        await pilot.press("n", "plus")
        await settled(app, pilot)
        assert "[red]x[/red] [@click=app.quit]y[/] runs already" in text(app)

    play(source, script, size=(160, 40))


@pytest.mark.slow
def test_help_and_an_empty_run(play):
    async def script(app, pilot):
        assert "no jobs yet" in text(app)
        await pilot.press("question_mark")
        assert "raise, lower its priority" in text(app)
        await pilot.press("escape", "m", "k", "r", "a", "enter", "escape", "q")

    source = Fake([])
    play(source, script)


def test_leaving_lets_go_of_the_run(play, until):
    source = told()

    async def script(app, pilot):
        await pilot.press("q")

    play(source, script)
    until(lambda: source.closed)


@pytest.mark.slow
def test_the_picture_of_the_documentation_is_current_and_fetches_nothing():
    pytest.importorskip("textual", reason="the extra `top` is not installed")
    path = Path(__file__).parents[3] / "docs" / "top_svg.py"
    spec = importlib.util.spec_from_file_location("top_svg", path)
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    drawn, kept = script.picture(), script.PICTURE.read_text(encoding="utf-8")
    assert re.findall(r"<text[^>]*>([^<]*)</text>", kept) == re.findall(
        r"<text[^>]*>([^<]*)</text>", drawn
    ), "the screen looks different now: run `python docs/top_svg.py`, and look at docs/top.svg"
    for svg in (drawn, kept):
        assert "@font-face" not in svg and "db:backup" in svg and "orders" in svg
