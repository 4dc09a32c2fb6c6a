"""A clock that a test moves."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from flowstone.foundation.clock import as_datetime
from flowstone.foundation.errors import UsageError

START = datetime(2026, 1, 1, tzinfo=UTC)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class MovableClock:
    """A clock for ``FlowStone(clock=...)`` that begins at *start* (an aware datetime) and moves by hand alone.

    Durations are measured with it too: whatever runs takes no time unless it calls :meth:`advance` or :meth:`sleep`, and
    waiting for a retry ends at once. May be read and moved from any thread.
    """

    def __init__(self, start: datetime = START) -> None:
        self._lock = threading.Lock()
        self._now = _nanoseconds_since_epoch(start)
        self._elapsed = 0

    def now_ns(self) -> int:
        return self._now

    def monotonic_ns(self) -> int:
        return self._elapsed

    def sleep(self, seconds: float) -> None:
        """Advance by *seconds* instead of waiting."""
        self.advance(seconds)

    @property
    def now(self) -> datetime:
        """The wall time, in UTC."""
        return as_datetime(self._now)

    def advance(self, by: float | timedelta) -> None:
        """Let *by* pass, seconds or a timedelta: wall time and the monotonic reading move together.

        Raises :class:`UsageError` for less than 0.
        """
        step = by // timedelta(microseconds=1) * 1000 if isinstance(by, timedelta) else round(by * 1e9)
        if step < 0:
            raise UsageError(f"advance({by!r}): time that passes is at least 0", hint="set(datetime) turns wall time back")
        with self._lock:
            self._now += step
            self._elapsed += step

    def set(self, to: datetime) -> None:
        """Set wall time alone, forwards or back, as when a machine's clock is corrected; no time passes.

        Raises :class:`UsageError` for a datetime without a zone.
        """
        now = _nanoseconds_since_epoch(to)
        with self._lock:
            self._now = now


def _nanoseconds_since_epoch(moment: datetime) -> int:
    if moment.utcoffset() is None:
        raise UsageError(f"{moment!r} has no time zone", hint="write datetime(..., tzinfo=UTC)")
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
