"""What operators look at: folded metrics, late values, messages, ticks."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, Index, Integer, Table, UniqueConstraint

from flowstone.stores.tables.columns import Text, metadata, text, time

# How far the event log is folded into each metric, and by which definition of it.
fold = Table(
    "fold",
    metadata,
    Column("project", Text, primary_key=True),
    Column("metric", Text, primary_key=True),
    text("digest"),
    text("cursor"),
    time("at", nullable=False),
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
    text("buckets"),  # JSON array of counts, not cumulated; empty unless it is a distribution
    text("exemplars"),  # JSON object by bucket; empty when there are none
    time("at", nullable=False),
    sqlite_with_rowid=False,
)

# A value that was late: said once.
overdue = Table(
    "overdue",
    metadata,
    Column("project", Text, primary_key=True),
    Column("asset", Text, primary_key=True),
    Column("partition", Text, primary_key=True),
    time("due_at", nullable=False),
    time("at", nullable=False),
    time("met_at"),
    sqlite_with_rowid=False,
)

# The outbox: messages written in the transaction of their cause, delivered after it.
notification = Table(
    "notification",
    metadata,
    Column("id", Text, primary_key=True),
    text("project"),
    text("channel"),
    text("cause"),  # as in the setting `on`: run.failed
    text("subject"),  # what it is about: one message for each cause, subject and channel
    text("payload"),  # JSON: names, counts, digests and the next command, never data
    text("status"),  # pending, delivered or failed
    Column("tries", Integer, nullable=False),
    time("at", nullable=False),
    time("not_before"),
    time("ended_at"),
    text("process"),  # who is delivering it
    text("message"),  # what the channel answered last
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
    time("at", nullable=False),
    text("process"),
    text("host"),
    text("did"),  # JSON
    sqlite_with_rowid=False,
)
