# SPDX-License-Identifier: LGPL-3.0-or-later
"""A job starts only if descriptors are left for everything that is open already and may still be opened."""

import resource

import pytest

from pqrun.executors.local.spawn import (
    RUNNING_DESCRIPTORS,
    SPARE_DESCRIPTORS,
    STDIN_DESCRIPTORS,
    DescriptorRoom,
)

LIMIT, BASE = 64, 20


@pytest.fixture
def room(monkeypatch: pytest.MonkeyPatch) -> DescriptorRoom:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (LIMIT, LIMIT))
    return DescriptorRoom()


def most_running(room: DescriptorRoom, descriptor_of) -> int:
    """Return how many jobs may run if the last pipe of the n-th gets the number `descriptor_of(n)`."""
    running = 0
    try:
        while running < LIMIT:
            room.check(descriptor_of(running + 1), running + 1)
            running += 1
    except OSError:
        pass
    return running


def test_jobs_that_start_at_once_leave_room_for_their_logs(room: DescriptorRoom) -> None:
    running = most_running(room, lambda number: BASE + 4 * (number - 1))

    assert 0 < running * RUNNING_DESCRIPTORS + BASE < LIMIT - SPARE_DESCRIPTORS + RUNNING_DESCRIPTORS


def test_a_low_number_left_by_a_job_that_ended_does_not_mean_room(room: DescriptorRoom) -> None:
    running = most_running(room, lambda number: BASE)

    assert 0 < running * RUNNING_DESCRIPTORS + BASE < LIMIT - SPARE_DESCRIPTORS + RUNNING_DESCRIPTORS


def test_one_job_starts_if_there_is_room_for_it(room: DescriptorRoom) -> None:
    room.check(BASE, 1)


def test_a_check_is_needed_only_if_all_slots_together_could_use_up_the_descriptors(
    room: DescriptorRoom,
) -> None:
    room.expect_slot(6, BASE)
    assert not room.is_tight
    room.expect_slot(7, BASE)
    assert room.is_tight


def test_from_the_first_open_stdin_on_each_job_counts_as_if_it_had_one(room: DescriptorRoom) -> None:
    room.make_sure(4, BASE, 1)
    assert not room.is_tight
    room.make_sure(4, BASE, 1, with_stdin=True)
    assert room.is_tight

    each = RUNNING_DESCRIPTORS + STDIN_DESCRIPTORS
    assert most_running(room, lambda number: BASE) == (LIMIT - SPARE_DESCRIPTORS - BASE - 1) // each + 1
