# SPDX-License-Identifier: LGPL-3.0-or-later
"""The keys of the screen of `top`: change the list, read output, and act on the run."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from textual.app import ComposeResult
from textual.binding import Binding
from textual.containers import Vertical, VerticalScroll
from textual.events import Resize
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from pqrun.core import text as hints
from pqrun.core.errors import InternalFailure, UserError
from pqrun.core.text import escape_controls
from pqrun.ui.top.jobs import CHANGEABLE, PRIORITIES, SORTS, JobFilter, ListedJob, next_of
from pqrun.ui.top.run_source import RunState
from pqrun.ui.top.view import RunScreen

HELP = """\
Moving     ↑ ↓  PgUp PgDn  Home End    select a job (Tab: between table and log)
           Enter                       show the whole output (Esc: back)
Listing    /      filter: words, state:failed, priority:low, tag:x; in the log: search
           f      next state            t   next tag             l   next priority
           s      next order            S   reverse the order     Esc show all jobs
Log        a      another attempt       o   both streams, stdout, stderr
           n N    next, previous match           End follow the output again
The job    k      cancel (asks first)   + - raise, lower its priority
           r      run it again          u   move before its priority's others
The run    p      pause, unpause        > < more, fewer workers
           X      stop (asks first)     ] [ more, fewer at a time with a tag: the listed
           r      after the end: leave      one, or the first of the selected job
                  and resume it
Screen     m      numbers on, off       ?   this help            q   leave; the run continues

Watching a live run does not change it, and the run continues when you leave. After its
end the screen stays for reading. The time of a queued job is the time it has waited, that
of a waiting job the time until its next attempt.
CPU and memory are those of now; of an ended job, its average and its peak. Output on
stderr is yellow."""


class QuestionDialog(ModalScreen[bool]):
    """A dialog with a yes-or-no question. `y` means yes; every other key that closes it means no."""

    BINDINGS = [
        Binding("y", "answer(True)", show=False),
        Binding("n,escape,q,enter", "answer(False)", show=False),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        with Vertical(classes="dialog"):
            yield Static(self._text, markup=False)
            yield Static("\ny  yes     n  no", markup=False, classes="keys")

    def action_answer(self, yes: bool) -> None:
        """Close the dialog with the answer."""
        self.dismiss(yes)


class TextDialog(ModalScreen[None]):
    """A dialog that shows a text."""

    BINDINGS = [Binding("escape,q,enter,question_mark", "close", show=False)]

    def __init__(self, title: str, text: str) -> None:
        super().__init__()
        self._title = title
        self._text = text

    def compose(self) -> ComposeResult:
        with VerticalScroll(classes="dialog wide") as box:
            box.border_title = self._title
            box.border_subtitle = "Esc"
            yield Static(self._text, markup=False)

    def action_close(self) -> None:
        self.dismiss(None)


class TopApp(RunScreen):
    """The screen of a run, with keys to act on the run."""

    BINDINGS = [
        Binding("q,ctrl+c", "quit", show=False),
        Binding("k,delete", "cancel", show=False),
        Binding("r", "retry", show=False),
        Binding("u", "front", show=False),
        Binding("X", "stop", show=False),
        Binding("plus,equals_sign", "priority(1)", show=False),
        Binding("minus", "priority(-1)", show=False),
        Binding("p", "pause", show=False),
        Binding("greater_than_sign", "workers(1)", show=False),
        Binding("less_than_sign", "workers(-1)", show=False),
        Binding("right_square_bracket", "limit(1)", show=False),
        Binding("left_square_bracket", "limit(-1)", show=False),
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

    # Messages of textual

    def on_resize(self, event: Resize) -> None:
        """Hide the less important lines in a low window."""
        self._ground.set_class(event.size.height < 26, "low")
        self._ground.set_class(event.size.height < 17, "flat")

    def on_job_table_view_selected(self) -> None:
        """Read the output of the job that is now selected."""
        self._attempt = None
        self._stir.set()
        self._facts_lines.refresh()
        self._keys_line.refresh()

    def on_job_table_view_opened(self) -> None:
        """Show the output of the selected job alone."""
        self._ground.add_class("reading")
        self.log_view.focus()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter the list while the user types."""
        if not self._asks_for_search and self._box.display:
            self._want(JobFilter.parsed(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the filter, or search the log."""
        text = event.value
        searches = self._asks_for_search
        self._close_input()
        if searches and text:
            self._tell_unless(self.log_view.look_for(text), f"no line with “{text}”")
            self._stir.set()

    def _close_input(self) -> None:
        self._box.display = False
        (self.log_view if self._asks_for_search else self.table).focus()

    def _want(self, wanted: JobFilter) -> None:
        self.jobs.want(wanted)
        self._list_anew()

    def _list_anew(self) -> None:
        self.table.begin_again()
        self._heading.refresh()
        self._stir.set()

    def _tell(self, text: str, *, bad: bool = False) -> None:
        self.notify(
            escape_controls(text), severity="error" if bad else "information", timeout=4, markup=False
        )

    def _tell_unless(self, fine: bool, text: str) -> None:
        if not fine:
            self._tell(text)

    # Keys

    def action_look_for(self) -> None:
        """Open the input: for a filter, or for a search if the log has the focus."""
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
        """Go back one step: close the input, leave the log, or remove the filter."""
        if self._box.display:
            searches = self._asks_for_search
            self._close_input()
            if not searches:
                self._want(JobFilter())
        elif self._ground.has_class("reading") or self.log_view.has_focus:
            self._ground.remove_class("reading")
            self.log_view.look_for("")
            self.table.focus()
        elif self.jobs.wanted != JobFilter():
            self._want(JobFilter())

    def action_found(self, step: int) -> None:
        """Go to the next or previous line that matches the search."""
        view = self.log_view
        if view.wanted:
            self._tell_unless(view.look_for(view.wanted, back=step < 0, again=True), "no such line")

    def action_next_state(self) -> None:
        """List only the jobs in the next state that occurs."""
        wanted = self.jobs.wanted
        self._want(wanted._replace(state=next_of(self.jobs.states_there(), wanted.state)))

    def action_next_tag(self) -> None:
        """List only the jobs with the next tag."""
        wanted = self.jobs.wanted
        self._want(wanted._replace(tag=next_of(self.jobs.tags_there(), wanted.tag)))

    def action_next_priority(self) -> None:
        """List only the jobs with the next priority."""
        wanted = self.jobs.wanted
        self._want(wanted._replace(priority=next_of(PRIORITIES[::-1], wanted.priority)))

    def action_next_sort(self) -> None:
        """Sort the list by the next key."""
        self.jobs.sort_by(next_of(SORTS, self.jobs.sort) or SORTS[0])
        self._list_anew()

    def action_turn_round(self) -> None:
        """Reverse the order of the list."""
        self.jobs.sort_by(self.jobs.sort, reverse=not self.jobs.reverse)
        self._list_anew()

    def action_next_attempt(self) -> None:
        """Show the output of the attempt before; after the first attempt, that of the last."""
        if (job := self.table.job) is not None and job.attempts:
            present = self._attempt or job.attempts
            self._attempt = present - 1 or None
            self._stir.set()

    def action_next_stream(self) -> None:
        """Show the next of: both streams, stdout, stderr."""
        self._stream = (self._stream + 1) % 3
        self._stir.set()

    def action_numbers(self) -> None:
        """Hide or show the numbers and curves."""
        self._ground.toggle_class("full" if self._ground.has_class("low") else "bare")

    def action_help(self) -> None:
        """Show the list of keys."""
        self.push_screen(TextDialog("Keys", HELP))

    def action_retry(self) -> None:
        """Restart the selected job, which has ended; if the run has ended, offer to resume it."""
        run, job = self.run_now, self.table.job
        if run is None or job is None:
            return
        if not run.live:
            self._resume(run)
        elif job.unfinished:
            self._tell(f"{job.name} has not ended: it is retried automatically")
        elif any(other.id == job.id and other.seq > job.seq for other in self.jobs.all.values()):
            self._tell(f"{job.name}: a later job has the same id, and only the last one can run again")
        else:
            loss = "It keeps its id and its attempts. Jobs that were skipped because of it run again, too."
            done = f"{job.name} is in the queue again"
            text = f"Run {job.name} again?\n\n{loss}"
            self._if_sure(text, lambda: self._do("restart", done, jobs=[job.id]))

    def _resume(self, run: RunState) -> None:
        """Exit with the command that resumes the run in the same terminal, after a confirmation."""
        words = self._resume_words()
        if run.ended == run.added and "--failed" not in words:
            self._tell("no job failed: there is nothing to run again")
            return
        text = f"Leave this screen and run\n\n    {escape_controls(hints.line_of(words))} ?"
        self._if_sure(text, lambda: self.exit(words))

    def action_stop(self) -> None:
        """Stop the run, after a confirmation."""
        run = self.run_now
        if run is None or not run.live:
            self._tell("the run has ended already")
            return
        left = run.added - run.ended
        text = (
            f"Stop the run?\n\nRunning jobs may finish, and no more jobs start: {left:,} jobs have not ended."
        )
        self._if_sure(text, lambda: self._do("stop", "the run is stopping"))

    def action_front(self) -> None:
        """Move the selected job before all others of its priority."""
        job = self._changeable("moved")
        if job is not None and job.state not in CHANGEABLE:
            self._tell(f"{job.name} runs already: it is no longer in the queue")
        elif job is not None:
            self._do("set", f"{job.name} goes first", jobs=[job.id], seq=job.seq, front=True)

    def action_cancel(self) -> None:
        """Cancel the selected job, after a confirmation."""
        job = self._changeable("cancelled")
        if job is None:
            return
        loss = (
            "The job is running: its work so far may be lost."
            if job.state == "running"
            else "The job will not run."
        )
        text = f"Cancel {job.name}?\n\n{loss}\nJobs that need it will be skipped."

        done = f"{job.name} is being cancelled"
        self._if_sure(text, lambda: self._do("cancel", done, jobs=[job.id], seq=job.seq))

    def action_priority(self, step: int) -> None:
        """Raise or lower the priority of the selected job by one step."""
        job = self._changeable("changed")
        if job is None:
            return
        if job.state not in CHANGEABLE:
            self._tell(f"{job.name} runs already: its priority has no effect any more")
            return
        present = self._wanted_priorities.get(
            job.seq, job.priority
        )  # the last request may not be in the journal yet
        new = present + step
        if not 0 <= new < len(PRIORITIES):
            self._tell(f"{job.name}: {PRIORITIES[present]} is the {'highest' if step > 0 else 'lowest'}")
            return
        self._wanted_priorities[job.seq] = new
        name = PRIORITIES[new]
        self._do("set", f"{job.name}: {name}", jobs=[job.id], seq=job.seq, change={"priority": name})

    def action_pause(self) -> None:
        """Pause or unpause the run."""
        paused = self.run_now is not None and self.run_now.paused
        self._do(
            "unpause" if paused else "pause",
            "jobs start again" if paused else "paused: running jobs continue",
        )

    def action_workers(self, step: int) -> None:
        """Change the number of workers by `step`."""
        present = self._wanted_workers or (self.run_now.workers if self.run_now is not None else None)
        if present is None or present + step < 1:
            self._tell("at least 1 worker is needed" if present else "the number of workers is not known")
            return
        self._wanted_workers = present + step
        self._do("workers", f"up to {present + step} at a time", workers=present + step)

    def action_limit(self, step: int) -> None:
        """Change by `step` how many jobs with a tag may run at a time. A limit of all workers is none."""
        run, job = self.run_now, self.table.job
        tag = self.jobs.wanted.tag or (job.tags[0] if job is not None and job.tags else "")
        if run is None or not run.workers or not tag:
            self._tell("which tag? Select a job that has one, or list one with t")
            return
        limit = self._wanted_limits.get(tag, run.tag_limits.get(tag, 0))
        new = min(limit or run.workers, run.workers) + step
        if new < 1 or (new > run.workers and not limit):
            self._tell(f"tag:{tag}: {'at least 1 at a time' if step < 0 else 'there is no limit'}")
            return
        self._wanted_limits[tag] = new = new if new < run.workers else 0
        done = f"tag:{tag}: {f'up to {new}' if new else 'any number'} at a time"
        self._do("limit", done, tag=tag, workers=new or None)

    def _changeable(self, what: str) -> ListedJob | None:
        job = self.table.job
        if job is not None and not job.unfinished:
            self._tell(f"{job.name} has ended ({job.state}): it can't be {what}")
            return None
        if self.run_now is None or not self.run_now.live:
            self._tell("the run has ended: you can't change it any more", bad=True)
            return None
        return job

    def _if_sure(self, text: str, act: Callable[[], object]) -> None:
        def answered(yes: bool | None) -> None:
            if yes:
                act()

        self.push_screen(QuestionDialog(text), answered)

    def _do(self, verb: str, done: str, **facts: Any) -> None:
        self.run_worker(self._ask_for(done, verb, facts), group="act")

    async def _ask_for(self, done: str, verb: str, facts: dict[str, Any]) -> None:
        try:
            answer = await self._call(partial(self._source.act, verb, **facts))
        except (InternalFailure, UserError) as failure:
            self._wanted_workers = None
            self._wanted_limits.clear()
            self._wanted_priorities.clear()
            self._tell(str(failure), bad=True)
            return
        if answer.get("count") == 0 and verb != "limit":
            self._tell("nothing was changed: the job has just started or ended", bad=True)
        else:
            self._tell(done)
        self._stir.set()
