# SPDX-License-Identifier: LGPL-3.0-or-later
"""A job starts only if descriptors are left for everything that is open already and may still be opened."""

import resource
from pathlib import Path

import pytest

from pqrun.executors.local.command import RUNNING_DESCRIPTORS, SPARE_DESCRIPTORS, CommandBuilder

LIMIT, BASE = 64, 20


@pytest.fixture
def commands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> CommandBuilder:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (LIMIT, LIMIT))
    return CommandBuilder(run_id="run", directory=str(tmp_path), workspace=str(tmp_path), token="token")


def most_running(commands: CommandBuilder, descriptor_of) -> int:
    """Return how many jobs may run if the last pipe of the n-th gets the number `descriptor_of(n)`."""
    running = 0
    try:
        while running < LIMIT:
            commands.check_room(descriptor_of(running + 1), running + 1)
            running += 1
    except OSError:
        pass
    return running


def test_jobs_that_start_at_once_leave_room_for_their_logs(commands: CommandBuilder) -> None:
    running = most_running(commands, lambda number: BASE + 4 * (number - 1))

    assert 0 < running * RUNNING_DESCRIPTORS + BASE < LIMIT - SPARE_DESCRIPTORS + RUNNING_DESCRIPTORS


def test_a_low_number_left_by_a_job_that_ended_does_not_mean_room(commands: CommandBuilder) -> None:
    running = most_running(commands, lambda number: BASE)

    assert 0 < running * RUNNING_DESCRIPTORS + BASE < LIMIT - SPARE_DESCRIPTORS + RUNNING_DESCRIPTORS


def test_one_job_starts_if_there_is_room_for_it(commands: CommandBuilder) -> None:
    commands.check_room(BASE, 1)
