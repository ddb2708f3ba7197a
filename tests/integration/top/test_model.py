# SPDX-License-Identifier: LGPL-3.0-or-later
"""Filter, order, curves and log lines, without a terminal."""

import random

import pytest

from pqrun.core.job import Need
from pqrun.ui.top.jobs import SORTS, STATES, JobFilter, JobList, next_of
from pqrun.ui.top.rendering import TopHistory, columns, curve, dashboard, idle_keys, keys, row, title
from pqrun.ui.top.run_source import MeasuredUsage
from pqrun.ui.top.widgets import MAX_LINES, LogText

from .conftest import NOW, Fake, job, nightly


def listed(jobs):
    return [jobs.at(row).seq for row in range(len(jobs))]


def filled(rows):
    jobs = JobList()
    jobs.update(rows, anew=True)
    return jobs


def test_what_runs_comes_first_then_failures_then_the_queue_in_starting_order():
    assert listed(filled(nightly())) == [4, 5, 2, 3, 6, 7, 8, 9, 1]


def test_the_limits_of_tags_stand_beside_the_numbers_of_jobs():
    jobs = nightly()
    run = Fake(jobs).poll().run._replace(tag_limits={"render": 2, "a\x1b": 1000})
    line = "".join(text for text, _ in dashboard(run, filled(jobs), TopHistory(), 120)[0])
    assert "tag:render at most 2  tag:a" in line and line.endswith("at most 1,000") and "\x1b" not in line


def test_a_filter_is_words_state_priority_and_tag():
    jobs = filled(nightly())
    for text, seqs in (
        ("state:running", {4, 5}), ("state:bad", {2, 3}), ("state:unfinished", {4, 5, 6, 7, 8, 9}),
        ("priority:high", {3, 4, 5, 6}), ("tag:render", {4, 6}), ("render", {4, 6}), ("RENDER 08", {6}),
        ("tests failed", {2}), ("state:queued render", {6}), ("state:nonsense", set()), ("", set(range(1, 10))),
    ):  # fmt: skip
        jobs.filter_by(JobFilter.parsed(text))
        assert set(listed(jobs)) == seqs, text
        assert JobFilter.parsed(str(jobs.filter)) == jobs.filter


def test_changes_piece_by_piece_lead_to_the_same_list_as_all_at_once():
    chance = random.Random(1)
    jobs = filled([])
    for _ in range(300):
        changed = [
            job(
                chance.randrange(60), chance.choice(STATES), priority=chance.randrange(4),
                tags=chance.choice([(), ("a",), ("a", "b")]), began=NOW - chance.randrange(50),
                name=chance.choice("xyz"),
            )
            for _ in range(chance.randrange(4))
        ]  # fmt: skip
        gone = [] if chance.random() < 0.7 else [chance.randrange(60)]
        jobs.update(list({one.seq: one for one in changed}.values()), gone)
        if chance.random() < 0.1:
            jobs.sort_by(chance.choice(SORTS), reverse=chance.random() < 0.5)
        if chance.random() < 0.1:
            jobs.filter_by(JobFilter.parsed(chance.choice(["", "tag:b", "state:queued", "x"])))
        fresh = filled(list(jobs.all.values()))
        fresh.sort_by(jobs.sort, reverse=jobs.reverse)
        fresh.filter_by(jobs.filter)
        assert listed(fresh) == listed(jobs)
        assert +fresh.counts == +jobs.counts
        assert fresh.tags_there() == jobs.tags_there()
        assert all(jobs.row_of(seq) == at for at, seq in enumerate(listed(jobs)))


def test_choices_go_round():
    assert [next_of(["a", "b"], present) for present in ("", "a", "b", "gone")] == ["a", "b", "", ""]


def test_a_curve_is_as_wide_as_asked_and_its_highest_value_is_full():
    assert curve([0, 1, 2, 4], 6) == "  ▁▂▄█"
    assert curve([0, 0], 2) == "▁▁"
    assert curve(range(100), 5)[-1] == "█"


def test_the_curves_begin_with_what_the_journal_knows():
    rows = [job(n, "ok", queued=NOW - 100, began=NOW - 100 + n, ended=NOW - 99 + n) for n in range(90)]
    source = Fake(rows)
    run = source.poll().run
    history = TopHistory()
    history.begin(rows, run)
    assert max(history.queue) >= 89 and history.queue[-1] == 0
    assert set(list(history.running)[25:100]) == {1}
    assert history.per_second(run._replace(now=NOW + 1)) > 0.5
    assert history.eta(run._replace(now=NOW + 1, added=190)) > 100


def test_every_row_has_the_width_of_its_window():
    for width in (40, 56, 80, 110, 200):
        for one in nightly():
            pieces = row(one, columns(width), width, NOW, "said 漢字 " * 40)
            assert sum(len(text.encode("utf-32-le")) // 4 for text, _ in pieces) <= width
        assert any(text == "q " for text, _ in keys(width))


def test_a_job_that_waits_for_its_time_counts_down():
    one = nightly()[0]._replace(state="waiting", due=NOW + 90, not_before=NOW + 90)
    said = "".join(text for text, _ in row(one, columns(110), 110, NOW, ""))
    assert " in 1m30s " in said and "not before " in said


def test_the_longest_chain_of_needs_counts():
    jobs = JobList()
    jobs.update([
        job(1, "running", began=NOW - 4), job(2, "pending", needs=(Need("job-1"),)), job(3, "queued"),
        job(4, "waiting", due=NOW + 30), job(5, "pending", needs=(Need("job-2"), Need("job-4"))), job(6, "ok"),
    ])  # fmt: skip
    assert jobs.longest_chain(NOW, 10.0) == 50.0
    jobs.update([job(4, "ok")])
    assert jobs.longest_chain(NOW, 10.0) == 26.0
    history, run = TopHistory(), Fake(nightly()).poll().run._replace(now=NOW, ended=0, added=200)
    history.begin([], run)
    history.sample(run._replace(now=NOW + 10, ended=190))
    assert history.eta(run._replace(now=NOW + 10, ended=190), chain=26.0) == 26.0


def test_jobs_that_wait_for_their_time_do_not_count_at_the_present_rate():
    history = TopHistory()
    run = Fake(nightly()).poll().run._replace(now=NOW, ended=0, added=200, delayed=100)
    history.begin([], run)
    history.sample(run._replace(now=NOW + 10, ended=50))
    later = run._replace(now=NOW + 10, ended=50)
    took = later.metrics.average_processing
    assert history.eta(later, 100, NOW + 7200) == 7190 + took
    assert history.eta(later._replace(delayed=0)) < 7190


def test_keys_that_can_not_act_are_dim():
    run = Fake(nightly()).poll().run
    jobs = {one.state: one for one in nightly()}
    found = {state: "".join(sorted(idle_keys(run, jobs[state]))) for state in ("ok", "running", "queued")}
    assert found == {"ok": "+-k", "running": "+-r", "queued": "r"}
    assert idle_keys(run._replace(live=False), jobs["failed"]) == frozenset("k+-p")
    pieces = keys(110, idle_keys(run, jobs["ok"]))
    assert ("k ", "label") in pieces and ("r ", "high") in pieces


def test_a_past_run_with_failures_is_not_green():
    run = Fake(nightly(), live=False).poll().run
    history = TopHistory()
    styles = {
        failed: dict(
            title(
                run._replace(metrics=run.metrics._replace(jobs_failed=failed, jobs_timeout=0)),
                filled([]),
                history,
                110,
            ).pieces
        )
        for failed in (0, 1)
    }
    assert (styles[0]["ended"], styles[1]["ended"]) == ("bold ok", "bold failed")


def test_output_becomes_lines_that_steer_nothing():
    text = LogText()
    text.feed(1, b"one\n  two\x1b[31m red\x1b[0m\x1b]0;title\x07\n10%\r50%\rhal")
    text.feed(2, b"oops [b]\n")
    text.feed(1, b"f\n\x9b2J\n")
    assert [line.text for line in text.lines] == ["one", "  two red", "half", "oops [b]", "�2J"]
    assert [line.stream for line in text.lines] == [1, 1, 1, 2, 1]


def test_a_character_in_two_pieces_is_one():
    text = LogText()
    text.feed(1, "é".encode()[:1])
    text.feed(1, "é".encode()[1:] + b"\n")
    assert [line.text for line in text.lines] == ["é"]


@pytest.mark.slow
def test_the_oldest_lines_go():
    text = LogText()
    text.feed(1, b"x\n" * (MAX_LINES + 5) + b"rest")
    text.feed(1, b" of it\n")
    assert len(text.lines) == MAX_LINES and text.dropped == 6
    assert text.lines[-1].text == "rest of it"


def test_search_goes_round_and_ignores_case():
    text = LogText()
    text.feed(1, b"Error 1\nfine\nerror 2\n")
    assert text.find("error", 0) == 0
    assert text.find("error", 1) == 2
    assert text.find("error", 3) == 0
    assert text.find("error", -1, back=True) == 2
    assert text.find("nothing", 0) is None
    assert text.count("error") == 2


def test_cpu_and_memory_are_those_of_now_or_of_the_whole_attempt():
    def shown(one, width=120, usage=()):
        line = "".join(text for text, _ in row(one, columns(width), width, NOW, "", dict(usage)))
        return line.split()

    measured = {4: MeasuredUsage(1.94, 1638 << 20)}
    running, ended = job(4, "running", cpus=0.5, memory=1 << 20), job(5, "ok", cpus=0.97, memory=310 << 20)
    assert shown(running, usage=measured)[-2:] == ["194%", "1.6G"]
    assert "50%" not in shown(running), "the numbers of an earlier attempt"
    assert shown(ended)[-2:] == ["97%", "310M"]
    assert "97%" not in shown(ended, width=119)
    assert "%" not in "".join(shown(job(6)))


def test_a_waiting_retry_has_a_countdown_the_next_try_and_counts_for_the_time_to_go():
    one = job(1, "waiting", attempts=2, most=4, due=NOW + 251.3, name="train[LR=0.1,DEPTH=4,OPTIMIZER=adam]")
    for width in (56, 80, 110, 200):
        line = "".join(text for text, _ in row(one, columns(width), width, NOW, ""))
        assert "in 4m12s" in line and "3/4" in line and "…" in line.partition("3/4")[0] and "adam]" in line
    jobs = filled([one, job(2, "waiting", due=NOW + 9), *(job(n, "ok") for n in range(3, 90))])
    assert jobs.last_due() == NOW + 251.3 and filled([job(2)]).last_due() == 0
    run = Fake(list(jobs.all.values())).poll().run
    history = TopHistory()
    history.begin(jobs.all.values(), run)
    assert history.eta(run, 2, jobs.last_due()) == pytest.approx(251.3 + run.metrics.average_processing)
    assert history.eta(run._replace(paused=True), 2, jobs.last_due()) is None
    assert "ETA ~4m" in "".join(text for text, _ in title(run, jobs, history, 110).pieces)


def test_until_a_rate_is_known_the_time_to_go_is_that_of_earlier_runs():
    jobs = filled([job(1, "running"), job(2), job(3)])
    run = Fake(list(jobs.all.values())).poll().run._replace(expected=95.0)
    history = TopHistory()
    history.begin(jobs.all.values(), run)
    assert history.eta(run) == 95.0
    assert "ETA ~1m35s" in "".join(text for text, _ in title(run, jobs, history, 110).pieces)
    assert history.eta(run._replace(expected=None)) is None
    jobs = filled([*(job(n, "ok") for n in range(1, 90)), job(90)])
    history.begin(jobs.all.values(), run._replace(ended=89, added=90))
    assert history.eta(run._replace(ended=89, added=90)) < 5


def test_a_resumed_run_has_no_rate_from_its_earlier_process():
    jobs = filled([*(job(n, "ok") for n in range(1, 90)), job(90)])
    run = Fake(list(jobs.all.values())).poll().run
    history = TopHistory()
    history.begin(jobs.all.values(), run)
    assert history.per_second(run) is not None
    history.begin(jobs.all.values(), run._replace(since=NOW - 5))  # the jobs ended nine seconds ago
    assert history.per_second(run._replace(since=NOW - 5)) is None
    history.begin(jobs.all.values(), run)
    history.sample(run._replace(since=NOW, now=NOW + 1))  # it was resumed while it was shown
    assert history.per_second(run._replace(now=NOW + 5)) is None
