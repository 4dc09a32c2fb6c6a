"""Who works on what: processes, pipelines, runs, their materializations and attempts."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, UniqueConstraint

from flowstone.stores.tables.columns import RowId, Text, metadata, text, time

process = Table(
    "process",
    metadata,
    Column("id", Text, primary_key=True),
    text("host"),
    Column("pid", Integer, nullable=False),
    time("started_at", nullable=False),
    Column("attempts_before", BigInteger, nullable=False),  # its attempts have greater ids: no index of running ones is needed
    time("heartbeat_at", nullable=False),
    time("ended_at"),
    Column("handlers", Text, nullable=False, server_default=""),  # JSON: the figures of its observers, as last told
)

pipeline = Table(
    "pipeline",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("project", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("digest", Text, nullable=False),
    Column("definition", Text, nullable=False),
    time("created_at", nullable=False),
    time("last_used_at", nullable=False),
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
    time("requested_at", nullable=False),
    time("ended_at"),
    time("cancel_requested_at"),
)
Index("run_by_time", run.c.project, run.c.requested_at)
Index("run_by_status", run.c.status, run.c.project, run.c.requested_at)

materialization = Table(
    "materialization",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("run_id", Text, ForeignKey("run.id"), nullable=False),
    Column("project", Text, nullable=False),
    Column("asset", Text, nullable=False),
    Column("partition", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("later", Integer, nullable=False),
    time("not_before"),
    text("reason"),
    text("message"),
    text("output"),
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

# The few that wait for people: what a decision settles, without a look at the history.
_waiting = materialization.c.status == "waiting"
Index(
    "materialization_waiting",
    materialization.c.project,
    materialization.c.asset,
    materialization.c.partition,
    sqlite_where=_waiting,
    info={"where": _waiting},
)

attempt = Table(
    "attempt",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("materialization", RowId, ForeignKey("materialization.id"), nullable=False),
    Column("number", Integer, nullable=False),
    Column("process", Text, nullable=False),
    Column("status", Text, nullable=False),
    time("started_at", nullable=False),
    time("ended_at"),
    Column("duration_ns", BigInteger),
    text("error"),
    UniqueConstraint("materialization", "number"),
)

# A place on a limited resource, held by a running attempt of any process.
slot = Table(
    "slot",
    metadata,
    Column("project", Text, primary_key=True),
    Column("resource", Text, primary_key=True),
    Column("attempt", RowId, ForeignKey("attempt.id"), primary_key=True),
    sqlite_with_rowid=False,
)
