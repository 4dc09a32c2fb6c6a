"""Pipeline definitions, one row per version."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Update, bindparam, func, select, tuple_, update

from flowstone.foundation.serialize import from_json, to_json
from flowstone.stores.database import Transaction
from flowstone.stores.records import PipelineRecord
from flowstone.stores.statements import inserting_once
from flowstone.stores.tables import pipeline

_insert = inserting_once(pipeline, "id")


def _touch() -> Update:
    key = (pipeline.c.project == bindparam("p"), pipeline.c.name == bindparam("n"), pipeline.c.digest == bindparam("d"))
    return update(pipeline).where(*key).values(last_used_at=bindparam("at"))


def remember(tx: Transaction, project: str, name: str, digest: str, definition: dict[str, Any], at: int) -> bool:
    """Store the definition's version, or note that it is in use again; return whether it is new."""
    if tx.execute(_touch, {"p": project, "n": name, "d": digest, "at": at}).rowcount == 1:
        return False
    values = {"project": project, "name": name, "digest": digest, "definition": to_json(definition)}
    return bool(tx.execute(_insert, {**values, "created_at": at, "last_used_at": at}).rowcount == 1)


def newest(connection: Connection, project: str) -> list[PipelineRecord]:
    """The version of each pipeline of *project* that was used last."""
    used = select(pipeline.c.name, func.max(pipeline.c.last_used_at)).where(pipeline.c.project == project)
    last = tuple_(pipeline.c.name, pipeline.c.last_used_at).in_(used.group_by(pipeline.c.name))
    query = select(pipeline).where(pipeline.c.project == project, last).order_by(pipeline.c.last_used_at, pipeline.c.id)
    rows = connection.execute(query).mappings()
    found = {row["name"]: PipelineRecord.of(row, definition=from_json(row["definition"])) for row in rows}
    return list(found.values())
