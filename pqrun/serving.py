# SPDX-License-Identifier: LGPL-3.0-or-later
"""A queue that waits for jobs: a run without an end of its own, gone on with whenever it is started."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from pqrun.app import BUG, USAGE, Run
from pqrun.errors import OwnFailure, UserError
from pqrun.input import Input
from pqrun.journal.record import Record
from pqrun.journal.recovery import has_jobs
from pqrun.journal.resume import Restart, plan
from pqrun.journal.rundir import RunDirectory, make_state_directory, runs_directory
from pqrun.settings import Settings
from pqrun.signals import make_sure_of_descriptors, make_sure_of_signals

LOG = "serve.log"
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_.-]{0,60}")


def serve(settings: Settings, *, detach: bool) -> int:
    """Serves until it is stopped; the exit code. Detached, that of the start."""
    make_sure_of_descriptors()
    make_sure_of_signals()
    name = settings.serve or "queue"
    if not _NAME.fullmatch(name):
        raise UserError(f"not a name for a queue: `{name}` (letters, digits, `-`, `_` and `.`)")
    make_state_directory()
    path = settings.run_dir or f"{runs_directory()}/{name}"
    if detach:
        settings = settings._replace(progress="plain" if settings.progress == "auto" else settings.progress)
        return _in_the_background(path, lambda ready: _serve(settings, name, path, ready))
    return _serve(settings, name, path, lambda: None)


def _serve(settings: Settings, name: str, path: str, ready: Callable[[], None]) -> int:
    directory = RunDirectory(path)
    restart: Restart | None = None
    if directory.has_journal() and has_jobs(directory):
        record = Record.reopen(path, durable=settings.durable)
        assert record.found is not None
        restart = plan(record.found, record.found.last, failed=False)
    else:
        record = Record(run_dir=path, keep=True, durable=settings.durable)
        record.run_id = name
    run = Run(settings, Input((), None, (), open_end=True), record, restart)
    run.ready = ready
    return run.run()


def _in_the_background(path: str, serve_: Callable[[Callable[[], None]], int]) -> int:
    """A session of its own, with a log for a screen; returns when it serves or has failed."""
    reading, writing = os.pipe()
    if os.fork():
        os.close(writing)
        with open(reading, "rb") as pipe:
            said = pipe.read().decode()
        if said.startswith("ready "):
            print(f"pqrun: serving {path} (pid {said[6:]}); `pqrun add` adds jobs, `pqrun stop` ends it")  # noqa: T201
            return 0
        number, _, message = said.partition(" ")
        raise OwnFailure(message or "the queue could not be started", int(number or 4))
    os.close(reading)
    os.setsid()
    if os.fork():
        os._exit(0)
    code = BUG
    try:
        _take_log(path)

        def ready() -> None:
            os.write(writing, f"ready {os.getpid()}".encode())
            os.close(writing)

        code = serve_(ready)
    except (UserError, OwnFailure) as error:
        code = error.code if isinstance(error, OwnFailure) else USAGE
        os.write(writing, f"{code} {error}".encode())
    finally:
        os._exit(code)


def _take_log(path: str) -> None:
    RunDirectory(path).create()
    null = os.open(os.devnull, os.O_RDWR)
    log = os.open(f"{path}/{LOG}", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
    os.dup2(null, 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    for fd in (null, log):
        if fd > 2:
            os.close(fd)
