"""Lineage: exact upstream outputs of exact outputs, upstream, downstream and impact."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from sqlalchemy import Connection

from flowstone.stores import lineage, outputs
from flowstone.stores.database import Transaction
from flowstone.stores.records import EdgeRecord, OutputRecord


class Walk(NamedTuple):
    """Outputs reached from *start* and the edges between them, nearest first."""

    start: OutputRecord
    edges: list[EdgeRecord]
    outputs: dict[str, OutputRecord]


def record_inputs(tx: Transaction, downstream: str, inputs: Iterable[tuple[str, str]]) -> None:
    """Add one edge per (parameter, upstream output) to the transaction that stores *downstream*."""
    for parameter, upstream in inputs:
        lineage.add(tx, downstream, parameter, upstream)


def walk(connection: Connection, start: OutputRecord, *, down: bool = False, depth: int | None = None) -> Walk:
    """What *start* was made from, or (*down*) what was made from it."""
    edges = lineage.walk(connection, start.id, down=down, depth=depth)
    ids = {edge.upstream for edge in edges} | {edge.downstream for edge in edges} | {start.id}
    return Walk(start, edges, outputs.find(connection, ids))
