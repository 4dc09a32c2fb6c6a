"""What was recorded of it: events, errors, captured lines."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, Table

from flowstone.stores.tables.columns import RowId, Text, metadata, text, time

event = Table(
    "event",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("project", Text, nullable=False),
    time("at", nullable=False),
    Column("name", Text, nullable=False),
    Column("run_id", Text),
    Column("payload", Text, nullable=False),
    Column("xid", BigInteger),  # PostgreSQL: the transaction, so that a cursor can stop before one that is still open
    sqlite_autoincrement=True,
)
Index("event_by_run", event.c.run_id, event.c.id)

error = Table(
    "error",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("partition", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("type", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("fingerprint", Text, nullable=False),
    Column("retryable", Integer, nullable=False),
    Column("cured", Integer, nullable=False),
    Column("context", Text, nullable=False),
    Column("traceback", Text, nullable=False),
    time("at", nullable=False),
    Column("definition", Text, nullable=False, server_default=""),  # of the code that raised it
)
Index("error_by_run", error.c.run_id)
Index("error_by_time", error.c.project, error.c.at)
Index("error_by_asset", error.c.project, error.c.asset, error.c.at)
Index("error_by_fingerprint", error.c.project, error.c.fingerprint, error.c.at)

# Errors that fail alike, counted for good: the errors themselves may be pruned.
error_group = Table(
    "error_group",
    metadata,
    Column("project", Text, primary_key=True),
    Column("fingerprint", Text, primary_key=True),
    text("type"),
    text("message"),  # of its newest error, as is asset
    text("asset"),
    text("status"),  # open, resolved or muted
    Column("errors", BigInteger, nullable=False),
    Column("cured", BigInteger, nullable=False),
    text("first_error"),
    text("last_error"),
    time("first_at", nullable=False),
    time("last_at", nullable=False),
    time("decided_at"),
    text("decided_by"),
    text("identity"),
    text("reason"),
    sqlite_with_rowid=False,
)
Index("error_group_by_time", error_group.c.project, error_group.c.status, error_group.c.last_at)

log = Table(
    "log",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("partition", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    time("at", nullable=False),
    Column("level", Text, nullable=False),
    Column("logger", Text, nullable=False),
    Column("message", Text, nullable=False),
    Column("fields", Text, nullable=False, server_default=""),  # JSON object of what the caller gave as extra=
)
Index("log_by_run", log.c.run_id, log.c.id)
