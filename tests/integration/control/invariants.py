# SPDX-License-Identifier: LGPL-3.0-or-later
"""What must hold in the story of any run, whatever is asked of it while it runs."""

from collections import Counter, defaultdict

from pqrun.core import events as ev
from pqrun.core.dependencies import is_satisfied
from pqrun.core.job import JobSpec, Outcome, Priority


class Observer:
    """Follows a story from outside, with no more than the events to go by."""

    def __init__(self, slots: int, pools: dict[str, int]) -> None:
        self.slots = slots
        self.pools = dict(pools)
        self.specs: dict[int, JobSpec] = {}
        self.needs: dict[int, list[tuple[int | None, str]]] = {}
        self.state: dict[int, str] = {}
        self.place: dict[int, int] = {}
        self.places = 0
        self.attempts: dict[int, list[int]] = defaultdict(list)
        self.ended: dict[int, tuple[Outcome, bool]] = {}
        self.latest: dict[str, int] = {}
        self.new: list[int] = []
        self.reopened: list[int] = []
        self.met: set[int] = set()
        self.interrupted: set[int] = set()
        self.using: dict[int, JobSpec] = {}
        self.held: dict[int, int] = {}
        self.paused = False
        self.stopped = False

    def on_events(self, events) -> None:
        for event in events:
            if not isinstance(event, ev.JobAdded | ev.JobReopened):
                self.bind_new()
            self.note(event)
        self.bind_new()
        for seq, state in self.state.items():
            if state == "pending":
                assert any(
                    other in self.state or self.was_interrupted(other) for other, _ in self.needs[seq]
                ), "a job waits for nothing"

    def note(self, event) -> None:
        match event:
            case ev.JobAdded(_, seq, spec):
                assert seq not in self.specs
                before = self.latest.get(spec.id)
                assert before is None or before not in self.state, "two unfinished jobs of one id"
                self.specs[seq], self.state[seq] = spec, "pending"
                self.latest[spec.id] = seq
                self.new.append(seq)
            case ev.JobChanged(_, seq, spec, _, front):
                assert self.state[seq] != "running"
                if spec.needs != self.specs[seq].needs:
                    self.bind(seq, spec)
                self.specs[seq] = spec
                if front:
                    self.places += 1
                    self.place[seq] = -self.places
            case ev.JobQueued(at, seq):
                assert (self.specs[seq].not_before or 0.0) <= at, "a job was queued before its time"
                self.state[seq] = "queued"
                if self.place.get(seq, 0) >= 0 and seq not in self.interrupted:
                    self.places += 1
                    self.place[seq] = self.places
                self.interrupted.discard(seq)
                if seq not in self.met:  # a retry needs nothing, even if a job that it needed was restarted
                    self.must_be_met(seq)
                    self.met.add(seq)
            case ev.AttemptSubmitted(_, seq, attempt):
                self.start(seq, attempt)
            case ev.AttemptRefused(_, seq):
                self.give_back(seq)
                self.attempts[seq].pop()
                self.state[seq] = "queued"
            case ev.AttemptEnded(_, seq):
                self.give_back(seq)
                self.state[seq] = "between"
            case ev.JobWaiting(_, seq):
                self.state[seq] = "waiting"
                self.place[seq] = 0
            case ev.JobDelayed(at, seq, attempt, until):
                assert self.state[seq] in ("pending", "waiting"), "a job that can't start was delayed"
                assert at < until and self.specs[seq].not_before is not None
                assert attempt == len(self.attempts[seq]) + 1
                if self.state[seq] == "pending":
                    self.must_be_met(seq)
                    self.met.add(seq)
                    self.place[seq] = min(self.place.get(seq, 0), 0)
                    self.interrupted.discard(seq)
                self.state[seq] = "waiting"
            case ev.JobRemoved(_, seq):
                assert self.state[seq] == "queued"
                self.state[seq] = "pending"
                self.met.discard(seq)
            case ev.JobHeld(_, seq, held):
                assert self.state[seq] in (("pending", "waiting") if held else ("held",))
                self.state[seq] = "held" if held else "pending"
                self.place[seq] = min(self.place.get(seq, 0), 0)
                self.interrupted.discard(seq)
            case ev.JobEnded(_, seq, outcome, attempts, allowed):
                assert seq not in self.ended, "a job ended twice"
                assert self.state.pop(seq) != "running"
                assert len(self.attempts[seq]) == attempts
                self.ended[seq] = (outcome, allowed)
            case ev.JobReopened(_, seq, outcome, spec, by):
                assert self.ended.pop(seq)[0] is outcome
                assert spec == self.specs[seq]
                self.state[seq] = "pending"
                self.met.discard(seq)
                if by:
                    assert self.latest[spec.id] == seq, "another job has the id of a restarted job"
                    self.place[seq] = 0
                    self.reopened.append(seq)
                else:
                    assert outcome is Outcome.INTERRUPTED
                    self.interrupted.add(seq)
            case ev.JobDropped(_, seq):
                assert self.state.pop(seq) == "pending"
                del self.specs[seq]
                self.ended[seq] = (Outcome.CANCELLED, False)
            case ev.PoolChanged(_, name, size):
                self.pools[name] = size
                if not size:
                    assert name.startswith("tag:")
                    del self.pools[name]
            case ev.WorkersChanged(_, workers):
                self.slots = workers
            case ev.RunPaused(_, paused):
                self.paused = paused
            case ev.RunStopping():
                self.stopped = True

    def was_interrupted(self, seq: int | None) -> bool:
        return self.ended.get(seq, (None,))[0] is Outcome.INTERRUPTED

    def begin_again(self) -> None:
        """Another process goes on: it knows by their ids the jobs that others wait for."""
        self.stopped = False
        for seq, state in self.state.items():
            if state in ("pending", "held"):
                self.bind(seq, self.specs[seq])

    def bind(self, seq: int, spec: JobSpec) -> None:
        """From now on it needs the jobs that have these ids now."""
        self.needs[seq] = [(self.latest.get(need.job), need.when) for need in spec.needs]

    def bind_new(self) -> None:
        """Needs of jobs that came together may name each other: bound when all of them are known."""
        for seq in (*self.new, *self.reopened):
            self.bind(seq, self.specs[seq])
        self.new.clear()
        self.reopened.clear()

    def must_be_met(self, seq: int) -> None:
        for other, when in self.needs[seq] or [
            (self.latest.get(n.job), n.when) for n in self.specs[seq].needs
        ]:
            if other is not None:
                assert other in self.ended, "a job was queued before what it needs had ended"
                assert is_satisfied(when, *self.ended[other]), "a job was queued whose need can't be met"

    def start(self, seq: int, attempt: int) -> None:
        spec = self.specs[seq]
        assert not self.paused, "a job was started in a paused run"
        assert not self.stopped, "a job was started in a stopping run"
        assert self.state[seq] == "queued"
        if self.is_simple(spec):
            urgency = self.urgencies()
            mine = (urgency[seq], -self.place[seq])
            for other, state in self.state.items():
                if state == "queued" and other != seq and self.is_simple(self.specs[other]):
                    assert mine > (urgency[other], -self.place[other]), (
                        "a job was started before a better one"
                    )
        self.state[seq] = "running"
        self.using[seq] = spec
        self.held[seq] = min(spec.slots, self.slots)
        self.attempts[seq].append(attempt)
        assert sum(self.held.values()) <= self.slots
        used = Counter()
        for running in self.using.values():
            used.update(dict(running.pools))
            used.update(f"tag:{tag}" for tag in set(running.tags))
        limits = self.pools.keys() & {f"tag:{tag}" for tag in spec.tags}
        for name in (*dict(spec.pools), *limits):
            assert used[name] <= self.pools[name], "more of a pool was used than there is"

    def give_back(self, seq: int) -> None:
        assert self.state[seq] == "running"
        del self.using[seq], self.held[seq]

    def urgencies(self) -> dict[int, Priority]:
        """What an urgent job still needs is as urgent."""
        urgent = {seq: self.specs[seq].priority for seq in self.state}
        changed = True
        while changed:
            changed = False
            for seq, state in self.state.items():
                if state in ("pending", "held"):
                    for other, _ in self.needs[seq]:
                        if other in urgent and urgent[other] < urgent[seq]:
                            urgent[other] = urgent[seq]
                            changed = True
        return urgent

    def at_the_end(self) -> None:
        assert not self.using
        for tried in self.attempts.values():
            assert tried == list(range(1, len(tried) + 1))
        assert self.stopped or not self.state, "a job was lost"

    def is_simple(self, spec: JobSpec) -> bool:
        """Whether nothing but its place decides when it starts."""
        limited = self.pools.keys() & {f"tag:{tag}" for tag in spec.tags}
        return spec.slots == 1 and not spec.pools and not limited
