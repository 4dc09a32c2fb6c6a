"""Edges between exact outputs, and the walks along them."""

from __future__ import annotations

from sqlalchemy import Connection, select

from flowstone.stores.database import Transaction
from flowstone.stores.records import EdgeRecord
from flowstone.stores.statements import Inserting
from flowstone.stores.tables import lineage

_insert = Inserting(lineage)


def add(tx: Transaction, downstream: str, parameter: str, upstream: str) -> None:
    """Add the edge with the transaction's other edges."""
    tx.add_row(_insert, downstream, parameter, upstream)


def walk(connection: Connection, start: str, *, down: bool = False, depth: int | None = None) -> list[EdgeRecord]:
    """The edges reachable from output *start*, each once, nearest first; *down* follows what was made from it."""
    here, there = (lineage.c.upstream, lineage.c.downstream) if down else (lineage.c.downstream, lineage.c.upstream)
    seen, found, frontier, level = {start}, dict[tuple[str, str, str], EdgeRecord](), [start], 0
    while frontier and (depth is None or level < depth):
        level += 1
        ahead: list[str] = []
        for i in range(0, len(frontier), 500):
            for row in connection.execute(
                select(lineage).where(here.in_(frontier[i : i + 500])).order_by(lineage.c.parameter)
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
    for i in range(0, len(ids), 500):
        query = (
            select(lineage).where(lineage.c.downstream.in_(ids[i : i + 500])).order_by(lineage.c.downstream, lineage.c.parameter)
        )
        found += [EdgeRecord.of(row) for row in connection.execute(query).mappings()]
    return found
