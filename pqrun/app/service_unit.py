# SPDX-License-Identifier: LGPL-3.0-or-later
"""`serve --install`: a queue that systemd starts for its user and keeps running; on macOS, launchd."""

from __future__ import annotations

import os
import plistlib
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from pqrun.core.errors import InternalFailure, UserError
from pqrun.core.text import escape_controls
from pqrun.journal.run_directory import RunDirectory
from pqrun.output.writer import StreamWriter

COMMAND_TIMEOUT_SECONDS = 360.0
_PLAIN = re.compile(r"[A-Za-z0-9/_.,:=+@-]+")
MARK = "Written by pqrun"
HOW_TO_PRINT = "`pqrun serve --print-unit` prints the unit that it would get"
_UNIT = """\
# {mark}: `pqrun serve --install` writes this file, `pqrun serve --uninstall` removes it.

[Unit]
Description=A queue of shell jobs ({queue})
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={command}
WorkingDirectory={directory}
{environment}
# Running jobs are asked to end, recorded as interrupted, and run again next time.
# To let running jobs finish first: `pqrun stop`, and after that `systemctl --user start {name}`.
KillMode=mixed
TimeoutStartSec=300
TimeoutStopSec=90
# Twice in this time, pqrun's main thread says that it lives.
WatchdogSec=60
Restart=on-failure
RestartSec=2
# 1: some job failed; 3: some jobs have not run. The queue itself is in order.
SuccessExitStatus=1 3
# 2: wrong usage; 5: the queue runs already.
RestartPreventExitStatus=2 5

[Install]
WantedBy=default.target
"""


class ServiceDescription(NamedTuple):
    """A queue to run as a service: its name, the command line, and the directory and variables of that."""

    queue: str
    words: Sequence[str]
    directory: str
    variables: Mapping[str, str]


class Service(Protocol):
    """The file of a service and the program that obeys the file. `name`: what that program calls the service."""

    name: str
    path: Path

    def text(self, described: ServiceDescription) -> str:
        """Return the content of the file."""

    def begin(self) -> None:
        """Start the service, now and from now on."""

    def end(self) -> None:
        """Stop the service, now and from now on."""

    def forget(self) -> None:
        """Handle that the file has been removed."""

    def advice(self) -> list[str]:
        """Return what its user should know."""


class SystemdService:
    """A unit of the user's systemd."""

    def __init__(self, queue: str) -> None:
        self.name = "pqrun.service" if queue == "queue" else f"pqrun-{queue}.service"
        home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        self.path = Path(home, "systemd", "user", self.name)

    def text(self, described: ServiceDescription) -> str:
        """Return the unit. Raises `UserError` for a text that no unit can hold."""
        _require_utf8(described)
        directory = described.directory
        if directory != directory.strip() or directory.endswith("\\") or "\n" in directory:
            raise UserError(
                f"systemd can't start a service in {directory!r}: go to another directory, or rename it"
            )
        variables = (f"{name}={value}" for name, value in described.variables.items())
        return _UNIT.format(
            mark=MARK,
            queue=described.queue,
            command=" ".join(map(_quoted_argument, described.words)),
            directory=described.directory.replace("%", "%%"),
            environment="\n".join(f"Environment={_quoted(variable)}" for variable in variables),
            name=self.name,
        )

    def begin(self) -> None:
        """Load the unit, and start it: now, and whenever its user's systemd starts."""
        _call("systemctl", "--user", "daemon-reload")
        try:
            _call("systemctl", "--user", "enable", "--now", self.name)
        except InternalFailure as failure:
            raise InternalFailure(f"{failure} (messages of the queue: {self._messages})") from None

    def end(self) -> None:
        """Stop the unit, and start it no more."""
        _call("systemctl", "--user", "disable", "--now", self.name)

    def forget(self) -> None:
        """Let systemd forget the removed unit."""
        _call("systemctl", "--user", "daemon-reload")

    def advice(self) -> list[str]:
        """Return where the messages are, and what lingering is if it is off."""
        found = [f"its messages: {self._messages}"]
        try:
            lingers = _call("loginctl", "show-user", str(os.geteuid()), "--property=Linger", "--value")
        except InternalFailure:
            lingers = ""  # without loginctl, or without a session, the advice still holds
        if lingers.strip() != "yes":
            found.append(
                "it runs while you are logged in; `loginctl enable-linger` keeps it from boot to shutdown"
            )
        return found

    @property
    def _messages(self) -> str:
        return f"`journalctl --user -u {self.name}`"


class LaunchdService:
    """An agent of the user's launchd. Written by its manual; nobody has tried it."""

    def __init__(self, queue: str) -> None:
        self.name = f"pqrun.{queue}"
        self.path = Path(os.path.expanduser("~/Library/LaunchAgents"), f"{self.name}.plist")
        self._domain = f"gui/{os.geteuid()}"

    def text(self, described: ServiceDescription) -> str:
        """Return the property list. Raises `UserError` for a text that it can't hold."""
        _require_utf8(described)
        agent = {
            "Label": self.name,
            "Comment": MARK,
            "ProgramArguments": list(described.words),
            "WorkingDirectory": described.directory,
            "EnvironmentVariables": dict(described.variables),
            "RunAtLoad": True,
            "KeepAlive": {"Crashed": True},
            "ExitTimeOut": 90,
        }
        return plistlib.dumps(agent, sort_keys=False).decode()

    def begin(self) -> None:
        """Load the agent, which starts it: now, and at each login."""
        _call("launchctl", "bootstrap", self._domain, str(self.path))

    def end(self) -> None:
        """Stop the agent."""
        _call("launchctl", "bootout", f"{self._domain}/{self.name}")

    def forget(self) -> None:
        """Do nothing: launchd has forgotten the agent."""

    def advice(self) -> list[str]:
        """Return that nobody has tried this."""
        return ["the launchd agent is untried: please report what happens"]


def service_of(queue: str, *, platform: str = sys.platform) -> Service:
    """Return the service that a queue gets on this system."""
    return LaunchdService(queue) if platform == "darwin" else SystemdService(queue)


def install(described: ServiceDescription, directory: RunDirectory) -> int:
    """Write the service's file and start the service; return the exit code.

    Raises `UserError` if the queue runs already, or there is no service manager.
    """
    service = service_of(described.queue)
    _make_sure_of_manager(service)
    if pid := directory.holder():
        raise UserError(f"the queue runs already (pid {pid}): end it with `pqrun stop`, then install it")
    before = _ours(service)
    _write(service.path, service.text(described))
    try:
        service.begin()
    except InternalFailure:
        if before is None:  # what is not installed must not start at the next login
            service.path.unlink(missing_ok=True)
        raise
    _say(f"{service.name} runs the queue, now and after each login: `pqrun add` adds jobs")
    _say(f"its unit: {service.path}; `pqrun serve --uninstall` removes it")
    for line in service.advice():
        _say(line)
    return 0


def uninstall(queue: str) -> int:
    """Stop the service and remove its file; return the exit code. The queue's record stays."""
    service = service_of(queue)
    if _ours(service) is None:
        raise UserError(f"the queue `{queue}` is not installed: there is no {service.path}")
    _make_sure_of_manager(service)
    service.end()
    service.path.unlink(missing_ok=True)
    service.forget()
    _say(f"{service.name} is removed; its jobs are kept: `pqrun serve` continues the queue")
    return 0


def program_words() -> list[str]:
    """Return the words that start this pqrun, also from another directory."""
    called = sys.argv[0]
    if os.path.basename(called) == "pqrun" and (found := shutil.which(called)):
        return [os.path.abspath(found)]  # a link, as pipx makes it, still works after an upgrade
    return [sys.executable, "-m", "pqrun"]


def _require_utf8(described: ServiceDescription) -> None:
    texts = [("the current directory", described.directory), *described.variables.items()]
    for name, text in (*texts, *(("an argument", word) for word in described.words)):
        try:
            text.encode()
        except UnicodeEncodeError:
            raise UserError(f"{name} is not UTF-8, as the file of a service must be: {text!a}") from None


def _make_sure_of_manager(service: Service) -> None:
    program = "launchctl" if isinstance(service, LaunchdService) else "systemctl"
    if shutil.which(program) is None:
        raise UserError(f"{program} is not here, so the queue can't be a service of it: {HOW_TO_PRINT}")


def _ours(service: Service) -> str | None:
    """Return the file's content, None if there is no file. Raises `UserError` if another program wrote it."""
    try:
        text = service.path.read_text(encoding="utf-8", errors="replace")
    except FileNotFoundError:
        return None
    if MARK not in text:
        raise UserError(f"{service.path} was not written by `pqrun serve --install`: remove it first")
    return text


def _write(path: Path, text: str) -> None:
    """Write the file in one step, and for its user alone: options may hold secrets."""
    path.parent.mkdir(parents=True, exist_ok=True)
    half = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open(os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w", encoding="utf-8") as file:
            file.write(text)
        half.replace(path)
    finally:
        half.unlink(missing_ok=True)


def _call(*words: str) -> str:
    """Run a command to its end and return its stdout. Raises `InternalFailure` if it fails."""
    told = " ".join(words)
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            timeout=COMMAND_TIMEOUT_SECONDS,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InternalFailure(f"`{told}` failed: {error}; {HOW_TO_PRINT}") from None
    if done.returncode:
        why = escape_controls(" ".join(done.stderr.split())) or f"exit {done.returncode}"
        # The user's systemd is there only in a session that began with a login, or with lingering.
        cure = (
            "log in as this user without su or sudo, or call `loginctl enable-linger`; "
            if "bus" in why
            else ""
        )
        raise InternalFailure(f"`{told}` failed: {why}; {cure}{HOW_TO_PRINT}")
    return done.stdout


def _quoted_argument(word: str) -> str:
    """Return a word of a command line as systemd reads it, which also expands `$`."""
    return word if _PLAIN.fullmatch(word) else _quoted(word).replace("$", "$$")


def _quoted(word: str) -> str:
    """Return a word as systemd reads it, which expands `%` and escapes in quotes."""
    word = word.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return '"' + word.replace("\n", "\\n").replace("\t", "\\t") + '"'


def _say(text: str) -> None:
    out = StreamWriter(1, "standard output")
    out.note(escape_controls(text))
    if out.failure:
        raise InternalFailure(out.failure)
