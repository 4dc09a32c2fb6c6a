"""What keeps the audit log's rows as they are, as far as the database can: triggers that refuse what is not an honest append.

An owner of the database can drop them; then the signed tree tells. Every unique key is guarded, because ``INSERT OR REPLACE``
evicts a row on any of them without a delete trigger being asked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection

KEYS = {
    "audit_log": "incarnation = NEW.incarnation OR origin = NEW.origin",
    "audit_entry": "project = NEW.project AND subject = NEW.subject AND version = NEW.version",
    "audit_seal": "seq = NEW.seq OR entry = NEW.entry",
    "audit_head": "size = NEW.size OR prev_size = NEW.prev_size",
    "audit_disclosure": "entry = NEW.entry AND field = NEW.field",
    "audit_redaction": "entry = NEW.entry AND field = NEW.field",
    "audit_prune": "below = NEW.below",
    "audit_anchor": "size = NEW.size AND sink = NEW.sink",
}
"""Each table, and when a new row has a key of one that is there; ids of entries see below."""

_PRUNED = "EXISTS (SELECT 1 FROM audit_prune p JOIN audit_seal s ON s.seq < p.below WHERE s.entry = {entry})"
MAY_GO = {
    "audit_entry": _PRUNED.format(entry="OLD.id"),
    "audit_disclosure": "EXISTS (SELECT 1 FROM audit_redaction r WHERE r.entry = OLD.entry AND r.field = OLD.field) OR "
    + _PRUNED.format(entry="OLD.entry"),
}
"""The rows that may be deleted: what an entry of the log has said before."""

NEXT = {
    "audit_seal": "NEW.seq = (SELECT COALESCE(MAX(seq) + 1, 0) FROM audit_seal)",
    "audit_head": "NEW.prev_size = (SELECT COALESCE(MAX(size), 0) FROM audit_head) AND NEW.size > NEW.prev_size",
}
"""What must hold of a new row: it follows the last one."""

_OLD_ID = "(NEW.id > 0 AND NEW.id <= (SELECT COALESCE(MAX(id), 0) FROM audit_entry))"  # one that is not given is -1 here

_ROW, _BEFORE, _INSERT, _DELETE, _UPDATE, _TRUNCATE = 1, 2, 4, 8, 16, 32  # pg_trigger.tgtype


class Trigger(NamedTuple):
    """A trigger of PostgreSQL as its catalogue has it."""

    table: str
    name: str
    kind: int
    function: str
    enabled: str = "A"


def sqlite() -> Iterator[str]:
    """The statements for SQLite: three triggers a table."""
    for table, keys in KEYS.items():
        refuse = f"SELECT RAISE(ABORT, '{table} is append-only')"
        wrong = f"EXISTS (SELECT 1 FROM {table} WHERE {keys})"
        if table in NEXT:
            wrong += f" OR NOT ({NEXT[table]})"
        if table == "audit_entry":
            wrong += f" OR {_OLD_ID}"
        gone = f" WHEN NOT ({MAY_GO[table]})" if table in MAY_GO else ""
        yield f"CREATE TRIGGER {table}_insert BEFORE INSERT ON {table} WHEN {wrong} BEGIN {refuse}; END"
        yield f"CREATE TRIGGER {table}_update BEFORE UPDATE ON {table} BEGIN {refuse}; END"
        yield f"CREATE TRIGGER {table}_delete BEFORE DELETE ON {table}{gone} BEGIN {refuse}; END"


def postgres() -> Iterator[str]:
    """The statements for PostgreSQL: triggers that fire whatever the session's role, and the queue of the sealer.

    Writers commit beside each other there, so that the entries not yet sealed cannot be told by their numbers. A function looks
    its tables up in the schema it was made in, whatever the session's path and temporary tables are.
    """
    yield "CREATE TABLE audit_pending (entry BIGINT PRIMARY KEY)"
    for name, body in bodies().items():
        yield (
            f"DO $do$ BEGIN EXECUTE 'CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER "
            f"SET search_path = ' || quote_ident(current_schema()) || ', pg_temp AS $fn${body}$fn$'; END $do$"
        )
    for trigger in triggers():
        row = "ROW" if trigger.kind & _ROW else "STATEMENT"
        when = "BEFORE" if trigger.kind & _BEFORE else "AFTER"
        words = {_INSERT: "INSERT", _UPDATE: "UPDATE", _DELETE: "DELETE", _TRUNCATE: "TRUNCATE"}
        events = " OR ".join(word for bit, word in words.items() if trigger.kind & bit)
        on = f"{when} {events} ON {trigger.table} FOR EACH {row}"
        yield f"CREATE TRIGGER {trigger.name} {on} EXECUTE FUNCTION {trigger.function}()"
        yield f"ALTER TABLE {trigger.table} ENABLE ALWAYS TRIGGER {trigger.name}"


def bodies() -> dict[str, str]:
    """The functions of PostgreSQL's triggers."""
    found = {"audit_queue": " BEGIN INSERT INTO audit_pending VALUES (NEW.id); RETURN NULL; END "}
    for table in KEYS:
        follows = f"IF TG_OP = ''INSERT'' THEN IF {NEXT[table]} THEN RETURN NEW; END IF; END IF; " if table in NEXT else ""
        goes = f"IF TG_OP = ''DELETE'' THEN IF {MAY_GO[table]} THEN RETURN OLD; END IF; END IF; " if table in MAY_GO else ""
        found[f"{table}_guard"] = f" BEGIN {follows}{goes}RAISE EXCEPTION ''{table} is append-only''; END "
    return found


def triggers() -> Iterator[Trigger]:
    """The triggers of PostgreSQL."""
    yield Trigger("audit_entry", "audit_entry_queue", _ROW | _INSERT, "audit_queue")
    for table in KEYS:
        kind = _ROW | _BEFORE | _UPDATE | _DELETE | (_INSERT if table in NEXT else 0)
        yield Trigger(table, f"{table}_row", kind, f"{table}_guard")
        yield Trigger(table, f"{table}_all", _BEFORE | _TRUNCATE, f"{table}_guard")


# -- a restore fills an empty log ------------------------------------------------------------------------------------------------


def lifted(dialect: str) -> Sequence[str]:
    """The statements that let rows of the log be replaced, for the owner of the database alone."""
    if dialect == "sqlite":
        return [f"DROP TRIGGER {table}_{event}" for table in KEYS for event in ("insert", "update", "delete")]
    return [f"ALTER TABLE {table} DISABLE TRIGGER USER" for table in KEYS]


def put_back(dialect: str) -> Sequence[str]:
    """The statements that undo :func:`lifted`; entries that are copied with their places wait for none."""
    if dialect == "sqlite":
        return list(sqlite())
    return [
        *(f"ALTER TABLE {trigger.table} ENABLE ALWAYS TRIGGER {trigger.name}" for trigger in triggers()),
        "DELETE FROM audit_pending",
        "INSERT INTO audit_pending SELECT id FROM audit_entry WHERE NOT EXISTS (SELECT 1 FROM audit_seal WHERE entry = id)",
    ]


# -- whether they are there ------------------------------------------------------------------------------------------------------


def differences(connection: Connection) -> list[str]:
    """What is not as it was made: triggers that are gone, changed, switched off or strange."""
    return _sqlite_differences(connection) if connection.dialect.name == "sqlite" else _postgres_differences(connection)


def _sqlite_differences(connection: Connection) -> list[str]:
    wanted = {sql.split()[2]: sql for sql in sqlite()}
    rows = connection.exec_driver_sql("SELECT name, sql FROM sqlite_master WHERE type = 'trigger'")
    return _compared(wanted, {str(name): str(sql) for name, sql in rows})


def _postgres_differences(connection: Connection) -> list[str]:
    rows = connection.exec_driver_sql(
        "SELECT c.relname, t.tgname, t.tgtype, p.proname, t.tgenabled::text, p.prosrc, p.proconfig = ARRAY['search_path=' || "
        "quote_ident(current_schema()) || ', pg_temp'] FROM pg_trigger t JOIN pg_class c ON c.oid = t.tgrelid "
        "JOIN pg_proc p ON p.oid = t.tgfoid WHERE c.relnamespace = current_schema()::regnamespace AND NOT t.tgisinternal"
    )
    sources = {name: body.replace("''", "'") for name, body in bodies().items()}
    wanted = {trigger.name: (trigger, sources[trigger.function], True) for trigger in triggers()}
    return _compared(wanted, {str(row[1]): (Trigger(*row[:5]), str(row[5]), row[6]) for row in rows})


def _compared(wanted: Mapping[str, object], found: Mapping[str, object]) -> list[str]:
    gone = [f"the trigger {name} is gone" for name in sorted(wanted.keys() - found.keys())]
    strange = [f"the trigger {name} is not FlowStone's" for name in sorted(found.keys() - wanted.keys())]
    both = sorted(wanted.keys() & found.keys())
    return [*gone, *strange, *(f"the trigger {name} is changed or switched off" for name in both if wanted[name] != found[name])]
