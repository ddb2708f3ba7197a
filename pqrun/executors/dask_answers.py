# SPDX-License-Identifier: LGPL-3.0-or-later
"""What comes of a question to a cluster: an answer, none in time, or an error of the network's in words."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

T = TypeVar("T")


async def result_of(work: Awaitable[T], seconds: float | None = None) -> T | None:
    """What comes of it in time, else None. What it raises stays in it: Dask also cancels what waits for it."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.wait({task}, timeout=seconds)
    finally:
        if not task.done():
            task.cancel()
    return None if not task.done() or task.cancelled() or task.exception() else task.result()


def in_words(error: BaseException) -> str:
    """An error of the network's, in one line."""
    while error.__cause__ is not None and isinstance(error, OSError) and not error.errno:
        error = error.__cause__
    text = " ".join((getattr(error, "strerror", None) or str(error) or type(error).__name__).split())
    return text[:300]
