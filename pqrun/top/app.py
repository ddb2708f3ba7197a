# SPDX-License-Identifier: LGPL-3.0-or-later
"""The screen of `top`: shows what a source tells, and has it do what keys ask for.

The source is only ever asked in a thread of its own, one question after the other, so that a slow disk
or a busy run holds up nothing on the screen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import monotonic
from typing import Any, TypeVar

from textual.app import App, ComposeResult
from textual.binding import Binding
from textual.containers import Vertical
from textual.events import Resize
from textual.screen import Screen
from textual.widgets import Input

from pqrun.display.cells import Line, Piece
from pqrun.display.safe import safe
from pqrun.errors import OwnFailure, UserError
from pqrun.top.cells import dashboard, keys, title
from pqrun.top.dialogs import HELP, Question, Sheet
from pqrun.top.history import History
from pqrun.top.jobs import CHANGEABLE, PRIORITIES, SORTS, Job, Jobs, Wanted, next_of
from pqrun.top.news import Details, News, RunNow, Source
from pqrun.top.style import CSS
from pqrun.top.widgets import JobTable, Lines, LogView
from pqrun.words import duration_text

T = TypeVar("T")
EVERY = 0.5
A_SECOND = 0.9
PIECES = 8
STREAMS = {0: (1, 2), 1: (1,), 2: (2,)}
STREAM_NAMES = ("stdout+stderr", "stdout", "stderr")


class Top(App[None]):
    """A run on the screen."""

    CSS = CSS
    ENABLE_COMMAND_PALETTE = False
    TITLE = "pqrun top"
    BINDINGS = [
        Binding("q,ctrl+c", "quit", show=False),
        Binding("k,delete", "cancel", show=False),
        Binding("r", "retry", show=False),
        Binding("plus,equals_sign", "priority(1)", show=False),
        Binding("minus", "priority(-1)", show=False),
        Binding("p", "pause", show=False),
        Binding("greater_than_sign", "workers(1)", show=False),
        Binding("less_than_sign", "workers(-1)", show=False),
        Binding("slash", "look_for", show=False),
        Binding("f", "next_state", show=False),
        Binding("t", "next_tag", show=False),
        Binding("l", "next_priority", show=False),
        Binding("s", "next_sort", show=False),
        Binding("S", "turn_round", show=False),
        Binding("a", "next_attempt", show=False),
        Binding("o", "next_stream", show=False),
        Binding("n", "found(1)", show=False),
        Binding("N", "found(-1)", show=False),
        Binding("m", "numbers", show=False),
        Binding("question_mark,f1", "help", show=False),
        Binding("escape", "step_back", show=False),
    ]

    def __init__(self, source: Source, *, every: float = EVERY) -> None:
        super().__init__()
        self.animation_level = "none"
        self.jobs = Jobs()
        self.history = History()
        self.words: dict[int, str] = {}
        self.run_now: RunNow | None = None
        self.details = Details(0)
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
        self._wanted_priorities: dict[int, int] = {}
        self.table = JobTable(self.jobs, self.words, self._now)
        self.log_view = LogView()
        self._title_line = Lines(self._draw_title, id="title")
        self._banner_line = Lines(self._banner, id="banner")
        self._board_lines = Lines(self._board, id="board")
        self._heading = Lines(self.table.heading, id="head")
        self._facts_lines = Lines(self._facts, id="facts")
        self._box = Input(id="ask", select_on_focus=False)

    @property
    def _ground(self) -> Screen[Any]:
        """The screen itself, also while a dialog lies over it."""
        return self.screen_stack[0]

    def compose(self) -> ComposeResult:
        """From top to bottom."""
        yield from (self._title_line, self._banner_line, self._board_lines, self._heading, self.table)
        with Vertical(id="bottom"):
            yield self._facts_lines
            yield self.log_view
        yield self._box
        yield Lines(lambda width: [keys(width)], id="keys")

    def on_mount(self) -> None:
        """Begins to look."""
        self._box.cursor_blink = False
        self.table.focus()
        self.run_worker(self._watch(), name="watch")

    def on_unmount(self) -> None:
        """Lets go of the run."""
        self._left = True
        self._asker.submit(self._source.close)
        self._asker.shutdown(wait=False)

    # Looking

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
        due = monotonic() - self._asked_at >= A_SECOND
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

    def _take(self, news: News) -> None:
        first = self.run_now is None
        if news.run.workers == self._wanted_workers:
            self._wanted_workers = None
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
        for lines in (self._title_line, self._banner_line, self._board_lines, self._heading):
            lines.refresh()

    async def _read(self) -> None:
        """Goes on with the output of the selected job."""
        job, log = self.table.job, self.log_view
        if job is None:
            if self._reads is not None:
                self._reads = None
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
            for _ in range(PIECES):
                if stream in self._over:
                    break
                piece = await self._call(self._source.read, job.seq, attempt, stream, self._offsets[stream])
                if self._reads != reads:
                    return
                if self._offsets[stream] is None and piece.start:
                    log.text.remark(
                        f"… {piece.start:,} bytes before this: pqrun logs {self._run_id()} {job.id}"
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

    def _run_id(self) -> str:
        return self.run_now.id if self.run_now is not None else "RUN"

    def _draw_title(self, width: int) -> list[list[Piece]]:
        if self.run_now is None:
            return [[(" pqrun top", "strong"), ("  reading the journal …", "label")]]
        return [[(" ", ""), *title(self.run_now, self.history, width - 1).pieces]]

    def _banner(self, width: int) -> list[list[Piece]]:
        run = self.run_now
        if run is None or (run.live and not run.paused and not run.stopping):
            return []
        if run.trouble:
            return [[(" the run is gone: ", "stop"), (f" {run.trouble}; what was seen stays here", "")]]
        if run.live:
            text = "stopping: nothing starts any more" if run.stopping else "paused: nothing starts until p"
            return [[(f" {text} ", "state")]]
        left = run.added - run.ended
        line = Line((f" the run has {'ended' if run.state == 'ended' else run.state} ", "state"))
        bad = self.jobs.counts["failed"] + self.jobs.counts["timeout"]
        line.add(f" {bad:,} failed" if bad else "", "bold failed").add(
            f" {left:,} left" if left else "", "retry"
        )
        if left or bad:
            line.add("  again: ", "label").add(f"pqrun resume {run.id}" + (" --failed" if bad else ""), "key")
        return [line.within(width)]

    def _board(self, width: int) -> list[list[Piece]]:
        return dashboard(self.run_now, self.jobs, self.history, width) if self.run_now is not None else []

    def _facts(self, width: int) -> list[list[Piece]]:
        job = self.table.job
        if job is None:
            return []
        lines = [Line((" $ ", "label"), (job.command, "")).within(width)]
        if self.details.seq != job.seq:
            return lines
        line = Line((" ", ""))
        for one in self.details.attempts[-6:]:
            style = "running" if one.how == "running" else "ok" if one.how in ("", "exit 0") else "failed"
            line.add(f"try {one.number} ", "label").add(one.how, style)
            line.add("" if one.seconds is None else f" {duration_text(one.seconds)}").add("   ")
        if job.tags:
            line.add("tags ", "label").add(" ".join(job.tags))
        last = Line((" ", ""), (self.details.why or job.message, "retry" if job.unfinished else "failed"))
        return [*lines, line.within(width), last.within(width)]

    def _log_title(self, job: Job, attempt: int) -> str:
        found = self.log_view.wanted
        search = f" · “{safe(found)}” in {self.log_view.text.count(found)} lines" if found else ""
        tries = f" · try {attempt}/{job.most}" if attempt else ""
        text = f"{job.seq} {job.name[:60]}{tries} · {STREAM_NAMES[self._stream]}{search}"
        return text.replace("[", "\\[")  # a title is read as markup: nothing of a job's is to be

    # What happens on the screen

    def on_resize(self, event: Resize) -> None:
        """A low window has room for what matters most."""
        self._ground.set_class(event.size.height < 26, "low")
        self._ground.set_class(event.size.height < 17, "flat")

    def on_job_table_selected(self) -> None:
        """Another job's output is to be read, soon."""
        self._attempt = None
        self._stir.set()
        self._facts_lines.refresh()

    def on_job_table_opened(self) -> None:
        """The output alone."""
        self._ground.add_class("reading")
        self.log_view.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filters while somebody types."""
        if not self._asks_for_search and self._box.display:
            self._want(Wanted.parsed(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The filter stays; or searches."""
        text = event.value
        searches = self._asks_for_search
        self._close_input()
        if searches and text:
            self._tell_unless(self.log_view.look_for(text), f"no line with “{text}”")
            self._stir.set()

    def _close_input(self) -> None:
        self._box.display = False
        (self.log_view if self._asks_for_search else self.table).focus()

    def _want(self, wanted: Wanted) -> None:
        self.jobs.want(wanted)
        self._list_anew()

    def _list_anew(self) -> None:
        self.table.begin_again()
        self._heading.refresh()
        self._stir.set()

    def _tell(self, text: str, *, bad: bool = False) -> None:
        self.notify(safe(text), severity="error" if bad else "information", timeout=4, markup=False)

    def _tell_unless(self, fine: bool, text: str) -> None:
        if not fine:
            self._tell(text)

    # Keys

    def action_look_for(self) -> None:
        """Asks for a filter, or in the log for what to search."""
        self._asks_for_search = self.log_view.has_focus
        box = self._box
        box.placeholder = (
            "search in the log" if self._asks_for_search else "words  state:failed  priority:low  tag:x"
        )
        box.value = self.log_view.wanted if self._asks_for_search else str(self.jobs.wanted)
        box.display = True
        box.cursor_position = len(box.value)
        box.focus()

    def action_step_back(self) -> None:
        """One step back: the input, the log, the filter."""
        if self._box.display:
            searches = self._asks_for_search
            self._close_input()
            if not searches:
                self._want(Wanted())
        elif self._ground.has_class("reading") or self.log_view.has_focus:
            self._ground.remove_class("reading")
            self.log_view.look_for("")
            self.table.focus()
        elif self.jobs.wanted != Wanted():
            self._want(Wanted())

    def action_found(self, step: int) -> None:
        """The next line with what was searched for."""
        view = self.log_view
        if view.wanted:
            self._tell_unless(view.look_for(view.wanted, back=step < 0, again=True), "no such line")

    def action_next_state(self) -> None:
        """Only jobs in the next of the states that there are."""
        wanted = self.jobs.wanted
        self._want(wanted._replace(state=next_of(self.jobs.states_there(), wanted.state)))

    def action_next_tag(self) -> None:
        """Only jobs with the next tag."""
        wanted = self.jobs.wanted
        self._want(wanted._replace(tag=next_of(self.jobs.tags_there(), wanted.tag)))

    def action_next_priority(self) -> None:
        """Only jobs of the next priority."""
        wanted = self.jobs.wanted
        self._want(wanted._replace(priority=next_of(PRIORITIES[::-1], wanted.priority)))

    def action_next_sort(self) -> None:
        """Another order."""
        self.jobs.sort_by(next_of(SORTS, self.jobs.sort) or SORTS[0])
        self._list_anew()

    def action_turn_round(self) -> None:
        """The last ones first."""
        self.jobs.sort_by(self.jobs.sort, reverse=not self.jobs.reverse)
        self._list_anew()

    def action_next_attempt(self) -> None:
        """The output of the attempt before, after the first again that of the last."""
        if (job := self.table.job) is not None and job.attempts:
            present = self._attempt or job.attempts
            self._attempt = present - 1 or None
            self._stir.set()

    def action_next_stream(self) -> None:
        """Both streams, stdout, stderr."""
        self._stream = (self._stream + 1) % 3
        self._stir.set()

    def action_numbers(self) -> None:
        """All numbers and curves make room, or come back."""
        self._ground.toggle_class("full" if self._ground.has_class("low") else "bare")

    def action_help(self) -> None:
        """What keys there are."""
        self.push_screen(Sheet("Keys", HELP))

    def action_retry(self) -> None:
        """Says how to run failed jobs again: a run that is recorded stays as it was."""
        run, job = self.run_now, self.table.job
        if run is None or job is None:
            return
        if job.unfinished:
            self._tell(f"{job.name} has not ended: it is tried again by itself as often as it may")
            return
        when = "When this run has ended (`pqrun stop` ends it), run\n" if run.live else "Run\n"
        text = f"{when}\n    pqrun resume {run.id} --failed\n\nto try again what failed, with what needs it."
        self.push_screen(Sheet("Again", text))

    def action_cancel(self) -> None:
        """Ends the selected job, if somebody is sure."""
        job = self._changeable("cancelled")
        if job is None:
            return
        loss = (
            "It runs: what it has done so far may be lost." if job.state == "running" else "It will not run."
        )
        text = f"Cancel {job.name}?\n\n{loss}\nWhat needs it will be skipped."

        def answered(yes: bool | None) -> None:
            if yes:
                self._do("cancel", f"{job.name} is being cancelled", jobs=[job.id], seq=job.seq)

        self.push_screen(Question(text), answered)

    def action_priority(self, step: int) -> None:
        """Raises or lowers the selected job's priority."""
        job = self._changeable("changed")
        if job is None:
            return
        if job.state not in CHANGEABLE:
            self._tell(f"{job.name} runs already: its priority no longer matters")
            return
        present = self._wanted_priorities.get(
            job.seq, job.priority
        )  # what was asked for may not be told of yet
        new = present + step
        if not 0 <= new < len(PRIORITIES):
            self._tell(f"{job.name}: {PRIORITIES[present]} is the {'highest' if step > 0 else 'lowest'}")
            return
        self._wanted_priorities[job.seq] = new
        name = PRIORITIES[new]
        self._do("set", f"{job.name}: {name}", jobs=[job.id], seq=job.seq, change={"priority": name})

    def action_pause(self) -> None:
        """Nothing starts any more, or again."""
        paused = self.run_now is not None and self.run_now.paused
        self._do("unpause" if paused else "pause", "goes on" if paused else "paused: what runs goes on")

    def action_workers(self, step: int) -> None:
        """So many more jobs at a time."""
        present = self._wanted_workers or (self.run_now.workers if self.run_now is not None else None)
        if present is None or present + step < 1:
            self._tell("there is no fewer than 1 worker" if present else "how many workers is not known")
            return
        self._wanted_workers = present + step
        self._do("workers", f"up to {present + step} at a time", workers=present + step)

    def _changeable(self, what: str) -> Job | None:
        job = self.table.job
        if job is not None and not job.unfinished:
            self._tell(f"{job.name} has ended ({job.state}): it can't be {what}")
            return None
        if self.run_now is None or not self.run_now.live:
            self._tell("the run has ended: nothing can be changed any more", bad=True)
            return None
        return job

    def _do(self, verb: str, done: str, **facts: Any) -> None:
        self.run_worker(self._ask_for(verb, done, facts), group="act")

    async def _ask_for(self, verb: str, done: str, facts: dict[str, Any]) -> None:
        try:
            answer = await self._call(lambda: self._source.act(verb, **facts))
        except (OwnFailure, UserError) as failure:
            self._wanted_workers = None
            self._wanted_priorities.clear()
            self._tell(str(failure), bad=True)
            return
        if answer.get("count") == 0:
            self._tell("nothing was changed: the job has got its slot, or has ended, meanwhile", bad=True)
        else:
            self._tell(done)
        self._stir.set()
