"""How fast a store grows, told from what is in it."""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection, func, select

from flowstone.stores.pruning import span_before
from flowstone.stores.tables import event, output


class Written(NamedTuple):
    """What was added from one moment on, in every project: events, and bytes of outputs less those that went."""

    events: int
    all_events: int
    output_bytes: int


def kept_bytes(connection: Connection) -> int:
    """The bytes of all output files by their records: equal bytes that share a file count each time."""
    kept = (output.c.gone == "", output.c.manager == "files")
    return int(connection.execute(select(func.coalesce(func.sum(output.c.size), 0)).where(*kept)).scalar_one())


def first_event_at(connection: Connection) -> int | None:
    """When the oldest event there is was recorded; ``None`` when there is none."""
    return connection.execute(select(event.c.at).order_by(event.c.id).limit(1)).scalar()


def written_since(connection: Connection, since: int) -> Written:
    """What was added since a moment."""
    _, boundary = span_before(connection, event, since)
    recent = int(connection.execute(select(func.count()).select_from(event).where(event.c.id >= boundary)).scalar_one())
    total = int(connection.execute(select(func.count()).select_from(event)).scalar_one())
    size, files = func.coalesce(func.sum(output.c.size), 0), output.c.manager == "files"
    came = connection.execute(select(size).where(files, output.c.created_at >= since, output.c.gone == "")).scalar_one()
    went = connection.execute(select(size).where(files, output.c.created_at < since, output.c.gone_at >= since)).scalar_one()
    return Written(recent, total, int(came) - int(went))
