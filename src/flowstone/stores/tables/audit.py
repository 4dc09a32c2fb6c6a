"""The audit log: entries, their order, signed tree heads, and what may be deleted. Rows are added and never changed.

What keeps them so, as far as a database can, is in ``stores/append_only``.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Index, Integer, LargeBinary, Table, UniqueConstraint

from flowstone.stores.tables.columns import RowId, Text, metadata, text, time

# Whose log this is. A restore that is meant begins a new incarnation: a new row, and another origin.
audit_log = Table(
    "audit_log",
    metadata,
    Column("incarnation", Integer, primary_key=True, autoincrement=False),
    Column("origin", Text, nullable=False, unique=True),
    text("reason"),
    time("at", nullable=False),
)

# The facts. `leaf` holds the bytes that are hashed; the other columns repeat some of them for questions, and are compared.
audit_entry = Table(
    "audit_entry",
    metadata,
    Column("id", RowId, primary_key=True),
    text("project"),
    text("subject"),
    Column("version", BigInteger, nullable=False),
    text("action"),
    text("actor"),
    text("asset"),
    text("run_id"),
    time("at", nullable=False),
    Column("leaf", LargeBinary, nullable=False),
    UniqueConstraint("project", "subject", "version"),
    sqlite_autoincrement=True,
)
Index("audit_entry_by_asset", audit_entry.c.project, audit_entry.c.asset, audit_entry.c.id)
Index("audit_entry_by_run", audit_entry.c.run_id, audit_entry.c.id)

# The order, written by the sealer alone: gap-free, from 0. It outlives entries that are pruned.
audit_seal = Table(
    "audit_seal",
    metadata,
    Column("seq", BigInteger, primary_key=True, autoincrement=False),
    Column("entry", BigInteger, nullable=False, unique=True),
    Column("leaf_hash", LargeBinary, nullable=False),
    sqlite_with_rowid=False,
)

# What was signed. One head follows another: a second one after the same is a fork, and refused.
audit_head = Table(
    "audit_head",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("prev_size", BigInteger, nullable=False, unique=True),
    Column("root", LargeBinary, nullable=False),
    Column("peaks", LargeBinary, nullable=False),  # the frontier at that size, so that the next head need not begin at 0
    text("note"),
    time("at", nullable=False),
    sqlite_with_rowid=False,
)

# What entries commit to without saying it; may be deleted once it is redacted or pruned.
audit_disclosure = Table(
    "audit_disclosure",
    metadata,
    Column("entry", BigInteger, primary_key=True, autoincrement=False),
    Column("field", Text, primary_key=True),
    Column("salt", LargeBinary, nullable=False),
    text("value"),
    sqlite_with_rowid=False,
)
audit_redaction = Table(
    "audit_redaction",
    metadata,
    Column("entry", BigInteger, primary_key=True, autoincrement=False),
    Column("field", Text, primary_key=True),
    time("at", nullable=False),
    sqlite_with_rowid=False,
)

# Entries sealed before `below` are in an archive; their hashes stay.
audit_prune = Table(
    "audit_prune",
    metadata,
    Column("below", BigInteger, primary_key=True, autoincrement=False),
    text("archive"),
    text("digest"),
    time("at", nullable=False),
)

# Which heads were accepted outside this database.
audit_anchor = Table(
    "audit_anchor",
    metadata,
    Column("size", BigInteger, primary_key=True, autoincrement=False),
    Column("sink", Text, primary_key=True),
    text("receipt"),
    time("at", nullable=False),
    sqlite_with_rowid=False,
)
