#!/usr/bin/env python3
# SPDX-License-Identifier: LGPL-3.0-or-later
"""An export queue: machines are exported through the API of their provider, critical machines first."""

import time
from dataclasses import dataclass

from pqrun import Config, Job, JobTimeout, PermanentError, Priority, Queue

TWO_HOURS = 2 * 60 * 60


@dataclass(frozen=True)
class Machine:
    name: str
    provider: str
    disks: int = 1
    critical: bool = False


def export_from_azure(context, machine, attempt):
    for _ in range(machine.disks):
        context.raise_if_cancelled()  # between two disks: cancelled or timed out?
        time.sleep(0.01)  # the copy of a disk
    return f"exported from Azure, disks: {machine.disks}"


def export_from_vmware(context, machine, attempt):
    if attempt == 1:
        raise ConnectionError("vCenter closed the connection")  # may pass: retried
    context.raise_if_cancelled()
    return f"exported from VMware, disks: {machine.disks}"


PROVIDERS = {"azure": export_from_azure, "vmware": export_from_vmware}


def export(context, job):
    machine = job.payload
    provider = PROVIDERS.get(machine.provider)
    if provider is None:
        raise PermanentError(f"no provider named {machine.provider}")  # will not pass: no retry
    print(f"{machine.name}: attempt {job.retry_count + 1}")
    return provider(context, machine, job.retry_count + 1)


def job_for(machine):
    return Job(
        id=machine.name,  # a second export of a machine is refused while the first is unfinished
        priority=Priority.CRITICAL if machine.critical else Priority.NORMAL,
        payload=machine,
        max_retries=3,
        timeout=TWO_HOURS,  # of one attempt
    )


machines = [
    Machine("test-server", "azure"),
    Machine("wiki", "vmware", disks=2),
    Machine("payroll", "azure", disks=3, critical=True),
    Machine("old-fax", "openvz"),
]
# One worker keeps the order of this example. `retry_delay` is in seconds: use 30 for a real one.
with Queue(export, Config(max_workers=1, max_queue_size=10_000, retry_delay=0.05)) as queue:
    handles = queue.enqueue_many(map(job_for, machines))

for machine, handle in zip(machines, handles, strict=True):
    try:
        print(f"{machine.name}: {handle.result()}")
    except JobTimeout:
        print(f"{machine.name}: not done in two hours")
    except Exception as error:
        print(f"{machine.name}: failed: {error}")
