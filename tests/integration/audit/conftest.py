"""A real log on both databases, with a keeper whose state, anchors and clock are the test's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from flowstone import FlowStone
from flowstone.audit import acts
from flowstone.audit.acts import Act
from flowstone.audit.anchoring import Anchors
from flowstone.audit.anchors import sinks
from flowstone.audit.entries import Auditor, begin_log, entry_of
from flowstone.audit.keeper import Keeper
from flowstone.audit.note import PublicKey
from flowstone.audit.sealing import Sealer
from flowstone.audit.state import state_of
from flowstone.events.dispatcher import Dispatcher
from flowstone.foundation.clock import SystemClock
from flowstone.foundation.errors import RollbackDetectedError
from flowstone.stores import audit_questions, audit_records
from flowstone.stores.audit_questions import Wanted
from flowstone.stores.database import Connection, Database

SECOND = 1_000_000_000


class Log:
    """One log: append to it, and do with it what its keeper can."""

    def __init__(self, url: str, folder: Path) -> None:
        self.url, self.state_home, self.anchors = url, folder / "state", folder / "anchors"
        self.anchors.mkdir(exist_ok=True)
        self.database = Database(url, Dispatcher(SystemClock()), SystemClock())
        self.origin = begin_log(self.database, "laptop")
        self.keeper = self.made_keeper()
        self.number = 0

    def made_keeper(self) -> Keeper:
        """A keeper that knows nothing but what it remembers."""
        state = state_of(self.origin, {"FLOWSTONE_STATE_HOME": str(self.state_home)})
        made = Anchors(self.database, sinks([f"file:{self.anchors}"], state))
        return Keeper(self.database, Sealer(self.database, state, self.origin), made, "shop", "dev", "os")

    def append(self, count: int = 1, *, reason: str = "", at: int | None = None, subject: str = "") -> None:
        """Append that many entries; each discloses *reason*."""
        auditor = Auditor(self.origin, "shop")
        with self.database.transaction() as tx:
            for _ in range(count):
                self.number += 1
                named = subject or f"materialization:{self.number}"
                act = Act("run.requested", named, "success", {"asset": "orders"}, {"reason": reason})
                when, version = at or self.database.now(), None if subject else 1
                auditor.append(tx, entry_of(act, actor="dev", identity="os", at=when, version=version, run_id="run_1"))

    def sealed(self, count: int = 1, **options: object) -> None:
        """Append entries, seal and anchor them."""
        self.append(count, **options)  # type: ignore[arg-type]
        self.keeper.seal()

    @property
    def keys(self) -> list[PublicKey]:
        """The keys that are trusted for the newest head."""
        return [pin.key for pin in self.keeper.sealer.state.pinned() if pin.until is None]


@pytest.fixture
def make_log(tmp_path: Path) -> Iterator[Callable[[str], Log]]:
    """A function that begins a log in a database."""
    made: list[Log] = []

    def make(url: str) -> Log:
        made.append(Log(url, tmp_path))
        return made[-1]

    yield make
    for log in made:
        log.database.close()


@pytest.fixture
def log(make_log: Callable[[str], Log], database_url: str) -> Log:
    """A log on SQLite, then on PostgreSQL."""
    return make_log(database_url)


@pytest.fixture
def small_log(make_log: Callable[[str], Log], tmp_path: Path) -> Log:
    """A log on SQLite alone."""
    return make_log(f"sqlite:///{tmp_path / 'flowstone.db'}")


def tell_of(flow: FlowStone) -> None:
    """Append the entries of all records that have none."""
    database = flow._deployment.services().database
    auditor = Auditor(begin_log(database, "laptop"), flow.settings.project)
    with database.reading() as connection:
        told = {(row.action, row.subject) for row in audit_questions.newest(connection, Wanted(), below=None, limit=10_000)}
        wanted = [(act, run) for act, run in every_act(connection) if (act.action, act.subject) not in told]
    with database.transaction() as tx:
        for act, run in wanted:
            who = {"actor": run["actor"], "identity": run["identity"], "run_id": run["id"]}
            auditor.append(tx, entry_of(act, at=database.now(), **who))
    with suppress(RollbackDetectedError):  # what is written is written; that it is not sealed is for verify to say
        flow.audit.seal()


def every_act(connection: Connection) -> Iterator[tuple[Act, dict[str, Any]]]:
    """What is to be told of the records that are there, with the run it is of."""
    runs = {row["id"]: row for row in audit_records.runs(connection)}
    for _, name, digest, text in audit_records.definitions(connection):
        yield acts.pipeline_changed(name, digest, text, {}), next(iter(runs.values()))
    for row in runs.values():
        yield acts.run_requested(row), row
    for made in audit_records.made_outputs(connection):
        record, run = made.record, runs[made.record.run_id]
        yield acts.succeeded(made.materialization, record, made.inputs, made.attempts), run
        if record.gone:
            yield acts.collected(record.asset, record.partition, [record.id], record.gone_at), run
    for row in audit_records.failed(connection):
        yield acts.failed(row.id, row.asset, row.partition, row.reason, row.message, row.attempts), runs[row.run_id]
    for _, hold in audit_records.holds(connection):
        yield acts.hold_added(hold), {"actor": hold.actor, "identity": hold.identity, "id": ""}
    for id, row in runs.items():
        yield acts.run_ended(id, row["status"], row["ended_at"], row["outcome"], audit_records.steps(connection, id)), row


@pytest.fixture
def tell() -> Callable[[FlowStone], None]:
    """A function that lets every record have its entry."""
    return tell_of
