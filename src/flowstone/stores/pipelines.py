"""Pipeline definitions, one row per version."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import Connection, Select, Update, and_, bindparam, func, select, tuple_, update

from flowstone.foundation.serialize import from_json, to_json
from flowstone.stores.asking import Asked, ask
from flowstone.stores.database import Transaction
from flowstone.stores.records import PipelineRecord
from flowstone.stores.statements import inserting_once
from flowstone.stores.tables import materialization, pipeline, run

_insert = inserting_once(pipeline, "id")


class RetriesThen(msgspec.Struct):
    """How often an asset was tried at most."""

    attempts: int


class AssetThen(msgspec.Struct):
    """What is asked of an asset's stored definition."""

    name: str
    digest: str
    retries: RetriesThen
    sensitive: bool = False


class _Definition(msgspec.Struct):
    assets: list[AssetThen]


class _GateThen(msgspec.Struct):
    name: str
    approval: dict[str, Any] | None = None


class _Gates(msgspec.Struct):
    assets: list[_GateThen]


_definition = msgspec.json.Decoder(_Definition)
_gates = msgspec.json.Decoder(_Gates)


def _touch() -> Update:
    key = (pipeline.c.project == bindparam("p"), pipeline.c.name == bindparam("n"), pipeline.c.digest == bindparam("d"))
    return update(pipeline).where(*key).values(last_used_at=bindparam("at"))


def remember(tx: Transaction, project: str, name: str, digest: str, definition: dict[str, Any], at: int) -> bool:
    """Store the definition's version, or note that it is in use again; return whether it is new."""
    if tx.execute(_touch, {"p": project, "n": name, "d": digest, "at": at}).rowcount == 1:
        return False
    values = {"project": project, "name": name, "digest": digest, "definition": to_json(definition)}
    return bool(tx.execute(_insert, {**values, "created_at": at, "last_used_at": at}).rowcount == 1)


class LastUsed(NamedTuple):
    """The version of a pipeline that was used last."""

    id: int
    digest: str


def _last_used() -> Select[Any]:
    own = select(pipeline.c.id, pipeline.c.digest).where(pipeline.c.project == bindparam("p"), pipeline.c.name == bindparam("n"))
    return own.order_by(pipeline.c.last_used_at.desc(), pipeline.c.id.desc()).limit(1)


def _text_of() -> Select[Any]:
    return select(pipeline.c.definition).where(pipeline.c.id == bindparam("row"))


def last_used(tx: Transaction, project: str, name: str) -> LastUsed | None:
    """The version of a pipeline that was used last; ``None`` when there is none."""
    row = tx.execute(_last_used, {"p": project, "n": name}).fetchone()
    return LastUsed(*row) if row else None


def text_of(tx: Transaction, id: int) -> str:
    """The stored definition of a version."""
    return str(tx.execute(_text_of, {"row": id}).fetchone()[0])


def _computed_under() -> Select[Any]:
    own = (run.c.project == pipeline.c.project, run.c.pipeline == pipeline.c.name, run.c.definition == pipeline.c.digest)
    made = select(pipeline.c.definition).join(run, and_(*own)).join(materialization, materialization.c.run_id == run.c.id)
    of_asset = (materialization.c.project == bindparam("p"), materialization.c.asset == bindparam("a"))
    return made.where(*of_asset, materialization.c.attempts > 0).order_by(materialization.c.id.desc()).limit(1)


def computed_under(place: Asked, project: str, asset: str) -> dict[str, Any] | None:
    """An asset as the definition, of whichever pipeline, says it under which it was last computed; ``None`` if it never was."""
    rows = ask(place, _computed_under, {"p": project, "a": asset})
    assets = from_json(rows[0][0])["assets"] if rows else []
    return next((each for each in assets if each["name"] == asset), None)


def newest(connection: Connection, project: str) -> list[PipelineRecord]:
    """The version of each pipeline of *project* that was used last."""
    used = select(pipeline.c.name, func.max(pipeline.c.last_used_at)).where(pipeline.c.project == project)
    last = tuple_(pipeline.c.name, pipeline.c.last_used_at).in_(used.group_by(pipeline.c.name))
    query = select(pipeline).where(pipeline.c.project == project, last).order_by(pipeline.c.last_used_at, pipeline.c.id)
    rows = connection.execute(query).mappings()
    found = {row["name"]: PipelineRecord.of(row, definition=from_json(row["definition"])) for row in rows}
    return list(found.values())


def version(connection: Connection, project: str, name: str, digest: str) -> PipelineRecord | None:
    """The definition of a pipeline with that digest."""
    query = select(pipeline).where(pipeline.c.project == project, pipeline.c.name == name, pipeline.c.digest == digest)
    row = connection.execute(query).mappings().first()
    return PipelineRecord.of(row, definition=from_json(row["definition"])) if row else None


def versions(connection: Connection, project: str, name: str) -> Iterator[PipelineRecord]:
    """Every version of a pipeline, the one made last first; each is read when it is asked for."""
    key = (pipeline.c.project == project, pipeline.c.name == name)
    rows = connection.execute(select(pipeline.c.id).where(*key).order_by(pipeline.c.created_at.desc(), pipeline.c.id.desc()))
    for id in rows.scalars().all():
        row = connection.execute(select(pipeline).where(pipeline.c.id == id)).mappings().one()
        yield PipelineRecord.of(row, definition=from_json(row["definition"]))


def ever_gated(connection: Connection, project: str) -> set[str]:
    """The assets that have a gate in any version of the project's pipelines."""
    gated = (pipeline.c.project == project, pipeline.c.definition.like('%"approval":%'))
    texts = connection.execute(select(pipeline.c.definition).where(*gated)).scalars()
    return {asset.name for text in texts for asset in _gates.decode(text).assets if asset.approval is not None}


def of_runs(connection: Connection, run_ids: Iterable[str]) -> dict[str, list[AssetThen]]:
    """The assets as they were defined for each of the runs; runs whose definition is not there are left out."""
    asked_for = list(run_ids)
    if not asked_for:
        return {}
    wanted = select(run.c.id, run.c.project, run.c.pipeline, run.c.definition).where(run.c.id.in_(asked_for))
    asked: dict[tuple[str, str, str], list[str]] = {}
    for id, project, name, digest in connection.execute(wanted):
        asked.setdefault((project, name, digest), []).append(id)
    found: dict[str, list[AssetThen]] = {}
    for (project, name, digest), ids in asked.items():
        key = (pipeline.c.project == project, pipeline.c.name == name, pipeline.c.digest == digest)
        text = connection.execute(select(pipeline.c.definition).where(*key)).scalar()
        if text is not None:
            found |= dict.fromkeys(ids, _definition.decode(text).assets)
    return found
