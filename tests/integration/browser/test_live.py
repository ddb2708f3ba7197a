# SPDX-License-Identifier: LGPL-3.0-or-later
"""The live page in a real browser: it keeps up with a run, acts on it by click, and nothing in it can break out."""

import json

import pytest
from support.process import environment, run_pqrun

from pqrun.core.metrics import CORE_METRICS

from .shown_numbers import shown_counts, shown_metrics
from .task_times import short_tasks
from .test_page import NASTY


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


# A page on another port is of the same site: its requests have the cookie, if it knows the secret path.
ATTACKERS = {"another site": "http://evil.example", "another port": "http://127.0.0.1:8999"}
READS = {
    "fetch": "fetch(`${address}/events`, {credentials: 'include'}).then(() => 1, () => 0)",
    "opaque": "fetch(`${page}/page/live.js`, {credentials: 'include', mode: 'no-cors'}).then(() => 1, () => 0)",
    "events": """new Promise((done) => {
      const events = new EventSource(`${address}/events`, {withCredentials: true});
      events.onopen = () => done(1);
      events.onerror = () => { events.close(); done(0); };
    })""",
    "script": """new Promise((done) => {
      const script = document.createElement("script");
      script.onload = () => done(1); script.onerror = () => done(0); script.type = "module";
      script.src = `${page}/page/live.js`; document.body.append(script);
    })""",
    "frame": """new Promise((done) => {
      const frame = document.createElement("iframe");
      frame.onload = () => { try { done(frame.contentDocument === null ? 0 : 1); } catch { done(0); } };
      frame.src = address; document.body.append(frame);
    })""",
}
POSTS = """({address, kind}) => fetch(`${address}/do`, {
  method: "POST", credentials: "include", mode: "no-cors", headers: {"Content-Type": kind},
  body: JSON.stringify({verb: "pause"}),
}).then(() => 1, () => 0)"""
FORM = """(address) => {
  const form = document.createElement("form");
  form.method = "post"; form.action = `${address}/do`; form.enctype = "text/plain";
  document.body.append(form); form.submit();
}"""


@pytest.mark.parametrize("origin", ATTACKERS.values(), ids=ATTACKERS)
def test_another_site_can_neither_read_nor_act(origin, server, open_live, queue):
    run = queue("-j1")
    page = open_live(run.run)
    address, statuses = f"{server.origin}{server.path}/run/{run.run}", set()
    evil = page.context.new_page()
    evil.route(f"{origin}/**", lambda route: route.fulfill(body="<h1>evil</h1>", content_type="text/html"))
    evil.on("response", lambda answer: statuses.add((answer.status, answer.url.startswith(server.origin))))
    evil.goto(f"{origin}/")
    evil.evaluate("document.cookie = 'pqrun=x; path=/'")
    for name, script in READS.items():
        read = evil.evaluate(f"([address, page]) => {script}", [address, f"{server.origin}{server.path}"])
        assert read == 0, name
    for kind in ("text/plain", "application/json"):
        evil.evaluate(POSTS, {"address": address, "kind": kind})
    for navigate in (FORM, "(address) => { location = address; }"):
        evil.goto(f"{origin}/")
        with evil.expect_navigation():
            evil.evaluate(navigate, address)
    assert statuses == {(200, False), (403, True)}
    assert run.ask("ps")["paused"] is False
    page.reload()
    page.locator("#connection", has_text="connected, live").wait_for()  # a foreign cookie locks nobody out


def test_the_token_is_given_to_no_other_page(server, browser):
    context = browser.new_context()
    requests = []
    context.on("request", lambda request: requests.append(request))
    page = context.new_page()
    page.goto(server.address)
    page.wait_for_selector("html[data-ready]", state="attached")
    sent = [request.all_headers() for request in requests]
    assert len(sent) > 3 and [one["referer"] for one in sent if "referer" in one] == []
    assert page.evaluate("document.referrer + document.cookie + JSON.stringify(localStorage)") == "{}"
    while page.url != "about:blank":
        assert server.token not in page.url
        if page.go_back(wait_until="commit") is None:
            break
    assert server.token not in page.url
    context.close()


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
    question = page.locator("dialog.question")
    for most in ("2", ""):
        page.get_by_role("button", name="Limit tag…").click()
        question.get_by_label("Tag").fill("x")
        assert question.get_by_label("at a time").input_value() == ("" if most else "2")
        question.get_by_label("at a time").fill(most)
        page.keyboard.press("Enter")
        limited = page.locator("#headline", has_text="at most 2 at a time with tag:x")
        limited.wait_for(state="visible" if most else "detached")
        assert run.ask("ps")["tag_limits"] == ({"x": 2} if most else {})
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


@pytest.mark.parametrize("server", [["--read-only"]], indirect=True)
def test_read_only_has_no_buttons(server, open_live, queue):
    run = queue("-j1")
    run.add("sleep 100", id="first")
    page = open_live(run.run)
    page.locator(".row", has_text="first").click()
    assert page.locator("#actions button, .job-actions button").count() == 0


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
    facts = page.locator("#pane dt").all_inner_texts()
    assert "Priority" in facts and not {"CPU", "stdout", "stderr"} & {*facts}  # they are not known yet
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
    page.locator("#jobs", has_text="rows follow").wait_for()
    page.locator(".failure").first.wait_for()  # failures do not wait for the rows
    with short_tasks(page):
        page.wait_for_function(
            "(early) => Number(document.querySelector('[data-count=ok] b').textContent.replace(/,/g, '')) > early",
            arg=early["ok"],
        )
    assert run.process.wait(240) == 1
    page.set_default_timeout(15_000)
    shows(page, ok=count - 10, failed=10)
    page.locator("h1", has_text="Failed").wait_for()
    page.locator("#jobs", has_text="follow").wait_for(state="detached")
    assert page.locator("#jobs [role=status]").inner_text() == f"{count:,}"
    assert page.locator(".counts > .dim").inner_text() == f"{count:,} jobs, {count:,} attempts"
    done = run_pqrun("show", run.run, "--json", cwd=tmp_path, env=environment(state=state))
    assert shown_metrics(page) == {name: done.metrics[name] for name in CORE_METRICS}


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
@pytest.mark.parametrize("width", [390, 1440])
def test_a_screen_reader_gets_on_with_it(theme, width, axe, open_live, queue, gate):
    run = queue("-j1")
    run.add("echo oops; exit 1", id="bad")
    run.add(gate.wait, id="first")
    run.add("true", id="second")
    page = open_live(theme=theme, width=width, strict=False)
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
    assert page.locator(".scroll").evaluate("(box) => box.scrollWidth === box.clientWidth")
    page.locator(f"a[href$='{run.run}']").click()
    shows(page, running=1)
    assert page.evaluate("document.documentElement.scrollWidth") == width
