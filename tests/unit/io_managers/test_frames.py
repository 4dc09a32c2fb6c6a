"""Frames and arrays come back as they were, or as the consumer asks."""

from __future__ import annotations

import datetime as dt
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import polars as pl
import polars.testing
import pyarrow as pa
import pytest

from flowstone.foundation.errors import FormatError, StorageError
from flowstone.io_managers import FilesIOManager, IOManager, MemoryIOManager
from flowstone.io_managers.frames import MOST_COLUMNS
from flowstone.testing.io_contract import a_target, files_in


@pytest.fixture(params=["memory", "files", "files in an odd folder"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> IOManager:
    if request.param == "memory":
        return MemoryIOManager()
    return FilesIOManager(tmp_path / ("out" if request.param == "files" else "d=1[*]?"))


def a_polars_frame() -> pl.DataFrame:
    moment = dt.datetime(2026, 11, 23, 12, 0, 0, 1)
    return pl.DataFrame(
        {
            "n": pl.Series([1, None, 3], dtype=pl.UInt8),
            "s": ["a", None, "ä\0"],
            "d": [dt.date(2026, 1, 1), None, dt.date(1900, 1, 1)],
            "t": pl.Series([moment, None, moment], dtype=pl.Datetime("us", "Europe/Berlin")),
            "c": pl.Series(["x", "y", None], dtype=pl.Enum(["x", "y"])),
            "m": pl.Series([Decimal("1.10"), None, Decimal("-2.00")], dtype=pl.Decimal(10, 2)),
            "l": [[1, 2], [], None],
            "r": [{"a": 1}, {"a": None}, {"a": 3}],
            "f": [0.1, float("nan"), None],
            "e": pl.Series([dt.timedelta(seconds=1), None, dt.timedelta(0)]),
        }
    )


def a_pandas_frame() -> pd.DataFrame:
    frame = pd.DataFrame(
        {
            "n": pd.array([1, None, 3], dtype="Int64"),
            "f": [0.1, float("nan"), 2.0],
            "s": ["a", None, "c"],
            "c": pd.Categorical(["x", "y", "x"]),
            "t": pd.to_datetime(["2026-11-23", None, "2026-11-24"]).tz_localize("Europe/Berlin"),
            "b": [True, False, True],
        }
    )
    frame.index = pd.Index(["i", "j", "k"], name="key")
    return frame


def an_arrow_table() -> pa.Table:
    schema = pa.schema([pa.field("n", pa.int16(), nullable=False), pa.field("d", pa.dictionary(pa.int32(), pa.string()))])
    return pa.table({"n": [1, 2, 3], "d": ["x", "y", "x"]}, schema=schema.with_metadata({"owner": "sales"}))


def test_polars_comes_back(manager: IOManager) -> None:
    """A Polars frame comes back with every column type, with rows and schema recorded."""
    frame = a_polars_frame()
    output = manager.store(frame, a_target())
    polars.testing.assert_frame_equal(manager.load(output), frame, check_exact=True)
    assert (output.format, output.rows) == ("parquet+polars", 3)
    assert json.loads(output.schema or "")["n"] == "UInt8"


def test_pandas_comes_back(manager: IOManager) -> None:
    """A pandas frame comes back with index, categories, zones and nullable numbers."""
    frame = a_pandas_frame()
    output = manager.store(frame, a_target())
    pd.testing.assert_frame_equal(manager.load(output), frame)
    assert (output.format, output.rows) == ("parquet+pandas", 3)


def test_arrow_comes_back(manager: IOManager) -> None:
    """An Arrow table comes back with nullability, dictionaries and metadata."""
    output = manager.store(an_arrow_table(), a_target())
    assert manager.load(output).equals(an_arrow_table(), check_metadata=True)
    assert (output.format, output.rows) == ("parquet+arrow", 3)


def test_lazy_frame_is_computed_while_storing(manager: IOManager) -> None:
    """A lazy frame is computed once, when it is stored, and comes back lazy with the same rows."""
    calls: list[int] = []

    def once(frame: pl.DataFrame) -> pl.DataFrame:
        calls.append(frame.height)
        return frame

    lazy = pl.LazyFrame({"a": [1, 2, 3]}).map_batches(once).filter(pl.col("a") > 1)
    output = manager.store(lazy, a_target())
    computed = list(calls)
    loaded = manager.load(output)
    assert isinstance(loaded, pl.LazyFrame)
    assert loaded.collect().rows() == [(2,), (3,)]
    assert (output.rows, calls) == (2, computed)


@pytest.mark.parametrize(
    "make", [a_polars_frame, lambda: pl.LazyFrame({"n": [1]}), an_arrow_table], ids=["polars", "lazy", "arrow"]
)
def test_consumer_chooses_the_library(manager: IOManager, make: Any) -> None:
    """Whatever wrote the frame, the consumer's annotation decides what it gets, inside ``Annotated`` and ``| None`` too."""
    output = manager.store(make(), a_target())
    rows = output.rows
    assert manager.load(output, pl.DataFrame).height == rows
    assert manager.load(output, pl.LazyFrame | None).collect().height == rows
    assert len(manager.load(output, Annotated[pd.DataFrame, "orders"])) == rows
    assert manager.load(output, pa.Table).num_rows == rows
    reader = manager.load(output, pa.RecordBatchReader)
    assert isinstance(reader, pa.RecordBatchReader)
    assert reader.read_all().num_rows == rows
    assert manager.load(output, bytes)[:4] == b"PAR1"


def test_other_annotations_are_refused(manager: IOManager) -> None:
    """A frame asked for as a list, or an array as a frame, is refused with what can be asked for."""
    frame = manager.store(pl.DataFrame({"a": [1]}), a_target())
    array = manager.store(np.arange(3), a_target())
    for output, annotation in ((frame, list[int]), (frame, np.ndarray), (array, pl.DataFrame), (frame, pa.RecordBatch)):
        with pytest.raises(FormatError, match="cannot be loaded as") as caught:
            manager.load(output, annotation)
        assert "annotate" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("make", "kind"),
    [
        (lambda: iter(pa.table({"a": [1, 2, 3]}).to_batches(max_chunksize=1)), pa.Table),
        (lambda: (pl.DataFrame({"a": [n]}) for n in (1, 2, 3)), pl.DataFrame),
        (lambda: (pd.DataFrame({"a": [n]}) for n in (1, 2, 3)), pd.DataFrame),
        (lambda: pa.table({"a": [1, 2, 3]}).to_reader(max_chunksize=2), pa.Table),
    ],
    ids=["batches", "polars", "pandas", "reader"],
)
def test_streams_are_stored_whole(manager: IOManager, make: Any, kind: type) -> None:
    """An iterator of batches or frames, or a reader, is stored as one frame that can be loaded again and again."""
    output = manager.store(make(), a_target())
    for _ in range(2):
        loaded = manager.load(output)
        assert isinstance(loaded, kind)
        assert len(loaded) == 3
    assert output.rows == 3
    assert manager.load(output, pl.DataFrame)["a"].to_list() == [1, 2, 3]


def test_reader_without_batches_keeps_its_columns(manager: IOManager) -> None:
    """An empty reader is stored as an empty frame; an empty iterator of frames is refused, because its columns are unknown."""
    schema = pa.schema([("a", pa.int8())])
    output = manager.store(pa.RecordBatchReader.from_batches(schema, []), a_target())
    assert manager.load(output).schema == schema
    with pytest.raises(FormatError, match="columns are unknown"):
        manager.store(iter(()), a_target(), annotation=Iterator[pl.DataFrame])


def test_user_errors_pass(tmp_path: Path) -> None:
    """What a lazy frame or a generator of frames raises in the middle reaches the caller, and no file is left."""
    files = FilesIOManager(tmp_path)

    def generator() -> Iterator[pl.DataFrame]:
        yield pl.DataFrame({"a": range(100_000)})
        raise TimeoutError("theirs")

    def explode(_: pl.DataFrame) -> pl.DataFrame:
        raise RuntimeError("mine")

    with pytest.raises(TimeoutError, match="theirs"):
        files.store(generator(), a_target())
    with pytest.raises(RuntimeError, match="mine"):
        files.store(pl.LazyFrame({"a": [1]}).map_batches(explode), a_target())
    assert files_in(tmp_path) == []


def test_streams_of_changing_shape_are_refused(tmp_path: Path) -> None:
    """A stream whose later piece has other columns, or is no frame, is a ``FormatError`` and leaves nothing."""
    files = FilesIOManager(tmp_path)
    for second in (pl.DataFrame({"b": [1]}), "text"):
        with pytest.raises(FormatError):
            files.store(iter([pl.DataFrame({"a": [1]}), second]), a_target())
    assert files_in(tmp_path) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: pl.DataFrame({"a": range(1000)}),
        lambda: pl.LazyFrame({"a": range(1000)}),
        lambda: pd.DataFrame({"a": range(1000)}),
        lambda: iter([pl.DataFrame({"a": range(1000)})]),
        lambda: np.arange(1000),
    ],
    ids=["polars", "lazy", "pandas", "stream", "numpy"],
)
def test_full_disk_is_told_by_every_library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Any) -> None:
    """A disk that fills up is the same storage error whichever library was writing, and leaves no file."""
    files = FilesIOManager(tmp_path)
    value = make()

    def full(*_: Any) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    with pytest.raises(StorageError, match="No space left") as caught:
        files.store(value, a_target())
    assert caught.value.context["errno"] == "ENOSPC"
    assert not isinstance(caught.value, FormatError)
    assert files_in(tmp_path) == []


def test_nothing_is_written_after_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A Parquet writer that closes its half-written file late writes nothing more, not even into somebody else's file."""
    files, write, failures = FilesIOManager(tmp_path), os.write, list[int]()

    def filling(descriptor: int, data: bytes) -> int:
        if os.fstat(descriptor).st_size == 0:
            return write(descriptor, data)
        failures.append(len(data))
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", filling)
    with pytest.raises(StorageError, match="No space left"):
        files.store(iter([pl.DataFrame({"a": range(1000)})] * 3), a_target())
    assert len(failures) == 1


@pytest.mark.parametrize(
    "value",
    [
        pl.DataFrame({"o": pl.Series([object()], dtype=pl.Object)}),
        pd.DataFrame({"o": [object()]}),
        pd.DataFrame({"mixed": [1, "a"]}),
        pa.table({"a": [1]}).to_batches()[0],
        np.array([object()]),
        np.ma.masked_array([1, 2], [True, False]),
        np.float64(1.5),
        [np.int64(1)],
        pl.Series([1]),
    ],
    ids=[
        "polars object",
        "pandas object",
        "pandas mixed",
        "batch",
        "object array",
        "masked",
        "scalar",
        "in a list",
        "series",
    ],
)
def test_what_cannot_be_held_is_refused(tmp_path: Path, value: Any) -> None:
    """What would not come back as it was is a ``FormatError`` with a hint, and leaves nothing."""
    files = FilesIOManager(tmp_path)
    with pytest.raises(FormatError) as caught:
        files.store(value, a_target())
    assert caught.value.hint
    assert files_in(tmp_path) == []


def test_names_of_several_types_are_refused() -> None:
    """A pandas frame whose column names Parquet would all turn into text is refused; names of one type come back."""
    files = MemoryIOManager()
    with pytest.raises(FormatError, match="of several types"):
        files.store(pd.DataFrame({"a": [1], 4: [2]}), a_target(), format="parquet")
    output = files.store(pd.DataFrame({0: [1], 1: [2]}), a_target())
    assert list(pd.read_parquet(io.BytesIO(files.read_bytes(output))).columns) == [0, 1]


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=">i2").reshape(2, 3),
        np.asfortranarray(np.ones((2, 2))),
        np.array(5),
        np.zeros((0, 3)),
        np.array(["a", "bc"]),
        np.array([(1, 2.0)], dtype=[("a", "i4"), ("b", "f8")]),
        np.array(["2026-01-01", "NaT"], dtype="datetime64[D]"),
    ],
    ids=lambda array: str(array.dtype)[:20],
)
def test_arrays_come_back(manager: IOManager, array: npt.NDArray[Any]) -> None:
    """An array comes back with its shape, type, byte order and memory order."""
    output = manager.store(array, a_target())
    loaded = manager.load(output, npt.NDArray[Any])
    np.testing.assert_array_equal(loaded, array)
    assert (loaded.dtype, loaded.shape, loaded.flags.f_contiguous) == (array.dtype, array.shape, array.flags.f_contiguous)
    assert output.format == "numpy"
    assert output.rows == (array.shape[0] if array.shape else None)


def test_equal_frames_have_equal_digests(manager: IOManager) -> None:
    """Equal frames made twice have one digest, and one other value is enough for another."""
    for make in (lambda n: pl.DataFrame({"a": [1, n]}), lambda n: pd.DataFrame({"a": [1, n]}), lambda n: np.array([1, n])):
        digests = [manager.store(make(n), a_target()).digest for n in (2, 2, 3)]
        assert digests[0] == digests[1] != digests[2]


def test_wide_frames_have_short_schemas() -> None:
    """The recorded schema of a very wide frame ends with how many columns were left out."""
    wide = pl.DataFrame({f"c{number}": [1] for number in range(MOST_COLUMNS + 7)})
    schema = json.loads(MemoryIOManager().store(wide, a_target()).schema or "")
    assert len(schema) == MOST_COLUMNS + 1
    assert schema["..."] == "7 more"


def test_no_optional_library_is_loaded_for_plain_values() -> None:
    """Storing and loading plain values imports no frame or array library."""
    code = (
        "import sys, tempfile, pathlib; from flowstone.io_managers import *;"
        "m = FilesIOManager(pathlib.Path(tempfile.mkdtemp()));"
        "t = Target('p', 'a', '', 'r', 1, 'o');"
        "assert m.load(m.store([1, 'a'], t)) == [1, 'a'];"
        "print([n for n in ('numpy', 'pandas', 'polars', 'pyarrow') if n in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_missing_library_says_how_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A frame whose library is not installed here is a ``FormatError`` with the command that installs it."""
    files = FilesIOManager(tmp_path)
    output = files.store(pl.DataFrame({"a": [1]}), a_target())
    monkeypatch.setitem(sys.modules, "polars", None)
    with pytest.raises(FormatError, match="polars, which is not installed") as caught:
        files.load(output)
    assert caught.value.hint == "pip install 'flowstone[polars]'"
