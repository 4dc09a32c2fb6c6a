"""Groups of errors: each error is counted in its group, each decision about a group is made once and told."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import msgspec
from sqlalchemy import Connection

from flowstone.events.catalogue import (
    ErrorGroupMuted,
    ErrorGroupOpened,
    ErrorGroupRegressed,
    ErrorGroupReopened,
    ErrorGroupResolved,
)
from flowstone.foundation.texts import cut
from flowstone.stores import error_groups, errors, pipelines
from flowstone.stores.database import Transaction
from flowstone.stores.error_groups import EXAMINED, Member
from flowstone.stores.records import ErrorGroupRecord, ErrorRecord

SHOWN = 5  # of its newest errors
NEWEST = 100  # of them are asked for the assets of a group in a list
MESSAGE = 1_000  # characters kept of the newest error's


class ErrorGroupView(msgspec.Struct, frozen=True, kw_only=True):
    """A group of errors, where its newest errors arose, and the newest of them."""

    group: ErrorGroupRecord
    members: list[Member]
    """Assets, partitions and versions of the code, each combination once, the newest first."""
    examined: int
    """How many of the newest errors *members* counts."""
    newest: list[ErrorRecord]


def record(tx: Transaction, project: str, values: Mapping[str, Any], trace_id: str) -> None:
    """Count the error of *values*, a row of the table, in its group when *tx* ends: one that is new or was resolved opens."""
    tx.before_commit(values["fingerprint"], partial(_count, project=project, values=values, trace_id=trace_id))


def cure(tx: Transaction, project: str, run_id: str, asset: str, partition: str, attempt: int) -> int:
    """Note that *attempt* cured the errors of earlier ones, in their groups too; return how many."""
    found = errors.cure(tx, run_id, asset, partition, attempt)
    for fingerprint, count in found.items():
        tx.before_commit(fingerprint, partial(error_groups.cure, project=project, fingerprint=fingerprint, more=count))
    return sum(found.values())


def decide(
    tx: Transaction, project: str, group: ErrorGroupRecord, status: str, *, at: int, actor: str, identity: str, reason: str
) -> bool:
    """Give the group another status; ``False`` when it has moved since it was read. *reason* is redacted already."""
    decision = (at, actor, identity, reason) if status != "open" else (None, "", "", "")
    if not error_groups.decide(tx, project, group, status, *decision):
        return False
    told = {
        "at": at, "fingerprint": group.fingerprint, "type": group.type, "asset": group.asset,
        "actor": actor, "identity": identity, "reason": reason,
    }  # fmt: skip
    match status:
        case "resolved":
            tx.emit(ErrorGroupResolved, **told)
        case "muted":
            tx.emit(ErrorGroupMuted, **told)
        case _:
            tx.emit(ErrorGroupReopened, **told)
    return True


def view(connection: Connection, project: str, id: str) -> ErrorGroupView:
    """The group with this id, or the beginning of it, and what its newest errors have to do with."""
    group = error_groups.find(connection, project, id)
    members = error_groups.members(connection, project, group.fingerprint, EXAMINED)
    newest = errors.read(connection, project, fingerprint=group.fingerprint, limit=SHOWN)
    examined = sum(member.errors for member in members)
    return ErrorGroupView(group=group, members=members, examined=examined, newest=with_tries(connection, newest))


def listed(connection: Connection, project: str, *, status: str | None, asset: str | None, limit: int) -> list[ErrorGroupRecord]:
    """The groups with the newest errors first, each with the assets of its newest errors."""
    found = []
    for group in error_groups.read(connection, project, status=status, asset=asset, limit=limit):
        members = error_groups.members(connection, project, group.fingerprint, NEWEST)
        assets = list(dict.fromkeys(member.asset for member in members if member.asset))
        found.append(msgspec.structs.replace(group, assets=assets))
    return found


def with_tries(connection: Connection, found: Iterable[ErrorRecord]) -> list[ErrorRecord]:
    """*found*, each with how many attempts its asset had by the definition its run was requested with."""
    found = list(found)
    runs = pipelines.of_runs(connection, {error.run_id for error in found})
    allowed = {run_id: {asset.name: asset.retries.attempts for asset in assets} for run_id, assets in runs.items()}
    return [msgspec.structs.replace(e, tries=allowed.get(e.run_id, {}).get(e.asset, 0)) for e in found]


def _count(tx: Transaction, *, project: str, values: Mapping[str, Any], trace_id: str) -> None:
    newest = {
        "type": values["type"], "message": cut(values["message"], MESSAGE), "asset": values["asset"],
        "last_error": values["id"], "last_at": values["at"],
    }  # fmt: skip
    told = {
        "at": values["at"], "run_id": values["run_id"], "trace_id": trace_id, "fingerprint": values["fingerprint"],
        "type": values["type"], "asset": values["asset"], "error": values["id"], "message": newest["message"],
    }  # fmt: skip
    if error_groups.begin(tx, project, values["fingerprint"], newest):
        tx.emit(ErrorGroupOpened, **told)
        return
    before = error_groups.count(tx, project, values["fingerprint"], newest)
    if before.status == "resolved":
        tx.emit(ErrorGroupRegressed, resolved_at=before.decided_at or 0, **told)
