"""Which values are late, told from the stored definitions and the store: users' code is not asked.

A value is there when a run has made it, or found it up to date, in time, and it has not been withdrawn; candidates do not count.
Late is said once for each asset and partition; of an asset that is due every day, once for each day. Looked at are the newest
``NEWEST`` partitions that were due, and none that was due before the pipeline was first run with that due time: a new one does
not make the whole past late. Who has been late ``NEWEST`` times on end is not told of any more until a value arrives.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any, NamedTuple, TypeAlias

from flowstone.assets.due import Deadline, DueAgain, DueDays, due_times
from flowstone.assets.keys import encode_key
from flowstone.events.catalogue import AssetOverdue
from flowstone.foundation.clock import DAY, as_datetime
from flowstone.foundation.serialize import to_json
from flowstone.stores import overdue, pipelines
from flowstone.stores.database import Connection, Database
from flowstone.stores.records import OverdueRecord, PipelineRecord

Place: TypeAlias = tuple[str, str]

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

    @property
    def place(self) -> Place:
        """The asset and the partition."""
        return self.watched.asset, self.partition


class Marked(NamedTuple):
    """What was said: the values that are late since now, how many that were late are there, and how many are late in all."""

    late: list[Late]
    met: int
    still: int


class Deadlines:
    """The due times of a project's assets."""

    def __init__(self, project: str, database: Database) -> None:
        self._project, self._database = project, database

    def any(self) -> bool:
        """Whether an asset has due times at all."""
        with self._database.reading() as connection:
            return bool(_watched(connection, self._project))

    def mark(self) -> Marked:
        """Say what is late and has not been said, and what has arrived since."""
        now = self._database.now()
        with self._database.reading() as connection:
            unmet = overdue.unmet(connection, self._project)
            look = _Look(connection, self._project, now, [(late.asset, late.partition) for late in unmet])
            there = {late for late in unmet if look.is_over(late)}
            late = look.news(Counter(late.asset for late in unmet if late not in there))
        met = 0
        for each in there:
            with self._database.transaction() as tx:
                met += overdue.meet(tx, self._project, each, now)
        said = [each for each in late if self._say(each, now)]
        return Marked(said, met, len(unmet) - len(there) + len(said))

    def outlook(self) -> dict[str, int]:
        """When the next value of each asset is due that is not there; in the past for one that is late."""
        with self._database.reading() as connection:
            look = _Look(connection, self._project, self._database.now())
            found = {item.asset: look.due(item) for item in look.watched.values()}
        return {asset: min(due) for asset, due in found.items() if due}

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


class _Look:
    """One look at what is due and what is there; *more* are further places to look at."""

    def __init__(self, connection: Connection, project: str, now: int, more: Iterable[Place] = ()) -> None:
        self._connection, self._project, self._now = connection, project, now
        self.watched = {item.asset: item for item in _watched(connection, project)}
        self._days: dict[int, tuple[dict[str, int], dict[str, int]]] = {}
        places = [(item.asset, partition) for item in self.watched.values() for partition in self._partitions(item.times)]
        self._made = overdue.made_at(connection, project, {*places, *more})

    def news(self, waiting: Counter[str]) -> list[Late]:
        """What is late and has not been said, oldest first of each asset; *waiting* is how many of it are late and said."""
        missing = {item.asset: self._missing(item) for item in self.watched.values()}
        said = overdue.told(self._connection, self._project, [late.place for found in missing.values() for late in found])
        found = []
        for asset, late in missing.items():
            if isinstance(self.watched[asset].times, DueAgain):
                fresh = [each for each in late if _is_news(each, said.get(each.place))]
            else:
                fresh = [each for each in late if each.place not in said][: max(0, NEWEST - waiting[asset])]
            found += [each for each in reversed(fresh) if self._known_since(each.watched, each.due_at) <= each.due_at]
        return found

    def due(self, item: Watched) -> list[int]:
        """When the values are due that are not there, in the past if there are some; else the next ones."""
        late = [late.due_at for late in self._missing(item)]
        if late:
            return late
        if isinstance(item.times, DueDays):
            _, coming = self._around(item.times)
            return [due_at for partition, due_at in coming.items() if (item.asset, partition) not in self._made]
        return [self._due_again(item, item.times, encode_key(key))[0] for key in item.times.keys]

    def is_over(self, late: OverdueRecord) -> bool:
        """Whether what was late is there, or nobody waits for it any more."""
        item = self.watched.get(late.asset)
        if item is None:
            return True
        if isinstance(item.times, DueDays):
            return (late.asset, late.partition) in self._made
        if late.partition not in map(encode_key, item.times.keys):
            return True
        if item.times.longest is not None:
            return self._due_again(item, item.times, late.partition)[1]
        return self._is_there_since(item, late.partition, _nanoseconds(item.times.passed(as_datetime(late.due_at))[1]))

    def _partitions(self, times: DueDays | DueAgain) -> list[str]:
        if isinstance(times, DueAgain):
            return [encode_key(key) for key in times.keys]
        passed, coming = self._around(times)
        return [*passed, *coming]

    def _around(self, times: DueDays) -> tuple[dict[str, int], dict[str, int]]:
        """The newest partitions that were due, newest first, and those due next, with their due times."""
        found = self._days.get(id(times))
        if found is None:
            now = as_datetime(self._now)
            passed, coming = islice(times.passed(now), NEWEST), times.ahead(now)
            found = self._days[id(times)] = (_by_partition(passed), _by_partition(coming))
        return found

    def _missing(self, item: Watched) -> list[Late]:
        """What of an asset was due and is not there, newest first."""
        if isinstance(item.times, DueDays):
            passed, _ = self._around(item.times)
            return [Late(item, key, due_at) for key, due_at in passed.items() if (item.asset, key) not in self._made]
        found = []
        for partition in map(encode_key, item.times.keys):
            due_at, is_there = self._due_again(item, item.times, partition)
            if due_at <= self._now and not is_there:
                found.append(Late(item, partition, due_at))
        return found

    def _due_again(self, item: Watched, times: DueAgain, partition: str) -> tuple[int, bool]:
        """When one that is due again and again was due last, or is due next when it is there; and whether it is there."""
        now = as_datetime(self._now)
        if times.longest is None:
            due_at, since = times.passed(now)
            is_there = self._is_there_since(item, partition, _nanoseconds(since))
            return _nanoseconds(times.ahead(now)[0] if is_there else due_at), is_there
        longest = times.longest // timedelta(microseconds=1) * 1000
        last = self._last(item, partition)
        if last is not None and last + longest >= self._now:
            return last + longest, True
        return max(last or 0, self._known_since(item, last or 0)) + longest, False

    def _is_there_since(self, item: Watched, partition: str, since: int) -> bool:
        made = self._made.get((item.asset, partition))
        if made is None or made >= since:
            return made is not None
        last = self._last(item, partition)
        return last is not None and last >= since

    def _last(self, item: Watched, partition: str) -> int | None:
        """When the value was last computed or found up to date; of an observed source, when its newest version was seen."""
        made = self._made.get((item.asset, partition))
        if made is None or item.observed:
            return made
        return overdue.confirmed_at(self._connection, self._project, item.asset, partition)

    def _known_since(self, item: Watched, early: int) -> int:
        """Since when the asset has had this due time; any time up to *early* is early enough."""
        since = item.pipeline.created_at
        if since > early:
            for record in pipelines.versions(self._connection, self._project, item.pipeline.name):
                told = next((each for each in record.definition["assets"] if each["name"] == item.asset), None)
                if since <= early or told is None or told.get("due") != item.due:
                    break
                since = min(since, record.created_at)
        return since


def _watched(connection: Connection, project: str) -> list[Watched]:
    """The assets with due times; those that say the same share it."""
    found: list[Watched] = []
    shared: dict[str, DueDays | DueAgain] = {}
    for record in pipelines.newest(connection, project):
        for item in record.definition["assets"]:
            if item.get("due") is None:
                continue
            text = to_json([item["due"], item["partitions"]])
            times = shared.get(text) or due_times(item)
            if times is not None:
                shared[text] = times
                owners = ", ".join(item["owners"])
                found.append(Watched(record, item["name"], item["kind"] == "observed", item["due"], times, owners))
    return found


def _is_news(late: Late, said: OverdueRecord | None) -> bool:
    """Whether a due time that came again has not been said, and is not the last of many that nobody met."""
    if said is None:
        return True
    return late.due_at > said.due_at and (said.met_at is not None or late.due_at - said.at < NEWEST * DAY)


def _by_partition(deadlines: Iterable[Deadline]) -> dict[str, int]:
    return {encode_key(deadline.key): _nanoseconds(deadline.due_at) for deadline in deadlines}


def _nanoseconds(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1) * 1000
