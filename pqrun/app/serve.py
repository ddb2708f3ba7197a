# SPDX-License-Identifier: LGPL-3.0-or-later
"""`pqrun serve`: a queue, that is a run that waits for jobs and continues whenever it is started.

Messages tell a service manager, such as systemd, that the queue is ready, lives and ends.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import time
from collections.abc import Callable, Iterable, MutableMapping, Sequence
from threading import Lock, Thread
from typing import TYPE_CHECKING

from pqrun.app.parts import RunParts
from pqrun.app.run import backend_for, carry_out, past_for
from pqrun.core import events as ev
from pqrun.core.errors import InternalFailure, UserError
from pqrun.core.scheduler import Scheduler
from pqrun.core.settings import Settings
from pqrun.engine.engine import Engine, Request
from pqrun.engine.signals import chdir_or_error, current_directory, reset_signals
from pqrun.engine.threads import NoThread, start_thread
from pqrun.input import JobInput
from pqrun.journal.reader import JournalReader
from pqrun.journal.run_directory import LOG_NAME, RunDirectory, make_state_directory, runs_directory
from pqrun.journal.run_record import RunRecord
from pqrun.journal.writer import JournalWriter
from pqrun.reports import reports_of

if TYPE_CHECKING:
    from pqrun.journal.restart_plan import RestartPlan

KEEP = 10_000
MAX_LOG_BYTES = 8 << 20
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,60}")
SOCKET, WATCHDOG_TIME, WATCHDOG_PID = "NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"
_NOT_FOR_A_QUEUE = ("json", "dry_run", "only", "skip", "shard", "keep_order")


def directory_of(name: str, run_dir: str | None) -> RunDirectory:
    """Return the run directory of the queue with that name, which need not exist yet.

    Raises `UserError` if the name is not allowed.
    """
    if not _NAME.fullmatch(name) or name == "latest":
        raise UserError(f"invalid name of a queue: `{name}` (letters, digits, `-`, `_` and `.`)")
    if run_dir is None:
        make_state_directory()
    return RunDirectory(run_dir or f"{runs_directory()}/{name}")


def is_begun(directory: RunDirectory) -> bool:
    """Return whether a queue is recorded in the directory; raise `UserError` if it is another run."""
    if not directory.has_journal():
        return False
    for header in JournalReader(directory.journal):
        if "serve" not in header:
            raise UserError(f"the run in {directory.path} is not a queue: continue it with `pqrun resume`")
        return True
    return False  # pqrun was killed before the journal's first line was complete


def check(settings: Settings) -> None:
    """Raise `UserError` for options that a queue cannot have."""
    for name in _NOT_FOR_A_QUEUE:
        if settings.value_of(name):
            raise UserError(f"--{name.replace('_', '-')} can't be used with a queue, which has no end")
    if settings.record.no_journal:
        raise UserError("--no-journal can't be used with a queue, which is restored from its journal")


def serve(settings: Settings, *, detach: bool, keep: int = KEEP) -> int:
    """Run the queue in `settings.record.run_dir` until it is stopped; return the exit code.

    With `detach`, return the exit code of the start. `keep`: the number of ended jobs whose record
    and output are kept. Raises `UserError` for options that a queue cannot have.
    """
    assert settings.record.run_dir is not None
    check(settings)
    reset_signals()
    directory = RunDirectory(settings.record.run_dir)
    if settings.place.cwd is not None:
        chdir_or_error(settings.place.cwd)
    elif not is_begun(directory):
        current_directory()
    if not detach:
        return _serve(settings, directory, keep, None)
    from pqrun.app.daemon import detached

    if settings.output.progress == "auto":
        settings = settings.with_values({"progress": "plain"})
    return detached(directory, lambda ready: _serve(settings, directory, keep, ready))


def _serve(settings: Settings, directory: RunDirectory, keep: int, ready: Callable[[], None] | None) -> int:
    """Run the queue. `ready` tells the caller of `--detach`; without it, the service manager gets the messages."""
    restart = None
    if not is_begun(directory):
        record = RunRecord(run_dir=directory.path, keep=True, durable=settings.record.durable)
        record.run_id = settings.record.serve or record.run_id
    else:
        record, restart = _restored(settings, directory, keep)
    source = JobInput((), None, (), open_end=True)
    backend, reports = backend_for(settings, source.jobs), reports_of(settings)
    maintenance = QueueMaintenance(record, keep)
    run = RunParts(settings, source, record, backend, reports, restart, maintenance, past_for(settings))
    if ready is not None:
        maintenance.ready = ready
        return carry_out(run)
    manager = ServiceManager(run.reactor.look_again)
    maintenance.ready, maintenance.stopping = manager.ready, manager.stopping
    if run.err.is_terminal and not settings.output.quiet:  # the table comes later, and does not say this
        from pqrun.app.daemon import serving

        maintenance.greeting = serving(directory.path, os.getpid())
    run.reactor.add(manager)
    try:
        return carry_out(run)
    finally:
        manager.close()


def _restored(settings: Settings, directory: RunDirectory, keep: int) -> tuple[RunRecord, RestartPlan]:
    """Reopen the record of the queue; return it and the plan for its unfinished jobs."""
    from pqrun.app.resume import as_left, end_survivors, put_half_made_aside, settings_before
    from pqrun.journal.restart_plan import plan_restart

    record = RunRecord.reopen(directory.path, durable=settings.record.durable, keep=keep)
    assert record.found is not None
    end_survivors(record.found.tokens)
    put_half_made_aside(record.found)
    restart = plan_restart(record.found, record.found.last, failed=False)
    as_left(restart, record.found, settings, settings_before(record.found), anew=False)
    return record, restart


class QueueMaintenance:
    """The maintenance of a queue, whose journal, output files and log must not grow for ever.

    When enough jobs have ended, a thread compacts the part of the journal that was there when it began,
    while the queue continues. A turn of the engine then only has to append the lines written since. `keep`:
    the number of ended jobs whose record and output are kept. `ready` is called when the queue accepts jobs,
    `stopping` when it has stopped. `greeting`: the message for the terminal when jobs can be added, or ''.
    """

    def __init__(self, record: RunRecord, keep: int) -> None:
        self.keep = keep
        self.ready: Callable[[], None] = lambda: None
        self.stopping: Callable[[], None] = lambda: None
        self.greeting = ""
        self._record = record
        self._engine: Engine | None = None
        self._worth = max(1000, keep // 2)
        self._ended = 0
        self._lock = Lock()
        self._thread: Thread | None = None

    def begin(self, engine: Engine) -> None:
        """Count jobs from now on, and say that the queue accepts jobs."""
        self._engine = engine
        self.ready()

    def on_events(self, events: Sequence[ev.Event]) -> None:
        """Count the jobs that ended. Called after each turn, on any thread."""
        ended = sum(isinstance(event, ev.JobEnded) for event in events)
        if not ended or self._engine is None:
            return
        with self._lock:
            self._ended += ended
            if self._ended < self._worth or (self._thread is not None and self._thread.is_alive()):
                return
            thread = Thread(target=self._tidy, name="pqrun-tidying", daemon=True)
            with contextlib.suppress(NoThread):  # no thread can be created: try again at a later end
                start_thread(thread)
                self._thread, self._ended = thread, 0

    def close(self) -> None:
        """Wait for a compaction that is going on."""
        if self._thread is not None:
            self._thread.join()

    def _tidy(self) -> None:
        from pqrun.journal.compaction import compacted, remove_outputs

        directory, journal = self._record.directory, self._record.journal
        assert directory is not None and isinstance(journal, JournalWriter) and self._engine is not None
        with contextlib.suppress(OSError):
            shorten_log(f"{directory.path}/{LOG_NAME}")
        before: list[int] = []
        self._engine.turn(request=lambda scheduler, _now: before.append(scheduler.reopened))
        packs = self._record.logs.packs
        try:
            closed = frozenset() if packs is None else packs.closed()
            shorter = compacted(
                directory.journal, keep=self.keep, worth=self._worth // 2, closed_packs=closed
            )
        except (OSError, InternalFailure):
            return  # the journal stays long; if the disk is full, the journal's next line reports it
        if shorter is None:
            return
        done: list[bool] = []

        def replace_journal(scheduler: Scheduler, _now: float) -> None:
            # A job restarted meanwhile may be one that was left out: its next lines would have no first one.
            done.append([scheduler.reopened] == before and journal.go_on_in(shorter))

        self._engine.turn(request=replace_journal)
        if done == [True]:
            remove_outputs(directory, shorter)
        else:
            with contextlib.suppress(OSError):
                os.unlink(shorter.path)


def shorten_log(path: str) -> None:
    """Move the content of a long log to `PATH.1`, in place of what is there."""
    if os.stat(path, follow_symlinks=False).st_size <= MAX_LOG_BYTES:
        return
    aside = f"{path}.1"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(aside)
    fd = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        out = os.open(aside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            while data := os.read(fd, 1 << 20):
                os.write(out, data)
        finally:
            os.close(out)
        os.ftruncate(fd, 0)  # descriptors opened with O_APPEND continue at the start of the file
    finally:
        os.close(fd)


class ServiceManager:
    """The service manager behind `$NOTIFY_SOCKET`. Without that variable, nothing is sent.

    The object is a source of the reactor that is never read: the main thread asks it before each wait, and
    then it says that the main thread lives. `look_again` is the reactor's method of that name.
    """

    def __init__(
        self,
        look_again: Callable[[float], None],
        variables: MutableMapping[str, str] = os.environ,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        # Jobs must not get these variables: they would speak in the name of the queue.
        path = variables.pop(SOCKET, "")
        limit, pid = variables.pop(WATCHDOG_TIME, ""), variables.pop(WATCHDOG_PID, "")
        self._look_again = look_again
        self._now = now
        self._next = 0.0
        self._address = f"\0{path[1:]}" if path.startswith("@") else path
        self._socket: socket.socket | None = None
        self.interval_seconds = 0.0
        """How often to say that pqrun lives: twice in the time that the service manager allows. 0: never."""
        if path.startswith(("/", "@")):
            self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            if limit.isdecimal() and pid in ("", str(os.getpid())):
                self.interval_seconds = int(limit) / 2e6

    def ready(self) -> None:
        """Say that the queue accepts jobs."""
        self._send("READY=1")

    def stopping(self) -> None:
        """Say that the queue ends and no job runs any more.

        Not said earlier: from then on systemd allows only `TimeoutStopSec`, and after `pqrun stop` running jobs
        may finish, however long that takes.
        """
        self._send("STOPPING=1")

    def close(self) -> None:
        """Send nothing more."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def wanted(self) -> bool:
        """Say that the main thread lives, if that is due. There is never anything to read."""
        if self.interval_seconds and self._socket is not None:
            if self._now() >= self._next:
                self._send("WATCHDOG=1")
                self._next = self._now() + self.interval_seconds
            self._look_again(max(0.0, self._next - self._now()))
        return False

    def pending(self) -> bool:
        """Return False: nothing is ever read."""
        return False

    def fileno(self) -> int:
        """Return the descriptor of the socket, which is never polled."""
        return -1 if self._socket is None else self._socket.fileno()

    def read(self) -> Iterable[Request]:
        """Return no request."""
        return ()

    def _send(self, text: str) -> None:
        if self._socket is not None:
            # A service manager that has gone or does not read must not hold up the queue.
            with contextlib.suppress(OSError):
                self._socket.sendto(text.encode(), socket.MSG_DONTWAIT, self._address)
