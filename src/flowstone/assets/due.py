"""By when a value must be there: a clock time of a local day, or a length of time.

| asset | ``due="07:30"`` | ``due=timedelta(hours=6)`` |
|---|---|---|
| ``Daily``, closed days | the first local day after the partition's | so long after the partition closes |
| ``Daily(past="refuse")`` | the partition's own day | so long after the partition closes |
| not partitioned, or ``Static`` | every day: computed or found up to date since midnight | never older than that |

The zone is that of the partitions, else the one named (``"07:30 Europe/Zurich"``), else UTC. A time that the clock shows twice
counts the first time; one that it skips is due when it jumps. No partition is due before it closes; an open one, before it opens.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec

from flowstone.assets.days import EARLIEST, Daily
from flowstone.assets.keys import PartitionKey, decode_key
from flowstone.assets.partitions import Partitions, Static
from flowstone.foundation.errors import ValidationError

LONGEST = timedelta(days=366)
_DAY = timedelta(days=1)
_CLOCK = re.compile(r"((?:[01]\d|2[0-3]):[0-5]\d)(?: (\S+))?")
_EXAMPLES = 'write due="07:30", due="07:30 Europe/Zurich" or due=timedelta(hours=6)'


class Due(msgspec.Struct, frozen=True):
    """A due time as declared: ``at`` of a local day in ``timezone`` (empty: as the partitions say), or ``within`` nanoseconds."""

    at: str = ""
    timezone: str = ""
    within: int = 0

    def describe(self, partitions: Partitions | None) -> dict[str, Any]:
        """Return it as plain values, its zone resolved."""
        if not self.at:
            return {"within_ns": self.within}
        return {"at": self.at, "timezone": partitions.timezone if isinstance(partitions, Daily) else self.timezone or "UTC"}


class Deadline(NamedTuple):
    """One value that is or was due at ``due_at``. With ``since`` it must be younger than that, else any value counts."""

    key: PartitionKey
    due_at: datetime
    since: datetime | None = None


class DueDays:
    """The due times of an asset with one partition a day."""

    def __init__(self, due: Due, days: Daily) -> None:
        self._due, self._days = due, days

    def due_at(self, key: date) -> datetime:
        """Return the instant (UTC) by which the partition *key* must be there."""
        days = self._days
        if not self._due.at:
            return days.closes_at(key) + timedelta(microseconds=self._due.within // 1000)
        if days.past == "refuse":
            return max(_clock_shows(self._due.at, key, days._zone), days.opens_at(key))
        following = key + _DAY
        while not days._exists(following):
            following += _DAY
        return max(_clock_shows(self._due.at, following, days._zone), days.closes_at(key))

    def passed(self, now: datetime) -> Iterator[Deadline]:
        """Yield what was due by *now*, newest first."""
        return (deadline for deadline in self._backwards(now) if deadline.due_at <= now)

    def ahead(self, now: datetime) -> list[Deadline]:
        """Return what is due next after *now*, soonest first: a partition or three, none when nothing can be due yet."""
        return [deadline for deadline in islice(self._backwards(now), 4) if deadline.due_at > now][::-1]

    def _backwards(self, now: datetime) -> Iterator[Deadline]:
        """Every partition from the newest that could be due by tomorrow, backwards."""
        within = timedelta(microseconds=self._due.within // 1000)
        key = (now - within).astimezone(self._days._zone).date() + _DAY
        while key >= self._days.start:
            if self._days._exists(key):
                yield Deadline(key, self.due_at(key))
            key -= _DAY


class DueAgain:
    """The due times of an asset that is due again every day, or must never be too old; for each of its keys alike."""

    def __init__(self, due: Due, keys: tuple[PartitionKey, ...]) -> None:
        self._due, self.keys = due, keys
        self._days = Daily(EARLIEST, timezone=due.timezone or "UTC")

    @property
    def longest(self) -> timedelta | None:
        """How old a value may be, ``None`` where it is due at a time of the day."""
        return None if self._due.at else timedelta(microseconds=self._due.within // 1000)

    def passed(self, now: datetime) -> tuple[datetime, datetime]:
        """Return the newest due time that has come by *now*, and since when a value counts for it: its local midnight."""
        return next((at, since) for at, since in self._around(now) if at <= now)

    def ahead(self, now: datetime) -> tuple[datetime, datetime]:
        """Return the next due time after *now*, and since when a value counts for it."""
        return [(at, since) for at, since in islice(self._around(now), 4) if at > now][-1]

    def _around(self, now: datetime) -> Iterator[tuple[datetime, datetime]]:
        days = self._days
        day = now.astimezone(days._zone).date() + 2 * _DAY
        while True:
            if days._exists(day):
                since = days.opens_at(day)
                yield max(_clock_shows(self._due.at, day, days._zone), since), since
            day -= _DAY


def parse_due(value: Any) -> Due:
    """Return the due time that *value* says; raises ``ValidationError`` for what is none."""
    if isinstance(value, timedelta):
        if not timedelta(0) <= value <= LONGEST:
            raise ValidationError(f"{value} is no length between 0 and {LONGEST.days} days", hint=_EXAMPLES)
        return Due(within=value // timedelta(microseconds=1) * 1000)
    found = _CLOCK.fullmatch(value) if isinstance(value, str) else None
    if found is None:
        raise ValidationError(f"{value!r} is neither a time of the day nor a timedelta", hint=_EXAMPLES)
    if found[2]:
        try:
            ZoneInfo(found[2])
        except (KeyError, ValueError, OSError) as error:
            hint = "use an IANA name such as Europe/Zurich"
            raise ValidationError(f"{value!r}: there is no time zone {found[2]!r}", hint=hint) from error
    return Due(at=found[1], timezone=found[2] or "")


def check_due(asset: str, due: Due, partitions: Partitions | None) -> None:
    """Raise ``ValidationError`` unless *due* means something for an asset with these *partitions*."""
    if partitions is not None and not isinstance(partitions, Daily | Static):
        raise ValidationError(
            f"asset {asset!r}: due=: nothing says which of the keys of {partitions!r} are due",
            hint="due= is for assets with Daily or Static partitions, or with none",
        )
    if isinstance(partitions, Daily) and due.timezone not in ("", partitions.timezone):
        raise ValidationError(
            f"asset {asset!r}: due=: its days are those of {partitions.timezone}, not of {due.timezone}",
            hint=f'leave the zone out: due="{due.at}"',
        )
    if not due.at and not due.within and not isinstance(partitions, Daily):
        raise ValidationError(f"asset {asset!r}: due=: every value is older than 0 s", hint=_EXAMPLES)


def due_times(described: Mapping[str, Any]) -> DueDays | DueAgain | None:
    """Return the due times of an asset from its stored description; ``None`` when it has none."""
    told, partitions = described.get("due"), described["partitions"]
    if told is None:
        return None
    due = Due(at=told.get("at", ""), timezone=told.get("timezone", ""), within=told.get("within_ns", 0))
    if partitions is None:
        return DueAgain(due, (None,))
    if partitions["kind"] == "static":
        return DueAgain(due, tuple(map(decode_key, partitions["keys"])))
    return DueDays(due, Daily(partitions["start"], timezone=partitions["timezone"], past=partitions["past"]))


def _clock_shows(at: str, day: date, zone: ZoneInfo) -> datetime:
    """Return the first instant (UTC) of local *day* at which its clock shows *at* or later."""
    wall = datetime.combine(day, time.fromisoformat(at))
    found = wall.replace(tzinfo=zone).astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == wall:
        return found
    before = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)  # the clock skips it: look for the jump between these two
    while (apart := int((found - before).total_seconds())) > 1:
        middle = before + timedelta(seconds=apart // 2)
        if middle.astimezone(zone).replace(tzinfo=None) < wall:
            before = middle
        else:
            found = middle
    return found
