# SPDX-License-Identifier: LGPL-3.0-or-later
"""The stdin of a job that reads a block of the input of `each --pipe`.

A kept block is a file of its own. A part of a larger file goes through a pipe, because only the kernel's offset
could be set in a descriptor of the file, not an end. A thread moves the bytes within the kernel.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable
from functools import partial
from threading import Thread
from typing import Final

from pqrun.core.job import InputBlock
from pqrun.engine.live_run import InputStream
from pqrun.executors.local.spawn import TRANSIENT_ERRNOS, StartError
from pqrun.executors.local.user_paths import open_stdin

_CHUNK_BYTES: Final = 1 << 20


def open_block(
    block: InputBlock, stream: InputStream | None, stopped: Callable[[], bool], lose: Callable[[str], None]
) -> int:
    """Return a descriptor from which the job can read its block, or the `stream` if that still grows.

    `lose` is called on another thread, before the job can see the end of its input, with a text if the job does not
    get the whole block. Raises StartError if the block is not there as it was cut, OSError if the machine can't open
    it now, and Abandoned if `stopped` returns true while the disk does not answer.
    """
    try:
        fd = open_stdin(block.file, stopped)
    except OSError as error:
        if error.errno in TRANSIENT_ERRNOS:
            raise
        if block.kept and error.errno == errno.ENOENT:
            raise StartError(
                126, f"cannot read block {block.number} of the input: it is removed once its job is ok"
            ) from None
        raise StartError(126, f"cannot read block {block.number}: {block.file}: {error.strerror}") from None
    if fd is None:
        raise StartError(126, f"cannot read block {block.number}: {block.file} is a FIFO now")
    if stream is not None:
        return _piped(fd, partial(stream.send, fd), block, lose)
    whole = block.header + block.size if block.kept else block.offset + block.size
    if os.lseek(fd, 0, os.SEEK_END) < whole:
        os.close(fd)
        raise StartError(126, f"cannot read block {block.number}: {block.file} is shorter than it was")
    if block.kept:
        os.lseek(fd, 0, os.SEEK_SET)
        return fd
    ranges = ((0, block.header), (block.offset, block.size))
    return _piped(fd, partial(_send, fd, ranges), block, lose)


def _piped(fd: int, send: Callable[[int], None], block: InputBlock, lose: Callable[[str], None]) -> int:
    """Return the end of a pipe into which a thread sends the block from its file, which is closed in any case."""
    ends: tuple[int, ...] = ()
    try:
        ours, theirs = ends = os.pipe()
        deliver = partial(_deliver, fd, send, theirs, block, lose)
        Thread(target=deliver, name="pqrun-block", daemon=True).start()
    except (OSError, RuntimeError) as error:
        for own in (fd, *ends):
            os.close(own)
        raise error if isinstance(error, OSError) else OSError(errno.EAGAIN, str(error)) from None
    return ours


def _deliver(
    fd: int, send: Callable[[int], None], pipe: int, block: InputBlock, lose: Callable[[str], None]
) -> None:
    """Send the block until the job no longer reads it; close the file and the pipe."""
    try:
        send(pipe)
    except BrokenPipeError:
        pass
    except OSError as error:
        lose(f"cannot read block {block.number}: {block.file}: {error.strerror}")
    finally:
        os.close(pipe)  # first: the job waits for the end of its input, and closing a file can fail
        with contextlib.suppress(OSError):
            os.close(fd)


def _send(fd: int, ranges: tuple[tuple[int, int], ...], pipe: int) -> None:
    """Write ranges of a file into a pipe. Raises OSError, also if the file has become too short."""
    for offset, size in ranges:
        end = offset + size
        while offset < end:
            sent = _send_some(fd, pipe, offset, min(_CHUNK_BYTES, end - offset))
            if not sent:
                raise OSError(errno.ENODATA, "it is shorter than it was")
            offset += sent


def _send_some(fd: int, pipe: int, offset: int, size: int) -> int:
    if sys.platform == "linux":
        return os.sendfile(pipe, fd, offset, size)
    return os.write(pipe, os.pread(fd, size, offset))
