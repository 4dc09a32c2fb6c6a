"""What people are asked and what they decide: requests for approval, and the votes on them."""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, ForeignKey, Index, Integer, Table, UniqueConstraint

from flowstone.stores.tables.columns import RowId, Text, metadata, text, time

approval = Table(
    "approval",
    metadata,
    Column("id", Text, primary_key=True),
    *[text(name) for name in ("project", "kind", "status", "pipeline", "asset", "partition", "run_id", "trace_id")],
    Column("materialization", BigInteger, nullable=False),
    text("output"),  # the candidate; empty before there is one
    text("digest"),  # what is decided upon: the candidate's bytes, or what would be computed
    text("policy"),  # JSON: the gate as it was declared when people were asked
    text("facts"),  # JSON: what people are shown, so that a machine without the bytes can decide
    text("requester"),
    text("identity"),
    time("requested_at", nullable=False),
    time("deadline"),
    time("next_at"),  # when time itself does something: a reminder, or the deadline
    Column("reminders", Integer, nullable=False),
    time("escalated_at"),
    time("ended_at"),
    text("decided_by"),
    text("decided_identity"),
    text("reason"),
    Column("version", Integer, nullable=False),  # of the row: a change is made upon the version that was seen
)
_pending = approval.c.status == "pending"
Index(  # one open question about each asset x partition
    "approval_pending",
    approval.c.project,
    approval.c.asset,
    approval.c.partition,
    unique=True,
    sqlite_where=_pending,
    info={"where": _pending},
)
Index("approval_by_asset", approval.c.project, approval.c.asset, approval.c.partition, approval.c.requested_at)
Index("approval_by_run", approval.c.run_id)

approval_vote = Table(
    "approval_vote",
    metadata,
    Column("id", RowId, primary_key=True),
    Column("approval", Text, ForeignKey("approval.id"), nullable=False),
    text("decision"),  # given by whoever decides: the same one again is the same vote
    *[text(name) for name in ("verdict", "voter", "identity", "comment", "digest")],
    time("at", nullable=False),
    text("seen"),  # JSON: what was shown of the present when it was decided
    text("signature"),  # armoured, of the statement of this decision; empty when it is not signed
    text("key"),  # the fingerprint of the key that signed
    UniqueConstraint("approval", "decision"),
    UniqueConstraint("approval", "voter"),
)
