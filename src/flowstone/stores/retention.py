"""Which outputs newer versions have replaced, who still needs them, and the mark of those whose bytes are gone.

An output is *superseded* when its asset and partition have at least as many newer versions as are kept. Pointers, runs, holds
and approvals decide about the rest; rows are never deleted.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, Update, and_, bindparam, func, or_, select, tuple_, update

from flowstone.stores.asking import Asked, ask
from flowstone.stores.database import Transaction
from flowstone.stores.records import OutputRecord
from flowstone.stores.tables import approval, current_output, materialization, output, process, run

LOOK_BACK = 50  # versions a run's own collection looks at; older ones that were kept for a reason are left to the prune
WITHOUT_BYTES = "observed"
ACTIVE = ("requested", "running", "waiting")

_FIELDS = OutputRecord.__struct_fields__
_newer, _next = output.alias("newer"), output.alias("next")


class Superseded(NamedTuple):
    """An output that newer versions have replaced, and when the first of them did."""

    output: OutputRecord
    at: int


class ActiveRun(NamedTuple):
    """A run that has not ended; ``plan`` is the stored text."""

    id: str
    status: str
    requested_at: int
    plan: str


class Place(NamedTuple):
    """An asset's partition and its newest version."""

    asset: str
    partition: str
    newest: int


def _superseded() -> Select[Any]:
    """Present outputs that are not current, nor approved or asked about, each with the time of its successor."""
    after = (
        _next.c.project == output.c.project,
        _next.c.asset == output.c.asset,
        _next.c.partition == output.c.partition,
        _next.c.version == output.c.version + 1,
    )
    pointed = select(current_output.c.output).where(
        current_output.c.project == output.c.project,
        current_output.c.asset == output.c.asset,
        current_output.c.partition == output.c.partition,
        current_output.c.output == output.c.id,
    )
    asked = select(approval.c.id).where(
        approval.c.project == output.c.project,
        approval.c.asset == output.c.asset,
        approval.c.partition == output.c.partition,
        approval.c.output == output.c.id,
        approval.c.status.in_(("pending", "approved")),
    )
    columns = [output.c[name] for name in _FIELDS]
    made = select(_next.c.created_at).where(*after).scalar_subquery()
    return select(*columns, made.label("superseded_at")).where(
        output.c.gone == "", output.c.manager != WITHOUT_BYTES, ~pointed.exists(), ~asked.exists()
    )


def superseded_by(connection: Connection, project: str, run_id: str, keep: int) -> list[Superseded]:
    """The outputs beyond *keep* versions at the places where *run_id* made a new one; looks a bounded number of versions back."""
    last = _newer.c.version - keep
    same = (_newer.c.project == output.c.project, _newer.c.asset == output.c.asset, _newer.c.partition == output.c.partition)
    query = (
        _superseded()
        .join(_newer, and_(*same))
        .join(materialization, materialization.c.output == _newer.c.id)
        .where(
            materialization.c.run_id == run_id,
            materialization.c.status == "success",
            _newer.c.project == project,
            _newer.c.run_id == run_id,
            _newer.c.version > keep,
            output.c.version <= last,
            output.c.version > last - LOOK_BACK,
        )
        .order_by(output.c.asset, output.c.partition, output.c.version)
    )
    return [_read(row) for row in connection.execute(query)]


def places(connection: Connection, project: str, keep: int, after: tuple[str, str] | None, limit: int) -> list[Place]:
    """At most *limit* places with more than *keep* versions, in order, behind the place *after*."""
    newest = func.max(output.c.version)
    query = select(output.c.asset, output.c.partition, newest).where(output.c.project == project)
    if after is not None:
        query = query.where(tuple_(output.c.asset, output.c.partition) > after)
    query = query.group_by(output.c.asset, output.c.partition).having(newest > keep)
    rows = connection.execute(query.order_by(output.c.asset, output.c.partition).limit(limit))
    return [Place(*row) for row in rows]


def superseded_at(connection: Connection, project: str, place: Place, keep: int) -> list[Superseded]:
    """The outputs beyond *keep* versions at one place."""
    key = (output.c.project == project, output.c.asset == place.asset, output.c.partition == place.partition)
    query = _superseded().where(*key, output.c.version <= place.newest - keep).order_by(output.c.version)
    return [_read(row) for row in connection.execute(query)]


def _read(row: Any) -> Superseded:
    *values, at = row
    return Superseded(OutputRecord(**dict(zip(_FIELDS, values, strict=True))), at or 0)


def _active_runs() -> Select[Any]:
    active = or_(*(run.c.status == status for status in ACTIVE))  # spelled out: a list of unknown length has no fixed text
    return select(run.c.id, run.c.status, run.c.requested_at, run.c.plan).where(run.c.project == bindparam("p"), active)


def _used() -> Select[Any]:
    return select(materialization.c.output).where(materialization.c.run_id == bindparam("r"), materialization.c.output != "")


def active_runs(place: Asked, project: str) -> list[ActiveRun]:
    """The runs that have not ended."""
    return [ActiveRun(*row) for row in ask(place, _active_runs, {"p": project})]


def used_outputs(place: Asked, run_id: str) -> frozenset[str]:
    """The outputs a run made or reused."""
    return frozenset(row[0] for row in ask(place, _used, {"r": run_id}))


def _mark() -> Update:
    pointed = select(current_output.c.output).where(
        current_output.c.project == output.c.project,
        current_output.c.asset == output.c.asset,
        current_output.c.partition == output.c.partition,
        current_output.c.output == output.c.id,
    )
    here = (output.c.id == bindparam("output_id"), output.c.gone == "", ~pointed.exists())
    return update(output).where(*here).values(gone=bindparam("why"), gone_at=bindparam("at"))


def mark_gone(tx: Transaction, id: str, why: str, at: int) -> bool:
    """Say that the bytes of an output that is not current are gone; return ``False`` when somebody else has."""
    return bool(tx.execute(_mark, {"output_id": id, "why": why, "at": at}).rowcount == 1)


def _gone() -> Select[Any]:
    return select(output.c.gone, output.c.gone_at).where(output.c.id == bindparam("output_id"))


def gone(tx: Transaction, id: str) -> tuple[str, int]:
    """Why and when the bytes of an output went; empty and 0 while they are kept."""
    why, at = tx.execute(_gone, {"output_id": id}).fetchone()
    return str(why), at or 0


def run_statuses(connection: Connection, ids: Iterable[str]) -> dict[str, str]:
    """The status of each of these runs that this database knows, of whatever project."""
    found = connection.execute(select(run.c.id, run.c.status).where(run.c.id.in_(list(ids))))
    return {row[0]: row[1] for row in found}


def ended_processes(connection: Connection, ids: Iterable[str]) -> set[str]:
    """Those of these processes that have ended."""
    query = select(process.c.id).where(process.c.id.in_(list(ids)), process.c.ended_at.is_not(None))
    return set(connection.execute(query).scalars())


def listed(
    connection: Connection,
    project: str,
    asset: str | None,
    partition: str | None,
    which: str,
    limit: int | None,
    *,
    since: int | None = None,
    until: int | None = None,
) -> list[OutputRecord]:
    """At most *limit* outputs that are ``kept``, ``gone`` or ``all``, by asset and partition, the newest version first.

    *since* and *until* bound when they were stored.
    """
    query = select(*(output.c[name] for name in _FIELDS)).where(output.c.project == project)
    if asset is not None:
        query = query.where(output.c.asset == asset)
    if partition is not None:
        query = query.where(output.c.partition == partition)
    if which != "all":
        query = query.where(output.c.gone == "" if which == "kept" else output.c.gone != "")
    if since is not None:
        query = query.where(output.c.created_at >= since)
    if until is not None:
        query = query.where(output.c.created_at < until)
    rows = connection.execute(query.order_by(output.c.asset, output.c.partition, output.c.version.desc()).limit(limit))
    return [OutputRecord(**dict(zip(_FIELDS, row, strict=True))) for row in rows]


def newest_kept(connection: Connection, project: str, manager: str, limit: int) -> list[OutputRecord]:
    """At most *limit* outputs of a manager whose bytes are kept, the newest ids first."""
    own = output.c.project.concat("") == project  # an expression: the ids are read from their end, not all of the project sorted
    key = (own, output.c.gone == "", output.c.manager == manager)
    query = select(*(output.c[name] for name in _FIELDS)).where(*key).order_by(output.c.id.desc()).limit(limit)
    return [OutputRecord(**dict(zip(_FIELDS, row, strict=True))) for row in connection.execute(query)]


def still_needed(connection: Connection, manager: str, locations: list[str]) -> set[str]:
    """Those of *locations* whose bytes an output that is not gone has."""
    query = select(output.c.location).where(output.c.manager == manager, output.c.location.in_(locations), output.c.gone == "")
    return set(connection.execute(query.distinct()).scalars())
