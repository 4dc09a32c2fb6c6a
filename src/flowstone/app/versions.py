"""Lists outputs: every version there is or was, which of them is current, and what holds it."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import msgspec

from flowstone.app.approval_policy import without_approval as ungated
from flowstone.app.found import Found
from flowstone.app.needs import Held
from flowstone.app.wiring import Deployment
from flowstone.foundation.errors import UsageError
from flowstone.stores import approvals, outputs, pipelines, retention
from flowstone.stores.database import Connection
from flowstone.stores.records import HoldRecord, OutputRecord

Which = Literal["kept", "gone", "all"]
WHICH = ("kept", "gone", "all")


class Version(msgspec.Struct, frozen=True):
    """One output, whether it is the current one, and the hold that keeps it."""

    output: OutputRecord
    current: bool
    hold: HoldRecord | None
    asked: str = ""
    """What has become of the request for approval of it; empty where nobody was asked."""


class Wanted(NamedTuple):
    """Which outputs are listed: of an asset and a partition, in what state, stored when, and how many at most."""

    asset: str | None
    partition: Any
    which: Which
    limit: int
    since: int | None = None
    until: int | None = None
    without_approval: bool = False
    """Only those that became current and nobody had approved, of the asset, or of every asset that has a gate or had one."""


def versions(deployment: Deployment, found: Found, wanted: Wanted) -> list[Version]:
    """The outputs that are wanted, by asset and partition, the newest version first."""
    asset, partition, which = wanted[:3]
    if which not in WHICH:
        raise UsageError(f"outputs {which!r} is not known", hint=f"one of {', '.join(WHICH)}")
    if asset is None and partition is not None:
        raise UsageError("a partition belongs to an asset", hint="name the asset")
    if asset is not None:
        found.partitions(asset)  # raises for an unknown asset
    encoded = found.partition(asset, partition) if asset is not None and partition is not None else None
    project = deployment.settings.project
    with deployment.reading().reading() as connection:
        listed = (_ungated if wanted.without_approval else _listed)(connection, project, wanted, encoded)
        current = {record.id for record in outputs.current_of(connection, project, {record.asset for record in listed}).values()}
        held = Held.now(connection, project)
        asked = approvals.asked_about(connection, project, {record.asset for record in listed})
    return [Version(output, output.id in current, held.by(output), asked.get(output.id, "")) for output in listed]


def _listed(connection: Connection, project: str, wanted: Wanted, partition: str | None) -> list[OutputRecord]:
    bounds = {"since": wanted.since, "until": wanted.until}
    return retention.listed(connection, project, wanted.asset, partition, wanted.which, wanted.limit, **bounds)


def _ungated(connection: Connection, project: str, wanted: Wanted, partition: str | None) -> list[OutputRecord]:
    """Those that became current and nobody had approved."""
    names = [wanted.asset] if wanted.asset is not None else sorted(pipelines.ever_gated(connection, project))
    bounds = {"since": wanted.since, "until": wanted.until}
    every = (retention.listed(connection, project, name, partition, wanted.which, None, **bounds) for name in names)
    return [record for one in every for record in ungated(connection, project, one)][: wanted.limit]
