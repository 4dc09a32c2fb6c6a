"""Edges between exact outputs, and the walks along them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection, and_, select

from flowstone.stores.database import Transaction
from flowstone.stores.records import EdgeRecord
from flowstone.stores.statements import Inserting
from flowstone.stores.tables import current_output, lineage, output

_insert = Inserting(lineage)
_CHUNK = 500  # bound parameters of one IN list, under every database's limit


def add(tx: Transaction, downstream: str, parameter: str, upstream: str) -> None:
    """Add the edge with the transaction's other edges."""
    tx.add_row(_insert, downstream, parameter, upstream)


class InputNow(NamedTuple):
    """An input of an output: the version that was used, and the one that is current now (empty texts when there is none)."""

    downstream: str
    asset: str
    partition: str
    used_digest: str
    id: str
    digest: str
    definition: str


def inputs_now(connection: Connection, ids: Iterable[str]) -> list[InputNow]:
    """The inputs of the outputs *ids* beside what is current in their place now."""
    used, now, wanted = output.alias("used"), output.alias("now"), list(ids)
    same_place = and_(
        current_output.c.project == used.c.project,
        current_output.c.asset == used.c.asset,
        current_output.c.partition == used.c.partition,
    )
    query = (
        select(lineage.c.downstream, used.c.asset, used.c.partition, used.c.digest, now.c.id, now.c.digest, now.c.definition)
        .join(used, used.c.id == lineage.c.upstream)
        .outerjoin(current_output, same_place)
        .outerjoin(now, now.c.id == current_output.c.output)
        .order_by(lineage.c.downstream, lineage.c.parameter)
    )
    chunks = (query.where(lineage.c.downstream.in_(wanted[i : i + _CHUNK])) for i in range(0, len(wanted), _CHUNK))
    return [InputNow(*(value or "" for value in row)) for chunk in chunks for row in connection.execute(chunk)]


def walk(connection: Connection, start: str, *, down: bool = False, depth: int | None = None) -> list[EdgeRecord]:
    """The edges reachable from output *start*, each once, nearest first; *down* follows what was made from it."""
    here, there = (lineage.c.upstream, lineage.c.downstream) if down else (lineage.c.downstream, lineage.c.upstream)
    seen, found, frontier, level = {start}, dict[tuple[str, str, str], EdgeRecord](), [start], 0
    while frontier and (depth is None or level < depth):
        level += 1
        ahead: list[str] = []
        for i in range(0, len(frontier), _CHUNK):
            for row in connection.execute(
                select(lineage).where(here.in_(frontier[i : i + _CHUNK])).order_by(lineage.c.parameter)
            ).mappings():
                edge = EdgeRecord.of(row)
                found[(edge.downstream, edge.parameter, edge.upstream)] = edge
                if row[there.name] not in seen:
                    seen.add(row[there.name])
                    ahead.append(row[there.name])
        frontier = ahead
    return list(found.values())


def edges_into(connection: Connection, ids: list[str]) -> list[EdgeRecord]:
    """The edges into each of the outputs *ids*."""
    found: list[EdgeRecord] = []
    for i in range(0, len(ids), _CHUNK):
        query = (
            select(lineage)
            .where(lineage.c.downstream.in_(ids[i : i + _CHUNK]))
            .order_by(lineage.c.downstream, lineage.c.parameter)
        )
        found += [EdgeRecord.of(row) for row in connection.execute(query).mappings()]
    return found
