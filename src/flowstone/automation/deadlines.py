"""Which values are late, told from the stored definitions and the store: users' code is not asked.

A value is there when a run has made it, or found it up to date, in time, and it has not been withdrawn; candidates do not count.
Late is said once for each asset and partition; of an asset that is due every day, once for each day. Looked at are the newest
``NEWEST`` partitions that were due, and none that was due before the pipeline was first run with that due time: a new one does
not make the whole past late. Who has been late ``NEWEST`` times on end is not told of any more until a value arrives.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple

from flowstone.assets.due import DueAgain, DueDays, due_times
from flowstone.assets.keys import encode_key
from flowstone.events.catalogue import AssetOverdue
from flowstone.foundation.clock import as_datetime
from flowstone.foundation.settings import DAY
from flowstone.stores import overdue, pipelines
from flowstone.stores.database import Connection, Database
from flowstone.stores.records import OverdueRecord, PipelineRecord

NEWEST = 7
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Watched(NamedTuple):
    """An asset that has due times, as its newest stored definition says."""

    pipeline: PipelineRecord
    asset: str
    observed: bool
    due: dict[str, Any]
    times: DueDays | DueAgain
    owners: str


class Late(NamedTuple):
    """A value that is not there though it was due."""

    watched: Watched
    partition: str
    due_at: int


class Marked(NamedTuple):
    """What was said: the values that are late since now, and how many that were late are there."""

    late: list[Late]
    met: int
    still: int


class Deadlines:
    """The due times of a project's assets."""

    def __init__(self, project: str, database: Database) -> None:
        self._project, self._database = project, database

    def mark(self) -> Marked:
        """Say what is late and has not been said, and what has arrived since."""
        now = self._database.now()
        with self._database.reading() as connection:
            watched = {item.asset: item for item in self._watched(connection)}
            unmet = overdue.unmet(connection, self._project)
            there = {late for late in unmet if self._is_over(connection, watched.get(late.asset), late, now)}
            waiting = defaultdict(list)
            for late in unmet:
                if late not in there:
                    waiting[late.asset].append(late)
            found = [late for item in watched.values() for late in self._late(connection, item, now, waiting[item.asset])]
        met = 0
        for late in there:
            with self._database.transaction() as tx:
                met += overdue.meet(tx, self._project, late, now)
        said = [late for late in found if self._say(late, now)]
        return Marked(said, met, len(unmet) - len(there) + len(said))

    def any(self) -> bool:
        """Whether an asset has due times at all."""
        with self._database.reading() as connection:
            return next(self._watched(connection), None) is not None

    def outlook(self) -> dict[str, int]:
        """When the next value of each asset is due that is not there; in the past for one that is late."""
        now, found = self._database.now(), {}
        with self._database.reading() as connection:
            for item in self._watched(connection):
                late = [late.due_at for late in self._missing(connection, item, now)]
                ahead = late or self._ahead(connection, item, now)
                if ahead:
                    found[item.asset] = min(ahead)
        return found

    def _watched(self, connection: Connection) -> Iterator[Watched]:
        for record in pipelines.newest(connection, self._project):
            for item in record.definition["assets"]:
                times = due_times(item)
                if times is not None:
                    owners = ", ".join(item["owners"])
                    yield Watched(record, item["name"], item["kind"] == "observed", item["due"], times, owners)

    def _say(self, late: Late, now: int) -> bool:
        item = late.watched
        again = isinstance(item.times, DueAgain)
        with self._database.transaction() as tx:
            won = overdue.add(tx, self._project, item.asset, late.partition, late.due_at, now, again=again)
            if won:
                tx.emit(
                    AssetOverdue, at=now, asset=item.asset, pipeline=item.pipeline.name, partition=late.partition,
                    due_at=late.due_at, owners=item.owners,
                )  # fmt: skip
        return won

    # -- what is late ---------------------------------------------------------------------------------------------------

    def _late(self, connection: Connection, item: Watched, now: int, waiting: list[OverdueRecord]) -> list[Late]:
        """What of an asset is late and not said yet, oldest first."""
        missing = self._missing(connection, item, now)
        said = overdue.of_asset(connection, self._project, item.asset, [late.partition for late in missing])
        if isinstance(item.times, DueAgain):
            missing = [late for late in missing if _is_news(late, said.get(late.partition))]
        else:
            missing = [late for late in missing if late.partition not in said][: max(0, NEWEST - len(waiting))]
        return [late for late in reversed(missing) if self._known_since(connection, item, late.due_at) <= late.due_at]

    def _missing(self, connection: Connection, item: Watched, now: int) -> list[Late]:
        """What of an asset was due and is not there, newest first."""
        if isinstance(item.times, DueDays):
            passed = list(islice(item.times.passed(as_datetime(now)), NEWEST))
            due = {encode_key(deadline.key): _nanoseconds(deadline.due_at) for deadline in passed}
            made = overdue.made_at(connection, self._project, item.asset, due)
            return [Late(item, partition, due_at) for partition, due_at in due.items() if partition not in made]
        found = []
        for partition in map(encode_key, item.times.keys):
            due_at, there = self._due_again(connection, item, item.times, partition, now)
            if due_at <= now and not there:
                found.append(Late(item, partition, due_at))
        return found

    def _due_again(self, connection: Connection, item: Watched, times: DueAgain, partition: str, now: int) -> tuple[int, bool]:
        """When one that is due again and again was due last, or is due next when it is there; and whether it is there."""
        last = self._last(connection, item, partition)
        if times.longest is None:
            due_at, since = times.passed(as_datetime(now))
            there = last is not None and last >= _nanoseconds(since)
            return _nanoseconds(times.ahead(as_datetime(now))[0] if there else due_at), there
        longest = times.longest // timedelta(microseconds=1) * 1000
        if last is not None and last + longest >= now:
            return last + longest, True
        return max(last or 0, self._known_since(connection, item, last or 0)) + longest, False

    def _last(self, connection: Connection, item: Watched, partition: str) -> int | None:
        """When the value was last computed or found up to date; of an observed source, when its newest version was seen."""
        made = overdue.made_at(connection, self._project, item.asset, [partition]).get(partition)
        if made is None or item.observed:
            return made
        return overdue.confirmed_at(connection, self._project, item.asset, partition)

    def _ahead(self, connection: Connection, item: Watched, now: int) -> list[int]:
        """When an asset of which nothing is late is due next."""
        if isinstance(item.times, DueDays):
            coming = {encode_key(deadline.key): _nanoseconds(deadline.due_at) for deadline in item.times.ahead(as_datetime(now))}
            made = overdue.made_at(connection, self._project, item.asset, coming)
            return [due_at for partition, due_at in coming.items() if partition not in made]
        return [self._due_again(connection, item, item.times, encode_key(key), now)[0] for key in item.times.keys]

    def _known_since(self, connection: Connection, item: Watched, early: int) -> int:
        """Since when the asset has had this due time; any time up to *early* is early enough."""
        since = item.pipeline.created_at
        if since > early:
            for record in pipelines.versions(connection, self._project, item.pipeline.name):
                told = next((each for each in record.definition["assets"] if each["name"] == item.asset), None)
                if since <= early or told is None or told.get("due") != item.due:
                    break
                since = min(since, record.created_at)
        return since

    def _is_over(self, connection: Connection, item: Watched | None, late: OverdueRecord, now: int) -> bool:
        """Whether what was late is there, or nobody waits for it any more."""
        if item is None:
            return True
        if isinstance(item.times, DueDays):
            return bool(overdue.made_at(connection, self._project, item.asset, [late.partition]))
        if late.partition not in map(encode_key, item.times.keys):
            return True
        if item.times.longest is not None:
            return self._due_again(connection, item, item.times, late.partition, now)[1]
        last = self._last(connection, item, late.partition)
        return last is not None and last >= _nanoseconds(item.times.passed(as_datetime(late.due_at))[1])


def _is_news(late: Late, said: OverdueRecord | None) -> bool:
    """Whether a due time that came again has not been said, and is not the last of many that nobody met."""
    if said is None:
        return True
    return late.due_at > said.due_at and (said.met_at is not None or late.due_at - said.at < NEWEST * DAY)


def _nanoseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
