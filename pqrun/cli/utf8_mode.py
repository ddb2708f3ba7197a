# SPDX-License-Identifier: LGPL-3.0-or-later
"""Keeps the caller's bytes: texts are UTF-8 here whatever the locale, and jobs get the caller's environment."""

from __future__ import annotations

import os
import sys

_COERCED = (b"C.UTF-8", b"C.utf8", b"UTF-8")


def restart_in_utf8() -> None:
    """Executes this program anew in Python's UTF-8 mode, unless it is in it.

    Elsewhere Python reads words, variables and names of files in the locale's encoding. The same text is
    then other bytes than in a job file or a journal, and a command would name another file. In UTF-8 mode
    bytes that are no UTF-8 are kept too. Returns if it can't be done.
    """
    if sys.flags.utf8_mode or "utf8" in sys._xoptions:
        return
    program, *words = _words()
    try:
        os.execv(os.fsencode(sys.executable), [program, b"-X", b"utf8", *words])
    except OSError:
        pass


def _words() -> list[bytes]:
    """The words of this process: from the kernel, since the locale's encoding may not give them back."""
    try:
        with open("/proc/self/cmdline", "rb") as file:
            words = file.read().split(b"\0")[:-1]
    except OSError:
        words = []
    return words if len(words) == len(sys.orig_argv) else [os.fsencode(word) for word in sys.orig_argv]


def undo_coercion() -> None:
    """Takes back what Python itself has set: in the C locale it sets LC_CTYPE, and jobs would inherit that."""
    if os.environb.get(b"LC_CTYPE") not in _COERCED or os.environb.get(b"LC_ALL"):
        return
    try:
        with open("/proc/self/environ", "rb") as file:
            variables = file.read().split(b"\0")
    except OSError:
        return
    found = next((one[9:] for one in variables if one.startswith(b"LC_CTYPE=")), None)
    if found is None:
        del os.environb[b"LC_CTYPE"]
    else:
        os.environb[b"LC_CTYPE"] = found
