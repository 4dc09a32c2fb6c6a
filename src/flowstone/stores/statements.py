"""A Core statement compiled once, then run on the driver's cursor with its values in the driver's own shape."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from typing import Any

from sqlalchemy import ColumnElement, Dialect, Insert, Table, and_, bindparam, insert
from sqlalchemy.sql import ClauseElement

from flowstone.foundation.errors import FlowStoneError

Failure = Callable[[FlowStoneError], FlowStoneError]
"""A function that makes another error of one."""

Statement = Callable[[], ClauseElement]
"""A function that returns a Core statement."""


class Prepared:
    """The SQL text of a statement and how its named values become the driver's parameters."""

    __slots__ = ("_constants", "_order", "_take", "sql")

    def __init__(self, statement: ClauseElement, dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        self.sql = str(compiled)
        order: Iterable[str] | None = getattr(compiled, "positiontup", None)
        self._order = tuple(order) if order is not None else None
        self._take = _taking(self._order)
        self._constants = {name: bind.effective_value for name, bind in compiled.binds.items() if not bind.required}

    def bind(self, values: Mapping[str, Any]) -> Any:
        """Return *values* as the driver wants them: a tuple in order, or the mapping itself."""
        return self._take({**self._constants, **values} if self._constants else values)

    def bind_rows(self, names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Any:
        """Return *rows*, whose values are those of *names* in order, as the driver wants them."""
        return rows if self._order == names else [self.bind(dict(zip(names, row, strict=True))) for row in rows]


def _taking(order: tuple[str, ...] | None) -> Callable[[Mapping[str, Any]], Any]:
    """The function that takes a statement's values in *order* from a mapping, or the mapping itself."""
    if order is None:
        return lambda values: values
    return itemgetter(*order) if len(order) > 1 else lambda values: tuple(values[key] for key in order)


class Inserting:
    """A builder of the insert that gives every column of *table* except *without*; ``names`` are the columns in order.

    *failure* makes another error of the one that refuses it.
    """

    def __init__(self, table: Table, *without: str, failure: Failure | None = None) -> None:
        self._table, self.failure = table, failure
        self.names = tuple(column.name for column in table.columns if column.name not in without)

    def __call__(self) -> Insert:
        return insert(self._table).values({name: bindparam(name) for name in self.names})


class PerDialect:
    """A builder whose statement differs from one database to another; *build* is given the dialect's name."""

    def __init__(self, build: Callable[[str], ClauseElement]) -> None:
        self.build = build


Builder = Statement | PerDialect
"""What a statement is built by; it is the cache key itself, so give one that lives as long as its module."""


def build(builder: Builder, dialect: Dialect) -> ClauseElement:
    """The statement of *builder* for *dialect*."""
    return builder.build(dialect.name) if isinstance(builder, PerDialect) else builder()


def numbering(table: Table, *, once: bool = False) -> PerDialect:
    """A builder of the insert whose row gets its ``id`` from the database, for :meth:`Transaction.insert`.

    With *once* it does nothing when a unique key is taken.
    """
    names = [column.name for column in table.columns if column.name != "id"]

    def statement(dialect: str) -> Any:
        made = _insert(dialect)(table).values({name: bindparam(name) for name in names})
        if once:
            made = made.on_conflict_do_nothing()
        return made if dialect == "sqlite" else made.returning(table.c.id)  # SQLite's driver says it without being asked

    return PerDialect(statement)


def upserting(table: Table, *keys: str) -> PerDialect:
    """A builder of the insert that replaces the other columns when a row with the same *keys* exists."""
    names = [column.name for column in table.columns]

    def statement(dialect: str) -> Any:
        made = _insert(dialect)(table).values({name: bindparam(name) for name in names})
        others = {name: made.excluded[name] for name in names if name not in keys}
        return made.on_conflict_do_update(index_elements=list(keys), set_=others)

    return PerDialect(statement)


def inserting_once(
    table: Table, *without: str, values: Mapping[str, Any] | None = None, keys: tuple[str, ...] = ()
) -> PerDialect:
    """A builder of the insert that does nothing when a unique key is taken: rowcount tells who won.

    *values* are expressions instead of parameters; with *keys* only that key may be taken, any other one is an error.
    """
    given: dict[str, Any] = {column.name: bindparam(column.name) for column in table.columns if column.name not in without}

    def statement(dialect: str) -> Any:
        made = _insert(dialect)(table).values({**given, **(values or {})})
        return made.on_conflict_do_nothing(index_elements=list(keys) or None)

    return PerDialect(statement)


def beginning(table: Table, project: str, text: str) -> ColumnElement[bool]:
    """Whether a row of *project* has an id that begins with *text*: a span of the ids' index, which SQLite sees in no ``LIKE``.

    The project is compared as an expression: a database that took an index of it instead would go through all its rows.
    """
    id, own = table.c.id, table.c.project.concat("") == project
    return and_(id >= text, id <= text + "z" * 40, id.startswith(text, autoescape=True), own)


def _insert(dialect: str) -> Any:
    """The insert that knows ``ON CONFLICT``, from the dialect's package: the engine has loaded it, and no other one."""
    return importlib.import_module(f"sqlalchemy.dialects.{dialect}").insert
