# SPDX-License-Identifier: LGPL-3.0-or-later
"""A browser for the tests of the page: Chromium, driven by playwright. Without either the tests are skipped.

They run only if `-m` names `browser`, in a pytest of their own: playwright leaves an event loop in its process, with
which tests that begin one fail.
"""

import os
import shutil
from pathlib import Path

import pytest
from control import conftest as real
from support.web import WebServer

gate, live_run, queue = real.gate, real.live, real.queue
globals()["state"] = real.state  # the name of the fixture that the others ask for
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def pytest_collection_modifyitems(config, items):
    """Mark all tests of this directory, and skip them unless `-m` names the marker."""
    here = Path(__file__).parent
    is_chosen = "browser" in config.option.markexpr
    skip = pytest.mark.skip(reason="tests in a browser are run by `-m browser`, apart from the others")
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.browser)
            if not is_chosen:
                item.add_marker(skip)


@pytest.fixture(scope="session")
def browser():
    """Chromium without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, NAMES)), None) or pytest.skip("Chromium is not installed")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(
            executable_path=path, args=["--no-sandbox", "--disable-dev-shm-usage"]
        )
        yield browser
        browser.close()


@pytest.fixture
def new_page(browser):
    """`new_page(is_foreign)` is an empty page. At the end no error and no foreign request may have been seen."""
    contexts, wrong = [], []

    def open_empty(is_foreign, *, width=1440, height=1000, theme="light", strict=True):
        context = browser.new_context(
            viewport={"width": width, "height": height}, color_scheme=theme, bypass_csp=not strict,
            timezone_id="UTC", locale="en-GB",
        )  # fmt: skip
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: wrong.append(message.text) if strict else None)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("dialog", lambda dialog: wrong.append(dialog.message))
        page.on("request", lambda request: wrong.append(request.url) if is_foreign(request.url) else None)
        return page

    yield open_empty
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture
def open_page(new_page):
    """`open_page(path)` opens a page from the disk, which may ask for nothing else."""

    def open_file(path, *, anchor="", **look):
        address = Path(path).resolve().as_uri()
        page = new_page(lambda url: url != address and not url.startswith("blob:"), **look)
        page.goto(address + anchor)
        page.wait_for_selector("html[data-ready]", state="attached")
        return page

    return open_file


@pytest.fixture
def server(request, state, tmp_path):
    """`pqrun web` with the options of the test. At the end it may have printed nothing but its address."""
    pytest.importorskip("starlette")
    pytest.importorskip("uvicorn")
    found = WebServer(*getattr(request, "param", ()), state=state, cwd=tmp_path)
    yield found
    code, _, err = found.end()
    found.close()
    assert (code, err) == (0, "")


@pytest.fixture
def open_live(new_page, server):
    """`open_live(run)` opens the page of a run, which may ask for nothing elsewhere."""

    def is_elsewhere(url):
        return not url.startswith((f"{server.origin}/", f"blob:{server.origin}/"))

    def open_run(run=None, **look):
        page = new_page(is_elsewhere, **look)
        page.set_default_timeout(20_000)
        page.goto(server.address)
        page.wait_for_selector("html[data-ready]", state="attached")
        if run is not None:
            page.locator(f"a[href$='{run}']").click()
            page.wait_for_selector("#jobs .table", state="attached")
            page.wait_for_selector("html[data-ready]", state="attached")
        return page

    return open_run


@pytest.fixture(scope="session")
def axe():
    """The text of axe-core, which finds what a screen reader cannot use."""
    for place in os.environ.get("NODE_PATH", "").split(os.pathsep):
        if place and (script := Path(place, "axe-core", "axe.min.js")).exists():
            return script.read_text(encoding="utf-8")
    pytest.skip("axe-core is not installed (npm install axe-core, and NODE_PATH)")
