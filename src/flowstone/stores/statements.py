"""A Core statement compiled once, then run on the driver's cursor with its values in the driver's own shape."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import Dialect, Insert, Table, bindparam, insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.sql import ClauseElement

Builder = Callable[[], ClauseElement]
"""A function that returns a Core statement; it is the cache key itself, so give one that lives as long as its module."""


class Prepared:
    """The SQL text of a statement and how its named values become the driver's parameters."""

    __slots__ = ("_constants", "_order", "sql")

    def __init__(self, statement: ClauseElement, dialect: Dialect) -> None:
        compiled: Any = statement.compile(dialect=dialect)
        self.sql = str(compiled)
        order: Iterable[str] | None = getattr(compiled, "positiontup", None)
        self._order = tuple(order) if order is not None else None
        self._constants = {name: bind.effective_value for name, bind in compiled.binds.items() if not bind.required}

    def bind(self, values: Mapping[str, Any]) -> Any:
        """Return *values* as the driver wants them: a list in order, or the mapping itself."""
        if self._constants:
            values = {**self._constants, **values}
        return [values[key] for key in self._order] if self._order is not None else values

    def bind_rows(self, names: tuple[str, ...], rows: list[tuple[Any, ...]]) -> Any:
        """Return *rows*, whose values are those of *names* in order, as the driver wants them."""
        return rows if self._order == names else [self.bind(dict(zip(names, row, strict=True))) for row in rows]


class Inserting:
    """A builder of the insert that gives every column of *table* except *without*; ``names`` are the columns in order."""

    def __init__(self, table: Table, *without: str) -> None:
        self._table = table
        self.names = tuple(column.name for column in table.columns if column.name not in without)

    def __call__(self) -> Insert:
        return insert(self._table).values({name: bindparam(name) for name in self.names})


def upserting(table: Table, *keys: str) -> Builder:
    """A builder of the insert that replaces the other columns when a row with the same *keys* exists."""
    names = [column.name for column in table.columns]

    def build() -> Insert:
        statement = sqlite_insert(table).values({name: bindparam(name) for name in names})
        return statement.on_conflict_do_update(
            index_elements=list(keys), set_={name: statement.excluded[name] for name in names if name not in keys}
        )

    return build


def inserting_once(table: Table, *without: str) -> Builder:
    """A builder of the insert that does nothing when a unique key is taken: rowcount tells who won."""
    names = [column.name for column in table.columns if column.name not in without]

    def build() -> Insert:
        return sqlite_insert(table).values({name: bindparam(name) for name in names}).on_conflict_do_nothing()

    return build
