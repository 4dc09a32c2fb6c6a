"""What was made of what, and what of it is current or held."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, UniqueConstraint

from flowstone.stores.tables.columns import Text, metadata, time

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
    time("created_at", nullable=False),
    Column("gone", Text, nullable=False, server_default=""),  # why its bytes are not there any more: collected or erased
    time("gone_at"),
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
    time("at", nullable=False),
    time("released_at"),
    Column("released_by", Text, nullable=False, server_default=""),
)
