"""The beginning of a table for people, and all its rows for programs, whichever library it is of; imports none of them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Self

from flowstone.cli.lines import say, say_rows
from flowstone.cli.words import counted
from flowstone.io_managers.annotations import library_of

ROWS, COLUMNS, CELL = 20, 8, 30
KNOWN = {("polars", "DataFrame"), ("pandas", "DataFrame"), ("pyarrow", "Table")}


class Frame:
    """A Polars, pandas or Arrow table."""

    def __init__(self, table: Any, library: str) -> None:
        self._table, self._library = table, library
        self.columns = [str(name) for name in (table.column_names if library == "pyarrow" else table.columns)]

    @classmethod
    def of(cls, value: Any) -> Self | None:
        """The frame of *value*, or ``None`` when it is no table; what is lazy or a stream is read whole."""
        library = library_of(type(value))
        kind = type(value).__name__
        if library == "polars" and kind == "LazyFrame":
            return cls(value.collect(), library)
        if library == "pyarrow" and kind == "RecordBatchReader":
            return cls(value.read_all(), library)
        return cls(value, library) if (library, kind) in KNOWN else None

    def __len__(self) -> int:
        return int(self._table.num_rows if self._library == "pyarrow" else len(self._table))

    def rows(self, limit: int | None = None) -> Iterator[dict[str, Any]]:
        """The rows as plain dicts, a few thousand at a time; at most *limit* of them."""
        end = len(self) if limit is None else min(limit, len(self))
        for start in range(0, end, 4096):
            size = min(4096, end - start)
            match self._library:
                case "polars":
                    yield from self._table.slice(start, size).to_dicts()
                case "pandas":
                    yield from self._table.iloc[start : start + size].to_dict("records")
                case _:
                    yield from self._table.slice(start, size).to_pylist()

    def say(self, more: str) -> None:
        """Print the first rows and columns; *more* says how to get the rest."""
        names = self.columns[:COLUMNS]
        cells = [[_cell(row[name]) for name in names] for row in self.rows(ROWS)]
        say_rows([names, *cells])
        say()
        size = f"{counted(len(self), 'row')}, {counted(len(self.columns), 'column')}"
        cut = len(self) > ROWS or len(self.columns) > COLUMNS
        say(f"{size}; the first {min(ROWS, len(self))} rows and {len(names)} columns are shown." if cut else size)
        say(more)


def _cell(value: Any) -> str:
    text = str(value)
    return text if len(text) <= CELL else text[: CELL - 2] + ".."
