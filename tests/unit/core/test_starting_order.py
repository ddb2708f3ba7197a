# SPDX-License-Identifier: LGPL-3.0-or-later
"""The places of ready jobs come out smallest first, in whatever order they came in."""

from hypothesis import given
from hypothesis import strategies as some

from pqrun.core.ready_queue import MIN_REBUILD_SIZE, StartingOrder

ENTRIES = some.tuples(some.integers(-3, 0), some.integers(-5, 20))


def emptied(order):
    return list(iter(order.pop, None))


@given(some.lists(some.one_of(ENTRIES, some.none()), max_size=60))
def test_the_smallest_comes_first_whatever_was_pushed_and_popped_before(steps):
    order, model = StartingOrder(), []
    for number, step in enumerate(steps):
        if step is None:
            model.sort()
            assert order.pop() == (model.pop(0) if model else None)
        else:
            model.append((*step, number))
            order.push((*step, number))
    assert emptied(order) == sorted(model)


def test_what_comes_in_order_stands_in_a_line_of_its_urgency_and_not_in_the_heap():
    order = StartingOrder()
    for number in range(100):
        order.push((-(number % 3), number, number))
    assert order._strays == []
    order.push((-2, 5, 999))  # a retry that is back at its old place
    assert order._strays == [(-2, 5, 999)]
    found = emptied(order)
    assert found == sorted(found) and len(found) == 101


@given(some.lists(ENTRIES, min_size=MIN_REBUILD_SIZE + 1, max_size=150), some.integers(1, 4))
def test_stale_entries_are_dropped_and_the_rest_stays_in_order(places, keep):
    entries = [(*place, number) for number, place in enumerate(places)]
    order = StartingOrder()
    for entry in entries:
        order.push(entry)
    order.drop_stale(len(entries), lambda entry: False)  # not more than that
    order.drop_stale(0, lambda entry: entry[2] % keep == 0)
    order.push((-1, 21, 1000))  # goes on as before
    assert emptied(order) == sorted([*(entry for entry in entries if entry[2] % keep == 0), (-1, 21, 1000)])
