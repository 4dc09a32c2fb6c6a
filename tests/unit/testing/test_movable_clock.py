"""The clock for tests moves by hand alone."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone.foundation.errors import UsageError
from flowstone.testing import MovableClock


def test_it_stands_still():
    """Without being moved it gives the same time again and again: the first instant of 2026, or the given one."""
    clock = MovableClock()
    assert [clock.now_ns(), clock.monotonic_ns()] == [clock.now_ns(), 0]
    assert clock.now == datetime(2026, 1, 1, tzinfo=UTC)

    start = datetime(2030, 5, 1, 12, tzinfo=timezone(timedelta(hours=2)))
    assert MovableClock(start).now_ns() == int(start.timestamp()) * 1_000_000_000


@given(st.lists(st.timedeltas(timedelta(), timedelta(days=400)), max_size=10))
def test_what_passes_moves_both_readings_exactly(steps):
    """Advancing moves wall time and the monotonic reading by the same, to the nanosecond."""
    clock = MovableClock()
    began = clock.now
    for step in steps:
        clock.advance(step)

    assert clock.now - began == sum(steps, timedelta())
    assert clock.monotonic_ns() == sum(steps, timedelta()) // timedelta(microseconds=1) * 1_000


def test_sleeping_advances_instead_of_waiting():
    """An hour's sleep ends at once, an hour later."""
    clock = MovableClock()
    clock.sleep(3_600)
    clock.advance(0.5)

    assert clock.monotonic_ns() == 3_600_500_000_000


def test_wall_time_can_be_set_back_and_elapsed_time_not():
    """``set`` moves wall time alone, in either direction; a negative advance is refused and moves nothing."""
    clock = MovableClock()
    clock.advance(5)
    clock.set(datetime(2020, 1, 1, tzinfo=UTC))
    assert (clock.now.year, clock.monotonic_ns()) == (2020, 5_000_000_000)

    for back in (-1, timedelta(seconds=-1)):
        with pytest.raises(UsageError, match="at least 0"):
            clock.advance(back)
    assert clock.monotonic_ns() == 5_000_000_000


def test_an_instant_needs_a_zone():
    """A datetime without a zone is refused, when the clock is made and when it is set."""
    naive = datetime(2026, 1, 1)
    for call in (MovableClock, MovableClock().set):
        with pytest.raises(UsageError, match="has no time zone"):
            call(naive)


def test_threads_may_move_it_together():
    """Steps of several threads at the same moment are all counted."""
    clock = MovableClock()
    threads = [threading.Thread(target=lambda: [clock.advance(1) for _ in range(2_000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)

    assert clock.monotonic_ns() == 8_000 * 1_000_000_000
