# SPDX-License-Identifier: LGPL-3.0-or-later
"""Tells a job file from a list of commands by its first line. Opens nothing."""

from __future__ import annotations

import re

from pqrun.jobfile.keys import TOP

_ENOUGH = 4096  # bytes of one line: longer is no key
_TOP = "|".join(key.name for key in TOP) + r"|x-[\w.-]+"
_OPENS = re.compile(
    rf"(?:---(?:\s|$)|([\"']?)(?:{_TOP})\1\s*:(?:\s|$)|\{{\s*(?:$|[\"'}}]|(?:{_TOP})\s*:))".encode()
)


def looks_like_job_file(head: bytes, ended: bool) -> bool | None:
    """Whether the first line that is neither blank nor a comment opens a job file.

    `{` opens one where JSON or a flow mapping may follow: `{ echo a; echo b; }` is a command.
    `None`: the head does not say, more of it is needed; never when `ended`.
    """
    lines = head.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    for number, line in enumerate(lines, 1):
        text = line.strip()
        whole = number < len(lines) or ended or len(text) > _ENOUGH
        if whole and text and not text.startswith(b"#"):
            return bool(_OPENS.match(text))
    return False if ended else None
