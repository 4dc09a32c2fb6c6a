"""Days: the partitions that close by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from flowstone.assets.keys import PartitionKey, parse_day
from flowstone.assets.partitions import Partitions, Past
from flowstone.foundation.errors import PartitionError, ValidationError

EARLIEST = date(1900, 1, 1)  # time zone data says nothing reliable about earlier days
_DAY = timedelta(days=1)


class Daily(Partitions):
    """One key per local day of a time zone, from *start* on; the key is the ``date``.

    *past* "refuse" is for assets that read the present: only today's day can be materialized. Raises ``ValidationError``.
    """

    ordered = True
    key_types = frozenset({date})

    def __init__(self, start: str | date, *, timezone: str = "UTC", past: Past = "allow") -> None:
        self.start = _start_day(start)
        self.timezone = timezone
        try:
            self._zone = ZoneInfo(timezone)
        except (KeyError, ValueError, TypeError, OSError) as error:
            raise ValidationError(
                f"Daily(timezone={timezone!r}): there is no such time zone", hint='use an IANA name such as "Europe/Zurich"'
            ) from error
        self.past = _past(past, "Daily")

    def opens_at(self, key: date) -> datetime:
        """Return the instant (UTC) at which local day *key* begins; a midnight that happens twice counts the second time."""
        midnight = datetime.combine(key, time.min, self._zone)
        return max(midnight.astimezone(UTC), midnight.replace(fold=1).astimezone(UTC))

    def closes_at(self, key: date) -> datetime:
        """Return the instant (UTC) at which local day *key* is over."""
        return self.opens_at(key + _DAY)

    def parse(self, text: str) -> date:
        return parse_day(text)

    def validate(self, key: PartitionKey, now: datetime) -> None:
        self.require_type(key)
        assert isinstance(key, date)
        today = self._today(now)
        if key < self.start:
            raise PartitionError(f"{key} is before the first day, {self.start}", hint="choose a later day or move Daily's start")
        if key > today:
            raise PartitionError(f"{key} is in the future: it is {today} in {self.timezone}", hint=f"choose {today} or earlier")
        if not self._exists(key):
            raise PartitionError(f"{self.timezone} had no {key}: the calendar skipped it", hint="choose another day")
        if self.past == "refuse" and key != today:
            raise PartitionError(
                f"{key} is over: a snapshot of the present cannot be filed under the past",
                hint=f"materialize {today} (today in {self.timezone}); what was stored for {key} can still be read",
            )

    def latest(self, now: datetime) -> date:
        day = self._today(now) if self.past == "refuse" else self._newest_closed(now)
        if day < self.start:
            word = "begun" if self.past == "refuse" else "closed"
            raise PartitionError(f"no day has {word} yet: the first one is {self.start}", hint="wait, or move Daily's start")
        return day

    def keys(self, now: datetime) -> Iterator[date]:
        """Return all closed days, oldest first; where the past is refused, only today."""
        first, last = self.start, self._newest_closed(now)
        if self.past == "refuse":
            last = self._today(now)
            first = max(first, last)
        days = (first + timedelta(days=n) for n in range((last - first).days + 1))
        return (day for day in days if self._exists(day))

    def describe(self) -> dict[str, Any]:
        return {"kind": "daily", "start": self.start.isoformat(), "timezone": self.timezone, "past": self.past}

    def meaning(self) -> dict[str, Any]:
        return {"kind": "daily", "timezone": self.timezone}

    def mismatch(self, downstream: Partitions) -> str | None:
        if isinstance(downstream, Daily) and downstream.timezone != self.timezone:
            return f"its days are those of {self.timezone}, not of {downstream.timezone}"
        return super().mismatch(downstream)

    def _today(self, now: datetime) -> date:
        if now.utcoffset() is None:
            raise PartitionError(f"now={now.isoformat()} has no time zone", hint="pass an aware datetime")
        return now.astimezone(self._zone).date()

    def _newest_closed(self, now: datetime) -> date:
        day = self._today(now) - _DAY
        while self.closes_at(day) > now or not self._exists(day):
            day -= _DAY
        return day

    def _exists(self, day: date) -> bool:
        return self.opens_at(day) < self.closes_at(day)


def _start_day(start: str | date) -> date:
    try:
        day = parse_day(start) if isinstance(start, str) else start
    except PartitionError as error:
        raise ValidationError(f"Daily(start={start!r}): {error.message}", hint=error.hint) from error
    if type(day) is not date:
        raise ValidationError(f"Daily(start={start!r}): not a day", hint="pass a date or its text, such as 2026-01-01")
    if day < EARLIEST:
        raise ValidationError(f"Daily(start={start!r}): days before {EARLIEST} are not supported", hint="choose a later start")
    return day


def _past(past: str, owner: str) -> Past:
    if past == "allow":
        return "allow"
    if past == "refuse":
        return "refuse"
    raise ValidationError(f"{owner}(past={past!r}): unknown", hint='use "allow" or "refuse"')
