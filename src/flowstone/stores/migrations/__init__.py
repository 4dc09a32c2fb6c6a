"""Schema upgrades, one numbered script per version. Alembic is loaded only when an upgrade is asked for.

A new database is created from ``tables`` and stamped; a test holds that the scripts end at the same schema. Nothing else
may live here, and a script imports nothing of FlowStone's.
"""

from __future__ import annotations

import importlib
import re
from pathlib import Path
from typing import NamedTuple

from sqlalchemy import Connection, inspect

from flowstone.foundation.errors import SchemaError
from flowstone.stores.dialects import Backend
from flowstone.stores.tables import SCHEMA_VERSION

_OURS = re.compile(r"\d{4}")


class Upgrade(NamedTuple):
    """The version a database had, the one it has now, and where the copy of the former is, if one was made."""

    before: str | None
    now: str
    copy: Path | None


def upgrade(backend: Backend) -> Upgrade:
    """Bring the database to this version's schema, in one transaction and never by two processes at once.

    Raises :class:`SchemaError` for a database that is newer than this FlowStone, or not FlowStone's.
    """
    copy = None
    with backend.changing() as connection:
        before = version(connection)
        if before is not None:
            check(backend.describe, before)
        if before != SCHEMA_VERSION:
            copy = backend.keep_copy(before) if before else None
            _run_scripts(connection)
    return Upgrade(before, SCHEMA_VERSION, copy)


def _run_scripts(connection: Connection, target: str = SCHEMA_VERSION) -> None:
    config = importlib.import_module("alembic.config").Config()
    config.set_main_option("script_location", str(Path(__file__).parent))
    config.attributes["connection"] = connection
    importlib.import_module("alembic.command").upgrade(config, target)


def version(connection: Connection) -> str | None:
    """The schema version of a database, or ``None`` when it has none of FlowStone's tables."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return str(found) if found else None


def check(describe: str, version: str) -> None:
    """Refuse a schema this FlowStone cannot upgrade: a newer one, or another application's."""
    if not _OURS.fullmatch(version):
        raise SchemaError(
            f"{describe} has the tables of another application (schema {version!r})", hint="give FlowStone a database of its own"
        )
    if version > SCHEMA_VERSION:
        raise SchemaError(
            f"{describe} has schema {version}, this FlowStone has {SCHEMA_VERSION}", hint="install a newer FlowStone"
        )
