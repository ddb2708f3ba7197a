# SPDX-License-Identifier: LGPL-3.0-or-later
"""The room for the descriptors of running jobs, below the limit of the process."""

from __future__ import annotations

import errno
import os
import resource

SPARE_DESCRIPTORS = 12
LOG_DESCRIPTORS = 2
RUNNING_DESCRIPTORS = 3 + LOG_DESCRIPTORS  # with the reading ends of both pipes and the pidfd
STDIN_DESCRIPTORS = 3  # of an open stdin: the writing end, and a pipe that wakes the worker's thread


class DescriptorRoom:
    """The room for descriptors. `is_tight`: whether `check` is needed before a start.

    `most_slots`: the highest number of a slot so far, so that no more jobs run at a time.
    """

    def __init__(self) -> None:
        self.most_slots = 0
        self.is_tight = False
        self._limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - SPARE_DESCRIPTORS
        self._first_pipe = self._limit
        self._needed = RUNNING_DESCRIPTORS

    def make_sure(self, slot: int, descriptor: int, running: int, *, with_stdin: bool = False) -> None:
        """Raise EMFILE if a job in this slot would leave too few descriptors. See `expect_slot` and `check`.

        `with_stdin`: the job has an open stdin. From the first such job on, each job counts as if it had one.
        """
        if with_stdin and self._needed == RUNNING_DESCRIPTORS:
            self._needed += STDIN_DESCRIPTORS
            self.expect_slot(max(slot, self.most_slots), descriptor)
        if slot > self.most_slots:
            self.expect_slot(slot, descriptor)
        if self.is_tight:
            self.check(descriptor, running)

    def expect_slot(self, slot: int, descriptor: int) -> None:
        """Note a slot that is higher than all before. `descriptor`: the number that its job's last pipe got."""
        self.most_slots = slot
        self.is_tight = descriptor + self._needed * slot >= self._limit

    def check(self, descriptor: int, running: int) -> None:
        """Raise EMFILE if too few descriptors would be left for pqrun and the running jobs.

        `descriptor`: the number that the job's last pipe got. `running`: the number of running jobs, with those
        that are about to start. Each of them may still open two log files.

        The number alone does not tell: the kernel gives out the lowest free one, which is a low one where a job
        has just ended, even if all above it are in use. So the jobs are counted, too.
        """
        self._first_pipe = min(self._first_pipe, descriptor)
        by_number = descriptor + (self._needed - RUNNING_DESCRIPTORS) + LOG_DESCRIPTORS * running
        by_count = self._first_pipe + self._needed * (running - 1)
        if max(by_number, by_count) >= self._limit:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
