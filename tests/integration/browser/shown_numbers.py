# SPDX-License-Identifier: LGPL-3.0-or-later
"""The numbers that a page shows, compared with a document of `--json`."""

import csv
import math
import time
from collections import Counter

import pytest

from pqrun.core.metrics import CORE_METRICS
from pqrun.core.text import format_duration

MICRO = 1e-6
MIN_CPU_SECONDS = 0.02  # below this a page shows no share
ROWS = """
    [...document.querySelectorAll("#jobs .row")].map((row) => [
      row.dataset.seq,
      Object.fromEntries([...row.querySelectorAll("[data-column]")].map((one) => [one.dataset.column, one.textContent])),
    ])
"""
METRICS = """
    [...document.querySelectorAll("[data-metric]")].map((one) =>
      [one.dataset.metric, Number(one.dataset.value), one.textContent])
"""
COUNTS = """
    [...document.querySelectorAll("[data-count]")].map((one) =>
      [one.dataset.count, Number(one.querySelector("b").textContent.replace(/,/g, ""))])
"""
PANE = """
    Object.fromEntries([...document.querySelectorAll("#pane dl dt")].map((one) =>
      [one.textContent, one.nextElementSibling.textContent]))
"""
TRIES = """
    [...document.querySelectorAll("#pane .tries tbody tr")].map((row) => ({
      number: Number(row.cells[0].textContent),
      ran: row.cells[3].textContent,
      seconds: Number(row.cells[3].title.replace(" s", "")),
    }))
"""


def drawn(page):
    """Wait for the next frame, with which rows are drawn."""
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


def saved(page, tmp_path):
    """The rows of the CSV file that the page saves."""
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    download.value.save_as(tmp_path / "saved.csv")
    with open(tmp_path / "saved.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def shown_counts(page):
    """The counts of the headline; flaky jobs are among those that are ok."""
    counts = dict(page.evaluate(COUNTS))
    counts.pop("flaky", None)
    return counts


def shown_metrics(page):
    """The ten metrics as they are, after a look at how they are written."""
    found = page.evaluate(METRICS)
    for name, value, text in found:
        shown = durations(value) if name.startswith("average") else {f"{value:.0f}"}
        assert text.partition(" / ")[0] in shown
    return {name: value for name, value, _ in found}


def durations(seconds):
    """How a time may be written that is known to a microsecond; empty if there is none."""
    if seconds is None:
        return {""}
    return {format_duration(max(0.0, seconds + more)) for more in (-MICRO, 0.0, MICRO)}


def percents(share):
    return {f"{math.floor(100 * share + 0.5 + more)}%" for more in (-0.01, 0.0, 0.01)}


def check_numbers(page, document, tmp_path):
    """Everything countable on the page of a run that has ended is what the document says."""
    jobs = document["jobs"]
    assert shown_counts(page) == Counter(entry["state"] for entry in jobs)
    assert shown_metrics(page) == {name: document["metrics"][name] for name in CORE_METRICS}
    attempts = sum(entry["attempts"] for entry in jobs)
    total = f"{len(jobs)} job{'s' * (len(jobs) != 1)}, {attempts} attempt{'s' * (attempts != 1)}"
    assert page.locator(".counts > .dim").inner_text() == total
    exact = {int(row["seq"]): row for row in saved(page, tmp_path)}
    shown = {int(seq): row for seq, row in page.evaluate(ROWS)}
    seqs = {entry["seq"] for entry in jobs}
    assert exact.keys() == seqs and shown.keys() == seqs
    for entry in jobs:
        check_exact(exact[entry["seq"]], entry)
        check_row(shown[entry["seq"]], entry)
        page.locator(f".row[data-seq='{entry['seq']}']").click()
        check_pane(page, entry)
        page.keyboard.press("Escape")


def check_exact(row, entry):
    """The values of a job in the file are those of its entry in the document."""
    name = f"'{entry['id']}" if entry["id"][0] in "=+-@" else entry["id"]
    facts = (row["name"], row["state"], row["priority"])
    assert facts == (name, entry["state"], entry["priority"])
    assert (_number(row["tries"]), _number(row["exit"])) == (entry["attempts"], entry["exit"])
    for seconds, column in (("wait_s", "waited"), ("run_s", "ran")):
        assert _number(row[column]) == _about(entry[seconds])
    assert _number(row["cpu"]) == _about(entry["user_s"] + entry["sys_s"])
    assert _number(row["memory"]) == entry.get("memory_peak_bytes")


def check_row(row, entry):
    """The cells of a job as they are written say what its entry says."""
    flaky = entry["state"] == "ok" and row["state"] == "ok, flaky"
    assert flaky or row["state"] == entry["state"]
    tries = f"{entry['attempts']}/{entry['max_attempts']}" if entry["attempts"] else ""
    assert (row["seq"], row["priority"], row["tries"]) == (str(entry["seq"]), entry["priority"], tries)
    assert row["waited"] in durations(entry["wait_s"]) and row["ran"] in durations(entry["run_s"])
    cpu, ran = entry["user_s"] + entry["sys_s"], entry["run_s"]
    if not ran or abs(ran - MIN_CPU_SECONDS) > MICRO:
        expected = percents(cpu / ran) if cpu and ran and ran > MIN_CPU_SECONDS else {""}
        assert row["cpu"] in expected
    assert bool(row["memory"]) == ("memory_peak_bytes" in entry)
    if entry["state"] == "failed" and entry["exit"] is not None and not entry["signal"]:
        assert row["how"] in (f"exit {entry['exit']}", "")
    elif entry["state"] == "failed" and entry["signal"]:
        assert row["how"] == entry["signal"]


def check_pane(page, entry):
    """The pane of a job says what its entry says, and has all its attempts."""
    assert page.locator("#pane .pane-top .dim").inner_text() == f"#{entry['seq']}"
    tries, facts = page.evaluate(TRIES), page.evaluate(PANE)
    assert [one["number"] for one in tries] == list(range(1, entry["attempts"] + 1))
    for one in tries:
        assert one["ran"] in durations(one["seconds"])
    if tries and entry["run_s"] is not None:
        assert tries[-1]["seconds"] == _about(entry["run_s"])
    ending = entry["signal"] if entry["exit"] is None else entry["exit"]
    assert facts.get("Exit", "") == ("" if ending is None else str(ending))
    assert facts["Priority"] == entry["priority"]
    if entry["attempts"]:
        user, _, system = facts["CPU"].removesuffix(" system").partition(" user, ")
        assert user in durations(entry["user_s"]) and system in durations(entry["sys_s"])
        for stream in ("stdout", "stderr"):
            if entry[f"{stream}_bytes"] < 1000:
                assert facts[stream].endswith(f" {entry[f'{stream}_bytes']} B")


def check_unfinished(page, document, *, seconds=15.0):
    """A page of a run that stands still comes to show what `ps --json` says: states, attempts, priorities, metrics."""
    ending = time.monotonic() + seconds
    while (found := _unfinished(page)) != (expected := _expected(document())):
        assert time.monotonic() < ending, (found, expected)
        page.wait_for_timeout(100)


UNFINISHED = ("running", "waiting", "queued", "pending", "held")


def _unfinished(page):
    counts = {kind: count for kind, count in shown_counts(page).items() if kind in UNFINISHED}
    rows = {
        int(seq): (row["state"], row["priority"], row["tries"])
        for seq, row in page.evaluate(ROWS)
        if row["state"] in UNFINISHED
    }
    return counts, rows, shown_metrics(page)


def _expected(document):
    jobs = document["jobs"]
    rows = {
        entry["seq"]: (
            entry["state"],
            entry["priority"],
            f"{entry['attempts']}/{entry['max_attempts']}" if entry["attempts"] else "",
        )
        for entry in jobs
    }
    metrics = {name: document["metrics"][name] for name in CORE_METRICS}
    return dict(Counter(entry["state"] for entry in jobs)), rows, metrics


def _number(text):
    return float(text) if text else None


def _about(seconds):
    return None if seconds is None else pytest.approx(seconds, abs=2 * MICRO)
