# SPDX-License-Identifier: LGPL-3.0-or-later
"""A queue as a service: what the service manager is told, and the unit that starts the queue."""

import os
import plistlib
import shutil
import socket
import subprocess
from configparser import ConfigParser
from pathlib import Path

import pytest

from pqrun.app.service_manager import ServiceManager
from pqrun.app.service_unit import LaunchdService, ServiceDescription, SystemdService
from pqrun.engine.reactor import Reactor
from pqrun.testing import FakeClock

ROOT = Path(__file__).parents[3]
SYSTEMCTL = """#!/bin/sh
echo "$(basename "$0") $*" >> "$CALLS"
case "$*" in *"$REFUSED"*) echo "Failed to connect to bus" >&2; exit 1;; esac
case "$0" in *loginctl) echo "$LINGER";; esac
"""


@pytest.fixture
def manager(tmp_path):
    """The socket of a service manager."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(tmp_path / "notify"))
        listening.settimeout(20)
        yield listening


def heard(listening) -> list[str]:
    """What was said until now."""
    found = []
    listening.setblocking(False)
    while True:
        try:
            found.append(listening.recv(1000).decode())
        except BlockingIOError:
            listening.settimeout(20)
            return found


@pytest.mark.slow
def test_the_service_manager_hears_when_the_queue_is_ready_lives_and_has_stopped(queue, manager, tmp_path):
    path = manager.getsockname()
    one = queue(env={"NOTIFY_SOCKET": path, "WATCHDOG_USEC": "200000"})
    assert manager.recv(1000) == b"READY=1"
    assert [manager.recv(1000) for _ in range(3)] == [b"WATCHDOG=1"] * 3, "also when nothing happens"
    one.add(f"env > {tmp_path}/variables")
    one.ask("wait")
    variables = (tmp_path / "variables").read_text()
    assert "NOTIFY_SOCKET" not in variables and "WATCHDOG_USEC" not in variables
    assert one.stop() == 0
    assert "STOPPING=1" in heard(manager)


@pytest.mark.slow
def test_while_running_jobs_may_finish_the_queue_does_not_say_that_it_stops(queue, manager, gate, until):
    one = queue("-j1", env={"NOTIFY_SOCKET": manager.getsockname()})
    one.add(gate.wait)
    until(lambda: "running" in one.states().values())
    one.ask("stop")
    assert heard(manager) == ["READY=1"]
    gate.open()
    assert one.end() == 0
    assert heard(manager) == ["STOPPING=1"]


def test_a_watchdog_message_comes_twice_in_the_time_that_is_allowed():
    clock, asked = FakeClock(), []
    variables = {"NOTIFY_SOCKET": "@nobody", "WATCHDOG_USEC": "60000000", "WATCHDOG_PID": str(os.getpid())}
    manager = ServiceManager(asked.append, variables, clock.now)
    assert (variables, manager.interval_seconds) == ({}, 30.0)
    manager.wanted()
    clock.time += 10
    manager.wanted()
    manager.close()
    assert asked == [30.0, 20.0]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"NOTIFY_SOCKET": "relative", "WATCHDOG_USEC": "1000"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "soon"},
    ],
)
def test_without_a_socket_or_a_limit_for_this_process_the_reactor_is_not_woken(variables):
    reactor = Reactor()
    asked = []
    manager = ServiceManager(asked.append, dict(variables))
    reactor.add(manager)
    manager.ready()
    manager.stopping()
    assert (reactor.wait(0.0), asked) == ([], [])
    reactor.remove(manager)
    manager.close()
    reactor.close()


@pytest.fixture
def installing(pqrun, tmp_path):
    """`installing(*words)` is `pqrun serve *words` with a systemctl that only notes how it was called."""
    commands = tmp_path / "commands"
    commands.mkdir()
    for name in ("systemctl", "loginctl"):
        (commands / name).write_text(SYSTEMCTL)
        (commands / name).chmod(0o755)
    calls = tmp_path / "calls"

    def serve(*words, path=f"{commands}:{os.environ['PATH']}", refused="nothing", linger="no", **more):
        calls.write_text("")
        env = {"PATH": path, "CALLS": str(calls), "REFUSED": refused, "LINGER": linger}
        result = pqrun("serve", *words, env={**env, "XDG_CONFIG_HOME": str(tmp_path / "config")}, **more)
        return result, calls.read_text().splitlines()

    serve.path = str(commands)
    serve.unit = tmp_path / "config" / "systemd" / "user" / "pqrun.service"
    return serve


@pytest.mark.slow
def test_install_writes_a_unit_for_its_user_alone_and_starts_it(installing):
    result, calls = installing("--install", "-j3", "--env", 'KEY=a "b" $c %d')
    assert (result.code, result.err) == (0, "")
    assert calls == [
        "systemctl --user daemon-reload",
        "systemctl --user enable --now pqrun.service",
        f"loginctl show-user {os.geteuid()} --property=Linger --value",
    ]
    assert "`loginctl enable-linger` keeps it" in result.out and "journalctl --user -u pqrun" in result.out
    text = installing.unit.read_text()
    assert ' serve --progress plain --output none -j3 --env "KEY=a \\"b\\" $$c %%d"\n' in text
    assert "\nType=notify\n" in text and "\nKillMode=mixed\n" in text and "\nWatchdogSec=60\n" in text
    assert 'Environment="PATH=' in text and 'Environment="PQRUN_STATE_DIR=' in text
    assert installing.unit.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in installing.unit.parent.iterdir()] == ["pqrun.service"]
    printed, calls = installing("--print-unit", "-j3", "--env", 'KEY=a "b" $c %d')
    assert (printed.out, calls) == (text, [])


def test_a_user_that_lingers_already_is_not_told_to(installing):
    result, _ = installing("--install", "--run", "gpu", linger="yes")
    assert (result.code, "enable-linger" in result.out) == (0, False)
    assert installing.unit.with_name("pqrun-gpu.service").exists()


@pytest.mark.slow
def test_uninstall_stops_the_service_and_removes_the_unit(installing):
    installing("--install")
    result, calls = installing("--uninstall")
    assert (result.code, installing.unit.exists()) == (0, False)
    assert calls == ["systemctl --user disable --now pqrun.service", "systemctl --user daemon-reload"]
    assert "its jobs are kept" in result.out
    again, calls = installing("--uninstall")
    assert (again.code, calls) == (2, [])
    assert f"the queue `queue` is not installed: there is no {installing.unit}" in again.err


@pytest.mark.slow
def test_where_systemd_refuses_nothing_stays_installed_and_the_reason_is_told(installing):
    result, _ = installing("--install", refused="daemon-reload")
    assert (result.code, installing.unit.exists()) == (4, False)
    assert "`systemctl --user daemon-reload` failed: Failed to connect to bus" in result.err
    assert "without su or sudo, or call `loginctl enable-linger`" in result.err
    assert "pqrun serve --print-unit" in result.err
    result, _ = installing("--install", refused="enable")
    assert (result.code, installing.unit.exists()) == (4, False)
    assert "journalctl --user -u pqrun.service" in result.err
    installing("--install")
    result, _ = installing("--install", refused="enable")
    assert (result.code, installing.unit.exists()) == (4, True), "it was installed before"


def test_without_systemd_one_line_says_so(installing, tmp_path):
    result, _ = installing("--install", path=str(tmp_path / "empty"))
    assert (result.code, installing.unit.exists()) == (2, False)
    assert result.err.startswith("pqrun: systemctl is not here") and "--print-unit" in result.err
    assert len(result.err.splitlines()) == 1


@pytest.mark.slow
def test_a_unit_of_somebody_else_is_left_alone(installing):
    installing.unit.parent.mkdir(parents=True)
    installing.unit.write_text("[Unit]\n")
    for words in ("--install", "--uninstall"):
        result, calls = installing(words)
        assert (result.code, calls, installing.unit.read_text()) == (2, [], "[Unit]\n")
        assert "was not written by `pqrun serve --install`" in result.err


@pytest.mark.slow
def test_a_queue_that_runs_is_not_installed_over(installing, queue):
    one = queue()
    result, calls = installing("--install")
    assert (result.code, calls) == (2, [])
    assert f"the queue runs already (pid {one.process.pid}): end it with `pqrun stop`" in result.err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--install", "--detach"], "give only one of"),
        (["--install", "--uninstall"], "give only one of"),
        (["--install", "--no-journal"], "--no-journal can't be used with a queue"),
        (["--install", "--run", "no/name"], "invalid name of a queue"),
    ],
)
def test_what_could_not_run_is_not_installed(installing, words, told):
    result, calls = installing(*words)
    assert (result.code, calls, installing.unit.exists()) == (2, [], False)
    assert told in result.err


@pytest.mark.slow
@pytest.mark.parametrize("way", ["--install", "--print-unit"])
@pytest.mark.parametrize("name", [b"\xff", b"a\nb", b"blank ", b"back\\"])
def test_a_directory_that_a_unit_cannot_name_is_refused(installing, tmp_path, name, way):
    there = os.fsencode(tmp_path) + b"/" + name
    os.mkdir(there)
    result, calls = installing(way, cwd=there)
    assert (result.code, result.out, calls, installing.unit.exists()) == (2, "", [], False)
    assert "systemd can't start a service in" in result.err or "is not UTF-8" in result.err


def test_a_unit_has_a_percent_sign_twice_where_systemd_would_expand_it():
    described = ServiceDescription("nightly", ("/bin/100%", "$x"), "/home/50% off", {"A": "5%"})
    lines = SystemdService("nightly").text(described).splitlines()
    assert {'ExecStart="/bin/100%%" "$$x"', "WorkingDirectory=/home/50%% off", 'Environment="A=5%%"'} < {
        *lines
    }


@pytest.mark.parametrize("way", ["--install", "--print-unit"])
def test_a_variable_that_a_unit_cannot_hold_is_refused(installing, way):
    result, calls = installing(way, path=os.environ["PATH"] + ":/\udcff:" + installing.path)
    assert (result.code, calls, installing.unit.exists()) == (2, [], False)
    assert "PATH is not UTF-8, as the file of a service must be" in result.err


DESCRIBED = ServiceDescription(
    "queue",
    ["/usr/bin/pqrun", "serve", "-C", "a b", "--on-finish", 'x"$y%z\\\n'],
    "/home/me",
    {"PATH": "/bin"},
)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="without systemd")
def test_systemd_accepts_the_unit(tmp_path):
    described = DESCRIBED._replace(words=[shutil.which("true"), *DESCRIBED.words[1:]], directory="/tmp")
    unit = tmp_path / "pqrun.service"
    unit.write_text(SystemdService("queue").text(described))
    done = subprocess.run(
        ["systemd-analyze", "--user", "verify", str(unit)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_example_unit_is_the_one_that_install_writes():
    def read(text):
        unit = ConfigParser(interpolation=None)
        unit.optionxform = str
        unit.read_string(text)
        service = dict(unit["Service"])
        for own in ("ExecStart", "WorkingDirectory", "Environment"):
            service.pop(own, None)
        return service, dict(unit["Install"]), unit["Unit"]["StartLimitIntervalSec"]

    example = (ROOT / "examples" / "pqrun.service").read_text()
    assert read(example) == read(SystemdService("queue").text(DESCRIBED))


def test_a_launchd_agent_has_the_same_command(monkeypatch):
    agent = plistlib.loads(LaunchdService("gpu").text(DESCRIBED._replace(words=["pqrun", "serve"])).encode())
    assert agent["Label"] == "pqrun.gpu"
    assert (agent["ProgramArguments"], agent["WorkingDirectory"]) == (["pqrun", "serve"], "/home/me")
    assert (agent["EnvironmentVariables"], agent["RunAtLoad"]) == ({"PATH": "/bin"}, True)
    assert agent["KeepAlive"] == {"Crashed": True}, "a queue that was stopped stays stopped"
