# SPDX-License-Identifier: LGPL-3.0-or-later
"""The keys of `top`: change the list, read output, and act on the run.

`RunPoller` knows the run, `RunScreen` shows it. The app turns keys into calls of the two.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from textual.app import App
from textual.binding import Binding
from textual.events import Resize
from textual.widgets import Input

from pqrun.core import text as hints
from pqrun.core.errors import InternalFailure, UserError
from pqrun.core.text import escape_controls
from pqrun.ui.top.jobs import CHANGEABLE, PRIORITIES, SORTS, JobFilter, ListedJob, next_of
from pqrun.ui.top.polling import REFRESH_INTERVAL_SECONDS, RunPoller
from pqrun.ui.top.run_source import RunSource, RunState
from pqrun.ui.top.view import CSS, QuestionDialog, RunScreen, TextDialog, resume_words

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


class TopApp(App[list[str]]):
    """The screen of a run, with keys to act on the run. `return_value`: the command to run next, if any."""

    CSS = CSS
    ENABLE_COMMAND_PALETTE = False
    TITLE = "pqrun top"
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
        Binding("slash", "open_input", show=False),
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

    def __init__(self, source: RunSource, *, every: float = REFRESH_INTERVAL_SECONDS) -> None:
        super().__init__()
        self.animation_level = "none"
        self.poller = RunPoller(source, every=every)
        self.view = RunScreen(self.poller)

    def get_default_screen(self) -> RunScreen:
        """Return the screen below all dialogs."""
        return self.view

    # Messages of textual

    def on_unmount(self) -> None:
        """Close the source."""
        self.poller.close()

    def on_resize(self, event: Resize) -> None:
        """Fit the screen into the window, also while a dialog is open."""
        self.view.fit(event.size.height)

    def on_job_table_view_selected(self) -> None:
        """Show the job that is now selected."""
        self.view.show_selected()

    def on_job_table_view_opened(self) -> None:
        """Show the output of the selected job alone."""
        self.view.open_log()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Filter the list while the user types."""
        if self.view.input.display and not self.view.input_searches:
            self._filter(JobFilter.parsed(event.value))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Keep the filter, or search the log."""
        text = event.value
        self.view.close_input()
        if self.view.input_searches and text:
            self._tell_unless(self.view.log_view.search(text), f"no line with “{text}”")
            self.poller.wake()

    def _filter(self, wanted: JobFilter) -> None:
        self.poller.jobs.filter_by(wanted)
        self.view.list_again()

    def _tell(self, text: str, *, bad: bool = False) -> None:
        self.notify(
            escape_controls(text), severity="error" if bad else "information", timeout=4, markup=False
        )

    def _tell_unless(self, fine: bool, text: str) -> None:
        if not fine:
            self._tell(text)

    # Keys

    def action_open_input(self) -> None:
        """Open the input: for a filter, or for a search if the log has the focus."""
        self.view.open_input()

    def action_step_back(self) -> None:
        """Go back one step: close the input, leave the log, or remove the filter."""
        view = self.view
        if view.input.display:
            view.close_input()
            if not view.input_searches:
                self._filter(JobFilter())
        elif view.in_log:
            view.leave_log()
        elif self.poller.jobs.filter != JobFilter():
            self._filter(JobFilter())

    def action_found(self, step: int) -> None:
        """Go to the next or previous line that matches the search."""
        log = self.view.log_view
        if log.searched:
            self._tell_unless(log.search(log.searched, back=step < 0, again=True), "no such line")

    def action_next_state(self) -> None:
        """List only the jobs in the next state that occurs."""
        jobs = self.poller.jobs
        self._filter(jobs.filter._replace(state=next_of(jobs.states_there(), jobs.filter.state)))

    def action_next_tag(self) -> None:
        """List only the jobs with the next tag."""
        jobs = self.poller.jobs
        self._filter(jobs.filter._replace(tag=next_of(jobs.tags_there(), jobs.filter.tag)))

    def action_next_priority(self) -> None:
        """List only the jobs with the next priority."""
        wanted = self.poller.jobs.filter
        self._filter(wanted._replace(priority=next_of(PRIORITIES[::-1], wanted.priority)))

    def action_next_sort(self) -> None:
        """Sort the list by the next key."""
        jobs = self.poller.jobs
        jobs.sort_by(next_of(SORTS, jobs.sort) or SORTS[0])
        self.view.list_again()

    def action_turn_round(self) -> None:
        """Reverse the order of the list."""
        jobs = self.poller.jobs
        jobs.sort_by(jobs.sort, reverse=not jobs.reverse)
        self.view.list_again()

    def action_next_attempt(self) -> None:
        """Show the output of the attempt before; after the first attempt, that of the last."""
        if (job := self.view.table.job) is not None and job.attempts:
            self.view.follower.choose_attempt_before(job)
            self.poller.wake()

    def action_next_stream(self) -> None:
        """Show the next of: both streams, stdout, stderr."""
        self.view.follower.choose_next_streams()
        self.poller.wake()

    def action_numbers(self) -> None:
        """Hide or show the numbers and curves."""
        self.view.toggle_numbers()

    def action_help(self) -> None:
        """Show the list of keys."""
        self.push_screen(TextDialog("Keys", HELP))

    def action_retry(self) -> None:
        """Restart the selected job, which has ended; if the run has ended, offer to resume it."""
        run, job = self.poller.run, self.view.table.job
        if run is None or job is None:
            return
        if not run.live:
            self._offer_resume(run)
        elif job.unfinished:
            self._tell(f"{job.name} has not ended: it is retried automatically")
        elif any(other.id == job.id and other.seq > job.seq for other in self.poller.jobs.all.values()):
            self._tell(f"{job.name}: a later job has the same id, and only the last one can run again")
        else:
            loss = "It keeps its id and its attempts. Jobs that were skipped because of it run again, too."
            done = f"{job.name} is in the queue again"
            text = f"Run {job.name} again?\n\n{loss}"
            self._if_sure(text, lambda: self._do("restart", done, jobs=[job.id]))

    def _offer_resume(self, run: RunState) -> None:
        """Exit with the command that resumes the run in the same terminal, after a confirmation."""
        words = resume_words(self.poller)
        if run.ended == run.added and "--failed" not in words:
            self._tell("no job failed: there is nothing to run again")
            return
        text = f"Leave this screen and run\n\n    {escape_controls(hints.line_of(words))} ?"
        self._if_sure(text, lambda: self.exit(words))

    def action_stop(self) -> None:
        """Stop the run, after a confirmation."""
        run = self.poller.run
        if run is None or not run.live:
            self._tell("the run has ended already")
            return
        left = run.added - run.ended
        loss = f"Running jobs may finish, and no more jobs start: {left:,} jobs have not ended."
        self._if_sure(f"Stop the run?\n\n{loss}", lambda: self._do("stop", "the run is stopping"))

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
        running = job.state == "running"
        loss = "The job is running: its work so far may be lost." if running else "The job will not run."
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
        present = self.poller.wanted.priority(job)
        new = present + step
        if not 0 <= new < len(PRIORITIES):
            self._tell(f"{job.name}: {PRIORITIES[present]} is the {'highest' if step > 0 else 'lowest'}")
            return
        self.poller.wanted.want_priority(job, new)
        name = PRIORITIES[new]
        self._do("set", f"{job.name}: {name}", jobs=[job.id], seq=job.seq, change={"priority": name})

    def action_pause(self) -> None:
        """Pause or unpause the run."""
        paused = self.poller.run is not None and self.poller.run.paused
        if paused:
            self._do("unpause", "jobs start again")
        else:
            self._do("pause", "paused: running jobs continue")

    def action_workers(self, step: int) -> None:
        """Change the number of workers by `step`."""
        run, wanted = self.poller.run, self.poller.wanted
        present = None if run is None else wanted.workers(run)
        if present is None or present + step < 1:
            self._tell("at least 1 worker is needed" if present else "the number of workers is not known")
            return
        wanted.want_workers(present + step)
        self._do("workers", f"up to {present + step} at a time", workers=present + step)

    def action_limit(self, step: int) -> None:
        """Change by `step` how many jobs with a tag may run at a time. A limit of all workers is none."""
        run, job = self.poller.run, self.view.table.job
        tag = self.poller.jobs.filter.tag or (job.tags[0] if job is not None and job.tags else "")
        if run is None or not run.workers or not tag:
            self._tell("which tag? Select a job that has one, or list one with t")
            return
        limit = self.poller.wanted.limit(tag, run)
        new = min(limit or run.workers, run.workers) + step
        if new < 1 or (new > run.workers and not limit):
            self._tell(f"tag:{tag}: {'at least 1 at a time' if step < 0 else 'there is no limit'}")
            return
        new = new if new < run.workers else 0
        self.poller.wanted.want_limit(tag, new)
        done = f"tag:{tag}: {f'up to {new}' if new else 'any number'} at a time"
        self._do("limit", done, tag=tag, workers=new or None)

    # Requests

    def _changeable(self, what: str) -> ListedJob | None:
        """Return the selected job, or say why it can't be `what`: "cancelled", for example."""
        job = self.view.table.job
        if job is not None and not job.unfinished:
            self._tell(f"{job.name} has ended ({job.state}): it can't be {what}")
            return None
        if self.poller.run is None or not self.poller.run.live:
            self._tell("the run has ended: you can't change it any more", bad=True)
            return None
        return job

    def _if_sure(self, text: str, act: Callable[[], object]) -> None:
        """Ask a question, and call `act` if the answer is yes."""

        def answered(yes: bool | None) -> None:
            if yes:
                act()

        self.push_screen(QuestionDialog(text), answered)

    def _do(self, verb: str, done: str, **facts: Any) -> None:
        """Send a request to the run in the background. `done`: the message when the run has accepted it."""
        self.run_worker(self._send(verb, done, facts), group="act")

    async def _send(self, verb: str, done: str, facts: dict[str, Any]) -> None:
        try:
            answer = await self.poller.act(verb, facts)
        except (InternalFailure, UserError) as failure:
            self.poller.wanted.clear()
            self._tell(str(failure), bad=True)
            return
        if answer.get("count") == 0 and verb != "limit":
            self._tell("nothing was changed: the job has just started or ended", bad=True)
        else:
            self._tell(done)
        self.poller.wake()
