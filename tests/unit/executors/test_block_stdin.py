# SPDX-License-Identifier: LGPL-3.0-or-later
"""The stdin of a job that reads a block."""

import errno
import os

from pqrun.core.job import InputBlock
from pqrun.executors.local.block_stdin import open_block


def test_a_job_sees_the_end_of_its_block_although_the_file_cannot_be_closed(tmp_path, monkeypatch):
    path = tmp_path / "file"
    path.write_bytes(b"head\nbody\nrest\n")
    close, refused = os.close, []

    def refusing(fd):
        name = os.readlink(f"/proc/self/fd/{fd}")
        close(fd)
        if name == str(path):
            refused.append(fd)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "close", refusing)
    lost = []
    fd = open_block(InputBlock(1, 5, 5, str(path), 5), None, lambda: False, lost.append)
    with open(fd, "rb") as block:
        assert block.read() == b"head\nbody\n"
    assert lost == []
