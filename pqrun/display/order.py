# SPDX-License-Identifier: LGPL-3.0-or-later
"""Whose turn it is to be shown, in order of submission, and what is held back until then."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from pqrun import events as ev
from pqrun.errors import OwnFailure

MOST_HELD = 16 * 1024 * 1024


class Order:
    """Jobs are numbered from 1. Holds what has ended too early, and how far the running ones have got."""

    def __init__(self) -> None:
        self._turn = 1
        self._ended: set[int] = set()
        self._held: dict[int, ev.AttemptEnded] = {}
        self._held_bytes = 0
        self._growth: dict[int, dict[int, ev.OutputGrew]] = {}

    def begin_with(self, seqs: Sequence[int]) -> None:
        """Only these jobs are still to come, of those that are known already."""
        last = max(seqs, default=0)
        self._turn = min(seqs, default=1)
        self._ended = set(range(self._turn, last)) - set(seqs)

    def is_turn_of(self, seq: int) -> bool:
        """Whether that job may be shown."""
        return seq == self._turn

    def grew(self, event: ev.OutputGrew) -> None:
        """A job has lines to show when its turn comes."""
        self._growth.setdefault(event.seq, {})[event.stream] = event

    def forget_growth(self, seq: int) -> None:
        """That attempt is over: all of its output is known, or none is wanted."""
        self._growth.pop(seq, None)

    def hold(self, event: ev.AttemptEnded) -> None:
        """Keeps output until its turn; in files, once it is much."""
        self._held[event.seq] = event
        self._held_bytes += event.output.in_memory
        if self._held_bytes > MOST_HELD:
            self._held_bytes = 0
            for held in self._held.values():
                for stream in (held.output.out, held.output.err):
                    if stream.in_memory:
                        try:
                            if stream.path is None:
                                stream.to_file()
                            stream.forget()
                        except OwnFailure:
                            return  # no room there: it stays where it is, and nothing is lost

    def ended(self, seq: int) -> Iterator[tuple[int, ev.AttemptEnded | None, list[ev.OutputGrew]]]:
        """A job has ended: each job whose turn is over by that, and what the next after it has to show."""
        self._ended.add(seq)
        while self._turn in self._ended:
            self._ended.discard(self._turn)
            self._turn += 1
            held = self._held.pop(self._turn, None)
            if held is not None:
                self._held_bytes -= min(self._held_bytes, held.output.in_memory)
            yield self._turn - 1, held, list(self._growth.pop(self._turn, {}).values())

    def rest(self) -> list[ev.AttemptEnded]:
        """All that is still held, in order."""
        held, self._held = self._held, {}
        return [held[seq] for seq in sorted(held)]
