# SPDX-License-Identifier: LGPL-3.0-or-later
"""How long a page keeps its thread busy at a time, in CPU time, which a busy machine does not make longer."""

import json
from contextlib import contextmanager

MAX_TASK_MS = 200
_CATEGORIES = ["toplevel", "devtools.timeline"]
_SETTLED_MS = 300


@contextmanager
def short_tasks(page):
    """Fail if a task of the page in the block takes more than `MAX_TASK_MS`, during which it can't react."""
    browser = page.context.browser
    browser.start_tracing(page=page, categories=_CATEGORIES)
    try:
        yield
        page.wait_for_timeout(_SETTLED_MS)
    finally:
        events = json.loads(browser.stop_tracing())["traceEvents"]
    names = {(one["pid"], one["tid"]): one["args"]["name"] for one in events if one["name"] == "thread_name"}
    tasks = [
        one["tdur"] / 1000
        for one in events
        if one["name"].endswith("RunTask")
        and names.get((one["pid"], one["tid"])) == "CrRendererMain"
        and "tdur" in one
    ]
    assert tasks and max(tasks) < MAX_TASK_MS
