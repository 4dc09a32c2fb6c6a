"""Claims that hold across runs, cancel requests, slots of resources, holds, collected outputs, and the event cursor."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TABLES = (
    "attempt", "current_output", "error", "event", "lineage", "log", "materialization", "output", "pipeline", "process", "run",
)  # fmt: skip


def upgrade() -> None:
    """Add what is new, and fill it in for what is there."""
    if op.get_context().dialect.name == "postgresql":
        _sort_texts_by_code_point()
    op.add_column("run", sa.Column("cancel_requested_at", sa.BigInteger(), nullable=True))
    op.add_column("output", sa.Column("gone", _text(), nullable=False, server_default=""))
    op.add_column("output", sa.Column("gone_at", sa.BigInteger(), nullable=True))
    _give_materializations_their_project()
    _claim_each_place_once()
    _create_slot()
    _create_hold()
    _mark_the_transaction_of_events()
    _index_what_is_asked()


def _text() -> sa.Text:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _number() -> sa.types.TypeEngine[int]:
    return sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def _sort_texts_by_code_point() -> None:
    inspector = sa.inspect(op.get_bind())
    for table in _TABLES:
        texts = [column["name"] for column in inspector.get_columns(table) if isinstance(column["type"], sa.Text)]
        op.execute(f"ALTER TABLE {table} " + ", ".join(f'ALTER COLUMN "{name}" TYPE text COLLATE "C"' for name in texts))


def _give_materializations_their_project() -> None:
    op.add_column("materialization", sa.Column("project", _text(), nullable=True))
    op.execute("UPDATE materialization SET project = (SELECT run.project FROM run WHERE run.id = materialization.run_id)")
    with op.batch_alter_table("materialization") as table:
        table.alter_column("project", existing_type=_text(), nullable=False)


def _claim_each_place_once() -> None:
    """The newest running row of a place keeps its claim; older ones, which only dead processes left behind, are tried again."""
    op.execute(
        "UPDATE materialization SET status = 'retrying' WHERE status = 'running' AND EXISTS ("
        "SELECT 1 FROM materialization AS newer WHERE newer.status = 'running' AND newer.id > materialization.id "
        "AND newer.project = materialization.project AND newer.asset = materialization.asset "
        'AND newer."partition" = materialization."partition")'
    )
    running = sa.text("status = 'running'")
    op.create_index(
        "materialization_running",
        "materialization",
        ["project", "asset", "partition"],
        unique=True,
        sqlite_where=running,
        postgresql_where=running,
    )


def _create_slot() -> None:
    op.create_table(
        "slot",
        sa.Column("project", _text(), nullable=False),
        sa.Column("resource", _text(), nullable=False),
        sa.Column("attempt", _number(), nullable=False),
        sa.ForeignKeyConstraint(["attempt"], ["attempt.id"]),
        sa.PrimaryKeyConstraint("project", "resource", "attempt"),
        sqlite_with_rowid=False,
    )


def _create_hold() -> None:
    op.create_table(
        "hold",
        sa.Column("id", _text(), nullable=False),
        sa.Column("project", _text(), nullable=False),
        sa.Column("asset", _text(), nullable=False),
        sa.Column("partition", _text(), nullable=False),
        sa.Column("output", _text(), nullable=False),
        sa.Column("run_id", _text(), nullable=False),
        sa.Column("reason", _text(), nullable=False),
        sa.Column("actor", _text(), nullable=False),
        sa.Column("identity", _text(), nullable=False),
        sa.Column("at", sa.BigInteger(), nullable=False),
        sa.Column("released_at", sa.BigInteger(), nullable=True),
        sa.Column("released_by", _text(), nullable=False, server_default=""),
        sa.PrimaryKeyConstraint("id"),
    )


def _mark_the_transaction_of_events() -> None:
    op.add_column("event", sa.Column("xid", sa.BigInteger(), nullable=True))
    if op.get_context().dialect.name == "postgresql":
        op.execute("UPDATE event SET xid = 0")
        op.execute("ALTER TABLE event ALTER COLUMN xid SET DEFAULT pg_current_xact_id()::text::bigint")
        op.alter_column("event", "xid", nullable=False)
        op.create_index("event_by_xid", "event", ["xid", "id"])


def _index_what_is_asked() -> None:
    """A question about the newest rows seeks them, however long the history is."""
    op.drop_index("materialization_by_asset", "materialization")
    op.create_index("materialization_by_asset", "materialization", ["project", "asset", "partition", "id"])
    op.drop_index("run_by_status", "run")
    op.create_index("run_by_status", "run", ["status", "project", "requested_at"])
    op.create_index("pipeline_by_use", "pipeline", ["project", "name", "last_used_at"])
    op.create_index("error_by_time", "error", ["project", "at"])
    op.create_index("error_by_asset", "error", ["project", "asset", "at"])
