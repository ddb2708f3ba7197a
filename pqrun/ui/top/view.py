# SPDX-License-Identifier: LGPL-3.0-or-later
"""The screen of `top` without its keys: poll a source, and draw what it returns.

The source is called on one thread of its own, one call at a time, so that a slow disk or a busy run
does not block the screen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, TypeVar

from textual.app import App, ComposeResult
from textual.containers import Vertical
from textual.screen import Screen
from textual.widgets import Input

from pqrun.control.run_view import MeasuredUsage
from pqrun.core import text as hints
from pqrun.core.text import escape_controls, format_duration
from pqrun.ui.live.cells import StyledLine, StyledText
from pqrun.ui.top.jobs import JobList, ListedJob
from pqrun.ui.top.rendering import TopHistory, dashboard, idle_keys, keys, title
from pqrun.ui.top.run_source import JobDetails, RunSource, RunState, RunUpdate
from pqrun.ui.top.widgets import JobTableView, LogView, StyledLines

CSS = """
Screen { background: #15181c; color: #d7dae0; }
StyledLines { height: 1; }
#title { background: #22303a; }
#banner { background: #2a2620; display: none; }
#board { height: 5; }
#head { height: 2; background: #1f252b; }
#jobs { height: 1fr; min-height: 3; overflow-x: hidden; scrollbar-size-vertical: 1; }
#jobs > .jobs--odd { background: #1a1e23; }
#jobs > .jobs--cursor { background: #2b4a63; color: #ffffff; text-style: bold; }
#jobs:focus > .jobs--cursor { background: #0b69b7; color: #ffffff; text-style: bold; }
#bottom { height: 42%; min-height: 6; }
#facts { height: 3; background: #1a1e23; }
#log { height: 1fr; border: round #3b5568; border-title-color: #8fb8d8; scrollbar-size: 1 1; }
#log:focus { border: round #2f97e8; border-title-color: #d7ecff; }
#log > .log--found { background: #e0b000; color: #000000; }
#log > .log--here { background: #304050; }
#ask { display: none; height: 3; border: round #e0b000; background: #15181c; }
#keys { background: #22303a; }
.low #facts { height: 2; }
.low #board { height: 2; }
.low.full #board { height: 5; }
.flat #board, .flat #facts, .bare #board { display: none; }
.flat.full #board { display: block; height: 5; }
.flat #bottom { height: 35%; min-height: 4; }
.reading #board, .reading #head, .reading #jobs { display: none; }
.reading #facts { display: block; height: 3; }
.reading #bottom { height: 1fr; }
QuestionDialog, TextDialog { align: center middle; background: #000000 55%; }
.dialog { width: auto; max-width: 90%; height: auto; max-height: 90%; padding: 1 2;
          border: round #2f97e8; background: #1f252b; }
.dialog Static { width: auto; }
.dialog .keys { color: #e0b000; }
.wide { width: 96; max-width: 98%; }
.wide Static { width: 100%; }
Toast { background: #22303a; }
"""


T = TypeVar("T")
REFRESH_INTERVAL_SECONDS = 0.5
MIN_TICK_SECONDS = 0.9
MAX_PIECES = 8
STREAMS = {0: (1, 2), 1: (1,), 2: (2,)}
STREAM_NAMES = ("stdout+stderr", "stdout", "stderr")


class RunScreen(App[list[str]]):
    """The screen of a run, without actions. `return_value`: the command to run next, if any."""

    CSS = CSS
    ENABLE_COMMAND_PALETTE = False
    TITLE = "pqrun top"

    def __init__(self, source: RunSource, *, every: float = REFRESH_INTERVAL_SECONDS) -> None:
        super().__init__()
        self.animation_level = "none"
        self.jobs = JobList()
        self.history = TopHistory()
        self.words: dict[int, str] = {}
        self.run_now: RunState | None = None
        self.details = JobDetails(0)
        self.rounds = 0
        self._source = source
        self._every = every
        self._asker = ThreadPoolExecutor(1, "source")
        self._stir = asyncio.Event()
        self._told: dict[int, tuple[str, int]] = {}
        self._asked_at = 0.0
        self._was_live = False
        self._stream = 0
        self._attempt: int | None = None
        self._reads: tuple[int, int, int] | None = None
        self._offsets: dict[int, int | None] = {}
        self._over: set[int] = set()
        self._asks_for_search = False
        self._left = False
        self._wanted_workers: int | None = None
        self._wanted_limits: dict[str, int] = {}
        self._wanted_priorities: dict[int, int] = {}
        self.table = JobTableView(self.jobs, self.words, self._now, self._usage)
        self.log_view = LogView()
        self._title_line = StyledLines(self._draw_title, id="title")
        self._banner_line = StyledLines(self._banner, id="banner")
        self._board_lines = StyledLines(self._board, id="board")
        self._keys_line = StyledLines(self._keys, id="keys")
        self._heading = StyledLines(self.table.heading, id="head")
        self._facts_lines = StyledLines(self._facts, id="facts")
        self._box = Input(id="ask", select_on_focus=False)

    @property
    def _ground(self) -> Screen[Any]:
        """The main screen, even while a dialog lies over it."""
        return self.screen_stack[0]

    def compose(self) -> ComposeResult:
        """Yield the widgets from top to bottom."""
        yield from (self._title_line, self._banner_line, self._board_lines, self._heading, self.table)
        with Vertical(id="bottom"):
            yield self._facts_lines
            yield self.log_view
        yield self._box
        yield self._keys_line

    def on_mount(self) -> None:
        """Start polling the source."""
        self._box.cursor_blink = False
        self.table.focus()
        self.run_worker(self._watch(), name="watch")

    def on_unmount(self) -> None:
        """Close the source, on its own thread."""
        self._left = True
        self._asker.submit(self._source.close)
        self._asker.shutdown(wait=False)

    # Polling

    async def _watch(self) -> None:
        while True:
            await self._look()
            self.rounds += 1
            try:
                await asyncio.wait_for(self._stir.wait(), self._every)
            except TimeoutError:
                pass
            self._stir.clear()

    async def _call(self, question: Callable[..., T], *values: Any) -> T:
        if self._left:
            raise asyncio.CancelledError
        return await asyncio.get_running_loop().run_in_executor(self._asker, question, *values)

    async def _look(self) -> None:
        self._take(await self._call(self._source.poll))
        due = monotonic() - self._asked_at >= MIN_TICK_SECONDS
        shown = self.table.visible_jobs()
        wanted = [
            job.seq
            for job in shown
            if (job.state == "running" and due) or self._told.get(job.seq) != (job.state, job.attempts)
        ]
        if wanted:
            self.words.update(await self._call(self._source.words, wanted))
            self._told.update((job.seq, (job.state, job.attempts)) for job in shown)
            self.table.refresh()
        job = self.table.job
        if job is not None and (due or self.details.seq != job.seq):
            self.details = await self._call(self._source.details, job.seq)
            self._facts_lines.refresh()
        if due:
            self._asked_at = monotonic()
        await self._read()

    def _take(self, news: RunUpdate) -> None:
        first = self.run_now is None
        if news == RunUpdate(self.run_now or news.run) and not first:
            return  # nothing has changed, as in every poll of a past run
        if news.run.workers == self._wanted_workers:
            self._wanted_workers = None
        limits = self._wanted_limits.items()
        self._wanted_limits = {tag: most for tag, most in limits if news.run.tag_limits.get(tag, 0) != most}
        run = self.run_now = news.run
        if news.changed or news.gone or news.anew:
            for job in news.changed:
                self._wanted_priorities.pop(job.seq, None)
            self.jobs.update(news.changed, news.gone, anew=news.anew)
        if first:
            self.history.begin(self.jobs.all.values(), run)
        self.history.sample(run)
        if self._was_live and not run.live:
            self._told.clear()
        self._was_live = run.live
        self._banner_line.display = bool(self._banner(80))
        self.table.changed()
        for lines in (self._title_line, self._banner_line, self._board_lines, self._heading, self._keys_line):
            lines.refresh()

    async def _read(self) -> None:
        """Read on in the output of the selected job."""
        job, log = self.table.job, self.log_view
        if job is None:
            if self._reads is not None:
                self._reads = None
                log.border_title = ""
                log.begin()
            return
        attempt = self._attempt or job.attempts
        if (reads := (job.seq, attempt, self._stream)) != self._reads:
            self._reads = reads
            self._offsets = dict.fromkeys(STREAMS[self._stream])
            self._over = set()
            log.begin()
            if not attempt:
                log.text.remark("it has not started yet" if job.unfinished else "it was never started")
        log.border_title = self._log_title(job, attempt)
        if not attempt:
            return
        changed = False
        for stream in STREAMS[self._stream]:
            for _ in range(MAX_PIECES):
                if stream in self._over:
                    break
                piece = await self._call(self._source.read, job.seq, attempt, stream, self._offsets[stream])
                if self._reads != reads:
                    return
                if self._offsets[stream] is None and piece.start:
                    log.text.remark(
                        f"… {piece.start:,} bytes before this: {hints.command('logs', self._run_id(), job.id)}"
                    )
                self._offsets[stream] = piece.start + len(piece.data)
                changed |= log.text.feed(stream, piece.data)
                if piece.over:
                    self._over.add(stream)
                if not piece.data:
                    break
        if changed or not log.text.lines:
            log.changed()

    # Drawing

    def _now(self) -> float:
        return self.run_now.now if self.run_now is not None else 0.0

    def _usage(self) -> Mapping[int, MeasuredUsage]:
        return self.run_now.usage if self.run_now is not None else {}

    def _run_id(self) -> str:
        return self.run_now.id if self.run_now is not None else "RUN"

    def _draw_title(self, width: int) -> list[list[StyledText]]:
        if self.run_now is None:
            return [[(" pqrun top", "strong"), ("  reading the journal …", "label")]]
        return [[(" ", ""), *title(self.run_now, self.jobs, self.history, width - 1).pieces]]

    def _banner(self, width: int) -> list[list[StyledText]]:
        run = self.run_now
        if run is None or (run.live and not run.paused and not run.stopping):
            return []
        if run.trouble:
            return [
                [(" the run is gone: ", "stop"), (f" {run.trouble}; the last state stays on the screen", "")]
            ]
        if run.live:
            text = "stopping: no more jobs start" if run.stopping else "paused: no job starts until p"
            return [[(f" {text} ", "state")]]
        left = run.added - run.ended
        line = StyledLine((f" the run has {'ended' if run.state == 'ended' else run.state} ", "state"))
        bad = self.jobs.counts["failed"] + self.jobs.counts["timeout"]
        line.add(f" {bad:,} failed" if bad else "", "bold failed").add(
            f" {left:,} left" if left else "", "retry"
        )
        if left or bad:
            line.add("  again: ", "label").add(escape_controls(hints.line_of(self._resume_words())), "key")
        return [line.within(width)]

    def _resume_words(self) -> list[str]:
        """Return the words of the command that resumes the run, when it has ended."""
        assert self.run_now is not None
        options = "--failed" if self.jobs.counts["failed"] + self.jobs.counts["timeout"] else ""
        return hints.command_words("resume", self.run_now.address or self.run_now.id, options=options)

    def _keys(self, width: int) -> list[list[StyledText]]:
        return [keys(width, idle_keys(self.run_now, self.table.job))]

    def _board(self, width: int) -> list[list[StyledText]]:
        return dashboard(self.run_now, self.jobs, self.history, width) if self.run_now is not None else []

    def _facts(self, width: int) -> list[list[StyledText]]:
        job = self.table.job
        if job is None:
            return []
        lines = [StyledLine((" $ ", "label"), (job.command, "")).within(width)]
        if self.details.seq != job.seq:
            return lines
        line = StyledLine((" ", ""))
        for one in self.details.attempts[-6:]:
            style = "running" if one.how == "running" else "ok" if one.how in ("", "exit 0") else "failed"
            line.add(f"try {one.number} ", "label").add(one.how, style)
            line.add("" if one.seconds is None else f" {format_duration(one.seconds)}").add("   ")
        if job.tags:
            line.add("tags ", "label").add(" ".join(job.tags))
        last = StyledLine(
            (" ", ""), (self.details.why or job.message, "retry" if job.unfinished else "failed")
        )
        return [*lines, line.within(width), last.within(width)]

    def _log_title(self, job: ListedJob, attempt: int) -> str:
        found = self.log_view.wanted
        search = f" · “{escape_controls(found)}” in {self.log_view.text.count(found)} lines" if found else ""
        tries = f" · try {attempt}/{job.most}" if attempt else ""
        text = f"{job.seq} {job.name[:60]}{tries} · {STREAM_NAMES[self._stream]}{search}"
        return text.replace("[", "\\[")  # textual reads a title as markup, which a job's name must not be
