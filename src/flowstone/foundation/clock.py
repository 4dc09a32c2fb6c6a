"""Time behind one seam, so that tests can move it."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol

NANOSECONDS = 1_000_000_000
DAY = 86_400 * NANOSECONDS


class Clock(Protocol):
    """Where wall time, elapsed time and waiting come from."""

    def now_ns(self) -> int:
        """Return wall time as integer nanoseconds since the epoch, UTC."""
        ...

    def monotonic_ns(self) -> int:
        """Return a reading that never goes backwards; only differences mean something."""
        ...

    def sleep(self, seconds: float) -> None:
        """Wait *seconds*; a signal may interrupt the wait by raising."""
        ...


class SystemClock:
    """The machine's own clock."""

    now_ns = staticmethod(time.time_ns)
    monotonic_ns = staticmethod(time.perf_counter_ns)
    sleep = staticmethod(time.sleep)


def as_datetime(nanoseconds: int) -> datetime:
    """The instant as an aware UTC datetime (microsecond precision)."""
    seconds, rest = divmod(nanoseconds, NANOSECONDS)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=rest // 1000)
