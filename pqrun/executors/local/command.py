# SPDX-License-Identifier: LGPL-3.0-or-later
"""[hot path] The argument list, working directory, environment and stdin of a command, and its spawn."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from operator import methodcaller
from typing import TYPE_CHECKING

from pqrun.core.expansion import ValueTooLong, expanded, pool_variable
from pqrun.core.job import OPEN_STDIN, Attempt, AttemptId, Command, InputBlock, NotStarted, Priority
from pqrun.executors.local import user_paths as stdins
from pqrun.executors.local.environment import TREE_VARIABLE, inherited, jobserver_descriptors
from pqrun.executors.local.ownership import JobProcesses, markers
from pqrun.executors.local.shell_bypass import ShellBypass
from pqrun.executors.local.spawn import (
    DEFAULT_SHELL,
    TRANSIENT_ERRNOS,
    DescriptorRoom,
    StartError,
    no_option,
    parse_exec_failure,
    spawn,
    spawn_uncaptured,
)
from pqrun.executors.local.user_paths import Directories, interruptible, is_here, logical

if TYPE_CHECKING:
    from pqrun.engine.live_run import InputStream
    from pqrun.executors.local.created_file import Creation
    from pqrun.executors.local.interactive import InteractiveStreams

MAX_ARGUMENT_BYTES = 100_000
MAX_VARIABLE_BYTES = 131_072
MAX_MARKER_BYTES = 4096
PRIORITY_VARIABLES = {p: b"PQRUN_PRIORITY=%b" % p.name.lower().encode() for p in Priority}
FSENCODE: Callable[[str], bytes] = methodcaller(
    "encode", sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()
)
"""`os.fsencode` of texts, without a call of Python code."""
SHELL_ARGV = [word.encode() for word in DEFAULT_SHELL]
NUL = "cannot be started: the command contains a NUL character"


class CommandBuilder:
    """The builder and starter of one run's commands.

    `directory`: where jobs start. `workspace`: a private directory for status files and scripts. `token`: marks the
    environment of this run's processes. `scripts`: the files of running attempts with long commands. `encode`: turns
    the texts of a job into bytes; texts from a pqrun on another machine are UTF-8, whatever the locale here.

    The variable `PQRUN_TREE` holds a path of tokens and jobs, so that the processes below a pqrun that runs inside a
    job still carry the outer job's marker.
    """

    def __init__(
        self,
        *,
        run_id: str,
        directory: str,
        workspace: str,
        token: str,
        encode: Callable[[str], bytes] = FSENCODE,
    ) -> None:
        self._encode = encode
        directory = self._as_path(directory)
        self._socket = ""
        self._stream_of: Callable[[int], InputStream | None] = lambda _: None
        self.stdout = 1  # the stdout of jobs whose output is not captured
        self._directory = directory
        self._here = is_here(directory)
        self._workspace = workspace
        self.marker, self.kept_marker = markers(token)
        self._ancestors = _whole_path(os.environb.get(TREE_VARIABLE, b""))
        self.scripts: dict[AttemptId, str] = {}
        self.lost_inputs: dict[AttemptId, str] = {}  # why these attempts did not get all of their input
        self._inherited = [b"%b=%b" % (name, value) for name, value in inherited().items() if name != b"PWD"]
        self._direct = ShellBypass()
        self._directories = Directories()
        self._path = os.environ.get("PATH")
        self._pwd = b"PWD=" + os.fsencode(logical(directory))
        self._run = b"PQRUN_RUN_ID=%b" % run_id.encode()
        self._report_variable = b"PQRUN_REPORT=%b/" % os.fsencode(workspace)
        self._tree_variable = b"%b=%b" % (TREE_VARIABLE, self._ancestors)
        self._variables_of_slots: dict[int, list[bytes]] = {}
        self._jobserver = jobserver_descriptors(os.environb.get(b"MAKEFLAGS", b""))
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self.room = DescriptorRoom()

    def set_socket(self, path: str) -> None:
        """Set the socket through which jobs can talk to the run. Call it before the first job starts."""
        self._socket = path

    def set_streams(self, stream_of: Callable[[int], InputStream | None]) -> None:
        """Set how the stream of a block of the input is found. Call it before the first job starts."""
        self._stream_of = stream_of

    def member(self, attempt: Attempt, slot: int) -> JobProcesses:
        """Create the job's entry for the cleanup, with its marker."""
        keep = attempt.spec.work.keep_leftovers
        return JobProcesses(
            b"%b%d.%d/" % (self.kept_marker if keep else self.marker, *attempt.key), keep, slot
        )

    def report_path(self, key: AttemptId) -> str:
        """Return the path of the attempt's status file, `$PQRUN_REPORT`."""
        return f"{self._workspace}/{key.seq}.{key.attempt}.report"

    def clean_up(self, key: AttemptId, *, report: bool = False) -> None:
        """Remove the attempt's script and, with `report`, its status file."""
        if report:
            with contextlib.suppress(OSError):
                os.unlink(self.report_path(key))
        if script := self.scripts.pop(key, None):
            with contextlib.suppress(OSError):
                os.unlink(script)

    def spawn(
        self,
        attempt: Attempt,
        member: JobProcesses,
        pipes: Sequence[int],
        stopped: Callable[[], bool] = lambda: False,
        streams: InteractiveStreams | None = None,
    ) -> int:
        """Start the command and return its pid.

        `pipes`: the ends of the pipes of stdout and stderr; empty to pass pqrun's own streams. `streams`: those of a
        job with a terminal or an open stdin. Raises StartError if the command can never be started, OSError if the
        machine can't start it now, and Abandoned if `stopped` returns true while a disk does not answer.
        """
        command: Command = attempt.spec.work
        stdin = self._null
        if command.expand:
            command = self._with_values(attempt, command, member)
        try:
            cwd = where = None
            if command.cwd is not None or not self._here:
                cwd = self._checked_directory(command, stopped)
                where = os.fsencode(cwd)
            argv = self._argv(attempt.key, command, cwd)
            own = self._own_variables(attempt, command, member)
            environment = self._with_env(command, own) if command.env else own + self._inherited
            if streams is not None:
                stdin, argv, environment = streams.applied(self._null, argv, environment)
            if command.stdin is not None and command.stdin != OPEN_STDIN:
                stdin, argv = self._redirected(attempt.key, command.stdin, argv, cwd, stopped)
            if pipes and command.nice is None:
                return spawn(argv, environment, cwd=where, stdin=stdin, pipes=pipes, keep=self._jobserver)
            return self._spawn_special(command, argv, environment, where, stdin, pipes)
        except (OSError, ValueError) as error:
            self.clean_up(attempt.key)
            raise self.explain(error, attempt) from None
        finally:
            if stdin != self._null:
                os.close(stdin)

    def _spawn_special(
        self,
        command: Command,
        argv: list[bytes],
        environment: list[bytes],
        cwd: bytes | None,
        stdin: int,
        pipes: Sequence[int],
    ) -> int:
        """Start a process that has a niceness of its own, or whose output is not captured."""
        start, uncaptured = spawn, spawn_uncaptured
        if command.nice is not None:
            from pqrun.executors.local.niceness import niced

            start, uncaptured = niced(command.nice, spawn), niced(command.nice, spawn_uncaptured)
        if pipes:
            return start(argv, environment, cwd=cwd, stdin=stdin, pipes=pipes, keep=self._jobserver)
        return uncaptured(argv, environment, cwd=cwd, stdin=stdin, stdout=self.stdout, keep=self._jobserver)

    def creation(self, attempt: Attempt, stopped: Callable[[], bool]) -> Creation:
        """Return the present state of the file that the job `creates`.

        Raises Abandoned if `stopped` returns true while the disk does not answer.
        """
        from pqrun.executors.local.created_file import Creation

        creates = attempt.spec.creates
        assert creates is not None
        path = os.path.join(self._directory_of(attempt.spec.work), self._as_path(creates))
        return interruptible(lambda: Creation(creates, path), stopped)

    def exec_failure(self, attempt: Attempt, stderr: bytes) -> NotStarted | None:
        """Return the end of a process whose exec failed, None if the program was executed.

        `stderr`: all that the process wrote there before it ended with code 255.
        """
        error = parse_exec_failure(stderr)
        if error is None:
            return None
        told = self.explain(error, attempt)
        return NotStarted(told.code if isinstance(told, StartError) else 126, str(told))

    def _checked_directory(self, command: Command, stopped: Callable[[], bool]) -> str:
        """Return the job's directory, which is not the current one, once its disk has answered."""
        directory = self._directory_of(command)
        self._directories.check(directory, stopped)
        return directory

    def _directory_of(self, command: Command) -> str:
        if command.cwd is None:
            return self._directory
        return os.path.join(self._directory, self._as_path(command.cwd))

    def _as_path(self, text: str) -> str:
        """Return a job's text in the form that this Python takes for file names, with the same bytes."""
        return text if self._encode is FSENCODE else os.fsdecode(self._encode(text))

    def _argv(self, key: AttemptId, command: Command, directory: str | None) -> list[bytes]:
        """Return the argument list: that of the command if it needs no shell, else that of its shell."""
        run = command.run
        if type(run) is str and command.shell is None:
            if command.env:
                words = self._direct_words(run, command, directory)
            else:
                words = self._direct.words(run, self._path, directory or self._directory)
            if words is None and len(run) * 4 <= MAX_ARGUMENT_BYTES:
                argv = [*SHELL_ARGV, self._encode(no_option(run) if run[:1] in "-+" else run)]
                if b"\0" in argv[2]:
                    raise StartError(126, NUL)
                return argv
        else:
            words = None
        if words is None:
            words = self._words(command)
        if words is None:
            words = [*(command.shell or DEFAULT_SHELL)[:-1], self._script(key, command)]
        argv = [self._encode(word) for word in words]
        if any(b"\0" in word for word in argv):
            raise StartError(126, NUL)
        return argv

    def _direct_words(self, run: str, command: Command, directory: str | None) -> list[str] | None:
        """Return the argument list of a command with an `env` if it needs no shell, None if it needs one."""
        own = dict(command.env)
        if "PWD" in own:
            return None  # a shell would replace this value by the real directory
        path = self._as_path(own["PATH"]) if "PATH" in own else self._path
        return self._direct.words(run, path, directory or self._directory)

    def _words(self, command: Command) -> list[str] | None:
        """Return the argument list, None if the command is too long for a single argument."""
        run = command.run
        if isinstance(run, tuple):
            return list(run)
        shell = command.shell or DEFAULT_SHELL
        is_long = len(run) * 4 > MAX_ARGUMENT_BYTES and len(self._encode(run)) > MAX_ARGUMENT_BYTES
        return None if is_long and shell[-1] == "-c" else [*shell, no_option(run)]

    def _script(self, key: AttemptId, command: Command) -> str:
        """Write a long command to a file and return the file's path."""
        assert isinstance(command.run, str)
        path = f"{self._workspace}/{key.seq}.{key.attempt}.script"
        self.scripts[key] = path
        try:
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(self._encode(command.run) + b"\n")
        except OSError as error:
            if error.errno in TRANSIENT_ERRNOS:
                raise
            self.clean_up(key)
            raise StartError(126, f"cannot write its script {path}: {error.strerror}") from None
        return path

    def _redirected(
        self,
        key: AttemptId,
        stdin: str | InputBlock,
        argv: list[bytes],
        directory: str | None,
        stopped: Callable[[], bool],
    ) -> tuple[int, list[bytes]]:
        """Return the descriptor of the job's stdin, and the argument list of a job that reads it."""
        if isinstance(stdin, InputBlock):
            from pqrun.executors.local.block_stdin import open_block

            lose = partial(self.lost_inputs.__setitem__, key)
            return open_block(stdin, self._stream_of(stdin.number), stopped, lose), argv
        path = os.path.join(directory or self._directory, self._as_path(stdin))
        opened = self._stdin(stdin, path, stopped)
        return (self._null, stdins.read_from_fifo(path, argv)) if opened is None else (opened, argv)

    def _stdin(self, stdin: str, path: str, stopped: Callable[[], bool]) -> int | None:
        """Open the job's stdin, and return None for a FIFO, which the job opens itself.

        A `stdin` with a line break is the text to read; otherwise it names a file.
        """
        is_text = "\n" in stdin
        try:
            if is_text:
                return stdins.stdin_of_text(self._encode(stdin), self._workspace)
            return stdins.open_stdin(path, stopped)
        except OSError as error:
            if error.errno in TRANSIENT_ERRNOS:
                raise
            what = f"write its stdin in {self._workspace}" if is_text else f"read its stdin {stdin}"
            raise StartError(126, f"cannot {what}: {error.strerror}") from None

    def _with_values(self, attempt: Attempt, command: Command, member: JobProcesses) -> Command:
        """Return the command with the variables in its `env` values expanded."""
        own = [variable.partition(b"=") for variable in self._own_variables(attempt, command, member)]
        found = {name: value for name, _, value in own}
        ours = {name.decode() for name in found}
        found = {name: value for name, _, value in (v.partition(b"=") for v in self._inherited)} | found

        def value_of(name: str) -> str | None:
            value = found.get(name.encode("utf-8", "surrogateescape"))
            return None if value is None else value.decode("utf-8", "surrogateescape")

        theirs = tuple(pair for pair in command.env if pair[0] not in ours)
        try:
            return command._replace(env=expanded(theirs, command.expand, value_of), expand=())
        except ValueTooLong as error:
            raise StartError(126, f"cannot be started: {error}") from None

    def _with_env(self, command: Command, own: list[bytes]) -> list[bytes]:
        """Return the environment of a job with an `env`: the variables that pqrun sets, the job's, the inherited."""
        theirs = {self._encode(name): self._value(name, value) for name, value in command.env}
        ours = {variable.partition(b"=")[0] for variable in own}
        own += [b"%b=%b" % pair for pair in theirs.items() if pair[0] not in ours]
        return own + [v for v in self._inherited if v.partition(b"=")[0] not in theirs]

    def _own_variables(self, attempt: Attempt, command: Command, member: JobProcesses) -> list[bytes]:
        """Return the variables that pqrun sets for every job; `env` can't override them."""
        (seq, number), spec, last, pools = attempt
        try:
            id = self._encode(spec.id)
        except UnicodeEncodeError:  # an id that the locale can't encode must not prevent the job from running
            id = spec.id.encode("utf-8", "surrogateescape")
        own = [
            b"PQRUN_JOB_ID=%b" % id,
            b"PQRUN_SEQ=%d" % seq,
            b"PARALLEL_SEQ=%d" % seq,
            b"PQRUN_ATTEMPT=%d" % number,
            b"PQRUN_MAX_ATTEMPTS=%d" % last,
            PRIORITY_VARIABLES[spec.priority],
            b"%b%d.%d.report" % (self._report_variable, seq, number),
            self._tree_variable + member.marker,
            self._pwd if command.cwd is None else self._pwd_of(command.cwd),
            *(self._variables_of_slots.get(member.slot) or self._variables_of(member.slot)),
        ]
        if pools:
            own += [b"%b=%b" % (pool_variable(pool).encode(), share.encode()) for pool, share in pools]
        return own

    def _variables_of(self, slot: int) -> list[bytes]:
        """Build the variables that all jobs of a slot have."""
        fixed = [b"PQRUN=1", self._run, b"PQRUN_SLOT=%d" % slot, b"PARALLEL_JOBSLOT=%d" % slot]
        if self._socket:
            fixed.append(b"PQRUN_SOCKET=%b" % os.fsencode(self._socket))
        self._variables_of_slots[slot] = fixed
        return fixed

    def _pwd_of(self, cwd: str) -> bytes:
        """Return the PWD variable that a shell would set, for commands that run without a shell."""
        return b"PWD=" + os.fsencode(os.path.realpath(os.path.join(self._directory, self._as_path(cwd))))

    def _value(self, name: str, value: str) -> bytes:
        encoded = self._encode(value)
        if len(self._encode(name)) + len(encoded) + 2 > MAX_VARIABLE_BYTES:
            raise StartError(126, f"cannot be started: variable {name} is too long ({len(encoded)} bytes)")
        if b"\0" in encoded:
            raise StartError(126, f"cannot be started: variable {name} contains a NUL character")
        return encoded

    def close(self) -> None:
        """Close the descriptor of /dev/null. No command can be started after that."""
        os.close(self._null)

    def explain(self, error: OSError | ValueError, attempt: Attempt) -> Exception:
        """Turn an error of a start into a StartError, or return it as it is if the error is transient."""
        command: Command = attempt.spec.work
        if isinstance(error, ValueError):  # the text can't be encoded
            return StartError(126, f"cannot be started: {error}")
        if error.errno in TRANSIENT_ERRNOS:
            return error
        if error.errno == errno.E2BIG:
            return StartError(126, "cannot be started: its arguments and environment are too long")
        if error.filename == "cwd":
            return StartError(126, f"cannot be started in {self._directory_of(command)}: {error.strerror}")
        run = command.run[0] if isinstance(command.run, tuple) else (command.shell or DEFAULT_SHELL)[0]
        code = 127 if error.errno == errno.ENOENT else 126
        return StartError(code, f"cannot run {run}: {error.strerror}")


def _whole_path(above: bytes) -> bytes:
    """Return the markers of the jobs around this process, outermost first, cut at MAX_MARKER_BYTES."""
    return above[:MAX_MARKER_BYTES].rpartition(b"/")[0]
