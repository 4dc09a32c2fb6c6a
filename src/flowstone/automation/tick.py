"""A tick: the duties of a deployment, done one after another by one process at a time, each isolated from the others.

Any number of machines may tick; while one does, the others say so and leave. Every duty may be broken off at any moment
and done again, so a process that dies in a tick costs nothing but the time until somebody notices.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from flowstone.execution import lost
from flowstone.foundation.clock import NANOSECONDS
from flowstone.foundation.errors import FlowStoneError
from flowstone.stores import processes, ticks
from flowstone.stores.database import Database
from flowstone.stores.liveness import ProcessLocks, hostname_of
from flowstone.stores.records import TickRecord

LONGEST = 15 * 60 * NANOSECONDS
"""A tick that has begun longer ago does not keep others from ticking, though its process lives."""


class Duty(NamedTuple):
    """Something to do in a tick, at most once in *every* nanoseconds; what it returns is one line about what it did."""

    name: str
    do: Callable[[], str]
    every: int = 0


class Done(NamedTuple):
    """What one duty came to."""

    name: str
    ok: bool
    text: str


class Ticked(NamedTuple):
    """What a tick came to: ``done``; ``busy`` where another one does it; ``new`` where there is nothing yet to do it for."""

    status: Literal["done", "busy", "new"]
    duties: tuple[Done, ...] = ()
    since: int = 0
    """When the other one began."""
    host: str = ""

    @property
    def ok(self) -> bool:
        """Whether no duty failed."""
        return all(done.ok for done in self.duties)


class Tick:
    """One tick of *process*, which is registered, for one project."""

    def __init__(self, project: str, database: Database, locks: ProcessLocks, process: str) -> None:
        self._project, self._database, self._locks, self._process = project, database, locks, process

    def run(self, duties: Sequence[Duty]) -> Ticked:
        """Do *duties* in order, unless another tick does; what one of them raises is told, and the next one is done."""
        began = self._database.now()
        other, before = self._claim(began)
        if other is not None:
            return Ticked("busy", since=other.did["running_since"], host=hostname_of(other.host))
        last: dict[str, int] = dict(before.did.get("last", {}))
        done: list[Done] = []
        try:
            for duty in duties:
                if began - last.get(duty.name, 0) >= duty.every:
                    done.append(_do(duty))
                    last |= {duty.name: began} if done[-1].ok else {}
        except BaseException:
            self._release(began, before)
            raise
        did = {"duties": [each._asdict() for each in done], "last": last}
        self._release(began, TickRecord(at=self._database.now(), process=self._process, host=self._locks.host(), did=did))
        return Ticked("done", tuple(done))

    def _claim(self, now: int) -> tuple[TickRecord | None, TickRecord]:
        """Begin, unless another tick that lives has begun: then it is the first; the second is the last tick that ended."""
        with self._database.reading() as connection:
            seen = ticks.last(connection, self._project)
        going_on = seen if seen is not None and self._goes_on(seen, now) else None
        with self._database.transaction() as tx:
            found = ticks.locked(tx, self._project) or TickRecord(at=0, process="", host="", did={})
            if "running_since" in found.did and (going_on is not None or seen != found):
                return found, found
            before = {name: value for name, value in found.did.items() if name != "running_since"}
            mine = {"at": found.at, "process": self._process, "host": self._locks.host()}
            ticks.put(tx, self._project, TickRecord(**mine, did={**before, "running_since": now}))  # type: ignore[arg-type]
        return None, TickRecord(at=found.at, process=found.process, host=found.host, did=before)

    def _goes_on(self, seen: TickRecord, now: int) -> bool:
        """Whether the tick that has begun still lives."""
        since = seen.did.get("running_since")
        if since is None or now - since > LONGEST:
            return False
        with self._database.reading() as connection:
            process = processes.find(connection, seen.process)
        if process is None or process.ended_at is not None:
            return False
        return seen.process == self._process or lost.is_alive(process, self._locks, now)

    def _release(self, began: int, record: TickRecord) -> None:
        """Store *record*, unless somebody else has begun meanwhile."""
        with self._database.transaction() as tx:
            found = ticks.locked(tx, self._project)
            if found is not None and found.process == self._process and found.did.get("running_since") == began:
                ticks.put(tx, self._project, record)


def _do(duty: Duty) -> Done:
    try:
        return Done(duty.name, True, duty.do())
    except Exception as error:  # noqa: BLE001 - one duty that fails must not keep the others from being done
        text = error.message if isinstance(error, FlowStoneError) else f"{type(error).__name__}: {error}"
        return Done(duty.name, False, text.partition("\n")[0])
