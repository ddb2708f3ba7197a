# SPDX-License-Identifier: LGPL-3.0-or-later
"""`serve --install` with a real systemd: a user's manager of the test's own, in a cgroup of its own.

It needs root, because a manager that does not belong to a login gets no cgroup otherwise.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest
from support.process import environment, run_pqrun

MANAGER = Path("/usr/lib/systemd/systemd")
CGROUPS = [Path("/sys/fs/cgroup", name) for name in ("systemd", "unified", ".")]
# systemd asks whether the machine was booted with it; a mount that only the manager sees says so.
BEGIN = """for group; do echo $$ > "$group/cgroup.procs" || exit 1; done
exec unshare --mount sh -c 'mkdir -p /run/systemd && mount -t tmpfs none /run/systemd &&
mkdir /run/systemd/system && exec "$0" --user --unit=basic.target' "$MANAGER"
"""
QUICK = """[Service]
Environment=PYTHONPATH={path}
RestartSec=100ms
"""
WATCHED = "WatchdogSec=3\nTimeoutAbortSec=3\n"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not MANAGER.exists(), reason="systemd is not installed"),
    pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a systemd a cgroup of its own"),
]


class Systemd:
    """A running manager: its environment, and what it says of the service."""

    def __init__(self, home: str, state: Path, cwd: Path) -> None:
        own = {"HOME": home, "XDG_RUNTIME_DIR": f"{home}/run", "XDG_CONFIG_HOME": f"{home}/config"}
        self.env = {**environment(state=state), **own}
        self.env.pop("DBUS_SESSION_BUS_ADDRESS", None)
        self.cwd = cwd
        self.units = Path(home, "config", "systemd", "user")

    def __call__(self, *words: str) -> str:
        done = subprocess.run(
            ["systemctl", "--user", *words], env=self.env, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, (words, done.stderr)
        return done.stdout

    def show(self, name: str) -> str:
        return self("show", "pqrun.service", f"--property={name}", "--value").strip()

    def pqrun(self, *words: str):
        return run_pqrun(*words, cwd=self.cwd, env=self.env)

    def configure(self, text: str = "") -> None:
        """Adds to the unit, before it is written."""
        extra = self.units / "pqrun.service.d" / "test.conf"
        extra.parent.mkdir(parents=True)
        extra.write_text(QUICK.format(path=self.env["PYTHONPATH"]) + text)

    def job(self) -> tuple[str, int]:
        """The state of the only job, and its attempts."""
        listed = self.pqrun("ps", "--json")
        [job] = listed.document["jobs"] if listed.code == 0 else [{"state": "", "attempts": 0}]
        return job["state"], job["attempts"]


def own_cgroups() -> list[Path]:
    """A new cgroup in each hierarchy that systemd uses. Skips the test if there is none."""
    made = []
    for group in CGROUPS:
        if (group / "cgroup.procs").exists():
            own = group / f"pqrun-test-{os.getpid()}"
            try:
                own.mkdir()
            except OSError as error:
                pytest.skip(f"no cgroup can be made: {error}")
            made.append(own)
    if not made:
        pytest.skip("there is no cgroup of systemd's")
    return made


def remove(groups: list[Path]) -> None:
    """Kills what is left in these cgroups, and removes them."""
    for group in groups:
        for inner in [Path(path) for path, _, _ in os.walk(group, topdown=False)]:
            for pid in (inner / "cgroup.procs").read_text().split():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)


@pytest.fixture
def systemd(tmp_path, state, until):
    home = tempfile.mkdtemp(prefix="pq-", dir="/tmp")  # short, because sockets are in it
    os.mkdir(f"{home}/run", 0o700)
    groups = own_cgroups()
    manager = Systemd(home, state, tmp_path)
    process = subprocess.Popen(
        ["sh", "-c", BEGIN, "sh", *groups],
        env={**manager.env, "MANAGER": str(MANAGER)},
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    try:
        socket = Path(home, "run", "systemd", "private")
        until(lambda: socket.exists() or process.poll() is not None)
        if process.poll() is not None:
            pytest.skip(f"systemd can't be started here: {process.stderr.read().decode()}")
        yield manager
        process.terminate()
        process.wait(60)
    finally:
        remove(groups)
        process.kill()
        process.wait()
        process.stderr.close()
        for group in groups:
            for inner in [Path(path) for path, _, _ in os.walk(group, topdown=False)]:
                until(lambda inner=inner: not (inner / "cgroup.procs").read_text())
                inner.rmdir()
        shutil.rmtree(home)


def test_a_real_systemd_starts_the_queue_again_after_a_kill_and_stops_it_when_it_is_told(systemd, until):
    systemd.configure()
    installed = systemd.pqrun("serve", "--install", "-j2")
    assert (installed.code, installed.err) == (0, "")
    assert [systemd.show(name) for name in ("Type", "ActiveState", "UnitFileState")] == [
        "notify", "active", "enabled",
    ]  # fmt: skip
    assert systemd.show("WatchdogUSec") == "1min"
    assert systemd.pqrun("add", "--id", "long", "sleep 600").code == 0
    until(lambda: systemd.job() == ("running", 1))

    os.kill(int(systemd.show("MainPID")), signal.SIGKILL)
    until(lambda: systemd.show("NRestarts") == "1" and systemd.job() == ("running", 2))

    systemd("stop", "pqrun.service")
    assert [systemd.show(name) for name in ("ActiveState", "Result")] == ["inactive", "success"]
    assert systemd.pqrun("show", "queue", "--json").states == {"long": "interrupted"}
    systemd("start", "pqrun.service")
    until(lambda: systemd.job() == ("running", 3))

    systemd.pqrun("add", "--id", "bad", "false")
    assert systemd.pqrun("wait", "bad").code == 1
    assert systemd.pqrun("stop", "--now").code == 0
    until(lambda: systemd.show("ActiveState") == "inactive")
    assert (systemd.show("Result"), systemd.show("MainPID")) == ("success", "0"), "exit 1 is no failure of it"

    systemd("start", "pqrun.service")
    again = systemd.pqrun("serve", "--install")
    assert (again.code, "the queue runs already" in again.err) == (2, True)
    removed = systemd.pqrun("serve", "--uninstall")
    assert (removed.code, removed.err) == (0, "")
    assert [systemd.show(name) for name in ("LoadState", "ActiveState")] == ["not-found", "inactive"]
    assert not (systemd.units / "pqrun.service").exists()
    assert systemd.pqrun("show", "queue", "--json").states == {"long": "interrupted", "bad": "failed"}


def test_a_real_systemd_starts_a_queue_again_that_does_not_answer(systemd, until):
    systemd.configure(WATCHED)
    assert systemd.pqrun("serve", "--install").code == 0
    systemd.pqrun("add", "--id", "long", "sleep 600")
    until(lambda: systemd.job()[0] == "running")
    os.kill(int(systemd.show("MainPID")), signal.SIGSTOP)
    until(lambda: int(systemd.show("NRestarts")) >= 1 and systemd.job()[0] == "running")
    assert systemd.job()[1] >= 2
