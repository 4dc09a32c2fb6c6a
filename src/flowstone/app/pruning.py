"""Removes what retention does not keep: superseded outputs, old records of ended runs, and files nothing refers to.

Each transaction is small, so that others go on, and has an event of its own: a prune may be killed at any moment.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from flowstone.app.collection import Collection, batches
from flowstone.app.metrics import Fold
from flowstone.app.orphans import Orphans
from flowstone.app.wiring import Deployment
from flowstone.audit import acts
from flowstone.events.catalogue import DbPruned
from flowstone.execution.run import Actor
from flowstone.foundation.clock import DAY
from flowstone.stores import notifications, pruning
from flowstone.stores.cursors import places
from flowstone.stores.database import Transaction
from flowstone.stores.pruning import EVENTS, LINES, Amount, Kind, Limits

PROCESSES_KEPT = DAY
ROWS = 5_000


class Pruned(NamedTuple):
    """How much of one kind went, or would go."""

    kind: str
    removed: int
    bytes: int


class Prune:
    """One prune of one project."""

    def __init__(self, deployment: Deployment, actor: Actor, *, dry_run: bool) -> None:
        self._deployment, self._actor, self._dry = deployment, actor, dry_run
        settings = deployment.settings
        deployment.reading()  # a database that is not there is not created for this
        self._services = deployment.previewing() if dry_run else deployment.services()
        self._database = self._services.database
        self._now, self._project, self._keep = self._database.now(), settings.project, settings.retention
        self._folder, self._most = settings.outputs.path, settings.metrics.max_series

    def run(self) -> list[Pruned]:
        """Do it, or with *dry_run* only count; each kind in a fixed order."""
        collection = Collection(self._services, self._keep.outputs, self._actor.who)
        parts = {
            "outputs": collection.would_go() if self._dry else collection.everywhere(),
            "events": self._rows(EVENTS, self._keep.events),
            "logs": self._rows(LINES, self._keep.logs),
            "errors": self._errors(self._keep.errors),
            "messages": self._messages(self._keep.events),
            "processes": self._processes(),
            "files": self._files(),
        }
        return [Pruned(kind, *amount) for kind, amount in parts.items()]

    def _rows(self, kind: Kind, kept: int | None) -> Amount:
        if kept is None:
            return Amount(0, 0)
        cutoff, found = self._now - kept, []
        limits = Limits(cutoff, **(self._folded() if kind is EVENTS else {}))
        with self._database.reading() as connection:
            windows = pruning.windows(connection, kind, cutoff)
        for window in windows:
            with self._database.reading() as connection:
                amount = pruning.old(connection, kind, self._project, limits, window)
            if amount.rows and not self._dry:
                with self._database.transaction() as tx:
                    amount = Amount(pruning.delete_old(tx, kind, self._project, limits, window), amount.bytes)
                    if amount.rows:
                        self._tell(tx, kind.name, amount, cutoff)
            found.append(amount)
        return _sum(found)

    def _folded(self) -> dict[str, int]:
        """Which events are in the metrics, which is all that can be there now: no other may go."""
        done = None if self._dry else Fold(self._database, self._project, self._most).run(must_store=True)
        with self._database.reading() as connection:
            order = places(connection)
            return order.bounds(order.end() if done is None else done.until)

    def _errors(self, kept: int | None) -> Amount:
        if kept is None:
            return Amount(0, 0)
        cutoff = self._now - kept
        with self._database.reading() as connection:
            found = pruning.runs_with_errors(connection, self._project, cutoff)
        if self._dry:
            return _sum([amount for _, amount in found])
        done = []
        for batch in _filled(found, ROWS):
            size = sum(amount.bytes for _, amount in batch)
            with self._database.transaction() as tx:
                removed = sum(pruning.delete_errors(tx, self._project, run_id, cutoff) for run_id, _ in batch)
                done.append(Amount(removed, size))
                if removed:
                    self._tell(tx, "errors", done[-1], cutoff)
        return _sum(done)

    def _messages(self, kept: int | None) -> Amount:
        if kept is None:
            return Amount(0, 0)
        cutoff, removed = self._now - kept, 0
        with self._database.reading() as connection:
            old = notifications.ended(connection, self._project, cutoff)
        while removed < old and not self._dry:
            with self._database.transaction() as tx:
                count = notifications.delete_ended(tx, self._project, cutoff, ROWS)
                if not count:
                    break
                self._tell(tx, "messages", Amount(count, 0), cutoff)
            removed += count
        return Amount(old if self._dry else removed, 0)

    def _processes(self) -> Amount:
        cutoff = self._now - PROCESSES_KEPT
        with self._database.reading() as connection:
            found = pruning.ended_processes(connection, cutoff)
        if self._dry:
            return Amount(len(found), 0)
        removed = 0
        for batch in batches(found, ROWS):
            with self._database.transaction() as tx:
                count = sum(pruning.delete_process(tx, id) for id in batch)
                self._tell(tx, "processes", Amount(count, 0), cutoff)
            removed += count
        return Amount(removed, 0)

    def _files(self) -> Amount:
        orphans = Orphans(self._folder, self._database, self._now)
        if self._dry:
            return _sum([Amount(1, file.size) for file in orphans.found()])
        done = []
        for batch in batches(orphans.found(), ROWS):
            done.append(Amount(len(batch), sum(file.size for file in batch)))
            with self._database.transaction() as tx:
                self._tell(tx, "files", done[-1], 0)
            for file in batch:
                with contextlib.suppress(FileNotFoundError):
                    Path(self._folder, file.location).unlink()
        return _sum(done)

    def _tell(self, tx: Transaction, kind: str, amount: Amount, before: int) -> None:
        rows, size, who = amount.rows, amount.bytes, self._actor.who
        self._services.audit.tell(tx, acts.db_pruned(kind, rows, size, before), who, self._database.now())
        by = {"actor": who.actor, "identity": who.identity}
        tx.emit(DbPruned, kind=kind, removed=rows, size_bytes=size, before=before, **by)


def _sum(amounts: list[Amount]) -> Amount:
    return Amount(sum(amount.rows for amount in amounts), sum(amount.bytes for amount in amounts))


def _filled(found: list[tuple[str, Amount]], rows: int) -> Iterator[list[tuple[str, Amount]]]:
    """The runs in lists of at least one and, where they are small, about *rows* rows."""
    batch: list[tuple[str, Amount]] = []
    for item in found:
        batch.append(item)
        if sum(amount.rows for _, amount in batch) >= rows:
            yield batch
            batch = []
    if batch:
        yield batch
