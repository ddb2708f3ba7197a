# SPDX-License-Identifier: LGPL-3.0-or-later
import inspect
import typing

import pytest

from pqrun.core import states as life
from pqrun.core.job import Outcome, StopReason

STATES = set(typing.get_args(life.State))


def steps():
    """The functions that lead from one state to another."""
    for _, function in inspect.getmembers(life, inspect.isfunction):
        if function.__module__ == life.__name__ and not function.__name__.startswith("_"):
            hints = typing.get_type_hints(function)
            if hints["return"] in STATES:
                yield function, hints


def test_the_table_of_transitions_says_what_the_functions_say():
    said = {state: set() for state in STATES}
    for _, hints in steps():
        start = next(iter(hints.values()))
        for state in typing.get_args(start) or (start,):
            said[state].add(hints["return"])
    assert said == life.TRANSITIONS


def test_every_state_can_be_reached_and_every_one_but_the_last_can_end():
    assert set().union(*life.TRANSITIONS.values()) == STATES
    ends = {life.Finished}
    while more := {s for s, after in life.TRANSITIONS.items() if after & ends} - ends:
        ends |= more
    assert ends == STATES


def test_states_are_values_that_cannot_be_changed():
    with pytest.raises(AttributeError):
        life.Queued(1, 0.0).attempt = 2
    assert life.Queued(1, 0.0) == life.Queued(1, 0.0)


def test_an_attempt_keeps_its_number_from_queue_to_end_and_a_retry_gets_the_next():
    queued = life.enqueue(life.Pending(), 1, 10.0)
    submitted = life.submit(queued)
    running = life.start(submitted, 11.0, 5.0)
    stopping = life.ask_to_stop(running, StopReason.TIMEOUT, 21.0)
    assert [queued, submitted, running] == [
        life.Queued(1, 10.0),
        life.Submitted(1, 10.0),
        life.Running(1, 11.0, 16.0),
    ]
    assert life.kill(stopping) == life.Stopping(1, StopReason.TIMEOUT, 21.0, killed=True)
    assert life.retry(stopping, 30.0) == life.Waiting(2, 30.0)
    assert life.finish(stopping, Outcome.TIMEOUT) == life.Finished(Outcome.TIMEOUT, 1)


def test_without_a_limit_there_is_no_deadline():
    assert life.start(life.Submitted(1, 0.0), 3.0, None) == life.Running(1, 3.0, None)
    assert life.start(life.Submitted(1, 0.0), 3.0, 0.5).deadline == 3.5
