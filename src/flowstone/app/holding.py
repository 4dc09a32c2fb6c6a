"""Adds and releases holds, each with who and why."""

from __future__ import annotations

from typing import Any

from flowstone.app.found import Found
from flowstone.app.wiring import Deployment
from flowstone.audit import acts
from flowstone.events.catalogue import HoldAdded, HoldReleased
from flowstone.execution.run import Actor
from flowstone.foundation.clock import as_datetime
from flowstone.foundation.errors import MissingOutputError, UsageError
from flowstone.stores import holds, outputs, retention, runs
from flowstone.stores.database import Transaction
from flowstone.stores.records import HoldRecord


class Holding:
    """The holds of one project."""

    def __init__(self, deployment: Deployment, found: Found, actor: Actor) -> None:
        self._deployment, self._found, self._actor = deployment, found, actor
        self._project = deployment.settings.project

    def add(self, asset: str | None, partition: Any, output: str | None, run_id: str | None, reason: str) -> HoldRecord:
        """Hold an asset, one of its partitions, an output or a run."""
        if sum(given is not None for given in (asset, output, run_id)) != 1:
            raise UsageError("a hold is on an asset, on an output or on a run", hint="name one of them")
        if partition is not None and asset is None:
            raise UsageError("a partition belongs to an asset", hint="name the asset")
        what = self._meant(asset, partition, output, run_id)
        services = self._deployment.services()
        record = HoldRecord(
            id=services.ids.new("hold"), reason=services.dispatcher.redactor.text(said(reason)), actor=self._actor.id,
            identity=self._actor.source, at=services.database.now(), released_at=None, released_by="", **what,
        )  # fmt: skip
        with services.database.transaction() as tx:
            holds.guard(tx, self._project)
            if record.output:
                _refuse_gone(tx, record.output)
            holds.add(tx, self._project, record)
            services.audit.tell(tx, acts.hold_added(record), self._actor.who, record.at)
            tx.emit(HoldAdded, at=record.at, reason=record.reason, **self._told(record))
        return record

    def every(self, *, released: bool) -> list[HoldRecord]:
        """The holds in force, or with *released* all there were, oldest first."""
        with self._deployment.reading().reading() as connection:
            return holds.every(connection, self._project) if released else holds.active(connection, self._project)

    def release(self, id: str, reason: str) -> HoldRecord:
        """Release a hold; raises :class:`UsageError` when it was released before."""
        said(reason)
        with self._deployment.reading().reading() as connection:
            record = holds.find(connection, self._project, id)
        services = self._deployment.services()
        now = services.database.now()
        with services.database.transaction() as tx:
            if record.released_at is None and holds.release(tx, self._project, record.id, self._actor.id, now):
                act = acts.hold_released(record.id, now, services.dispatcher.redactor.text(reason))
                services.audit.tell(tx, act, self._actor.who, now)
                tx.emit(HoldReleased, at=now, reason=reason, **self._told(record))
                return record
        with services.database.reading() as connection:
            record = holds.find(connection, self._project, record.id)
        when = as_datetime(record.released_at or 0).strftime("%Y-%m-%d %H:%M UTC")
        raise UsageError(f"{record.id} was released by {record.released_by} on {when}", hint="flowstone hold list")

    def _meant(self, asset: str | None, partition: Any, output: str | None, run_id: str | None) -> dict[str, str]:
        nothing = {"asset": "", "partition": "", "output": "", "run_id": ""}
        if asset is not None:
            self._found.partitions(asset)  # raises for an unknown asset
            encoded = "" if partition is None else self._found.partition(asset, partition)
            return {**nothing, "asset": asset, "partition": encoded}
        with self._deployment.reading().reading() as connection:
            if run_id is not None:
                return {**nothing, "run_id": runs.find(connection, self._project, run_id).id}
            record = outputs.one(connection, self._project, str(output))
        return {**nothing, "asset": record.asset, "partition": record.partition, "output": record.id}

    def _told(self, record: HoldRecord) -> dict[str, str]:
        return {
            "hold": record.id, "asset": record.asset, "partition": record.partition, "output": record.output,
            "held_run": record.run_id, "actor": self._actor.id, "identity": self._actor.source,
        }  # fmt: skip


def said(reason: str) -> str:
    """The reason, if there is one; raises :class:`UsageError` for blank text and more than 1,000 characters."""
    if not reason.strip() or len(reason) > 1_000:
        raise UsageError("a reason of 1 to 1,000 characters is needed", hint="--reason 'why it is kept, or why it goes'")
    return reason


def _refuse_gone(tx: Transaction, id: str) -> None:
    gone, at = retention.gone(tx, id)
    if gone:
        when = as_datetime(at).strftime("%Y-%m-%d")
        raise MissingOutputError(
            f"the bytes of {id} are gone: {gone} on {when}", hint="flowstone outputs list shows what is there"
        )
