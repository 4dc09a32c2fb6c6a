"""Outputs and the pointers that make one of them current."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Delete, Select, and_, bindparam, delete, func, select, tuple_

from flowstone.foundation.errors import NotFoundError
from flowstone.stores.database import Transaction
from flowstone.stores.records import OutputRecord
from flowstone.stores.statements import beginning, inserting_once, upserting
from flowstone.stores.tables import approval, current_output, output

_CHUNK = 500  # bound parameters of one IN list, under every database's limit


def _next_version() -> Any:
    key = (
        output.c.project == bindparam("project"),
        output.c.asset == bindparam("asset"),
        output.c.partition == bindparam("partition"),
    )
    return select(func.coalesce(func.max(output.c.version), 0) + 1).where(*key).scalar_subquery()


_insert = inserting_once(
    output, "version", "gone", "gone_at", values={"version": _next_version()}, keys=("project", "asset", "partition", "version")
)


def _forget() -> Delete:
    key = and_(
        current_output.c.project == bindparam("p"),
        current_output.c.asset == bindparam("a"),
        current_output.c.partition == bindparam("k"),
        current_output.c.output == bindparam("o"),
    )
    return delete(current_output).where(key)


def _replaced() -> Select[Any]:
    key = (
        current_output.c.project == bindparam("p"),
        current_output.c.asset == bindparam("a"),
        current_output.c.partition == bindparam("k"),
        current_output.c.output != bindparam("o"),
    )
    return select(current_output.c.output).where(*key)


def _current_id() -> Select[Any]:
    key = (
        current_output.c.project == bindparam("p"),
        current_output.c.asset == bindparam("a"),
        current_output.c.partition == bindparam("k"),
    )
    return select(current_output.c.output).where(*key)


def _overtaken() -> Select[Any]:
    mine, now = output.alias("mine"), output.alias("now")
    same = and_(
        current_output.c.project == mine.c.project,
        current_output.c.asset == mine.c.asset,
        current_output.c.partition == mine.c.partition,
    )
    joined = mine.join(current_output, same).join(now, now.c.id == current_output.c.output)
    return (
        select(now.c.version, mine.c.version, now.c.digest, mine.c.digest).select_from(joined).where(mine.c.id == bindparam("o"))
    )


def _overtaken_and_locked() -> Select[Any]:
    return _overtaken().with_for_update(of=current_output)


_point = upserting(current_output, "project", "asset", "partition")


def add(tx: Transaction, values: dict[str, Any]) -> None:
    """Add an output; its version is the next one of its asset and partition."""
    while tx.execute(_insert, values).rowcount == 0:  # another process has just added that version: take the next one
        pass


def point(tx: Transaction, project: str, asset: str, partition: str, id: str) -> None:
    """Make the output the current one."""
    tx.execute(_point, {"project": project, "asset": asset, "partition": partition, "output": id})


def withdraw(tx: Transaction, project: str, asset: str, partition: str, id: str) -> bool:
    """Remove the pointer if it still points to *id*; the output and its bytes stay."""
    return bool(tx.execute(_forget, {"p": project, "a": asset, "k": partition, "o": id}).rowcount == 1)


def replaced(tx: Transaction, project: str, asset: str, partition: str, id: str) -> bool:
    """Whether the current output is another one than *id*; none is no other one."""
    return tx.execute(_replaced, {"p": project, "a": asset, "k": partition, "o": id}).fetchone() is not None


def current_id(tx: Transaction, project: str, asset: str, partition: str) -> str:
    """The current output of an asset's partition, empty when there is none."""
    row = tx.execute(_current_id, {"p": project, "a": asset, "k": partition}).fetchone()
    return str(row[0]) if row is not None else ""


def is_overtaken(tx: Transaction, id: str) -> bool:
    """Whether a newer version than this output is current; nobody makes another one current before the transaction ends."""
    row = tx.execute(_overtaken_and_locked, {"o": id}).fetchone()
    return row is not None and row[0] > row[1]


def has_changed(tx: Transaction, id: str) -> bool:
    """Whether the current value is another one than that of this output; none is no other one."""
    row = tx.execute(_overtaken, {"o": id}).fetchone()
    return row is not None and row[2] != row[3]


_FIELDS = OutputRecord.__struct_fields__
_columns = [output.c[name] for name in _FIELDS]
_joined = select(*_columns).join(current_output, current_output.c.output == output.c.id)


def current(connection: Connection, project: str, asset: str, partition: str) -> OutputRecord | None:
    """The current output of an asset's partition."""
    key = (current_output.c.project == project, current_output.c.asset == asset, current_output.c.partition == partition)
    row = connection.execute(_joined.where(*key)).first()
    return _record(row) if row else None


def current_of(
    connection: Connection,
    project: str,
    assets: Iterable[str] | None = None,
    partitions: Iterable[str] | None = None,
    *,
    limit: int | None = None,
) -> dict[tuple[str, str], OutputRecord]:
    """Every current output of the named assets and partitions, or of all, by asset and partition; at most *limit* at a time."""
    query = _joined.where(current_output.c.project == project).limit(limit)
    keys = list(partitions) if partitions is not None else []
    if 0 < len(keys) <= _CHUNK:
        query = query.where(current_output.c.partition.in_(keys))
    names = list(assets) if assets is not None else []
    chunks = [query.where(current_output.c.asset.in_(names[i : i + _CHUNK])) for i in range(0, len(names), _CHUNK)]
    found = [_record(row) for chunk in ([query] if assets is None else chunks) for row in connection.execute(chunk)]
    return {(record.asset, record.partition): record for record in found}


def current_at(connection: Connection, project: str, places: Iterable[tuple[str, str]]) -> dict[tuple[str, str], OutputRecord]:
    """The current outputs of exactly these assets and partitions, by asset and partition."""
    wanted, place = list(places), tuple_(current_output.c.asset, current_output.c.partition)
    query = _joined.where(current_output.c.project == project)
    chunks = (query.where(place.in_(wanted[i : i + _CHUNK // 2])) for i in range(0, len(wanted), _CHUNK // 2))
    found = [_record(row) for chunk in chunks for row in connection.execute(chunk)]
    return {(record.asset, record.partition): record for record in found}


def _record(row: Iterable[Any]) -> OutputRecord:
    return OutputRecord(**dict(zip(_FIELDS, row, strict=True)))


def partitions_of(connection: Connection, project: str, asset: str) -> list[str]:
    """The encoded partitions of an asset that have a current output."""
    key = (current_output.c.project == project, current_output.c.asset == asset)
    return list(connection.execute(select(current_output.c.partition).where(*key).order_by(current_output.c.partition)).scalars())


def ends(connection: Connection, project: str, asset: str) -> tuple[str, str] | None:
    """The first and the last partition with a current output, in the order of their texts; ``None`` when there is none."""
    of_asset = (current_output.c.project == project, current_output.c.asset == asset)
    first, last = (select(end(current_output.c.partition)).where(*of_asset).scalar_subquery() for end in (func.min, func.max))
    row = connection.execute(select(first, last)).one()
    return None if row[0] is None else (row[0], row[1])


def of_run(connection: Connection, project: str, run_id: str) -> list[OutputRecord]:
    """The outputs a run made, in order."""
    rows = connection.execute(
        select(*_columns).where(output.c.project == project, output.c.run_id == run_id).order_by(output.c.created_at)
    )
    return [_record(row) for row in rows]


def versions(connection: Connection, project: str, asset: str, partition: str) -> list[OutputRecord]:
    """Every version of an asset's partition, newest first."""
    key = (output.c.project == project, output.c.asset == asset, output.c.partition == partition)
    return [_record(row) for row in connection.execute(select(*_columns).where(*key).order_by(output.c.version.desc()))]


def count_versions(connection: Connection, project: str, asset: str, partition: str) -> int:
    """How many versions an asset's partition has."""
    key = (output.c.project == project, output.c.asset == asset, output.c.partition == partition)
    return int(connection.execute(select(func.count()).where(*key)).scalar_one())


def before(connection: Connection, project: str, record: OutputRecord) -> OutputRecord | None:
    """The version before *record*; not one that people were asked about and have not approved."""
    key = (output.c.project == project, output.c.asset == record.asset, output.c.partition == record.partition)
    place = (
        approval.c.project == output.c.project,
        approval.c.asset == output.c.asset,
        approval.c.partition == output.c.partition,
    )
    refused = select(approval.c.id).where(*place, approval.c.output == output.c.id, approval.c.status != "approved").exists()
    older = select(*_columns).where(*key, output.c.version < record.version, ~refused).order_by(output.c.version.desc()).limit(1)
    row = connection.execute(older).first()
    return _record(row) if row else None


def find(connection: Connection, ids: Iterable[str]) -> dict[str, OutputRecord]:
    """The outputs with these ids, by id."""
    wanted = list(ids)
    chunks = (wanted[i : i + _CHUNK] for i in range(0, len(wanted), _CHUNK))
    found = [_record(row) for chunk in chunks for row in connection.execute(select(*_columns).where(output.c.id.in_(chunk)))]
    return {record.id: record for record in found}


def one(connection: Connection, project: str, id: str) -> OutputRecord:
    """The output with this id or unambiguous beginning of an id; raises :class:`NotFoundError`."""
    query = select(*_columns).where(beginning(output, project, id))
    rows = list(connection.execute(query.order_by(output.c.id).limit(2)))
    if not rows or (len(rows) > 1 and _record(rows[0]).id != id):
        raise NotFoundError(
            f"there is {'more than one' if rows else 'no'} output {id!r}", hint="flowstone show RUN lists a run's outputs"
        )
    return _record(rows[0])
