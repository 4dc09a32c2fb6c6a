"""One question asked in either place: inside a transaction, which sees its own changes, or on a connection for reading."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection

from flowstone.stores.database import Transaction
from flowstone.stores.statements import Statement

Asked = Transaction | Connection


def ask(place: Asked, statement: Statement, values: Mapping[str, Any]) -> Sequence[Any]:
    """The rows that answer *statement*, as tuples."""
    if isinstance(place, Transaction):
        return list(place.execute(statement, values).fetchall())
    return list(place.execute(statement(), values))  # type: ignore[call-overload]
