"""Collects superseded outputs: first the fact is committed with its event, then the bytes go.

A process killed in between leaves a file that nothing refers to; the next prune removes it. Records, digests and lineage stay.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator
from itertools import groupby, islice
from typing import TypeVar

from flowstone.app.needs import Needs
from flowstone.audit import acts
from flowstone.audit.recorder import Who
from flowstone.events.catalogue import OutputsCollected
from flowstone.execution.services import Services
from flowstone.execution.session import as_output
from flowstone.foundation.errors import FlowStoneError
from flowstone.io_managers import IOManagers
from flowstone.stores import holds, retention
from flowstone.stores.database import Database, Transaction
from flowstone.stores.pruning import Amount
from flowstone.stores.records import OutputRecord
from flowstone.stores.retention import Superseded

BATCH = 500  # outputs of one transaction
COLLECTED = "collected"
log = logging.getLogger("flowstone.collection")
T = TypeVar("T")


class Collection:
    """Collects the outputs of one project beyond *keep* versions; with ``None`` it collects nothing. *who* has it done."""

    def __init__(self, services: Services, keep: int | None, who: Who) -> None:
        self._project, self._database, self._io, self._audit = services.project, services.database, services.io, services.audit
        self._keep, self._who = keep, who

    def after(self, run_id: str) -> Amount:
        """Collect what a run that has ended superseded. Never fails the run: what goes wrong is logged and left to a prune."""
        if self._keep is None:
            return Amount(0, 0)
        try:
            with self._database.reading() as connection:
                found = retention.superseded_by(connection, self._project, run_id, self._keep)
            return self._collect(found)
        except Exception as error:  # noqa: BLE001 - the run has ended well, whatever happens here
            log.warning("superseded outputs could not be collected after %s: %s", run_id, error)
            return Amount(0, 0)

    def everywhere(self) -> Amount:
        """Collect at every asset and partition."""
        return self._collect(self._all())

    def would_go(self) -> Amount:
        """What :meth:`everywhere` would collect now."""
        with self._database.reading() as connection:
            needs = Needs(connection, self._project)
        free = [old.output.size for old in self._all() if self._can_go(old) and not needs.has(old)]
        return Amount(len(free), sum(free))

    def _all(self) -> Iterator[Superseded]:
        if self._keep is None:
            return
        last: tuple[str, str] | None = None
        while True:
            with self._database.reading() as connection:
                found = retention.places(connection, self._project, self._keep, last, BATCH)
                old = [item for place in found for item in retention.superseded_at(connection, self._project, place, self._keep)]
            yield from old
            if not found:
                return
            last = (found[-1].asset, found[-1].partition)

    def _can_go(self, old: Superseded) -> bool:
        return old.output.manager in self._io and self._io.get(old.output.manager).versioned

    def _collect(self, found: Iterable[Superseded]) -> Amount:
        rows = size = 0
        for batch in batches((old for old in found if self._can_go(old)), BATCH):
            with self._database.transaction() as tx:
                holds.guard(tx, self._project)
                gone = self._mark(tx, batch)
            remove_bytes(self._database, self._io, gone)
            rows, size = rows + len(gone), size + sum(output.size for output in gone)
        return Amount(rows, size)

    def _mark(self, tx: Transaction, batch: list[Superseded]) -> list[OutputRecord]:
        needs, now = Needs(tx, self._project), self._database.now()
        free = [old.output for old in batch if not needs.has(old)]
        gone = [output for output in free if retention.mark_gone(tx, output.id, COLLECTED, now)]
        for (asset, partition), group in groupby(gone, key=lambda output: (output.asset, output.partition)):
            outputs = list(group)
            act = acts.collected(asset, partition, [output.id for output in outputs], now)
            self._audit.tell(tx, act, self._who, now)
            tx.emit(
                OutputsCollected,
                at=now,
                asset=asset,
                partition=partition,
                versions=ranges(output.version for output in outputs),
                outputs=len(outputs),
                size_bytes=sum(output.size for output in outputs),
            )
        return gone


def remove_bytes(database: Database, io: IOManagers, gone: list[OutputRecord]) -> list[tuple[OutputRecord, FlowStoneError]]:
    """Remove the bytes of outputs that are recorded as gone, where no other output has them; return what could not be removed."""
    shared: set[str] = set()
    for manager in {output.manager for output in gone}:
        strange = [output.location for output in gone if output.manager == manager and not _is_own(output)]
        if strange:
            with database.reading() as connection:
                shared |= retention.still_needed(connection, manager, strange)
    failed: list[tuple[OutputRecord, FlowStoneError]] = []
    for output in gone:
        if output.location not in shared:
            try:
                io.get(output.manager).delete(as_output(output))
            except FlowStoneError as error:
                log.warning("the bytes of %s could not be removed: %s", output.id, error.message)
                failed.append((output, error))
    return failed


def _is_own(output: OutputRecord) -> bool:
    """Whether the location names the output, so that no other output can have it."""
    return output.id.removeprefix("out_") in output.location


def ranges(versions: Iterable[int]) -> str:
    """Ascending numbers as text: ``1-3,7``."""
    parts: list[list[int]] = []
    for version in versions:
        if parts and parts[-1][-1] == version - 1:
            parts[-1][1:] = [version]
        else:
            parts.append([version])
    return ",".join("-".join(map(str, part)) for part in parts)


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of at most *size*."""
    remaining = iter(items)
    while batch := list(islice(remaining, size)):
        yield batch
