# SPDX-License-Identifier: LGPL-3.0-or-later
"""The time before which a job does not start, from the text that `core/field_types.py: start_time` has checked.

It stands alone because the core has no clock, and because few runs load it with `datetime`.
"""

from __future__ import annotations

import time


def start_time(text: str, now: float | None = None) -> float:
    """Return the seconds since the epoch for a time; 0 for `now`. `now`: the present time of the wall clock.

    A time without a day is the next moment at which the clock shows it, in the zone of the text or else the local one.
    """
    from pqrun.core.values import duration

    now = time.time() if now is None else now
    if text == "now":
        return 0.0
    if text[0] == "+":
        return now + duration(text[1:].strip())
    if text[0] == "@":
        return float(text[1:])
    return _moment(text.replace("T", " ").replace("Z", "+00:00"), now)


def _moment(text: str, now: float) -> float:
    from datetime import datetime, timedelta

    day, _, clock = text.partition(" ") if text[4:5] == "-" else ("", "", text)
    if clock[1:2] == ":":
        clock = f"0{clock}"
    if day:
        return datetime.fromisoformat(f"{day} {clock or '00:00'}").timestamp()
    zone = datetime.fromisoformat(f"2000-01-01 {clock}").tzinfo
    today = datetime.fromtimestamp(now, zone).date()
    moments = (datetime.fromisoformat(f"{today + timedelta(days)} {clock}").timestamp() for days in (0, 1))
    return next((moment for moment in moments if moment > now), now)
