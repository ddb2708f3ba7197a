# SPDX-License-Identifier: LGPL-3.0-or-later
"""A Slurm of its own on this machine: one node, no accounting; only for root, as slurmd is."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from contextlib import ExitStack
from pathlib import Path

from cluster import wait_for

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "scancel", "squeue", "sinfo")
CONFIGURATION = """
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
CredType=cred/munge
AuthInfo=socket={directory}/munge.socket
StateSaveLocation={directory}/state
SlurmdSpoolDir={directory}/spool
SlurmctldPidFile={directory}/slurmctld.pid
SlurmdPidFile={directory}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
ReturnToService=2
KillWait=2
SlurmdParameters=config_overrides
SchedulerParameters=batch_sched_delay=0,sched_interval=1,sched_min_interval=1000
NodeName=node1 NodeHostname={host} NodeAddr=127.0.0.1 Port={ports[1]} CPUs=4 State=UNKNOWN
PartitionName=main Nodes=node1 Default=YES MaxTime=INFINITE State=UP
"""


def why_not() -> str:
    """What is missing here for that; empty if nothing is."""
    if os.geteuid() != 0:
        return "slurmd takes root"
    missing = [name for name in PROGRAMS if not shutil.which(name, path=_path())]
    return f"Slurm is not installed (Debian's slurm-wlm): no {missing[0]}" if missing else ""


class Slurm:
    """Its daemons are children of this process; `run` calls one of its commands."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.configuration = directory / "slurm.conf"
        self._daemons = ExitStack()
        (directory / "state").mkdir()
        (directory / "spool").mkdir()
        key = directory / "munge.key"
        key.touch(mode=0o400)
        key.write_bytes(os.urandom(128))
        self.configuration.write_text(
            CONFIGURATION.format(host=socket.gethostname(), directory=directory, ports=_free_ports(2))
        )
        try:
            self._start(
                "munged", "--foreground", "--force", f"--key-file={key}", f"--socket={directory}/munge.socket",
                f"--pid-file={directory}/munged.pid", f"--seed-file={directory}/munged.seed",
                f"--log-file={directory}/munged.log",
            )  # fmt: skip
            wait_for(lambda: (directory / "munge.socket").exists(), what=lambda: self.log("munged"))
            self._start("slurmctld", "-D", "-f", str(self.configuration))
            self._start("slurmd", "-D", "-N", "node1", "-f", str(self.configuration))
            wait_for(lambda: "idle" in self.run("sinfo", "-h", "-o", "%t", check=False), what=self._logs)
        except BaseException:
            self.close()
            raise

    def run(self, *words: str, check: bool = True) -> str:
        """What that command prints."""
        done = subprocess.run(
            words, env=self._environment(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=check,
            cwd=self.directory,
        )  # fmt: skip
        return done.stdout

    def log(self, name: str) -> str:
        """What a daemon has said."""
        return (self.directory / f"{name}.out").read_text(errors="replace")

    def close(self) -> None:
        """Ends what runs there, then itself."""
        self.run("scancel", "--full", "--user=root", check=False)
        try:
            wait_for(lambda: not self.run("squeue", "-h", check=False).strip(), 15.0, self._logs)
        finally:
            self._daemons.close()

    def _logs(self) -> str:
        return self.log("slurmctld") + self.log("slurmd")

    def _start(self, *words: str) -> None:
        with open(self.directory / f"{words[0]}.out", "wb") as log:
            process = subprocess.Popen(
                words, env=self._environment(), stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        self._daemons.callback(process.wait)
        self._daemons.callback(process.kill)

    def _environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": _path(), "SLURM_CONF": str(self.configuration)}


def _path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:/usr/sbin:/sbin"


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
