"""What changed between two frames or arrays, of whichever library, and what is not computed for it."""

from __future__ import annotations

import copy
import math

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest

from flowstone.execution.changes import lines
from flowstone.execution.comparison import STRANGE, compare
from flowstone.execution.marks import BUDGET
from flowstone.execution.tables import LARGEST

FRAMES = {"polars": pl.DataFrame, "pandas": pd.DataFrame, "arrow": pa.table}


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_frames_are_told_by_rows_columns_and_names(frame):
    """Frames of every library: columns that came, went and have another type, rows by what identifies them."""
    old = frame({"id": ["a", "b", "c"], "price": [1, 2, 3], "gone": [1, 1, 1], "same": [1.5, math.nan, 2.5]})
    new = frame(
        {"id": ["a", "b", "d", "e"], "price": [1, 5, 3, 4], "same": [1.5, math.nan, 2.5, 0], "came": [None, "x", "y", "z"]}
    )
    changes = compare(old, new)

    assert (changes.rows, changes.kind, changes.note) == ((3, 4), "rows by id", "")
    assert (changes.added, changes.removed, changes.changed) == (("d", "e"), ("c",), ("b (price)",))
    assert changes.schema is not None
    assert (changes.schema.added, changes.schema.removed, changes.schema.changed) == (("came",), ("gone",), ())
    assert lines(changes)[-2:] == ["~ changed  rows 3 -> 4", "~ columns  + came, - gone"]
    assert compare(old, copy.copy(old)).same


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_a_column_of_another_type_is_named_with_both(frame):
    """The types stand as the library calls them."""
    changes = compare(frame({"x": [1, 2]}), frame({"x": [1.0, 2.0]}))

    assert changes.schema is not None
    assert changes.schema.changed[0].startswith("x: ")
    assert " -> " in changes.schema.changed[0]
    assert lines(compare(frame({"x": [1, 2]}), frame({"x": [1, 3]})))[-1] == "= same     rows 2, schema unchanged"


@pytest.mark.parametrize("frame", FRAMES.values(), ids=FRAMES)
def test_a_large_frame_is_told_by_its_identifying_columns(frame):
    """What is too much to be looked at whole is compared by what identifies, and this is said."""
    rows = 60_000
    columns = {f"c{number}": np.zeros(rows) for number in range(20)}
    changes = compare(frame({"id": np.arange(rows), **columns}), frame({"id": np.arange(1, rows + 1), **columns}))

    assert (changes.added, changes.removed) == (("60000",), ("0",))
    assert (changes.same, changes.note) == (False, "of the columns, compared only id")


def test_a_column_of_much_text_is_not_read():
    """A column is turned into values only up to a size; the others are compared."""
    old, new = (pl.DataFrame({"x": ["x" * LARGEST + "x"], "y": [number]}) for number in (1, 2))

    assert (compare(old, new).added_count, compare(old, new).note) == (1, "could not look into 1 of the values")


def test_what_is_not_computed_stays_so():
    """Of a lazy frame and of a reader only the columns are compared; an iterator is not touched."""

    def fail(frame):
        raise AssertionError("collected")

    lazy = pl.LazyFrame({"x": [1]}).map_batches(fail, schema={"x": pl.Int64})
    assert compare(pl.LazyFrame({"x": [1], "y": [1]}), lazy).note == "only columns were compared: the rows are not computed yet"
    reader = pa.table({"x": [1]}).to_reader()
    assert compare(pa.table({"x": [1]}), reader).kind == "columns"
    assert reader.read_all().num_rows == 1
    items = iter([1, 2])
    assert compare(iter([1]), items).note == STRANGE
    assert list(items) == [1, 2]


def test_strange_frames_are_frames():
    """Equal names of columns, labels that are no texts, an index with a name, dates and missing values are compared."""
    twice = pd.DataFrame([[1, 2], [3, 4]], columns=["x", "x"])
    other = pd.DataFrame([[1, 2], [3, 5]], columns=["x", "x"])
    index = pd.DataFrame(
        {"day": pd.to_datetime(["2026-11-23", None]), 7: [None, object()]}, index=pd.Index(["a", "b"], name="key")
    )

    assert (compare(twice, twice.copy()).same, compare(twice, other).same) == (True, False)
    assert compare(index, index.drop(columns=7).rename(index={"b": "c"})).added == ("c",)
    assert compare(index, index.copy()).note == "could not look into 1 of the values"
    assert compare(pd.DataFrame({"x": [1]}, index=[0]), pd.DataFrame({"x": [1]}, index=[5])).added_count == 1
    assert not compare(pd.DataFrame({"x": [1]}), pd.DataFrame({"x": [1]}, index=pd.RangeIndex(5, 6))).same
    assert "two libraries" in compare(pl.DataFrame({"x": [1]}), pa.table({"x": [1]})).note
    assert compare(pl.DataFrame({"x": [1], "y": [1]}), pl.DataFrame({"y": [1], "x": [1]})).note == "columns in another order"


def test_arrays_are_told_by_shape_and_type():
    """Content is compared where shape and type are the same; NaN is NaN."""
    zeros = np.zeros((3, 4))

    assert compare(zeros, np.zeros((5, 4), dtype="f4")).changed == ("shape (3, 4) -> (5, 4)", "dtype float64 -> float32")
    assert compare(zeros, zeros + 1).changed == ("content",)
    assert compare(zeros * math.nan, zeros * math.nan).same
    assert compare([np.float64(1), np.arange(3)], [np.float64(1), np.arange(3)]).same
    assert not compare(np.zeros(65 * BUDGET, dtype="b"), np.zeros(65 * BUDGET, dtype="b")).same
