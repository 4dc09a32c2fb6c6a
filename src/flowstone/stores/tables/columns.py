"""What every table is made of: keys, times and texts that mean the same on each database."""

from __future__ import annotations

from typing import Any

from sqlalchemy import BigInteger, Column, Integer, MetaData
from sqlalchemy import Text as AnyText
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.schema import CreateIndex

metadata = MetaData()

# SQLite numbers rows by INTEGER PRIMARY KEY only; other databases need 64 bits.
RowId = BigInteger().with_variant(Integer(), "sqlite")

# The same order on every database, and a beginning of an id is found by the index.
Text = AnyText().with_variant(AnyText(collation="C"), "postgresql")


def time(name: str, *, nullable: bool = True) -> Column[int]:
    """A column of nanoseconds since the epoch, UTC."""
    return Column(name, BigInteger, nullable=nullable)


def text(name: str) -> Column[str]:
    """A column of text that is never null."""
    return Column(name, Text, nullable=False)


@compiles(CreateIndex, "postgresql")
def _partial(create: Any, compiler: Any, **options: Any) -> str:
    """Say ``WHERE`` here: an index that names PostgreSQL's option loads SQLAlchemy's PostgreSQL, 45 ms of every command."""
    if "where" in create.element.info:
        create.element.dialect_kwargs["postgresql_where"] = create.element.info["where"]
    return str(compiler.visit_create_index(create, **options))
