# SPDX-License-Identifier: LGPL-3.0-or-later
"""The live page in a real browser: it keeps up with a run, acts on it by click, and nothing in it can break out."""

import json
from importlib.util import find_spec

import pytest
from control import conftest as real
from support.process import environment, run_pqrun
from support.web import WebServer

from pqrun.core.metrics import CORE_METRICS

from .test_page import NASTY

pytestmark = pytest.mark.skipif(
    find_spec("starlette") is None or find_spec("uvicorn") is None,
    reason="starlette or uvicorn is not installed",
)
gate, live_run, queue = real.gate, real.live, real.queue
globals()["state"] = real.state


@pytest.fixture
def server(state, tmp_path):
    found = WebServer(state=state, cwd=tmp_path)
    yield found
    code, _, err = found.end()
    found.close()
    assert (code, err) == (0, "")


@pytest.fixture
def open_live(browser, server):
    """`open_live(run)` opens the page of a run; at the end no error may have been seen."""
    contexts, wrong = [], []

    def open_run(run=None, *, width=1440, height=1000, theme="light", strict=True):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=theme, bypass_csp=not strict,
            timezone_id="UTC", locale="en-GB",
        )  # fmt: skip
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.on("console", lambda message: wrong.append(message.text) if strict else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.goto(server.address)
        page.wait_for_selector("html[data-ready]", state="attached")
        if run is not None:
            page.locator(f"a[href$='{run}']").click()
            page.wait_for_selector("#jobs .table", state="attached")
            page.wait_for_selector("html[data-ready]", state="attached")
        return page

    yield open_run
    for context in contexts:
        context.close()
    assert wrong == []


def shown_counts(page):
    return {
        one["kind"]: int(one["count"].replace(",", ""))
        for one in page.evaluate(
            "[...document.querySelectorAll('[data-count]')].map((one) => "
            "({kind: one.dataset.count, count: one.querySelector('b').textContent}))"
        )
    }


def shows(page, **counts):
    """Wait until the headline has these counts and no others."""
    page.wait_for_function(
        """(wanted) => {
          const shown = {};
          for (const one of document.querySelectorAll("[data-count]"))
            shown[one.dataset.count] = Number(one.querySelector("b").textContent.replace(/,/g, ""));
          const same = (one, other) => Object.keys(one).every((key) => one[key] === other[key]);
          return same(shown, wanted) && same(wanted, shown);
        }""",
        arg=counts,
    )


def test_the_token_is_not_in_the_address_and_another_browser_gets_nothing(server, open_live, browser):
    page = open_live()
    assert server.token not in page.url and page.url.startswith(f"{server.origin}/")
    assert page.locator("h1").inner_text().startswith("Runs")
    other = browser.new_context()
    assert other.new_page().goto(page.url).status == 403
    other.close()


def test_another_site_can_neither_read_nor_act(server, open_live, browser, queue):
    run = queue("-j1")
    page = open_live(run.run)
    context = page.context
    address = f"{server.origin}{server.path}/run/{run.run}"
    evil = context.new_page()
    evil.route(
        "http://evil.example/**", lambda route: route.fulfill(body="<h1>evil</h1>", content_type="text/html")
    )
    evil.goto("http://evil.example/")
    assert evil.evaluate(f"fetch('{address}/events', {{credentials: 'include'}}).then(() => 1, () => 0)") == 0
    for kind in ("text/plain", "application/json"):
        asked = (
            f"fetch('{address}/do', {{method: 'POST', credentials: 'include', mode: 'no-cors', "
            f"headers: {{'Content-Type': '{kind}'}}, body: JSON.stringify({{verb: 'pause'}})}}).then(() => 1, () => 0)"
        )
        evil.evaluate(asked)
    with evil.expect_navigation():
        evil.evaluate(
            f"""() => {{
              const form = document.createElement("form");
              form.method = "post"; form.action = "{address}/do"; form.enctype = "text/plain";
              document.body.append(form); form.submit();
            }}"""
        )
    assert run.ask("ps")["paused"] is False


def test_a_click_acts_on_the_run_and_its_jobs(server, open_live, queue, gate):
    run = queue("-j1")
    page = open_live(run.run)
    page.get_by_role("button", name="Add job").click()
    page.get_by_role("textbox", name="Command").fill(gate.wait)
    page.get_by_label("Id (optional)").fill("first")
    page.get_by_role("button", name="Add", exact=True).click()
    shows(page, running=1)
    run.add("true", id="one")
    run.add("true", id="two")
    shows(page, running=1, queued=2)
    page.locator(".row", has_text="one").click()
    pane = page.locator("#pane")
    pane.get_by_label("Priority").select_option("high")
    page.locator(".note", has_text="one: high").wait_for()
    pane.locator("dd", has_text="high").wait_for()
    pane.get_by_role("button", name="Hold").click()
    shows(page, running=1, queued=1, held=1)
    pane.get_by_role("button", name="Release").click()
    shows(page, running=1, queued=2)
    assert run.jobs()["one"]["priority"] == "high"
    pane.get_by_role("button", name="Cancel").click()
    shows(page, running=1, queued=1, cancelled=1)
    page.keyboard.press("Escape")
    run.ask("limit", tag="x", workers=2)
    page.locator("#headline", has_text="at most 2 at a time with tag:x").wait_for()
    page.get_by_role("button", name="One worker more").click()
    shows(page, running=1, ok=1, cancelled=1)
    page.get_by_role("button", name="Pause").click()
    page.locator("h1", has_text="Paused").wait_for()
    assert run.ask("ps")["paused"] is True
    page.get_by_role("button", name="Unpause").click()
    page.locator("h1", has_text="Running").wait_for()
    page.locator(".row", has_text="two").click()
    pane.get_by_role("button", name="Restart").click()
    pane.locator(".tries tbody tr").nth(1).wait_for()
    page.keyboard.press("Escape")
    page.locator(".row", has_text="first").click()
    pane.get_by_role("button", name="Cancel").click()
    question = page.locator("dialog.question")
    assert "first runs" in question.inner_text()
    question.get_by_role("button", name="Back").click()
    assert "first" in run.states()
    pane.get_by_role("button", name="Cancel").click()
    question.get_by_role("button", name="Cancel job").click()
    shows(page, ok=1, cancelled=2)
    page.keyboard.press("Escape")
    page.get_by_role("button", name="Stop…").click()
    question.get_by_role("button", name="Let running jobs finish").click()
    page.locator("h1", has_text="Stopped").wait_for()
    assert page.locator("#actions button").count() == 0
    assert run.end() in (0, 3, 1)


def test_read_only_has_no_buttons(state, tmp_path, browser, queue):
    run = queue("-j1")
    run.add("sleep 100", id="first")
    server = WebServer("--read-only", state=state, cwd=tmp_path)
    page = browser.new_context().new_page()
    page.goto(server.address)
    page.locator(f"a[href$='{run.run}']").click()
    page.locator(".row", has_text="first").click()
    assert page.locator("#actions button, .job-actions button").count() == 0
    page.context.close()
    assert server.end()[0] == 0
    server.close()


def test_output_is_followed(server, open_live, queue, gate):
    run = queue("-j1")
    run.add(
        f"echo begun; {gate.wait}; echo '</pre><img src=x onerror=alert(1)>'; read _ < {gate.path}",
        id="first",
    )
    page = open_live(run.run)
    page.locator(".row", has_text="first").click()
    box = page.locator("#pane .output")
    box.get_by_text("begun").wait_for()
    gate.open()
    box.get_by_text("</pre><img src=x onerror=alert(1)>").wait_for()
    assert page.locator("#pane img").count() == 0


def test_what_the_reader_has_chosen_stays_while_the_run_goes_on(server, open_live, queue, gate):
    run = queue("-j1")
    run.add(gate.wait, id="first")
    page = open_live(run.run)
    shows(page, running=1)
    page.keyboard.press("/")
    page.keyboard.type("id:kept")
    head = page.get_by_role("columnheader", name="Ran")
    head.get_by_role("button").click()
    run.add("exit 1", id="kept-bad")
    run.add("true", id="kept-ok")
    run.add("true", id="other")
    gate.open()
    shows(page, ok=3, failed=1)
    assert page.get_by_role("searchbox").input_value() == "id:kept"
    assert head.get_attribute("aria-sort") == "descending"
    assert sorted(page.locator(".row [data-column=name]").all_inner_texts()) == ["kept-bad", "kept-ok"]
    assert page.locator(".failure .name").all_inner_texts()[0].startswith("kept-bad")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_page_keeps_up_with_many_short_jobs_and_its_numbers_are_those_of_the_document(
    server, open_live, live_run, tmp_path, state
):
    count = 10_000
    (tmp_path / "list").write_text("".join(f"exit {int(n % 1000 == 7)} # {n}\n" for n in range(count)))
    run = live_run("-q", "list")
    page = open_live(run.run)
    page.set_default_timeout(240_000)
    page.locator("[data-count=ok]").wait_for()
    early = shown_counts(page)
    assert 0 < early["ok"] < count  # it was seen while it ran
    assert run.process.wait(240) == 1
    page.set_default_timeout(15_000)
    shows(page, ok=count - 10, failed=10)
    page.locator("h1", has_text="Failed").wait_for()
    done = run_pqrun("show", run.run, "--json", cwd=tmp_path, env=environment(state=state))
    metrics = {
        one.get_attribute("data-metric"): float(one.get_attribute("data-value"))
        for one in page.locator("[data-metric]").all()
    }
    assert metrics == {name: done.metrics[name] for name in CORE_METRICS}


@pytest.mark.parametrize("nasty", NASTY, ids=range(len(NASTY)))
def test_hostile_texts_do_nothing(nasty, server, open_live, tmp_path, state):
    jobs = {
        "jobs": [
            {"id": f"x {nasty}", "run": ["printf", "%s", f"{nasty}\n"], "tags": [nasty]},
            {"run": "exit 1"},
        ]
    }
    (tmp_path / "jobs.json").write_text(json.dumps(jobs))
    done = run_pqrun("run", "-q", "--json", "jobs.json", cwd=tmp_path, env=environment(state=state))
    if done.code == 2:
        pytest.skip("such an id is refused")
    page = open_live(done.document["run"]["id"])
    page.locator(".row[data-seq='1']").click()
    page.locator("#pane .output .out").wait_for()
    assert page.locator("#pane-title").text_content() == f"x {nasty}"
    assert (
        page.evaluate("document.querySelectorAll('main img, main script, #pane img, #pane script').length")
        == 0
    )
    assert page.evaluate("window.broken") is None


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_a_screen_reader_gets_on_with_it(theme, axe, open_live, queue, gate):
    run = queue("-j1")
    run.add("echo oops; exit 1", id="bad")
    run.add(gate.wait, id="first")
    run.add("true", id="second")
    page = open_live(theme=theme, strict=False)
    page.evaluate(axe)
    assert problems(page) == []
    page.locator(f"a[href$='{run.run}']").click()
    shows(page, running=1, queued=1, failed=1)
    page.evaluate(axe)
    for state in ("page", "pane", "question", "form"):
        if state == "pane":
            page.locator(".row", has_text="second").click()
        elif state == "question":
            page.keyboard.press("Escape")
            page.get_by_role("button", name="Stop…").click()
        elif state == "form":
            page.get_by_role("button", name="Back").click()
            page.get_by_role("button", name="Add job").click()
        assert problems(page) == [], state


def problems(page):
    found = page.evaluate("axe.run()")["violations"]
    return [(one["id"], one["impact"], [node["html"] for node in one["nodes"]]) for one in found]


@pytest.mark.parametrize("width", [390, 1440])
def test_nothing_scrolls_sideways_but_what_may(width, open_live, queue, gate):
    run = queue("-j1")
    run.add(gate.wait, id="first")
    page = open_live(width=width, height=844)
    assert page.evaluate("document.documentElement.scrollWidth") == width
    page.locator(f"a[href$='{run.run}']").click()
    shows(page, running=1)
    assert page.evaluate("document.documentElement.scrollWidth") == width
