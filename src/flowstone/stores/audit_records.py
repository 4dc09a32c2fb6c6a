"""The records that the audit log tells of, in the order of their keys, a page at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, and_, exists, func, literal, or_, select, tuple_

from flowstone.foundation.serialize import from_json
from flowstone.stores.records import ApprovalRecord, HoldRecord, OutputRecord, VoteRecord
from flowstone.stores.tables import (
    approval,
    approval_vote,
    current_output,
    error_group,
    hold,
    lineage,
    materialization,
    output,
    pipeline,
    run,
)

PAGE = 1_000
TABLES = (output, materialization, current_output, lineage, run, hold, error_group, pipeline, approval, approval_vote)
"""The tables whose rows the log tells of."""

_FIELDS = OutputRecord.__struct_fields__
_RUN = ("id", "project", "pipeline", "definition", "status", "request", "plan", "provenance", "actor", "identity", "trace_id",
        "process", "outcome", "requested_at", "ended_at", "cancel_requested_at")  # fmt: skip


class MadeOutput(NamedTuple):
    """An output, whose it is, what went into it, and what its materialization says (number 0: there is none)."""

    project: str
    record: OutputRecord
    inputs: list[tuple[str, str]]
    materialization: int
    attempts: int
    later: int
    end: tuple[Any, ...]
    """How the materialization says that it has ended: status, output, reason, message, time of the next try."""


class Failed(NamedTuple):
    """A materialization that has failed for good."""

    id: int
    project: str
    run_id: str
    asset: str
    partition: str
    reason: str
    message: str
    attempts: int
    later: int
    output: str
    not_before: int | None


class AskedFor(NamedTuple):
    """A request for approval, what the step that asked says of itself, and how many votes have no signature."""

    record: ApprovalRecord
    step: tuple[Any, ...]
    """Status, reason, message, output."""
    unsigned: int


class Decided(NamedTuple):
    """A group of errors and the last decision about it."""

    project: str
    fingerprint: str
    status: str
    last_at: int
    decided_at: int | None
    decided_by: str
    identity: str
    reason: str


def _paged(connection: Connection, query: Select[Any], *keys: ColumnElement[Any]) -> Iterator[Sequence[Any]]:
    """The pages of *query*, whose first columns are *keys*, in their order."""
    ordered, key = query.order_by(*keys).limit(PAGE), tuple_(*keys) if len(keys) > 1 else keys[0]
    rows = connection.execute(ordered).all()
    while rows:
        yield rows
        last = tuple(rows[-1][: len(keys)])
        rows = connection.execute(ordered.where(key > (last if len(keys) > 1 else last[0]))).all()


def are_any(connection: Connection, project: str) -> bool:
    """Whether there is any record of *project*."""
    own = (select(literal(1)).where(table.c.project == project).limit(1) for table in TABLES if "project" in table.c)
    return any(connection.execute(query).scalar() for query in own)


def made_outputs(connection: Connection) -> Iterator[MadeOutput]:
    """Every output, in the order of the ids."""
    made_by = and_(
        materialization.c.run_id == output.c.run_id,
        materialization.c.asset == output.c.asset,
        materialization.c.partition == output.c.partition,
    )
    names = ("id", "attempts", "later", "status", "output", "reason", "message", "not_before")
    m = (materialization.c[name] for name in names)
    query = select(output.c.id, output.c.project, *m, *(output.c[name] for name in _FIELDS)).outerjoin(materialization, made_by)
    for page in _paged(connection, query, output.c.id):
        inputs = _inputs(connection, page[0][0], page[-1][0])
        for id, project, number, attempts, later, *rest in page:
            record = OutputRecord(**dict(zip(_FIELDS, rest[5:], strict=True)))
            yield MadeOutput(project, record, inputs.get(id, []), number or 0, attempts or 0, later or 0, tuple(rest[:5]))


def _inputs(connection: Connection, first: str, last: str) -> dict[str, list[tuple[str, str]]]:
    edges = select(lineage.c.downstream, lineage.c.parameter, lineage.c.upstream)
    span = (lineage.c.downstream >= first, lineage.c.downstream <= last)
    rows = connection.execute(edges.where(*span).order_by(lineage.c.downstream))
    return {key: [(edge[1], edge[2]) for edge in group] for key, group in groupby(rows, key=itemgetter(0))}


def stray_edges(connection: Connection) -> list[str]:
    """Outputs that something is said to have gone into, and that do not exist; the first ones."""
    query = select(lineage.c.downstream).where(~exists().where(output.c.id == lineage.c.downstream))
    return list(connection.execute(query.distinct().limit(PAGE)).scalars())


def empty_successes(connection: Connection) -> list[tuple[int, str, str]]:
    """Materializations that have succeeded without an output of their own: number, asset, output; the first ones."""
    own = (
        output.c.id == materialization.c.output,
        output.c.run_id == materialization.c.run_id,
        output.c.asset == materialization.c.asset,
        output.c.partition == materialization.c.partition,
    )
    query = select(materialization.c.id, materialization.c.asset, materialization.c.output)
    query = query.where(materialization.c.status == "success", ~exists().where(*own)).order_by(materialization.c.id).limit(PAGE)
    return [(int(row[0]), str(row[1]), str(row[2])) for row in connection.execute(query)]


def failed(connection: Connection) -> Iterator[Failed]:
    """The materializations that have failed, in the order of their numbers."""
    query = select(*(materialization.c[name] for name in Failed._fields)).where(materialization.c.status == "failed")
    for page in _paged(connection, query, materialization.c.id):
        yield from map(Failed._make, page)


def current(connection: Connection) -> Iterator[tuple[str, str, str, str]]:
    """Every pointer: project, asset, partition, output."""
    c = current_output.c
    for page in _paged(connection, select(c.project, c.asset, c.partition, c.output), c.project, c.asset, c.partition):
        yield from page


def partition_of(connection: Connection, id: str) -> str | None:
    """The partition of an output."""
    return connection.execute(select(output.c.partition).where(output.c.id == id)).scalar()


def runs(connection: Connection) -> Iterator[dict[str, Any]]:
    """Every run, with its plan and what else is JSON as the text it is, in the order of the ids."""
    for page in _paged(connection, select(*(run.c[name] for name in _RUN)), run.c.id):
        yield from (dict(zip(_RUN, row, strict=True)) for row in page)


def steps(connection: Connection, run_id: str) -> list[tuple[int, str, int, int, str, str]]:
    """A run's materializations: number, status, attempts, later, reason, output."""
    names = ("id", "status", "attempts", "later", "reason", "output")
    query = select(*(materialization.c[name] for name in names)).where(materialization.c.run_id == run_id)
    return [tuple(row) for row in connection.execute(query)]


def holds(connection: Connection) -> Iterator[tuple[str, HoldRecord]]:
    """Every hold with its project, in the order of the ids."""
    names = HoldRecord.__struct_fields__
    for page in _paged(connection, select(hold.c.id, hold.c.project, *(hold.c[name] for name in names)), hold.c.id):
        yield from ((row[1], HoldRecord(**dict(zip(names, row[2:], strict=True)))) for row in page)


def groups(connection: Connection) -> Iterator[Decided]:
    """Every group of errors, in the order of project and fingerprint."""
    query = select(*(error_group.c[name] for name in Decided._fields))
    for page in _paged(connection, query, error_group.c.project, error_group.c.fingerprint):
        yield from map(Decided._make, page)


def definitions(connection: Connection) -> Iterator[tuple[str, str, str, str]]:
    """Every version of a definition: project, pipeline, digest, and its text."""
    p = pipeline.c
    for page in _paged(connection, select(p.project, p.name, p.digest, p.definition), p.project, p.name, p.digest):
        yield from page


def requests(connection: Connection) -> Iterator[AskedFor]:
    """Every request for approval, in the order of the ids."""
    names = ApprovalRecord.__struct_fields__
    m, own = materialization.c, materialization.c.id == approval.c.materialization
    mine = (approval_vote.c.approval == approval.c.id, approval_vote.c.signature == "")
    unsigned = select(func.count()).where(*mine).scalar_subquery()
    query = select(*(approval.c[name] for name in names), unsigned, m.status, m.reason, m.message, m.output)
    for page in _paged(connection, query.outerjoin(materialization, own), approval.c.id):
        for values in page:
            row = dict(zip(names, values, strict=False))
            read = {name: _read(row[name]) for name in ("policy", "facts")}
            yield AskedFor(ApprovalRecord(**{**row, **read}), tuple(values[len(names) + 1 :]), values[len(names)])


def votes(connection: Connection) -> Iterator[tuple[str, VoteRecord]]:
    """Every vote with its project, in the order of request and decision."""
    v, names = approval_vote.c, VoteRecord.__struct_fields__
    query = select(v.approval, v.decision, approval.c.project, *(v[name] for name in names))
    for page in _paged(connection, query.outerjoin(approval, approval.c.id == v.approval), v.approval, v.decision):
        for _, _, project, *values in page:
            row = dict(zip(names, values, strict=True))
            yield project or "", VoteRecord(**{**row, "seen": _read(row["seen"])})


def _read(text: str) -> dict[str, Any]:
    """The object in a text of JSON; what is none was put there past FlowStone, and is compared as the text it is."""
    try:
        found = from_json(text)
    except ValueError:
        return {"": text}
    return found if isinstance(found, dict) else {"": text}


def stray_waits(connection: Connection) -> list[tuple[int, str, str]]:
    """Materializations that wait for people, or end as people said, without a request that is so; the first ones."""
    m, expected = materialization.c, {"waiting": "pending", "rejected": "rejected", "expired": "expired"}
    place = (approval.c.project == m.project, approval.c.asset == m.asset, approval.c.partition == m.partition)
    wrong = [and_(m.status == step, ~exists().where(*place, approval.c.status == status)) for step, status in expected.items()]
    rows = connection.execute(select(m.id, m.asset, m.status).where(or_(*wrong)).order_by(m.id).limit(PAGE))
    return [(int(row[0]), str(row[1]), str(row[2])) for row in rows]
