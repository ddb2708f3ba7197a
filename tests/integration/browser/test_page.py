# SPDX-License-Identifier: LGPL-3.0-or-later
"""The page in a real browser: its numbers are those of --json, it can be used, and nothing in it can break out."""

import json
from random import Random

import pytest
from random_cells import random_cell
from reported import CELLS, Cell, job, play
from support.process import run_pqrun, start_pqrun

from pqrun.core.job import Command, ExitedWith, JobSpec, Need, Priority

from .shown_numbers import check_numbers, drawn, saved

PRINTED = {"all": (b"some output\n", b"and an error\n")}


def rows_of(page):
    """The names of the jobs in the table, as far as they are in sight."""
    return page.locator(".row [data-column=name]").all_inner_texts()


def filtered(page, query):
    page.get_by_role("searchbox").fill(query)
    drawn(page)
    return rows_of(page)


@pytest.mark.parametrize("name", CELLS)
def test_the_numbers_are_those_of_the_document(name, tmp_path, open_page):
    played = play(tmp_path, CELLS[name], outputs=PRINTED)
    check_numbers(open_page(played.path("html")), played.document, tmp_path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12))
def test_the_numbers_of_random_runs_are_those_of_the_document(seed, tmp_path, open_page):
    played = play(tmp_path, random_cell(Random(seed)), outputs=PRINTED)
    check_numbers(open_page(played.path("html")), played.document, tmp_path)


SOME = Cell(
    [
        job("build", 1.0), job("test[DB=mysql]", 2.0, ExitedWith(3), needs=(Need("build"),), priority=Priority.HIGH),
        job("test[DB=pg]", 3.0, needs=(Need("build"),), tags=("nightly",)),
        job("sync", 9.0, timeout=2.0), job("flaky", 0.5, tries=[ExitedWith(1)], priority=Priority.LOW),
        job("publish", needs=(Need("test[DB=mysql]"),)), job("last", 0.25, needs=(Need("test[DB=pg]"),)),
    ], 1,
)  # fmt: skip


@pytest.fixture
def page(tmp_path, open_page):
    """The page of a run with every kind of job."""
    return open_page(play(tmp_path, SOME, outputs=PRINTED).path("html"))


def test_the_first_screen_says_what_failed_and_why(page):
    assert page.title().startswith("Failed, jobs.yaml")
    assert page.locator("h1").inner_text().split() == ["Failed", "jobs.yaml"]
    names = page.locator(".failure .name").all_inner_texts()
    assert [name.split()[0] for name in names] == ["sync", "test[DB=mysql]", "publish"]
    box = page.locator("#failures .output")
    assert box.inner_text().split("\n")[:3] == ["some output", "── stderr ──", "and an error"]
    assert box.bounding_box()["y"] + 50 < 1000
    page.locator(".failure").nth(1).click()
    assert page.locator(".failure[aria-pressed=true] .name").inner_text().startswith("test[DB=mysql]")


@pytest.mark.parametrize(
    "query, expected",
    [
        ("", ["test[DB=mysql]", "sync", "publish", "flaky", "build", "test[DB=pg]", "last"]),
        ("state:failed", ["test[DB=mysql]"]),
        ("state:ok priority:low", ["flaky"]),
        ("state:ok -priority:low", ["build", "test[DB=pg]", "last"]),
        ("is:flaky", ["flaky"]),
        ("tag:nightly", ["test[DB=pg]"]),
        ("TEST", ["test[DB=mysql]", "publish", "test[DB=pg]"]),
        ("group:test", ["test[DB=mysql]", "test[DB=pg]"]),
        ("needs:build", ["test[DB=mysql]", "test[DB=pg]"]),
        ("ran>2.5s", ["test[DB=pg]"]),
        ("ran<=0.25", ["last"]),
        ("attempts>1", ["flaky"]),
        ("exit:3", ["test[DB=mysql]"]),
        ("seq:1", ["build"]),
        ('"run last"', ["last"]),
        ("nothing-like-this", []),
    ],
)  # fmt: skip
def test_the_filter(page, query, expected):
    assert filtered(page, query) == expected


def test_a_filter_that_is_not_understood_is_told(page):
    assert len(filtered(page, "ran>long")) == 7
    assert "needs a number" in page.locator("[role=alert]").inner_text()


def test_a_click_on_a_head_sorts_and_another_turns_the_order(page):
    head = page.get_by_role("columnheader", name="Ran")
    head.get_by_role("button").click()
    drawn(page)
    longest = rows_of(page)
    assert longest[:3] == ["test[DB=pg]", "test[DB=mysql]", "sync"] and longest[-1] == "publish"
    assert head.get_attribute("aria-sort") == "descending"
    head.get_by_role("button").click()
    drawn(page)
    assert head.get_attribute("aria-sort") == "ascending"
    assert rows_of(page) == [*reversed(longest[3:-1]), "test[DB=mysql]", "sync", longest[0], "publish"]


def test_the_keyboard_alone_is_enough(page):
    page.keyboard.press("/")
    page.keyboard.type("state:ok")
    page.keyboard.press("Enter")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    pane = page.get_by_role("dialog")
    assert pane.get_by_role("heading", level=2).inner_text() == "build"
    page.keyboard.press("j")
    assert pane.get_by_role("heading", level=2).inner_text() == "test[DB=pg]"
    page.keyboard.press("k")
    page.keyboard.press("Escape")
    assert not pane.is_visible()
    page.keyboard.press("?")
    assert page.get_by_role("dialog", name="Keys").is_visible()


def test_the_pane_tells_all_about_a_job(page):
    page.locator(".row", has_text="flaky").click()
    pane = page.get_by_role("dialog")
    text = pane.inner_text()
    assert "OK after a retry try 2 of 2" in text and "Ran 1s in all" in text and "500ms to retry" in text
    tries = [row.inner_text().split("\t") for row in pane.locator("tbody tr").all()]
    assert [(row[0], row[4], row[7].strip()) for row in tries] == [
        ("1", "exit 1", "waited 500ms"),
        ("2", "exit 0", ""),
    ]
    pane.get_by_role("button", name="try 1").click()
    assert "and an error" in pane.locator(".output").inner_text()
    page.keyboard.press("Escape")
    page.locator(".row", has_text="publish").first.click()
    assert "Skipped" in pane.inner_text() and "needs test[DB=mysql]" in pane.inner_text().lower().replace(
        "db", "DB"
    )
    pane.get_by_role("button", name="test[DB=mysql]").click()
    assert "Needed by" in pane.inner_text() and "ci/jobs.yaml:3" in pane.inner_text()


def test_a_click_in_the_timeline_opens_the_job(page):
    canvas = page.locator("canvas")
    canvas.scroll_into_view_if_needed()
    canvas.hover(position={"x": 100, "y": 35})
    assert "worker 1" in page.get_by_role("tooltip").inner_text()
    canvas.click(position={"x": 100, "y": 35})
    assert page.get_by_role("dialog").get_by_role("heading", level=2).inner_text() == "build"
    page.keyboard.press("Escape")
    canvas.focus()
    for key in ("ArrowRight", "ArrowRight", "Enter"):
        page.keyboard.press(key)
    assert page.get_by_role("dialog").is_visible()


def test_the_timeline_zooms_and_fits(page):
    fit = page.get_by_role("button", name="fit")
    page.get_by_role("button", name="Zoom in").click()
    page.locator("[aria-label=Zoom] [aria-pressed=false]").wait_for()
    fit.click()
    page.locator("[aria-label=Zoom] [aria-pressed=true]").wait_for()


def test_the_critical_path_and_the_time_with_unlimited_workers(page):
    title = page.locator("#graph .graph-path").inner_text()
    assert title == "critical path, 4.3s: build → test[DB=pg] → last"
    assert "with unlimited workers 4.3s" in page.locator("#timeline .title").inner_text()
    boxes = [one.get_attribute("aria-label") for one in page.locator(".box").all()]
    assert sorted(boxes) == [
        "build, ok, on the critical path", "last, ok, on the critical path", "publish, skipped",
        "test, 2 jobs, failed, on the critical path",
    ]  # fmt: skip
    page.locator(".box", has_text="test").click()
    assert page.get_by_role("searchbox").input_value() == 'group:"test"'


def test_arguments_are_columns(tmp_path, open_page):
    state = {"PQRUN_STATE_DIR": str(tmp_path / "state")}
    words = ("each", "-q", "--html", "page.html", "echo {1} to {2}", ":::", "a", "b c", ":::", "10", "9")
    assert run_pqrun(*words, cwd=tmp_path, env=state).code == 0
    page = open_page(tmp_path / "page.html")
    assert page.locator(".row").count() == 4
    page.get_by_role("columnheader", name="Argument 2").get_by_role("button").click()
    drawn(page)
    rows = [
        [row.locator(f"[data-column=argument-{number}]").inner_text() for number in (1, 2)]
        for row in page.locator(".row").all()
    ]
    assert rows == [["a", "9"], ["b c", "9"], ["a", "10"], ["b c", "10"]]
    assert [row["name"] for row in saved(page, tmp_path)] == ["2", "4", "1", "3"]
    assert filtered(page, '"b c"') == ["echo 'b c' to 10", "echo 'b c' to 9"][::-1]
    page.locator(".row").first.click()
    assert page.locator("dialog dd", has_text="1=b c 2=9").count() == 1


def test_columns_for_arguments_have_a_bound_and_the_pane_has_the_others(tmp_path, open_page):
    state = {"PQRUN_STATE_DIR": str(tmp_path / "state")}
    words = (
        "each",
        "-q",
        "-j1",
        "-n120",
        "--html",
        "page.html",
        "--header",
        "true {#}",
        ":::",
        "<b>x",
        "\x1b<i>y",
    )
    assert run_pqrun(*words, *map(str, range(1, 200)), cwd=tmp_path, env=state).code == 0
    page = open_page(tmp_path / "page.html")
    heads = page.get_by_role("columnheader").all_inner_texts()
    assert [head for head in heads if head == "<b>x" or head.startswith("Argument")] == [
        "<b>x", *(f"Argument {place}" for place in range(2, 9))
    ]  # fmt: skip
    assert filtered(page, "199") == ["true 2"]
    assert filtered(page, "<i>y") == ["true 1"]
    assert [row["argument-<b>x"] for row in saved(page, tmp_path)] == ["\x1b<i>y"]
    page.locator(".row").first.click()
    text = page.locator("dialog dd", has_text="2=1 3=2").inner_text()
    assert text.startswith("<b>x=\x1b<i>y 2=1") and text.endswith("100=99 and 20 more")


def test_matrix_values_are_columns_and_the_filter_knows_their_names(tmp_path, open_page):
    state = {"PQRUN_STATE_DIR": str(tmp_path / "state")}
    matrix = {"DB": ["pg", "mysql"], "LR": ["0.1", "0.02"]}
    jobs = [{"id": "test", "run": "true", "matrix": matrix}, {"id": "a", "run": "true"}]
    (tmp_path / "jobs.yaml").write_text(json.dumps({"jobs": jobs}))
    assert run_pqrun("run", "-q", "jobs.yaml", "--html", "page.html", cwd=tmp_path, env=state).code == 0
    page = open_page(tmp_path / "page.html")
    assert {"DB", "LR"} <= set(page.get_by_role("columnheader").all_inner_texts())
    assert filtered(page, "db=pg LR<0.05") == ["test[DB=pg,LR=0.02]"]


def test_the_place_of_a_block_is_a_column(tmp_path, open_page):
    state = {"PQRUN_STATE_DIR": str(tmp_path / "state")}
    words = ("each", "-q", "--html", "page.html", "--pipe", "-N1", "wc -c")
    assert run_pqrun(*words, cwd=tmp_path, env=state, input=b"a\nbb\n").code == 0
    rows = saved(open_page(tmp_path / "page.html"), tmp_path)
    assert [(row["argument-offset"], row["argument-bytes"]) for row in rows] == [("0", "2"), ("2", "3")]


def test_a_run_that_is_under_way(tmp_path, open_page, until):
    state = {"PQRUN_STATE_DIR": str(tmp_path / "state")}
    jobs = {
        "jobs": [{"id": "a", "run": "touch begun; exec sleep 60"}, {"id": "b", "run": "true", "needs": "a"}]
    }
    (tmp_path / "jobs.yaml").write_text(json.dumps(jobs))
    process = start_pqrun("run", "-q", "jobs.yaml", cwd=tmp_path, env=state)
    try:
        until((tmp_path / "begun").exists)
        assert run_pqrun("show", "--html", "page.html", cwd=tmp_path, env=state).code == 0
    finally:
        process.terminate()
        process.wait()
    page = open_page(tmp_path / "page.html")
    assert page.locator("h1").inner_text().split() == ["Running", "jobs.yaml"]
    assert page.locator(".row [data-column=state]").all_inner_texts() == ["running", "pending"]


def test_light_and_dark(page, tmp_path, open_page):
    ground = "getComputedStyle(document.body).backgroundColor"
    assert page.evaluate(ground) == "rgb(255, 255, 255)"
    page.keyboard.press("t")
    assert page.evaluate(ground) == "rgb(18, 20, 23)"
    assert open_page(tmp_path / "run.html", theme="dark").evaluate(ground) == "rgb(18, 20, 23)"


@pytest.mark.parametrize("width", [390, 768, 1440])
def test_nothing_scrolls_sideways_but_what_may(width, page, tmp_path, open_page):
    narrow = open_page(tmp_path / "run.html", width=width, height=844)
    assert narrow.evaluate("document.documentElement.scrollWidth") == width
    assert narrow.locator(".row").count() == 7


def test_all_rows_are_printed(tmp_path, open_page):
    jobs = [job(f"job-{number}", 0.1) for number in range(300)]
    page = open_page(play(tmp_path, Cell(jobs, 0)).path("html"))
    assert page.locator(".row").count() < 100
    page.keyboard.press("t")
    page.emulate_media(media="print")
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".row").count() == 300
    assert page.evaluate("document.documentElement.scrollWidth") <= 1440
    assert page.evaluate("document.documentElement.dataset.theme") == "light"
    page.emulate_media(media="screen")
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    drawn(page)
    assert page.locator(".row").count() < 100


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_a_screen_reader_can_use_it(theme, width, page, tmp_path, open_page, axe):
    looked_at = open_page(tmp_path / "run.html", width=width, theme=theme, strict=False)
    looked_at.evaluate(axe)
    for state in ("page", "pane"):
        if state == "pane":
            looked_at.locator(".row").first.click()
        found = looked_at.evaluate("axe.run()")["violations"]
        assert [(one["id"], one["impact"], [node["html"] for node in one["nodes"]]) for one in found] == [], (
            state
        )


NASTY = [
    "</script><script>window.broken=1</script>", "<img src=x onerror=window.broken=1>", "\u2028window.broken=1\u2029",
    "<!--<script>", "${window.broken=1}", "`-alert(1)-`", '"><svg onload=alert(1)>', "javascript:alert(1)",
    "&lt;b&gt;", "\\u003cscript>", "\u202egnp.exe", "=1+1",
]  # fmt: skip


@pytest.mark.parametrize("nasty", NASTY, ids=range(len(NASTY)))
def test_hostile_texts_do_nothing(nasty, tmp_path, open_page):
    bad = JobSpec(
        f"x {nasty}", Command(f"echo {nasty}", cwd=nasty, env=((nasty, "1"),)), tags=(nasty,), file=nasty
    )
    after = JobSpec("after", Command("true"), needs=(Need(bad.id),))
    output = {"all": (nasty.encode() + b"\n", nasty.encode() + b"\xff\xfe\x00\x1b]0;x\x07" + b"A" * 70_000)}
    cell = Cell([(bad, [ExitedWith(1)], 1.0), (after, [ExitedWith(0)], 1.0)], 1)
    page = open_page(play(tmp_path, cell, outputs=output).path("html"))
    elements = page.evaluate(
        "document.querySelectorAll('main img, main script, main iframe, main b > *').length"
    )
    page.locator(".row").first.click()
    assert elements == 0 and page.evaluate("window.broken") is None
    assert page.locator("#pane-title").text_content() == f"x {nasty}"
    assert page.locator("#pane .command code").first.text_content() == f"echo {nasty}"
    page.locator("canvas").hover(position={"x": 200, "y": 35})
    assert page.evaluate("document.querySelectorAll('#tip *:not(div,span,b,svg,circle,path)').length") == 0


@pytest.mark.slow
def test_hostile_output_of_real_jobs_does_nothing(tmp_path, open_page):
    script = (
        "head -c 5000000 /dev/zero | tr '\\0' x; echo '</script><script>window.broken=1</script>'; "
        "printf '\\377\\376\\033[31mred\\033[0m\\n' >&2; printf '\\342\\200\\250window.broken=1\\n' >&2; exit 1"
    )
    jobs = {"jobs": [{"id": "</script><img src=x onerror=alert(1)>", "run": script}]}
    (tmp_path / "jobs.yaml").write_text(json.dumps(jobs))
    state = {"PQRUN_STATE_DIR": str(tmp_path / "state")}
    done = run_pqrun("run", "-q", "jobs.yaml", "--html", "page.html", "--json", cwd=tmp_path, env=state)
    assert done.code == 1 and (tmp_path / "page.html").stat().st_size < 500_000
    page = open_page(tmp_path / "page.html")
    page.locator(".row").first.click()
    text = page.locator("#pane .output").text_content()
    assert "</script><script>window.broken=1</script>" in text and "red" in text and "\x1b" not in text
    assert page.evaluate("window.broken") is None
    page.keyboard.press("Escape")
    check_numbers(page, done.document, tmp_path)


@pytest.mark.slow
def test_it_says_where_the_rest_of_an_output_is(tmp_path, open_page):
    """A small output shares a file with others: the page has the command that prints it, not the file."""
    text = json.dumps({"jobs": [
        {"id": "small job", "run": "echo $PQRUN_ATTEMPT >&2; test $PQRUN_ATTEMPT = 2", "retries": {"max": 1, "delay": 0}},
        {"id": "large", "run": "seq 100000"},
    ]})  # fmt: skip
    (tmp_path / "jobs.yaml").write_text(text)
    state = {"PQRUN_STATE_DIR": str(tmp_path / "state")}
    done = run_pqrun("run", "-q", "jobs.yaml", "--html", "page.html", "--json", cwd=tmp_path, env=state)
    run = done.document["run"]["id"]
    page = open_page(tmp_path / "page.html")
    places = {}
    for row in ("small job", "large"):
        page.locator(".row", has_text=row).click()
        places[row] = page.locator("#pane dd code").all_inner_texts()
        page.keyboard.press("Escape")
    assert f"pqrun logs {run} 'small job' --attempt 2 --stderr" in places["small job"]
    assert done.document["jobs"][1]["stdout"] in places["large"]


def test_the_address_opens_a_job(page, tmp_path, open_page):
    opened = open_page(tmp_path / "run.html", anchor="#job-4")
    assert opened.get_by_role("dialog").get_by_role("heading", level=2).inner_text() == "sync"


def test_a_pane_on_a_narrow_screen_has_signs_in_place_of_keys(page, tmp_path, open_page):
    narrow = open_page(tmp_path / "run.html", width=390, height=844, anchor="#job-4")
    for opened, shown, hidden in ((narrow, ".sign", "kbd"), (page, "kbd", ".sign")):
        if opened is page:
            page.locator(".row").first.click()
        top = opened.locator("#pane .pane-top")
        assert [one.is_visible() for one in top.locator(shown).all()] == [True] * 3
        assert [one.is_visible() for one in top.locator(hidden).all()] == [False] * 3
    narrow.get_by_role("button", name="Close").click()
    assert not narrow.get_by_role("dialog").is_visible()


def test_the_output_of_a_failure_takes_as_much_room_as_it_needs_and_moves_nothing(tmp_path, open_page):
    """The box grows up to a limit with the output, and does not shrink when a shorter output is chosen."""
    jobs = [job("a", exit=ExitedWith(1)), job("b", 2.0, exit=ExitedWith(1))]
    heights = []
    for name, lines in (("short", 1), ("long", 100)):
        (tmp_path / name).mkdir()
        printed = {1: (b"one\n", b""), 2: (b"line\n" * lines, b"")}
        page = open_page(play(tmp_path / name, Cell(jobs, 1), outputs=printed).path("html"))
        for place in (0, 1, 0):
            page.locator(".failure").nth(place).click()
            heights.append(round(page.locator(".tail").bounding_box()["height"]))
    assert heights[:3] == [130] * 3 and heights[3:] == [130, 340, 340]


@pytest.mark.parametrize("width", [390, 1440])
def test_waits_that_follow_each_other_share_a_row(width, tmp_path, open_page):
    heights = []
    for count in (1, 3):
        (tmp_path / str(count)).mkdir()
        cell = Cell([job("a", tries=[ExitedWith(1)] * count)], 0)
        page = open_page(play(tmp_path / str(count), cell).path("html"), width=width)
        drawn(page)
        heights.append(page.locator("canvas").bounding_box()["height"])
    assert heights[0] == heights[1]
