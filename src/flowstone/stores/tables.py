"""The tables. Times are integer nanoseconds since the epoch, UTC; partitions are encoded keys, never null."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, MetaData, Table, Text, UniqueConstraint

SCHEMA_VERSION = "0001"

metadata = MetaData()

# SQLite numbers rows by INTEGER PRIMARY KEY only; other databases need 64 bits.
_RowId = BigInteger().with_variant(Integer(), "sqlite")


def _time(name: str, *, nullable: bool = True) -> Column[int]:
    return Column(name, BigInteger, nullable=nullable)


def _text(name: str) -> Column[str]:
    return Column(name, Text, nullable=False)


process = Table(
    "process",
    metadata,
    Column("id", Text, primary_key=True),
    _text("host"),
    Column("pid", Integer, nullable=False),
    _time("started_at", nullable=False),
    Column("attempts_before", BigInteger, nullable=False),  # its attempts have greater ids: no index of running ones is needed
    _time("heartbeat_at", nullable=False),
    _time("ended_at"),
)

pipeline = Table(
    "pipeline",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("project", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("definition", Text, nullable=False),
    _time("created_at", nullable=False),
    _time("last_used_at", nullable=False),
    UniqueConstraint("project", "name", "digest"),
)

run = Table(
    "run",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("pipeline", Text, nullable=False),
    Column("definition", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("request", Text, nullable=False),
    Column("plan", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("identity", Text, nullable=False),
    Column("trace_id", Text, nullable=False),
    Column("provenance", Text, nullable=False),
    Column("process", Text, nullable=False),
    Column("outcome", Text, nullable=False),
    _time("requested_at", nullable=False),
    _time("ended_at"),
)
Index("run_by_time", run.c.project, run.c.requested_at)
Index("run_by_status", run.c.project, run.c.status)

materialization = Table(
    "materialization",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("run_id", Text, ForeignKey("run.id"), nullable=False),
    Column("asset", Text, nullable=False),
    Column("partition", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("later", Integer, nullable=False),
    _time("not_before"),
    _text("reason"),
    _text("message"),
    _text("output"),
    UniqueConstraint("run_id", "asset", "partition"),
)
Index("materialization_by_asset", materialization.c.asset, materialization.c.partition)

attempt = Table(
    "attempt",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("materialization", _RowId, ForeignKey("materialization.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("process", Text, nullable=False),
    Column("status", Text, nullable=False),
    _time("started_at", nullable=False),
    _time("ended_at"),
    Column("duration_ns", BigInteger),
    _text("error"),
    UniqueConstraint("materialization", "number"),
)

output = Table(
    "output",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("partition", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    Column("manager", Text, nullable=False),
    Column("location", Text, nullable=False),
    Column("format", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("rows", BigInteger),
    Column("schema", Text),
    Column("definition", Text, nullable=False),
    Column("config", Text, nullable=False),
    Column("inputs", Text, nullable=False),
    Column("source_version", Text, nullable=False),
    Column("summary", Text, nullable=False),
    _time("created_at", nullable=False),
    UniqueConstraint("project", "asset", "partition", "version"),
    sqlite_with_rowid=False,  # ids sort by time: rows are added at the end of one tree instead of two
)

current_output = Table(
    "current_output",
    metadata,
    Column("project", Text, primary_key=True),
    Column("asset", Text, primary_key=True),
    Column("partition", Text, primary_key=True),
    Column("output", Text, ForeignKey("output.id"), nullable=False),
    sqlite_with_rowid=False,
)

lineage = Table(
    "lineage",
    metadata,
    Column("downstream", Text, ForeignKey("output.id"), primary_key=True),
    Column("parameter", Text, primary_key=True),
    Column("upstream", Text, ForeignKey("output.id"), primary_key=True),
    sqlite_with_rowid=False,
)
Index("lineage_by_upstream", lineage.c.upstream)

event = Table(
    "event",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("project", Text, nullable=False),
    _time("at", nullable=False),
    Column("name", Text, nullable=False),
    Column("run_id", Text),
    Column("payload", Text, nullable=False),
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
    _time("at", nullable=False),
)
Index("error_by_run", error.c.run_id)
Index("error_by_fingerprint", error.c.project, error.c.fingerprint, error.c.at)

log = Table(
    "log",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("run_id", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("partition", Text, nullable=False),
    Column("attempt", Integer, nullable=False),
    _time("at", nullable=False),
    Column("level", Text, nullable=False),
    Column("logger", Text, nullable=False),
    Column("message", Text, nullable=False),
)
Index("log_by_run", log.c.run_id, log.c.id)
