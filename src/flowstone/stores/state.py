"""What a project's records say of its state now: the figures that are read when somebody asks, and folded from nothing."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy import Connection, and_, func, not_, select, text

from flowstone.foundation.serialize import to_json
from flowstone.stores.runs import APPROVAL
from flowstone.stores.tables import approval, current_output, error_group, materialization, metadata, output, run

COUNTED = 200_000  # a table that has numbered rows further apart than this is not counted, but estimated
_NUMBERED = ("event", "log", "materialization", "attempt")


class RunsOf(NamedTuple):
    """A pipeline's runs of one status, and when the oldest of them was requested."""

    pipeline: str
    runs: int
    oldest: int


class PendingOf(NamedTuple):
    """An asset's pending requests for approval: how many, when the oldest was made, and when the first of them expires."""

    asset: str
    requests: int
    oldest: int
    deadline: int


class Kept(NamedTuple):
    """The bytes of outputs one manager keeps: current ones, and superseded ones."""

    manager: str
    current: int
    superseded: int


def runs_of(connection: Connection, project: str, status: str) -> list[RunsOf]:
    """The runs of *project* that have *status*, by pipeline; what waits for people waits for nobody to resume it."""
    query = select(run.c.pipeline, func.count(), func.min(run.c.requested_at))
    for_people = and_(run.c.status == "waiting", run.c.outcome == to_json({"reason": APPROVAL}))
    mine = (run.c.status == status, run.c.project == project, not_(for_people))
    return [RunsOf._make(row) for row in connection.execute(query.where(*mine).group_by(run.c.pipeline))]


def pending(connection: Connection, project: str) -> list[PendingOf]:
    """The requests for approval that nobody has decided, by asset."""
    at = (func.count(), func.min(approval.c.requested_at), func.min(approval.c.deadline))
    mine = (approval.c.project == project, approval.c.status == "pending")
    rows = connection.execute(select(approval.c.asset, *at).where(*mine).group_by(approval.c.asset).order_by(approval.c.asset))
    return [PendingOf._make(row) for row in rows]


def running(connection: Connection, project: str) -> dict[str, int]:
    """How many attempts of each asset run now."""
    mine = (materialization.c.project == project, materialization.c.status == "running")
    rows = connection.execute(select(materialization.c.asset, func.count()).where(*mine).group_by(materialization.c.asset))
    return {asset: int(count) for asset, count in rows}


def open_groups(connection: Connection, project: str) -> int:
    """How many groups of errors are open."""
    mine = (error_group.c.project == project, error_group.c.status == "open")
    return int(connection.execute(select(func.count()).where(*mine)).scalar_one())


def kept_by(connection: Connection, project: str) -> list[Kept]:
    """The bytes of outputs by their records: equal bytes that share a file count each time."""
    size = func.coalesce(func.sum(output.c.size), 0)
    query = select(output.c.manager, size).where(output.c.project == project, output.c.gone == "").group_by(output.c.manager)
    everything = {manager: int(total) for manager, total in connection.execute(query)}
    joined = select(output.c.manager, size).join(current_output, current_output.c.output == output.c.id)
    pointed = joined.where(current_output.c.project == project, output.c.gone == "").group_by(output.c.manager)
    current = {manager: int(total) for manager, total in connection.execute(pointed)}
    return [Kept(manager, current.get(manager, 0), total - current.get(manager, 0)) for manager, total in everything.items()]


def rows_of(connection: Connection) -> Iterator[tuple[str, int]]:
    """How many rows each table has; a large one is estimated: by its numbers, or as the server does."""
    server = connection.dialect.name == "postgresql"
    for table in metadata.sorted_tables:
        if server:
            question = text("SELECT reltuples::bigint FROM pg_class WHERE oid = to_regclass(:table)")
            estimated = int(connection.execute(question, {"table": f'"{table.name}"'}).scalar() or 0)
        else:
            estimated = _numbered(connection, table.name)
        exact = estimated <= COUNTED
        yield table.name, int(connection.execute(select(func.count()).select_from(table)).scalar_one()) if exact else estimated


def _numbered(connection: Connection, name: str) -> int:
    """Up to how many rows a table with numbered rows has; 0 for others."""
    if name not in _NUMBERED:
        return 0
    number = metadata.tables[name].c.id
    first, last = (connection.execute(select(which(number))).scalar() for which in (func.min, func.max))
    return last - first + 1 if first is not None and last is not None else 0


def bytes_of_tables(connection: Connection) -> dict[str, int]:
    """The bytes of each table with its indexes, where the database can say so at once; else nothing."""
    if connection.dialect.name != "postgresql":
        return {}
    question = text("SELECT coalesce(pg_total_relation_size(to_regclass(:table)), 0)")
    names = [table.name for table in metadata.sorted_tables]
    return {name: int(connection.execute(question, {"table": f'"{name}"'}).scalar_one()) for name in names}
