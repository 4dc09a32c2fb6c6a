"""The tables. Times are integer nanoseconds since the epoch, UTC; partitions are encoded keys, never null."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Double, ForeignKey, Index, Integer, MetaData, Table, UniqueConstraint
from sqlalchemy import Text as AnyText
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateIndex

SCHEMA_VERSION = "0003"

metadata = MetaData()

# SQLite numbers rows by INTEGER PRIMARY KEY only; other databases need 64 bits.
_RowId = BigInteger().with_variant(Integer(), "sqlite")

# The same order on every database, and a beginning of an id is found by the index.
Text = AnyText().with_variant(AnyText(collation="C"), "postgresql")


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
    Column("handlers", Text, nullable=False, server_default=""),  # JSON: the figures of its observers, as last told
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
Index("pipeline_by_use", pipeline.c.project, pipeline.c.name, pipeline.c.last_used_at)

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
    _time("cancel_requested_at"),
)
Index("run_by_time", run.c.project, run.c.requested_at)
Index("run_by_status", run.c.status, run.c.project, run.c.requested_at)

materialization = Table(
    "materialization",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("run_id", Text, ForeignKey("run.id"), nullable=False),
    Column("project", Text, nullable=False),
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
Index(  # the newest of each asset x partition is at the end of its entries: a question seeks, however long the history is
    "materialization_by_asset",
    materialization.c.project,
    materialization.c.asset,
    materialization.c.partition,
    materialization.c.id,
)
# One claim at a time on each asset x partition, whichever runs ask: the loser of an insert or a move sees it here.
_running = materialization.c.status == "running"
Index(
    "materialization_running",
    materialization.c.project,
    materialization.c.asset,
    materialization.c.partition,
    unique=True,
    sqlite_where=_running,
    info={"where": _running},
)


@compiles(CreateIndex, "postgresql")
def _partial(create: Any, compiler: Any, **options: Any) -> str:
    """Say ``WHERE`` here: an index that names PostgreSQL's option loads SQLAlchemy's PostgreSQL, 45 ms of every command."""
    if "where" in create.element.info:
        create.element.dialect_kwargs["postgresql_where"] = create.element.info["where"]
    return str(compiler.visit_create_index(create, **options))


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

# A place on a limited resource, held by a running attempt of any process.
slot = Table(
    "slot",
    metadata,
    Column("project", Text, primary_key=True),
    Column("resource", Text, primary_key=True),
    Column("attempt", _RowId, ForeignKey("attempt.id"), primary_key=True),
    sqlite_with_rowid=False,
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
    Column("gone", Text, nullable=False, server_default=""),  # why its bytes are not there any more: collected or erased
    _time("gone_at"),
    UniqueConstraint("project", "asset", "partition", "version"),
    sqlite_with_rowid=False,  # ids sort by time: rows are added at the end of one tree instead of two
)

_kept = output.c.gone == ""
Index(  # the outputs whose bytes are there: few of a long history
    "output_kept", output.c.project, output.c.manager, output.c.size, sqlite_where=_kept, info={"where": _kept}
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

# What must not be collected, erased or pruned while it is held. Empty text stands for "any".
hold = Table(
    "hold",
    metadata,
    Column("id", Text, primary_key=True),
    Column("project", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("partition", Text, nullable=False),
    Column("output", Text, nullable=False),
    Column("run_id", Text, nullable=False),
    Column("reason", Text, nullable=False),
    Column("actor", Text, nullable=False),
    Column("identity", Text, nullable=False),
    _time("at", nullable=False),
    _time("released_at"),
    Column("released_by", Text, nullable=False, server_default=""),
)

event = Table(
    "event",
    metadata,
    Column("id", _RowId, primary_key=True),
    Column("project", Text, nullable=False),
    _time("at", nullable=False),
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
    _time("at", nullable=False),
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
    _text("type"),
    _text("message"),  # of its newest error, as is asset
    _text("asset"),
    _text("status"),  # open, resolved or muted
    Column("errors", BigInteger, nullable=False),
    Column("cured", BigInteger, nullable=False),
    _text("first_error"),
    _text("last_error"),
    _time("first_at", nullable=False),
    _time("last_at", nullable=False),
    _time("decided_at"),
    _text("decided_by"),
    _text("identity"),
    _text("reason"),
    sqlite_with_rowid=False,
)
Index("error_group_by_time", error_group.c.project, error_group.c.status, error_group.c.last_at)

# How far the event log is folded into each metric, and by which definition of it.
fold = Table(
    "fold",
    metadata,
    Column("project", Text, primary_key=True),
    Column("metric", Text, primary_key=True),
    _text("digest"),
    _text("cursor"),
    _time("at", nullable=False),
    sqlite_with_rowid=False,
)

# What was folded: one row for each metric and set of label values. Whole numbers, in the unit of the event's measurement.
series = Table(
    "series",
    metadata,
    Column("project", Text, primary_key=True),
    Column("metric", Text, primary_key=True),
    Column("labels", Text, primary_key=True),  # JSON array, in the order of the metric's labels
    Column("count", BigInteger, nullable=False),
    Column("total", Double, nullable=False),  # the sum, or the last value
    _text("buckets"),  # JSON array of counts, not cumulated; empty unless it is a distribution
    _text("exemplars"),  # JSON object by bucket; empty when there are none
    _time("at", nullable=False),
    sqlite_with_rowid=False,
)

# A value that was late: said once.
overdue = Table(
    "overdue",
    metadata,
    Column("project", Text, primary_key=True),
    Column("asset", Text, primary_key=True),
    Column("partition", Text, primary_key=True),
    _time("due_at", nullable=False),
    _time("at", nullable=False),
    _time("met_at"),
    sqlite_with_rowid=False,
)

# The outbox: messages written in the transaction of their cause, delivered after it.
notification = Table(
    "notification",
    metadata,
    Column("id", Text, primary_key=True),
    _text("project"),
    _text("channel"),
    _text("cause"),  # as in the setting `on`: run.failed
    _text("subject"),  # what it is about: one message for each cause, subject and channel
    _text("payload"),  # JSON: names, counts, digests and the next command, never data
    _text("status"),  # pending, delivered or failed
    Column("tries", Integer, nullable=False),
    _time("at", nullable=False),
    _time("not_before"),
    _time("ended_at"),
    _text("process"),  # who is delivering it
    _text("message"),  # what the channel answered last
    UniqueConstraint("project", "cause", "subject", "channel"),
)
_pending = notification.c.status == "pending"
Index(
    "notification_pending",
    notification.c.project,
    notification.c.not_before,
    sqlite_where=_pending,
    info={"where": _pending},
)

# When the duties of each project were last done, and by whom.
tick = Table(
    "tick",
    metadata,
    Column("project", Text, primary_key=True),
    _time("at", nullable=False),
    _text("process"),
    _text("host"),
    _text("did"),  # JSON
    sqlite_with_rowid=False,
)

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
    Column("fields", Text, nullable=False, server_default=""),  # JSON object of what the caller gave as extra=
)
Index("log_by_run", log.c.run_id, log.c.id)
