"""The audit log: entries, their order, tree heads, disclosures; and the triggers that keep them append-only."""

from collections.abc import Iterator

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add what is new."""
    _create_log_and_entries()
    _create_order_and_heads()
    _create_what_may_go()
    additions = _sqlite if op.get_bind().dialect.name == "sqlite" else _postgres
    for statement in additions():
        op.get_bind().exec_driver_sql(statement)


def _text() -> sa.Text:
    return sa.Text().with_variant(sa.Text(collation="C"), "postgresql")


def _needed(name: str) -> "sa.Column[str]":
    return sa.Column(name, _text(), nullable=False)


def _number(name: str) -> "sa.Column[int]":
    return sa.Column(name, sa.BigInteger(), nullable=False, autoincrement=False)


def _bytes(name: str) -> "sa.Column[bytes]":
    return sa.Column(name, sa.LargeBinary(), nullable=False)


def _create_log_and_entries() -> None:
    op.create_table(
        "audit_log",
        sa.Column("incarnation", sa.Integer(), nullable=False, autoincrement=False),
        _needed("origin"),
        _needed("reason"),
        _number("at"),
        sa.PrimaryKeyConstraint("incarnation"),
        sa.UniqueConstraint("origin"),
    )
    op.create_table(
        "audit_entry",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        _needed("project"),
        _needed("subject"),
        _number("version"),
        *[_needed(name) for name in ("action", "actor", "asset", "run_id")],
        _number("at"),
        _bytes("leaf"),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("project", "subject", "version"),
        sqlite_autoincrement=True,
    )
    op.create_index("audit_entry_by_asset", "audit_entry", ["project", "asset", "id"])
    op.create_index("audit_entry_by_run", "audit_entry", ["run_id", "id"])


def _create_order_and_heads() -> None:
    op.create_table(
        "audit_seal",
        _number("seq"),
        _number("entry"),
        _bytes("leaf_hash"),
        sa.PrimaryKeyConstraint("seq"),
        sa.UniqueConstraint("entry"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit_head",
        _number("size"),
        _number("prev_size"),
        _bytes("root"),
        _bytes("peaks"),
        _needed("note"),
        _number("at"),
        sa.PrimaryKeyConstraint("size"),
        sa.UniqueConstraint("prev_size"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit_anchor",
        _number("size"),
        _needed("sink"),
        _needed("receipt"),
        _number("at"),
        sa.PrimaryKeyConstraint("size", "sink"),
        sqlite_with_rowid=False,
    )


def _create_what_may_go() -> None:
    op.create_table(
        "audit_disclosure",
        _number("entry"),
        _needed("field"),
        _bytes("salt"),
        _needed("value"),
        sa.PrimaryKeyConstraint("entry", "field"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit_redaction",
        _number("entry"),
        _needed("field"),
        _number("at"),
        sa.PrimaryKeyConstraint("entry", "field"),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "audit_prune",
        _number("below"),
        _needed("archive"),
        _needed("digest"),
        _number("at"),
        sa.PrimaryKeyConstraint("below"),
    )


# -- what keeps the rows as they are ------------------------------------------------------------------------------------------

_KEYS = {
    "audit_log": "incarnation = NEW.incarnation OR origin = NEW.origin",
    "audit_entry": "project = NEW.project AND subject = NEW.subject AND version = NEW.version",
    "audit_seal": "seq = NEW.seq OR entry = NEW.entry",
    "audit_head": "size = NEW.size OR prev_size = NEW.prev_size",
    "audit_disclosure": "entry = NEW.entry AND field = NEW.field",
    "audit_redaction": "entry = NEW.entry AND field = NEW.field",
    "audit_prune": "below = NEW.below",
    "audit_anchor": "size = NEW.size AND sink = NEW.sink",
}
_PRUNED = "EXISTS (SELECT 1 FROM audit_prune p JOIN audit_seal s ON s.seq < p.below WHERE s.entry = "
_REDACTED = "EXISTS (SELECT 1 FROM audit_redaction r WHERE r.entry = OLD.entry AND r.field = OLD.field)"
_MAY_GO = {"audit_entry": f"{_PRUNED}OLD.id)", "audit_disclosure": f"{_REDACTED} OR {_PRUNED}OLD.entry)"}
_NEXT = {
    "audit_seal": "NEW.seq = (SELECT COALESCE(MAX(seq) + 1, 0) FROM audit_seal)",
    "audit_head": "NEW.prev_size = (SELECT COALESCE(MAX(size), 0) FROM audit_head) AND NEW.size > NEW.prev_size",
}


def _sqlite() -> Iterator[str]:
    for table, keys in _KEYS.items():
        refuse = f"SELECT RAISE(ABORT, '{table} is append-only')"
        wrong = f"EXISTS (SELECT 1 FROM {table} WHERE {keys})"
        if table in _NEXT:
            wrong += f" OR NOT ({_NEXT[table]})"
        if table == "audit_entry":
            wrong += " OR (NEW.id > 0 AND NEW.id <= (SELECT COALESCE(MAX(id), 0) FROM audit_entry))"
        gone = f" WHEN NOT ({_MAY_GO[table]})" if table in _MAY_GO else ""
        yield f"CREATE TRIGGER {table}_insert BEFORE INSERT ON {table} WHEN {wrong} BEGIN {refuse}; END"
        yield f"CREATE TRIGGER {table}_update BEFORE UPDATE ON {table} BEGIN {refuse}; END"
        yield f"CREATE TRIGGER {table}_delete BEFORE DELETE ON {table}{gone} BEGIN {refuse}; END"


def _postgres() -> Iterator[str]:
    yield "CREATE TABLE audit_pending (entry BIGINT PRIMARY KEY)"
    yield _function("audit_queue", " BEGIN INSERT INTO audit_pending VALUES (NEW.id); RETURN NULL; END ")
    for table in _KEYS:
        follows = f"IF TG_OP = ''INSERT'' THEN IF {_NEXT[table]} THEN RETURN NEW; END IF; END IF; " if table in _NEXT else ""
        goes = f"IF TG_OP = ''DELETE'' THEN IF {_MAY_GO[table]} THEN RETURN OLD; END IF; END IF; " if table in _MAY_GO else ""
        yield _function(f"{table}_guard", f" BEGIN {follows}{goes}RAISE EXCEPTION ''{table} is append-only''; END ")
    yield from _trigger("audit_entry", "audit_entry_queue", "AFTER INSERT", "ROW", "audit_queue")
    for table in _KEYS:
        events = "BEFORE INSERT OR UPDATE OR DELETE" if table in _NEXT else "BEFORE UPDATE OR DELETE"
        yield from _trigger(table, f"{table}_row", events, "ROW", f"{table}_guard")
        yield from _trigger(table, f"{table}_all", "BEFORE TRUNCATE", "STATEMENT", f"{table}_guard")


def _function(name: str, body: str) -> str:
    return (
        f"DO $do$ BEGIN EXECUTE 'CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
        f"SET search_path = ' || quote_ident(current_schema()) || ', pg_temp AS $fn${body}$fn$'; END $do$"
    )


def _trigger(table: str, name: str, events: str, each: str, function: str) -> Iterator[str]:
    yield f"CREATE TRIGGER {name} {events} ON {table} FOR EACH {each} EXECUTE FUNCTION {function}()"
    yield f"ALTER TABLE {table} ENABLE ALWAYS TRIGGER {name}"
