"""A consumer that asks for an iterator gets the value piece by piece, and no more of it than it takes."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import polars.testing
import pyarrow as pa
import pytest

from flowstone.foundation.errors import FormatError
from flowstone.io_managers import FilesIOManager, IOManager, MemoryIOManager
from flowstone.testing.io_contract import a_target

ROWS = 150_000  # more than two of the batches Arrow reads at a time


@pytest.fixture(params=["memory", "files"])
def manager(request: pytest.FixtureRequest, tmp_path: Path) -> IOManager:
    return MemoryIOManager() if request.param == "memory" else FilesIOManager(tmp_path / "out")


@pytest.mark.parametrize(
    ("annotation", "kind"),
    [
        (Iterator[pa.RecordBatch], pa.RecordBatch),
        (Iterable[pa.Table], pa.Table),
        (Iterator[pl.DataFrame], pl.DataFrame),
        (Generator[pd.DataFrame, None, None], pd.DataFrame),
        (Iterator, pl.DataFrame),
        (Iterator[Any] | None, pl.DataFrame),
    ],
    ids=str,
)
def test_frames_come_in_pieces(manager: IOManager, annotation: Any, kind: type) -> None:
    """A frame asked for as an iterator comes in several pieces of the asked class that together are the frame."""
    frame = pl.DataFrame({"n": range(ROWS), "s": ["a", "b"] * (ROWS // 2)})
    pieces = list(manager.load(manager.store(frame, a_target()), annotation))

    assert len(pieces) > 1
    assert {type(piece) for piece in pieces} == {kind}
    whole = pl.concat([piece if kind is pl.DataFrame else _polars(piece) for piece in pieces])
    polars.testing.assert_frame_equal(whole, frame)


def _polars(piece: Any) -> pl.DataFrame:
    return pl.from_pandas(piece) if isinstance(piece, pd.DataFrame) else pl.DataFrame(pl.from_arrow(piece))


@pytest.mark.parametrize(
    ("value", "kind"),
    [(pd.DataFrame({"a": [1]}), pd.DataFrame), (pa.table({"a": [1]}), pa.RecordBatch), (pl.LazyFrame({"a": [1]}), pl.DataFrame)],
    ids=["pandas", "arrow", "lazy"],
)
def test_unnamed_pieces_are_of_the_library_that_wrote(manager: IOManager, value: Any, kind: type) -> None:
    """An iterator of nothing in particular gives pieces of the library the frame was returned as."""
    (piece,) = manager.load(manager.store(value, a_target()), Iterator)
    assert isinstance(piece, kind)


def test_an_empty_frame_is_one_empty_piece(manager: IOManager) -> None:
    """A frame without rows comes as one piece without rows, which can be stored again: the columns are not lost."""
    output = manager.store(pl.DataFrame({"a": []}, schema={"a": pl.Int8}), a_target())
    (piece,) = manager.load(output, Iterator[pa.RecordBatch])
    assert (piece.num_rows, piece.schema.names) == (0, ["a"])
    assert manager.store(iter([piece]), a_target()).rows == 0


def test_text_comes_in_lines_and_bytes_in_blocks(manager: IOManager) -> None:
    """Text asked for as an iterator comes line by line with its line ends, bytes in blocks; both are all there."""
    text, data = "one\r\ntwo\nthree\u2028still three", bytes(range(256)) * 10_000
    written = manager.store(text, a_target())
    assert list(manager.load(written, Iterator[str])) == ["one\r\n", "two\n", "three\u2028still three"]
    blocks = list(manager.load(manager.store(data, a_target()), Iterator[bytes]))
    assert len(blocks) > 1
    assert b"".join(blocks) == data


def test_a_file_of_the_users_comes_in_pieces(tmp_path: Path) -> None:
    """A file that was returned as a path can be read in lines or in blocks."""
    manager, path = FilesIOManager(tmp_path / "out"), tmp_path / "theirs.txt"
    path.write_bytes(b"a\nb")
    output = manager.store(path, a_target())
    assert list(manager.load(output, Iterator[str])) == ["a\n", "b"]
    assert list(manager.load(output, Iterator[bytes])) == [b"a\nb"]


@pytest.mark.parametrize(
    ("value", "annotation"),
    [
        (pl.DataFrame({"a": [1]}), Iterator[int]),
        (pl.DataFrame({"a": [1]}), Iterator[np.ndarray]),
        ("text", Iterator[bytes]),
        (b"bytes", Iterator[str]),
    ],
    ids=str,
)
def test_pieces_of_another_kind_are_refused(manager: IOManager, value: Any, annotation: Any) -> None:
    """An iterator of what the value cannot be taken apart into is refused when it is loaded, not when it is read."""
    output = manager.store(value, a_target())
    with pytest.raises(FormatError, match="cannot be loaded as an iterator of") as caught:
        manager.load(output, annotation)
    assert "annotate Iterator" in (caught.value.hint or "")


MEASURED = """
import pathlib, sys
import pyarrow as pa
from collections.abc import Iterator
from flowstone.io_managers import FilesIOManager, Target

def batches(count):
    for number in range(count):
        yield pa.record_batch({"n": pa.array(range(number, number + 50_000), pa.int64())})

files, target = FilesIOManager(pathlib.Path(sys.argv[1])), Target("p", "a", "", "r", 1, "o")
most = []
for count in (2, 40):
    output = files.store(batches(count), target)
    for annotation in (Iterator[pa.RecordBatch], pa.RecordBatchReader):
        assert sum(batch.num_rows for batch in files.load(output, annotation)) == count * 50_000
    most.append(pa.default_memory_pool().max_memory())
print(*most)
"""


def test_memory_does_not_grow_with_the_stream(tmp_path: Path) -> None:
    """Twenty times as many batches are stored, and read again, with the memory that the few needed."""
    done = subprocess.run([sys.executable, "-c", MEASURED, str(tmp_path)], capture_output=True, text=True, check=True)
    few, many = map(int, done.stdout.split())

    assert many < 1.5 * few
