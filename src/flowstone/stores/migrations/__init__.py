"""Schema upgrades, one numbered script per version. Alembic is loaded only when an upgrade is asked for.

A new database is created from ``tables`` and stamped; a test holds that the scripts end at the same schema.
"""

from __future__ import annotations

import importlib
from pathlib import Path

from sqlalchemy import create_engine, inspect
from sqlalchemy.pool import NullPool

from flowstone.foundation.errors import SchemaError
from flowstone.stores.tables import SCHEMA_VERSION


def upgrade(url: str) -> tuple[str | None, str]:
    """Bring the database at *url* to this version's schema; return the version it had and the one it has now.

    Raises :class:`SchemaError` for a database that is newer than this FlowStone.
    """
    before = version(url)
    if before is not None and before > SCHEMA_VERSION:
        raise SchemaError(
            f"the database has schema {before}, this FlowStone has {SCHEMA_VERSION}", hint="install a newer FlowStone"
        )
    if before != SCHEMA_VERSION:
        config = importlib.import_module("alembic.config").Config()
        config.set_main_option("script_location", str(Path(__file__).parent))
        config.attributes["url"] = url
        importlib.import_module("alembic.command").upgrade(config, SCHEMA_VERSION)
    return before, SCHEMA_VERSION


def version(url: str) -> str | None:
    """The schema version of the database at *url*, or ``None`` when it has none of FlowStone's tables."""
    engine = create_engine(url, poolclass=NullPool)
    try:
        with engine.connect() as connection:
            if not inspect(connection).has_table("alembic_version"):
                return None
            found = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    finally:
        engine.dispose()
    return str(found) if found else None
