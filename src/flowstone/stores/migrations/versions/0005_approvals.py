"""What people are asked and what they decide: requests for approval, and their votes."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what is new."""
    waiting = sa.text("status = 'waiting'")
    op.create_index(
        "materialization_waiting", "materialization", ["project", "asset", "partition"],
        sqlite_where=waiting, postgresql_where=waiting,
    )  # fmt: skip
    _create_approval()
    _create_vote()


def _text() -> sa.Text:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _needed(name: str) -> "sa.Column[str]":
    return sa.Column(name, _text(), nullable=False)


def _time(name: str, *, nullable: bool = True) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _create_approval() -> None:
    op.create_table(
        "approval",
        *[_needed(n) for n in ("id", "project", "kind", "status", "pipeline", "asset", "partition", "run_id", "trace_id")],
        _time("materialization", nullable=False),
        *[_needed(name) for name in ("output", "digest", "policy", "facts", "requester", "identity")],
        _time("requested_at", nullable=False),
        _time("deadline"),
        _time("next_at"),
        sa.Column("reminders", sa.Integer(), nullable=False),
        _time("escalated_at"),
        _time("ended_at"),
        *[_needed(name) for name in ("decided_by", "decided_identity", "reason")],
        sa.Column("version", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    place, pending = ["project", "asset", "partition"], sa.text("status = 'pending'")
    op.create_index("approval_pending", "approval", place, unique=True, sqlite_where=pending, postgresql_where=pending)
    op.create_index("approval_by_asset", "approval", [*place, "requested_at"])
    op.create_index("approval_by_run", "approval", ["run_id"])


def _create_vote() -> None:
    op.create_table(
        "approval_vote",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("approval", _text(), sa.ForeignKey("approval.id"), nullable=False),
        *[_needed(name) for name in ("decision", "verdict", "voter", "identity", "comment", "digest")],
        _time("at", nullable=False),
        *[_needed(name) for name in ("seen", "signature", "key")],
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("approval", "decision"),
        sa.UniqueConstraint("approval", "voter"),
    )
