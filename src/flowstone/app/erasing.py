"""Erases outputs on purpose: the bytes go for good, the record, its digest and its lineage stay and say who asked and why."""

from __future__ import annotations

from typing import Any

import msgspec

from flowstone.app.collection import remove_bytes
from flowstone.app.found import Found
from flowstone.app.needs import Held
from flowstone.app.wiring import Deployment
from flowstone.approvals.eligibility import Person
from flowstone.assets.keys import decode_key, display_key
from flowstone.audit import acts
from flowstone.events.catalogue import OutputErased
from flowstone.execution import asking
from flowstone.execution.run import Actor
from flowstone.execution.services import Services
from flowstone.execution.settlement import OBSERVED
from flowstone.foundation.clock import as_datetime
from flowstone.foundation.errors import HeldError, StorageError, UsageError
from flowstone.ledger.lineage import walk
from flowstone.stores import approvals, holds, outputs, retention
from flowstone.stores.asking import Asked
from flowstone.stores.database import Connection, Transaction
from flowstone.stores.records import OutputRecord

ERASED = "erased"


class Erasure(msgspec.Struct, frozen=True, kw_only=True):
    """What an erasure takes with it."""

    outputs: list[OutputRecord]
    """The versions whose bytes go: those asked for, and those with the same bytes."""
    current: str
    """The id of the one that was current, and is withdrawn; empty when none was."""
    kept: list[OutputRecord]
    """Other versions of the same asset and partition that have bytes."""
    downstream: list[OutputRecord]
    """What was made from the erased bytes, and has bytes that may tell of them."""


class Erasing:
    """Erases outputs of one project."""

    def __init__(self, deployment: Deployment, found: Found, actor: Actor) -> None:
        self._deployment, self._found, self._actor = deployment, found, actor
        self._project = deployment.settings.project

    def plan(self, asset: str, partition: Any, output: str | None, *, all_versions: bool) -> Erasure:
        """What would go; raises :class:`HeldError` for what is held, :class:`UsageError` for what has no bytes to erase."""
        encoded, wanted = self._wanted(asset, partition, output)
        with self._deployment.reading().reading() as connection:
            versions = outputs.versions(connection, self._project, asset, encoded)
            current = outputs.current(connection, self._project, asset, encoded)
            chosen = versions if all_versions else [version for version in versions if version.id == wanted]
            if chosen[0].manager == OBSERVED:
                raise UsageError(f"{asset} is observed only: its bytes are not kept here", hint="erase them where they are")
            alike = [version for version in versions if _same_bytes(version, chosen)]
            gone = [version for version in alike if not version.gone]
            self._refuse_written(gone)
            free_or_raise(connection, self._project, gone)
            return Erasure(
                outputs=gone or [version for version in chosen if version.gone],
                current=current.id if current and current in gone else "",
                kept=[version for version in versions if not version.gone and version not in gone],
                downstream=_downstream(connection, alike),
            )

    def erase(self, planned: Erasure, reason: str) -> None:
        """Record that the outputs are erased, then remove their bytes; what was recorded before has its bytes removed again.

        Raises :class:`StorageError` when bytes could not be removed: the records stand, and the same call can be repeated.
        """
        services = self._deployment.services()
        now = services.database.now()
        with services.database.transaction() as tx:
            holds.guard(tx, self._project)
            free_or_raise(tx, self._project, planned.outputs)
            for output in planned.outputs:
                self._record(tx, services, output, reason, now)
        failed = remove_bytes(services.database, services.io, planned.outputs)
        if failed:
            output, error = failed[0]
            raise StorageError(
                f"{len(failed)} of {len(planned.outputs)} outputs are recorded as erased, but their bytes could not be removed: "
                f"{output.location}: {error.message}",
                hint="when the storage lets them go: erase them again, or flowstone db prune",
            )

    def _record(self, tx: Transaction, services: Services, output: OutputRecord, reason: str, now: int) -> None:
        self._void(tx, services, output, now)
        current = outputs.withdraw(tx, self._project, output.asset, output.partition, output.id)
        if retention.mark_gone(tx, output.id, ERASED, now):
            act = acts.erased(output, now, self._deployment.redactor.text(reason), was_current=current)
            services.audit.tell(tx, act, self._actor.who, now)
            tx.emit(
                OutputErased,
                at=now,
                asset=output.asset,
                partition=output.partition,
                output=output.id,
                digest=output.digest,
                size_bytes=output.size,
                was_current=current,
                reason=reason,
                actor=self._actor.id,
                identity=self._actor.source,
            )

    def _void(self, tx: Transaction, services: Services, output: OutputRecord, now: int) -> None:
        """End the open request about the output: nothing is left that people could approve."""
        asked = approvals.locked_at(tx, self._project, output.asset, output.partition)
        if asked is not None and asked.output == output.id:
            by = Person(self._actor.id, self._actor.source)
            asking.end(tx, services, asked, "invalidated", by, "the candidate was erased", now)

    def _refuse_written(self, gone: list[OutputRecord]) -> None:
        for output in gone:
            if not self._deployment.io.get(output.manager).versioned:
                raise UsageError(
                    f"{output.asset} was written by its own function: FlowStone does not delete {output.location}",
                    hint=f"delete it yourself, then: flowstone invalidate {output.asset}",
                )

    def _wanted(self, asset: str, partition: Any, output: str | None) -> tuple[str, str]:
        """The encoded partition and the output's id that a request means."""
        if output is not None:
            with self._deployment.reading().reading() as connection:
                named = outputs.one(connection, self._project, output)
            if named.asset != asset:
                raise UsageError(
                    f"output {named.id} is one of {named.asset}, not of {asset}", hint="name its asset, or another output"
                )
            return named.partition, named.id
        keys = [key for key in self._found.partitions(asset) if key]
        if partition is None and keys:
            example = f"for example --partition {display_key(decode_key(keys[0]))}"
            raise UsageError(f"asset {asset!r} has partitions: say which one to erase", hint=example)
        current = self._found.output(asset, partition)
        return current.partition, current.id


def free_or_raise(place: Asked, project: str, wanted: list[OutputRecord]) -> None:
    """Raise :class:`HeldError` when one of *wanted* is held."""
    held = Held.now(place, project)
    for output in wanted:
        hold = held.by(output)
        if hold is not None:
            since = as_datetime(hold.at).strftime("%Y-%m-%d %H:%M UTC")
            raise HeldError(
                f"{output.id} ({output.asset}, version {output.version}) is held by {hold.actor} since {since}: {hold.reason}",
                hint=f"when it is not needed any more: flowstone hold release {hold.id} --reason TEXT",
                hold=hold.id,
            )


def _same_bytes(version: OutputRecord, chosen: list[OutputRecord]) -> bool:
    """Whether *version* is one of *chosen* or keeps the bytes of one: equal files of one partition share their bytes."""
    told = (version.manager, version.digest), (version.manager, version.location)
    return any(told[0] == (c.manager, c.digest) or told[1] == (c.manager, c.location) for c in chosen)


def _downstream(connection: Connection, alike: list[OutputRecord]) -> list[OutputRecord]:
    """What was made from the same bytes, whichever version had them."""
    made: dict[str, OutputRecord] = {}
    for output in alike:
        made |= walk(connection, output, down=True).outputs
    return [output for output in made.values() if output not in alike and not output.gone]
