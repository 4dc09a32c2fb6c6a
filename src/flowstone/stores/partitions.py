"""Which asset x partition there are, and the newest materialization of each: seeks in one index, however long the history is."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, func, select, text

from flowstone.stores.records import MaterializationRecord
from flowstone.stores.tables import current_output, materialization

_CHUNK = 500  # bound parameters of one IN list, under every database's limit

# Each step of the recursion seeks the next name beyond the last one: a scan that skips what lies between.
_ASSETS = text("""
    WITH RECURSIVE seen(asset) AS (
        SELECT min(asset) FROM materialization WHERE project = :project
        UNION ALL
        SELECT (SELECT min(m.asset) FROM materialization m WHERE m.project = :project AND m.asset > seen.asset)
        FROM seen WHERE seen.asset IS NOT NULL
    ), spans AS (
        SELECT seen.asset,
            (SELECT min(m.partition) FROM materialization m WHERE m.project = :project AND m.asset = seen.asset) AS least,
            (SELECT max(m.partition) FROM materialization m WHERE m.project = :project AND m.asset = seen.asset) AS greatest
        FROM seen WHERE seen.asset IS NOT NULL
    )
    SELECT spans.asset, spans.least, spans.greatest,
        (SELECT max(m.id) FROM materialization m
         WHERE m.project = :project AND m.asset = spans.asset AND m.partition = spans.greatest) AS newest
    FROM spans""")
_PARTITIONS = text("""
    WITH RECURSIVE seen(partition, number) AS (
        SELECT min(m.partition), 1 FROM materialization m WHERE m.project = :project AND m.asset = :asset
        UNION ALL
        SELECT (SELECT min(m.partition) FROM materialization m
                WHERE m.project = :project AND m.asset = :asset AND m.partition > seen.partition), seen.number + 1
        FROM seen WHERE seen.partition IS NOT NULL AND seen.number < :limit
    )
    SELECT seen.partition,
        (SELECT max(m.id) FROM materialization m
         WHERE m.project = :project AND m.asset = :asset AND m.partition = seen.partition) AS newest
    FROM seen WHERE seen.partition IS NOT NULL""")

ALL = 2**31 - 1


class Span(NamedTuple):
    """An asset's first and last partition in the order of their texts, and the newest materialization of the last one."""

    asset: str
    least: str
    greatest: str
    newest: int


class Place(NamedTuple):
    """A partition and the row of its newest materialization."""

    partition: str
    newest: int


def spans(connection: Connection, project: str) -> list[Span]:
    """Every asset some run was asked for."""
    return [Span(*row) for row in connection.execute(_ASSETS, {"project": project})]


def of_asset(connection: Connection, project: str, asset: str, *, limit: int = ALL) -> list[Place]:
    """The partitions of *asset* that some run was asked for, the first *limit* in the order of their texts."""
    return [Place(*row) for row in connection.execute(_PARTITIONS, {"project": project, "asset": asset, "limit": limit})]


def newest(connection: Connection, project: str, asset: str, partition: str) -> int | None:
    """The row of the newest materialization of one asset's partition, ``None`` when no run was asked for it."""
    key = (materialization.c.project == project, materialization.c.asset == asset, materialization.c.partition == partition)
    row = connection.execute(select(func.max(materialization.c.id)).where(*key)).scalar_one()
    return None if row is None else int(row)


def materializations(connection: Connection, rows: list[int]) -> dict[tuple[str, str], MaterializationRecord]:
    """The materializations with these rows, by asset and partition."""
    found: dict[tuple[str, str], MaterializationRecord] = {}
    for i in range(0, len(rows), _CHUNK):
        chunk = select(materialization).where(materialization.c.id.in_(rows[i : i + _CHUNK]))
        for row in connection.execute(chunk).mappings():
            found[(row["asset"], row["partition"])] = MaterializationRecord.of(row)
    return found


def with_value(connection: Connection, project: str) -> dict[str, int]:
    """How many partitions of each asset have a current output."""
    counted = select(current_output.c.asset, func.count()).where(current_output.c.project == project)
    return {row[0]: row[1] for row in connection.execute(counted.group_by(current_output.c.asset))}
