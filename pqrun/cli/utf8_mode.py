# SPDX-License-Identifier: LGPL-3.0-or-later
"""UTF-8 in every locale. Texts keep the caller's bytes, and jobs get the caller's environment."""

from __future__ import annotations

import os
import sys

_COERCED = (b"C.UTF-8", b"C.utf8", b"UTF-8")


def restart_in_utf8() -> None:
    """Execute this program again in Python's UTF-8 mode, unless it runs in that mode already.

    In other locales Python decodes arguments, variables and file names with the locale's encoding. The
    same text would then stand for other bytes than in a job file or journal, and a command would name
    another file. UTF-8 mode also keeps bytes that are not UTF-8. Returns if the program cannot be
    executed.
    """
    if sys.flags.utf8_mode or "utf8" in sys._xoptions:
        return
    program, *words = _words()
    try:
        os.execv(os.fsencode(sys.executable), [program, b"-X", b"utf8", *words])
    except OSError:
        pass


def _words() -> list[bytes]:
    """Return the arguments of this process as bytes, from the kernel if possible.

    The locale's encoding may not give back the bytes that it decoded.
    """
    try:
        with open("/proc/self/cmdline", "rb") as file:
            words = file.read().split(b"\0")[:-1]
    except OSError:
        words = []
    return words if len(words) == len(sys.orig_argv) else [os.fsencode(word) for word in sys.orig_argv]


def undo_coercion() -> None:
    """Restore the caller's LC_CTYPE: Python sets it in the C locale, and jobs would inherit that value."""
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
