"""Requests for approval and the votes on them: every change is made upon the version of the row that was seen."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import Connection, Select, Update, bindparam, literal_column, select, update

from flowstone.foundation.errors import NotFoundError
from flowstone.foundation.serialize import from_json, to_json
from flowstone.stores.database import Transaction
from flowstone.stores.records import ApprovalRecord, VoteRecord
from flowstone.stores.statements import beginning, inserting_once, numbering
from flowstone.stores.tables import approval, approval_vote

_add = inserting_once(approval)
_add_vote = numbering(approval_vote, once=True)
_FIELDS = ApprovalRecord.__struct_fields__
_columns = [approval.c[name] for name in _FIELDS]
_JSON = ("policy", "facts")
_CHANGING = (
    "status", "deadline", "next_at", "reminders", "escalated_at", "ended_at", "decided_by", "decided_identity", "reason",
    "policy",
)  # fmt: skip


def _locked() -> Select[Any]:
    return select(*_columns).where(approval.c.id == bindparam("wanted")).with_for_update()


def _locked_at() -> Select[Any]:
    place = (
        approval.c.project == bindparam("p"),
        approval.c.asset == bindparam("a"),
        approval.c.partition == bindparam("k"),
        approval.c.status == "pending",
    )
    return select(*_columns).where(*place).with_for_update()


def _locked_of_run() -> Select[Any]:
    mine = (approval.c.run_id == bindparam("r"), approval.c.status == "pending")
    return select(*_columns).where(*mine).order_by(approval.c.id).with_for_update()


def _move() -> Update:
    seen = (approval.c.id == bindparam("wanted"), approval.c.status == "pending", approval.c.version == bindparam("seen"))
    changes: dict[str, Any] = {name: bindparam(f"new_{name}") for name in _CHANGING}
    return update(approval).where(*seen).values(version=approval.c.version + 1, **changes)


def _votes() -> Select[Any]:
    return select(approval_vote).where(approval_vote.c.approval == bindparam("wanted")).order_by(approval_vote.c.id)


def add(tx: Transaction, values: Mapping[str, Any]) -> bool:
    """Add a request; ``False`` when the same asset and partition has an open one, or the id is taken."""
    return bool(tx.execute(_add, values).rowcount == 1)


def locked(tx: Transaction, id: str) -> ApprovalRecord | None:
    """The request as it is until the transaction ends."""
    row = tx.execute(_locked, {"wanted": id}).fetchone()
    return _record(row) if row is not None else None


def locked_at(tx: Transaction, project: str, asset: str, partition: str) -> ApprovalRecord | None:
    """The open request about an asset's partition, as it is until the transaction ends."""
    row = tx.execute(_locked_at, {"p": project, "a": asset, "k": partition}).fetchone()
    return _record(row) if row is not None else None


def locked_of_run(tx: Transaction, run_id: str) -> list[ApprovalRecord]:
    """The open requests of a run, as they are until the transaction ends."""
    return [_record(row) for row in tx.execute(_locked_of_run, {"r": run_id}).fetchall()]


def move(tx: Transaction, seen: ApprovalRecord, changes: Mapping[str, Any]) -> bool:
    """Change a pending request that is as it was *seen*; return whether this caller won."""
    values = {f"new_{name}": changes.get(name, _stored(seen, name)) for name in _CHANGING}
    return bool(tx.execute(_move, {"wanted": seen.id, "seen": seen.version, **values}).rowcount == 1)


def add_vote(tx: Transaction, values: Mapping[str, Any]) -> int | None:
    """Add a vote; ``None`` when that person, or that decision, is there already."""
    return tx.insert(_add_vote, values)


def votes_in(tx: Transaction, id: str) -> list[VoteRecord]:
    """The votes on a request, in their order."""
    return [VoteRecord(*_vote_values(row)) for row in tx.execute(_votes, {"wanted": id}).fetchall()]


def votes(connection: Connection, ids: Iterable[str]) -> dict[str, list[VoteRecord]]:
    """The votes on each of these requests, in their order."""
    found: dict[str, list[VoteRecord]] = {id: [] for id in ids}
    wanted = list(found)
    for begin in range(0, len(wanted), 500):
        query = (
            select(approval_vote).where(approval_vote.c.approval.in_(wanted[begin : begin + 500])).order_by(approval_vote.c.id)
        )
        for row in connection.execute(query):
            vote = VoteRecord(*_vote_values(row))
            found[vote.approval].append(vote)
    return found


def find(connection: Connection, project: str, id: str) -> ApprovalRecord:
    """The request with this id or unambiguous beginning of an id; raises :class:`NotFoundError`."""
    rows = list(connection.execute(select(*_columns).where(beginning(approval, project, id)).order_by(approval.c.id).limit(6)))
    found = [_record(row) for row in rows]
    exact = [record for record in found if record.id == id]
    if len(exact or found) == 1:
        return (exact or found)[0]
    if found:
        named = ", ".join(record.id for record in found[:5])
        raise NotFoundError(f"approval {id!r} is ambiguous: {named}", hint="give more of the id")
    raise NotFoundError(f"there is no approval {id!r} in project {project!r}", hint="flowstone approvals list --all")


def open_at(connection: Connection, project: str, asset: str, partition: str) -> ApprovalRecord | None:
    """The open request about an asset's partition."""
    place = (approval.c.project == project, approval.c.asset == asset, approval.c.partition == partition)
    row = connection.execute(select(*_columns).where(*place, approval.c.status == "pending")).first()
    return _record(row) if row is not None else None


def open_places(connection: Connection, project: str) -> set[tuple[str, str]]:
    """Every asset's partition that has an open request."""
    pending = (approval.c.project == project, approval.c.status == literal_column("'pending'"))  # as the partial index has it
    return {(row[0], row[1]) for row in connection.execute(select(approval.c.asset, approval.c.partition).where(*pending))}


def given(connection: Connection, project: str, asset: str, partition: str, digest: str) -> list[tuple[str, int]]:
    """The runs that were allowed to compute exactly what has this *digest*, and since when."""
    place = (approval.c.project == project, approval.c.asset == asset, approval.c.partition == partition)
    yes = (approval.c.kind == "before", approval.c.status == "approved", approval.c.digest == digest)
    return [(row[0], row[1]) for row in connection.execute(select(approval.c.run_id, approval.c.ended_at).where(*place, *yes))]


def listed(  # noqa: PLR0913 - all but two are filters with defaults
    connection: Connection,
    project: str,
    *,
    status: str | None = "pending",
    asset: str | None = None,
    partition: str | None = None,
    run_id: str | None = None,
    kind: str | None = None,
    output: str | None = None,
    since: int | None = None,
    until: int | None = None,
    limit: int | None = 50,
) -> list[ApprovalRecord]:
    """The requests that are wanted, the newest first; those that are pending the oldest first."""
    query = select(*_columns).where(approval.c.project == project).limit(limit)
    wanted = {"status": status, "asset": asset, "partition": partition, "run_id": run_id, "kind": kind, "output": output}
    for name, value in wanted.items():
        if value is not None:
            query = query.where(approval.c[name] == value)
    if since is not None:
        query = query.where(approval.c.requested_at >= since)
    if until is not None:
        query = query.where(approval.c.requested_at < until)
    at = approval.c.requested_at
    order = (at, approval.c.id) if status == "pending" else (at.desc(), approval.c.id.desc())
    return [_record(row) for row in connection.execute(query.order_by(*order))]


def asked_about(connection: Connection, project: str, assets: Iterable[str]) -> dict[str, str]:
    """Every output of these assets that people were asked about, and what became of that."""
    wanted, found = list(assets), dict[str, str]()
    for begin in range(0, len(wanted), 500):
        here = (approval.c.project == project, approval.c.kind == "after", approval.c.asset.in_(wanted[begin : begin + 500]))
        found |= {row[0]: row[1] for row in connection.execute(select(approval.c.output, approval.c.status).where(*here))}
    return found


def allowed(connection: Connection, project: str, assets: Iterable[str]) -> set[tuple[str, str, str]]:
    """Everything that people let be computed: asset, partition, and the digest of what it would be made from."""
    wanted, found = list(assets), set[tuple[str, str, str]]()
    columns = (approval.c.asset, approval.c.partition, approval.c.digest)
    for begin in range(0, len(wanted), 500):
        yes = (approval.c.project == project, approval.c.kind == "before", approval.c.status == "approved")
        query = select(*columns).where(*yes, approval.c.asset.in_(wanted[begin : begin + 500]))
        found |= {(row[0], row[1], row[2]) for row in connection.execute(query)}
    return found


def due(connection: Connection, project: str, now: int, id: str | None = None) -> list[ApprovalRecord]:
    """The pending requests, or the one with this *id*, for which the time of something has come."""
    late = (approval.c.project == project, approval.c.status == "pending", approval.c.next_at <= now)
    wanted = (approval.c.id == id,) if id is not None else ()
    return [_record(row) for row in connection.execute(select(*_columns).where(*late, *wanted).order_by(approval.c.next_at))]


def _record(row: Iterable[Any]) -> ApprovalRecord:
    values = dict(zip(_FIELDS, row, strict=True))
    return ApprovalRecord(**{name: from_json(value) if name in _JSON else value for name, value in values.items()})


def _stored(seen: ApprovalRecord, name: str) -> Any:
    from_record = getattr(seen, name)
    return to_json(from_record) if name in _JSON else from_record


def _vote_values(row: Iterable[Any]) -> list[Any]:
    id, on, decision, verdict, voter, identity, comment, digest, at, seen, signature, key = row
    return [id, on, decision, verdict, voter, identity, comment, digest, at, from_json(seen), signature, key]
