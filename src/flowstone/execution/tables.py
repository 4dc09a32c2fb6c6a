"""Frames as their columns and first rows, whichever library they are of; a lazy frame or a reader is never collected."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any, NamedTuple

from flowstone.execution.marks import Shown
from flowstone.io_managers.annotations import library_of
from flowstone.io_managers.frames import LAZY, PANDAS, POLARS, READER, kind_of

LARGEST = 64 * 1024 * 1024  # bytes of one column that are looked at


class Unread:
    """Stands for a cell that is not looked at: it has no mark."""


class Table(NamedTuple):
    """A frame: its columns as name and type, in order; *rows* is ``None`` where counting would compute or use it up."""

    frame: Any
    kind: str
    library: str
    columns: dict[str, str]
    rows: int | None

    def records(self, names: Sequence[str], rows: int) -> list[dict[str, Any]]:
        """Return the first *rows* rows as dictionaries of the columns *names*."""
        levels = _levels(self.frame) if self.kind == PANDAS else []
        places = {name: place for place, name in enumerate(self.columns)}
        columns = [_cells(self, levels, places[name], rows) for name in names]
        return [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]


def table_of(value: Any, shown: Shown) -> Table:
    """Return *value*, which is a frame, as a table; *shown* names its columns."""
    kind = kind_of(type(value)) or ""
    columns: dict[str, str] = {}
    for place, (label, dtype) in enumerate(_schema(value, kind), 1):
        name = shown(label) or f"column {place}"
        while name in columns:  # two columns may have one name
            name = f"{name} ({place})"
        columns[name] = shown(str(dtype)) or ""
    rows = (
        None if kind in {LAZY, READER} else value.height if kind == POLARS else len(value) if kind == PANDAS else value.num_rows
    )
    return Table(value, kind, library_of(type(value)), columns, rows)


def _schema(frame: Any, kind: str) -> Any:
    if kind in {POLARS, LAZY}:
        return (frame.schema if kind == POLARS else frame.collect_schema()).items()
    if kind == PANDAS:
        levels = [(level.name if level.name is not None else "index", level.dtype) for level in _levels(frame)]
        return [*levels, *zip(frame.columns, frame.dtypes, strict=True)]
    return zip(frame.schema.names, frame.schema.types, strict=True)


def _levels(frame: Any) -> list[Any]:
    """The index of a pandas frame, level by level; one that only counts rows tells nothing."""
    index = frame.index
    if type(index).__name__ == "RangeIndex" and (index.start, index.step, index.name) == (0, 1, None):
        return []
    return [index.get_level_values(level) for level in range(index.nlevels)]


def _cells(table: Table, levels: list[Any], place: int, rows: int) -> list[Any]:
    """The first *rows* cells of one column; of one that is too large, or does not come as Python values, none is read."""
    with contextlib.suppress(Exception):  # extension types are code of the user's
        column, size = _column(table, levels, place, rows)
        if size <= LARGEST:
            return list(column.to_pylist() if hasattr(column, "to_pylist") else column.to_list())
    return [Unread] * rows


def _column(table: Table, levels: list[Any], place: int, rows: int) -> tuple[Any, int]:
    frame = table.frame
    if table.kind == POLARS:
        series = frame.head(rows).to_series(place)
        return series, series.estimated_size()
    if table.kind == PANDAS:
        found = levels[place][:rows] if place < len(levels) else frame.iloc[:rows, place - len(levels)]
        return found, found.nbytes
    column = frame.slice(0, rows).column(place)
    return column, column.nbytes
