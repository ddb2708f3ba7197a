# SPDX-License-Identifier: LGPL-3.0-or-later
"""[hot path] The packs of a run: files that hold the small outputs of many attempts, one behind the other.

A pack only grows, and a process never writes to a pack of an earlier one. So bytes that a journal points to
are either there or missing, but never those of another job, even after a power failure.
"""

from __future__ import annotations

import contextlib
import os
from threading import Lock
from typing import TYPE_CHECKING

from pqrun.core.errors import InternalFailure

if TYPE_CHECKING:
    from weakref import ReferenceType

MAX_PACK_BYTES = 16 * 1024 * 1024
"""The size from which the next output goes to a new pack. A queue can delete whole packs only."""
PREFIX = "pack."
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Pack:
    """One pack, open for reading and writing as long as a stream or the writer refers to it."""

    __slots__ = ("__weakref__", "fd", "number", "path", "size")

    def __init__(self, path: str, number: int) -> None:
        self.path = path
        self.number = number
        self.size = 0
        self.fd = os.open(path, _FLAGS, 0o600)

    def __del__(self) -> None:
        try:
            os.close(self.fd)
        except (AttributeError, OSError):  # it was not opened
            pass


class Packs:
    """The packs in a directory, and the writer of the `present` one. Any thread may call its methods."""

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._lock = Lock()
        self.present: Pack | None = None
        self._made: dict[int, ReferenceType[Pack]] = {}

    def append(self, data: bytes) -> tuple[Pack, int]:
        """Write an output to the present pack; return that pack and the output's offset.

        Threads write side by side, each at the offset that it has reserved. If a write fails, its range stays
        unused: nothing points to it. Raises InternalFailure if that fails or no pack can be created.
        """
        with self._lock:
            pack = self.present
            if pack is None or pack.size >= MAX_PACK_BYTES:
                pack = self.present = self._next()
            offset = pack.size
            pack.size += len(data)
        try:
            written = os.pwrite(pack.fd, data, offset)
            while written < len(data):
                written += os.pwrite(pack.fd, data[written:], offset + written)
        except OSError as error:
            raise InternalFailure(f"cannot write {pack.path}: {error.strerror}") from error
        return pack, offset

    def _next(self) -> Pack:
        """Create the next pack. Its number is higher than that of any pack in the directory."""
        path = self._directory
        try:
            number = max(numbers(path), default=0) + 1
            path = f"{self._directory}/{PREFIX}{number}"
            pack = Pack(path, number)
            from weakref import ref  # many runs print nothing

            self._made[number] = ref(pack)
        except OSError as error:
            raise InternalFailure(f"cannot create {path}: {error.strerror}") from error
        return pack

    def closed(self) -> frozenset[int]:
        """Return the numbers of the packs that are complete: the journal has a line for all that is in them.

        A pack is not complete as long as a stream refers to it, because its output may not be recorded yet. The
        highest number is never returned: if its file were deleted, the next pack would get that number again.
        """
        try:
            there = numbers(self._directory)
        except OSError:  # no output was kept yet
            return frozenset()
        with self._lock:
            self._made = {number: pack for number, pack in self._made.items() if pack() is not None}
            return frozenset(there - set(self._made) - {max(there, default=0)})

    def remove(self, packs: frozenset[int]) -> None:
        """Delete packs, as far as possible."""
        for number in packs:
            with contextlib.suppress(OSError):
                os.unlink(f"{self._directory}/{PREFIX}{number}")


def numbers(directory: str) -> set[int]:
    """Return the numbers of the packs in a directory. Raises OSError if the directory can't be read."""
    names = (name.removeprefix(PREFIX) for name in os.listdir(directory) if name.startswith(PREFIX))
    return {int(name) for name in names if name.isascii() and name.isdecimal()}
