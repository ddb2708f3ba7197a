# SPDX-License-Identifier: LGPL-3.0-or-later
"""The directory of a run: its place, its lock, its owner, and the names of the files in it.

Directories have mode 0700 and files 0600, whatever the umask. A directory of another user is rejected, and a
planted link is not followed. A kernel lock says whether any process of the run is alive: pqrun and its
watchdog hold it, so it is free only when no job is left either.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import sys
import time
from collections.abc import Iterator

from pqrun.core.errors import InternalFailure, UserError
from pqrun.core.text import line_of

JOURNAL, LOCK, LOGS, INDEX, SOCKET = "journal.jsonl", "lock", "logs", "index.db", "control.sock"
BLOCKS = "blocks"
LOG_NAME = "serve.log"
OUR_FILES = (JOURNAL, LOCK, LOGS, INDEX, SOCKET, LOG_NAME, BLOCKS, "work")
IN_USE = 5
WATCHDOG_NAME = "pq-warden"
"""The name of a watchdog's process, by which a wait for the lock recognizes who holds it."""
ELSEWHERE = "set PQRUN_STATE_DIR, or use --run-dir or --no-journal"
_ALPHABET = "23456789abcdefghjkmnpqrstuvwxyz"


def state_directory() -> str:
    """Return `$PQRUN_STATE_DIR`, or else the user's directory for program states.

    Raises UserError if the user has no home directory.
    """
    if given := os.environ.get("PQRUN_STATE_DIR"):
        return os.path.abspath(given)
    if sys.platform == "linux":  # the result of platformdirs, without the 3 ms that its import takes
        state = os.environ.get("XDG_STATE_HOME", "").strip()
        path = f"{state if state.startswith('/') else f'{_home()}/.local/state'}/pqrun"
    else:
        from platformdirs import user_state_path

        path = str(user_state_path("pqrun"))
    if not path.startswith("/"):
        raise UserError(f"no home directory to keep runs in: {ELSEWHERE}")
    return path


def _home() -> str:
    """Return the user's home, from `$HOME` or the user database; a relative path if there is none."""
    if home := os.environ.get("HOME"):
        return home
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return "."


def new_run_id() -> str:
    """Return a short random id that is easy to type and never looks like a number."""
    letters = [_ALPHABET[byte % len(_ALPHABET)] for byte in os.urandom(6)]
    letters[0] = _ALPHABET[8 + os.urandom(1)[0] % 23]
    return "".join(letters)


class RunDirectory:
    """One run's directory, as this process sees it. Call `lock` before anything is written."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self.lock_fd = -1

    @property
    def address(self) -> str:
        """The run's name on a command line: its id, or its path if it is not in the state directory."""
        name = os.path.basename(self.path)
        try:
            return name if self.path == f"{runs_directory()}/{name}" else self.path
        except UserError:  # without a home there is no state directory
            return self.path

    @property
    def journal(self) -> str:
        """The path of the journal, which is the only source of truth about the run."""
        return f"{self.path}/{JOURNAL}"

    @property
    def logs(self) -> str:
        """The path of the directory with the jobs' output."""
        return f"{self.path}/{LOGS}"

    @property
    def index(self) -> str:
        """The path of the index, which is derived from the journal for queries."""
        return f"{self.path}/{INDEX}"

    @property
    def workspace(self) -> str:
        """The path of the directory for files that are deleted when the run ends, such as scripts."""
        return f"{self.path}/work"

    @property
    def blocks(self) -> str:
        """The path of the directory with the blocks of the input of `each --pipe`; it may not exist."""
        return f"{self.path}/{BLOCKS}"

    @property
    def socket(self) -> str:
        """The path of the socket that controls a live run."""
        return f"{self.path}/{SOCKET}"

    def has_journal(self) -> bool:
        """Return whether a run is recorded in the directory."""
        try:
            return os.stat(self.journal).st_size > 0
        except OSError:
            return False

    def require_free(self) -> None:
        """Raise UserError if the directory holds anything but the files of a run."""
        try:
            names = os.listdir(self.path)
        except FileNotFoundError:
            return
        except OSError as error:
            raise InternalFailure(f"cannot use {self.path}: {error.strerror}") from error
        strange = [name for name in names if not name.startswith(OUR_FILES)]
        if strange:
            raise UserError(
                f"{self.path} contains other files ({strange[0]}): use a new or empty directory for the run"
            )

    def create(self) -> None:
        """Create the directory and its parents, or check that an existing one belongs to the user."""
        try:
            _make_parents(self.path)
            for path in (self.path, self.logs, self.workspace):
                _make_private(path)
        except OSError as error:
            raise InternalFailure(f"cannot create {error.filename or self.path}: {error.strerror}") from error

    def check(self) -> None:
        """Check that the path is a directory that belongs to the user. Raises InternalFailure if not."""
        _check_private(self.path)

    def lock(self) -> None:
        """Lock the directory. Wait, and tell the user, while processes of a dead pqrun hold the lock.

        Raises InternalFailure with the code 5 if a living pqrun uses the directory.
        """
        path = f"{self.path}/{LOCK}"
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(path, flags, 0o600)
        except OSError as error:
            raise InternalFailure(f"cannot open {path}: {error.strerror}") from error
        began, wait = time.monotonic(), None
        while not _try_lock(fd):
            holder = os.pread(fd, 100, 0).decode("ascii", "replace").strip()
            pid = holder.partition(" ")[0] or "unknown"
            if _is_alive(holder):
                os.close(fd)
                stop = line_of(["pqrun", "stop", "--run", self.address])
                raise InternalFailure(
                    f"{self.path} is in use by another pqrun (pid {pid}); stop it first: {stop}", IN_USE
                )
            time.sleep(0.02)
            if wait is None:
                from pqrun.journal.lock_wait import LockWait

                wait = LockWait(fd, self.path, pid, WATCHDOG_NAME)
            wait.tell(time.monotonic() - began)
        os.ftruncate(fd, 0)
        os.pwrite(fd, f"{os.getpid()} {_born(os.getpid())}\n".encode(), 0)
        self.lock_fd = fd

    def hold(self) -> InternalFailure | None:
        """Lock the directory again if its lock file was removed.

        Returns the failure if another pqrun has locked the directory in the meantime.
        """
        path = f"{self.path}/{LOCK}"
        if self.lock_fd < 0 or os.path.lexists(path):
            return None
        try:
            fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            return None  # if no file can be created here, no other pqrun can take the lock either
        try:
            if not _try_lock(fd):
                return InternalFailure(f"{path} was removed, and another pqrun has taken the run directory")
            os.pwrite(fd, os.pread(self.lock_fd, 100, 0), 0)
            os.dup2(fd, self.lock_fd, inheritable=False)
        finally:
            os.close(fd)
        return None

    def holder(self) -> int:
        """Return the process id of the living pqrun that has locked the directory; 0 if there is none."""
        if not self.in_use():
            return 0
        try:
            with open(f"{self.path}/{LOCK}", encoding="ascii", errors="replace") as file:
                text = file.read(100).strip()
        except OSError:
            return 0
        pid = text.partition(" ")[0]
        return int(pid) if pid.isdecimal() and _is_alive(text) else 0

    def in_use(self) -> bool:
        """Return whether any process of the run is alive. The answer may be outdated at once."""
        try:
            fd = os.open(f"{self.path}/{LOCK}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(fd)
        return False

    def unlock(self) -> None:
        """Release the lock."""
        if self.lock_fd >= 0:
            os.close(self.lock_fd)
            self.lock_fd = -1


def runs_directory() -> str:
    """Return the parent of all runs that were not given a directory of their own."""
    return f"{state_directory()}/runs"


def make_state_directory() -> None:
    """Create the state directory, readable by the user alone."""
    try:
        _make_parents(state_directory())
        for path in (state_directory(), runs_directory()):
            _make_private(path)
    except OSError as error:
        why = f"cannot create {error.filename}: {error.strerror}"
        raise InternalFailure(f"{why} ({ELSEWHERE})") from error
    except InternalFailure as failure:
        raise InternalFailure(f"{failure} ({ELSEWHERE})", failure.code) from None


def run_directories() -> Iterator[RunDirectory]:
    """Yield the runs in the state directory, in no particular order."""
    try:
        names = os.listdir(runs_directory())
    except OSError:
        return
    for name in names:
        run = RunDirectory(f"{runs_directory()}/{name}")
        if run.has_journal():
            yield run


def find_run(name: str) -> RunDirectory:
    """Find a run by its path, its id, a unique prefix of its id, or `latest`.

    Raises UserError if no run or several runs match.
    """
    if "/" in name or (os.path.isdir(name) and not _is_meant_as_id(name)):
        run = RunDirectory(name)
        if not run.has_journal():
            raise UserError(f"no run is recorded in {name}")
        run.check()
        return run
    runs = list(run_directories())
    if name == "latest":
        if not runs:
            raise UserError("no runs are recorded yet")
        return max(runs, key=lambda run: _began(run.journal))
    found = [run for run in runs if os.path.basename(run.path).startswith(name)] if name else []
    exact = [run for run in found if os.path.basename(run.path) == name]
    if len(exact or found) == 1:
        (exact or found)[0].check()
        return (exact or found)[0]
    if not found:
        raise UserError(f"no run `{name}` (`pqrun runs` lists them)")
    ids = ", ".join(sorted(os.path.basename(run.path) for run in found)[:5])
    raise UserError(f"several runs match `{name}`: {ids}")


def only_live_run() -> RunDirectory | None:
    """Return the run of the job that calls pqrun, else the only live run; None if there is none, or several."""
    if path := os.environ.get("PQRUN_SOCKET", ""):
        own = RunDirectory(os.path.dirname(path))
        return own if own.has_journal() else None
    live = [run for run in run_directories() if run.in_use()]
    return live[0] if len(live) == 1 else None


def _is_meant_as_id(name: str) -> bool:
    """Return whether a name is the id of a run, although a directory without a run has that name too."""
    return not RunDirectory(name).has_journal() and RunDirectory(f"{runs_directory()}/{name}").has_journal()


def _began(journal: str) -> float:
    """Return when a run began, from the first line of its journal; 0 if the line can't be read."""
    import json

    try:
        with open(journal, "rb") as file:
            return float(json.loads(file.readline(1 << 20))["at"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0.0


def _make_parents(path: str) -> None:
    """Create the missing parents, each with mode 0700: `os.makedirs` gives its mode only to the last one."""
    parent = os.path.dirname(path)
    if parent and not os.path.isdir(parent):
        _make_parents(parent)
        _make_private(parent)


def _make_private(path: str) -> None:
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        _check_private(path)
    else:
        os.chmod(path, 0o700)


def _check_private(path: str) -> None:
    try:
        found = os.lstat(path)
    except OSError as error:
        raise InternalFailure(f"cannot use {path}: {error.strerror}") from error
    if stat.S_ISLNK(found.st_mode) or not stat.S_ISDIR(found.st_mode):
        raise InternalFailure(f"{path} is not a directory, or is a symbolic link")
    if found.st_uid != os.geteuid():
        raise InternalFailure(f"{path} is owned by uid {found.st_uid}, not by you")
    if found.st_mode & 0o077:
        os.chmod(path, 0o700)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise InternalFailure(f"cannot lock: {error.strerror}") from error
    return True


def _born(pid: int) -> int:
    """Return a process's start time in clock ticks since boot; 0 if it is unknown."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            text = file.read()
        return int(text[text.rfind(b")") + 2 :].split()[19])
    except (OSError, ValueError, IndexError):
        return 0


def _is_alive(holder: str) -> bool:
    """Return whether the pqrun that wrote `holder` into the lock file is alive, or may be."""
    pid, _, born = holder.partition(" ")
    if not pid.isdecimal():
        return True
    if os.path.isdir("/proc/self"):
        return _born(int(pid)) == int(born or 0) != 0
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return False
    except OSError:
        pass
    return True
