"""Lists outputs: every version there is or was, which of them is current, and what holds it."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from flowstone.app.found import Found
from flowstone.app.needs import Held
from flowstone.app.wiring import Deployment
from flowstone.foundation.errors import UsageError
from flowstone.stores import outputs, retention
from flowstone.stores.records import HoldRecord, OutputRecord

Which = Literal["kept", "gone", "all"]
WHICH = ("kept", "gone", "all")


class Version(msgspec.Struct, frozen=True):
    """One output, whether it is the current one, and the hold that keeps it."""

    output: OutputRecord
    current: bool
    hold: HoldRecord | None


def versions(deployment: Deployment, found: Found, asset: str | None, partition: Any, which: Which, limit: int) -> list[Version]:
    """At most *limit* outputs by asset and partition, the newest version first."""
    if which not in WHICH:
        raise UsageError(f"outputs {which!r} is not known", hint=f"one of {', '.join(WHICH)}")
    if asset is None and partition is not None:
        raise UsageError("a partition belongs to an asset", hint="name the asset")
    if asset is not None:
        found.partitions(asset)  # raises for an unknown asset
    encoded = found.partition(asset, partition) if asset is not None and partition is not None else None
    project = deployment.settings.project
    with deployment.reading().reading() as connection:
        listed = retention.listed(connection, project, asset, encoded, which, limit)
        current = {record.id for record in outputs.current_of(connection, project, {record.asset for record in listed}).values()}
        held = Held.now(connection, project)
    return [Version(output, output.id in current, held.by(output)) for output in listed]
