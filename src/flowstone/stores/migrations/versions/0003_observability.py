"""What observability keeps: groups of errors, folded metrics, late values, the outbox, ticks, fields of captured lines."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what is new, and group the errors that are there."""
    op.add_column("error", sa.Column("definition", _text(), nullable=False, server_default=""))
    op.add_column("log", sa.Column("fields", _text(), nullable=False, server_default=""))
    op.add_column("process", sa.Column("handlers", _text(), nullable=False, server_default=""))
    kept = sa.text("gone = ''")
    op.create_index("output_kept", "output", ["project", "manager", "size"], sqlite_where=kept, postgresql_where=kept)
    _create_error_group()
    _group_the_errors()
    _create_metrics()
    _create_overdue()
    _create_notification()
    _create_tick()


def _text() -> sa.Text:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _needed(name: str) -> "sa.Column[str]":
    return sa.Column(name, _text(), nullable=False)


def _time(name: str, *, nullable: bool = True) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger(), nullable=nullable)


def _create_error_group() -> None:
    op.create_table(
        "error_group",
        *[_needed(name) for name in ("project", "fingerprint", "type", "message", "asset", "status")],
        sa.Column("errors", sa.BigInteger(), nullable=False),
        sa.Column("cured", sa.BigInteger(), nullable=False),
        *[_needed(name) for name in ("first_error", "last_error")],
        _time("first_at", nullable=False),
        _time("last_at", nullable=False),
        _time("decided_at"),
        *[_needed(name) for name in ("decided_by", "identity", "reason")],
        sa.PrimaryKeyConstraint("project", "fingerprint"),
        sqlite_with_rowid=False,
    )
    op.create_index("error_group_by_time", "error_group", ["project", "status", "last_at"])


def _group_the_errors() -> None:
    """The first and the newest error of each fingerprint are those with the least and the greatest (at, id)."""
    op.execute(
        "INSERT INTO error_group (project, fingerprint, type, message, asset, status, errors, cured, first_error, last_error, "
        "first_at, last_at, decided_at, decided_by, identity, reason) "
        "SELECT newest.project, newest.fingerprint, newest.type, newest.message, newest.asset, 'open', every.errors, "
        "every.cured, first.id, newest.id, first.at, newest.at, NULL, '', '', '' FROM "
        "(SELECT project, fingerprint, count(*) AS errors, sum(CASE WHEN cured > 0 THEN 1 ELSE 0 END) AS cured "
        "FROM error GROUP BY project, fingerprint) AS every "
        "JOIN error AS first ON first.id = (SELECT id FROM error AS e WHERE e.project = every.project "
        "AND e.fingerprint = every.fingerprint ORDER BY e.at, e.id LIMIT 1) "
        "JOIN error AS newest ON newest.id = (SELECT id FROM error AS e WHERE e.project = every.project "
        "AND e.fingerprint = every.fingerprint ORDER BY e.at DESC, e.id DESC LIMIT 1)"
    )


def _create_metrics() -> None:
    op.create_table(
        "fold",
        *[_needed(name) for name in ("project", "metric", "digest", "cursor")],
        _time("at", nullable=False),
        sa.PrimaryKeyConstraint("project", "metric"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "series",
        *[_needed(name) for name in ("project", "metric", "labels")],
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.Column("total", sa.Double(), nullable=False),
        *[_needed(name) for name in ("buckets", "exemplars")],
        _time("at", nullable=False),
        sa.PrimaryKeyConstraint("project", "metric", "labels"),
        sqlite_with_rowid=False,
    )


def _create_overdue() -> None:
    op.create_table(
        "overdue",
        *[_needed(name) for name in ("project", "asset", "partition")],
        _time("due_at", nullable=False),
        _time("at", nullable=False),
        _time("met_at"),
        sa.PrimaryKeyConstraint("project", "asset", "partition"),
        sqlite_with_rowid=False,
    )


def _create_notification() -> None:
    op.create_table(
        "notification",
        *[_needed(name) for name in ("id", "project", "channel", "cause", "subject", "payload", "status")],
        sa.Column("tries", sa.Integer(), nullable=False),
        _time("at", nullable=False),
        _time("not_before"),
        _time("ended_at"),
        *[_needed(name) for name in ("process", "message")],
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project", "cause", "subject", "channel"),
    )
    pending = sa.text("status = 'pending'")
    op.create_index(
        "notification_pending", "notification", ["project", "not_before"], sqlite_where=pending, postgresql_where=pending
    )


def _create_tick() -> None:
    op.create_table(
        "tick",
        _needed("project"),
        _time("at", nullable=False),
        *[_needed(name) for name in ("process", "host", "did")],
        sa.PrimaryKeyConstraint("project"),
        sqlite_with_rowid=False,
    )
