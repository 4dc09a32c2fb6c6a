"""Time comes from one seam, in integer nanoseconds."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from flowstone.foundation.clock import SystemClock, as_datetime


def test_the_system_clock_is_the_machines():
    """Wall time is that of the machine, and the monotonic reading grows by what is slept, not less."""
    clock = SystemClock()
    assert abs(clock.now_ns() - time.time_ns()) < 5_000_000_000

    before = clock.monotonic_ns()
    clock.sleep(0.01)
    assert clock.monotonic_ns() - before >= 9_000_000


@given(st.integers(0, 4_000_000_000), st.integers(0, 999_999_999))
def test_an_instant_becomes_a_datetime_without_rounding(seconds, nanoseconds):
    """``as_datetime`` is aware, in UTC, and cuts nanoseconds below a microsecond instead of rounding into the next second."""
    moment = as_datetime(seconds * 1_000_000_000 + nanoseconds)

    assert moment.tzinfo is UTC
    assert moment == datetime.fromtimestamp(seconds, UTC).replace(microsecond=nanoseconds // 1000)
