# SPDX-License-Identifier: LGPL-3.0-or-later
"""The number of a slot as a tag that a process keeps when it leaves its session and its environment.

Linux has a personality word for each thread, inherited over fork and exec, and shows it in
`/proc/PID/personality`. Bits without a meaning hold the slot's number. A chain of short processes, each of
which is in the middle of an exec when its environment is read, is recognized by this tag alone. Where the
word can't be set, or a filter of system calls might object, there are no tags.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable

from pqrun.executors.local.procfs import LINUX

_LOW_BITS, _LOW_SHIFT = 0x1FF, 8
_HIGH_BITS, _HIGH_SHIFT = 0x7, 28
_MEANINGLESS = _LOW_BITS << _LOW_SHIFT | _HIGH_BITS << _HIGH_SHIFT
_TELL = 0xFFFFFFFF
MAX_TAGGED_SLOTS = (_HIGH_BITS + 1) * (_LOW_BITS + 1) - 1


class SlotTags:
    """Tags of threads; every process that a thread starts inherits its tag."""

    def __init__(self) -> None:
        self._set: Callable[[int], int] | None = None
        self._thread = threading.local()

    def open(self) -> None:
        """Find out whether tags can be set here."""
        if LINUX:
            with contextlib.suppress(OSError, AttributeError):
                self._set = _usable()

    def set_slot(self, slot: int) -> None:
        """Tag the calling thread with the number of a slot; 0 removes the tag."""
        if self._set is None or getattr(self._thread, "slot", 0) == slot:
            return
        tag = slot if slot <= MAX_TAGGED_SLOTS else 0
        self._set((self._set(_TELL) & _TELL & ~_MEANINGLESS) | _spread(tag))
        self._thread.slot = slot

    def slot_of(self, pid: int) -> int:
        """Return the slot in which a process was started, 0 if it is unknown."""
        if self._set is None:
            return 0
        with contextlib.suppress(OSError, ValueError):
            return _gather(_read(pid))
        return 0


def _usable() -> Callable[[int], int] | None:
    with open("/proc/self/status", encoding="utf-8", errors="replace") as status:
        if any(line.startswith("Seccomp:") and line.split()[1] != "0" for line in status):
            return None
    import ctypes

    personality: Callable[[int], int] = ctypes.CDLL(None, use_errno=True).personality
    before = personality(_TELL) & _TELL
    if before & _MEANINGLESS:
        return None  # another pqrun's, above this one: it relies on its own
    personality(before | _spread(MAX_TAGGED_SLOTS))
    try:
        told = _gather(_read("thread-self"))
    finally:
        personality(before)
    return personality if told == MAX_TAGGED_SLOTS else None


def _read(pid: int | str) -> int:
    with open(f"/proc/{pid}/personality", "rb", buffering=0) as file:
        return int(file.read(64), 16)


def _spread(tag: int) -> int:
    return (tag & _LOW_BITS) << _LOW_SHIFT | (tag >> 9 & _HIGH_BITS) << _HIGH_SHIFT


def _gather(word: int) -> int:
    return (word >> _LOW_SHIFT & _LOW_BITS) | (word >> _HIGH_SHIFT & _HIGH_BITS) << 9
