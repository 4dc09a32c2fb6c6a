"""Frames as Parquet: Polars (also lazy), pandas, Arrow tables, readers and iterators of batches; all optional libraries.

A library is imported only when a value or an annotation is of it. Streams (lazy frames, record-batch readers, iterators) are
written as they come and are never whole in memory, except where the library itself collects.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

from flowstone.foundation.errors import FormatError
from flowstone.foundation.serialize import to_json
from flowstone.io_managers.annotations import Stream, class_of, is_stream, library_of, name_of, piece_of, wanted
from flowstone.io_managers.format import Stored, Written, library
from flowstone.io_managers.sink import Sink

POLARS, LAZY, PANDAS, ARROW, READER, BATCH = "polars", "polars.lazy", "pandas", "arrow", "arrow.reader", "arrow.batch"
MOST_COLUMNS = 500  # in the recorded schema; a wider frame says how many more

_KINDS = {
    ("polars", "DataFrame"): POLARS,
    ("polars", "LazyFrame"): LAZY,
    ("pandas", "DataFrame"): PANDAS,
    ("pyarrow", "Table"): ARROW,
    ("pyarrow", "RecordBatchReader"): READER,
    ("pyarrow", "RecordBatch"): BATCH,
}
_PIECES = {POLARS, PANDAS, ARROW, BATCH}
_CHOICES = "annotate one of: pl.DataFrame, pl.LazyFrame, pd.DataFrame, pa.Table, pa.RecordBatchReader, Iterator, Path, bytes"
_PIECE_CHOICES = "annotate Iterator of one of: pa.RecordBatch, pa.Table, pl.DataFrame, pd.DataFrame"


def kind_of(cls: type | None) -> str | None:
    """Return which frame *cls* is, or ``None``."""
    return None if cls is None else _KINDS.get((library_of(cls), cls.__name__))


class ParquetFormat:
    """One Parquet file per output; column types come back as the library that wrote them says.

    pandas columns of type ``object`` have no type to say: they come back as the type Arrow finds in their values, so that lists
    become arrays and dictionaries gain each other's keys. An index loses its ``freq``.
    """

    name = "parquet"

    def extension(self, value: Any) -> str:  # noqa: ARG002
        """Return ``.parquet``."""
        return ".parquet"

    def can_store(self, value: Any) -> bool:
        """Return whether *value* is a frame, a reader, or a stream of frames or batches."""
        if isinstance(value, Stream):
            return kind_of(value.item) in _PIECES
        return kind_of(type(value)) not in {None, BATCH}

    def write(self, value: Any, sink: Sink, annotation: Any) -> Written:  # noqa: ARG002
        """Write the frame; what Parquet cannot hold is a ``FormatError``, what a lazy frame or an iterator raises passes."""
        if isinstance(value, Stream):
            item = kind_of(value.item)
            return _write_pieces(value.items, None, sink, item if item in {POLARS, PANDAS} else ARROW)
        kind = kind_of(type(value))
        if kind == READER:
            return _write_pieces(value, value.schema, sink, ARROW)
        if kind == LAZY:
            return _write_lazy(value, sink)
        if kind == POLARS:
            with _refusing(sink):
                value.write_parquet(sink)
            return Written(value.height, _schema_text(value.schema.items()), POLARS)
        with _refusing(sink):
            table = _as_table(value)
            _parquet().write_table(table, sink)
        return Written(table.num_rows, _arrow_schema(table.schema), PANDAS if kind == PANDAS else ARROW)

    def read(self, stored: Stored, natural: str, annotation: Any) -> Any:
        """Return the frame as the annotated library's, else as it was returned; a stream comes whole unless one is asked for."""
        if is_stream(annotation):
            return _pieces(_opened(stored), _piece_asked(annotation, natural))
        kind = _kind_asked(annotation) or natural
        if kind in {POLARS, LAZY}:
            polars = library("polars", "'flowstone[polars]'")
            if kind == POLARS:
                return polars.read_parquet(stored.file)
            # The folder may hold [ or *, and location parts are no partition columns.
            return polars.scan_parquet(stored.lasting(), glob=False, hive_partitioning=False)
        if kind == READER:
            file = _opened(stored)
            return _arrow().RecordBatchReader.from_batches(file.schema_arrow, file.iter_batches())
        if kind == PANDAS:
            library("pandas", "'flowstone[pandas]'")
        table = _parquet().read_table(stored.file)
        return table.to_pandas() if kind == PANDAS else table


def _kind_asked(annotation: Any) -> str | None:
    """The frame that *annotation* asks for; ``None`` leaves it to what was stored."""
    asked = wanted(annotation)
    cls = class_of(asked)
    kind = kind_of(cls)
    if cls is None or (kind is not None and kind != BATCH):
        return kind  # unions that only the reader of the code understands: the natural kind
    raise FormatError(f"the output is a frame and cannot be loaded as {name_of(asked)}", hint=_CHOICES)


def _piece_asked(annotation: Any, natural: str) -> str:
    """What the pieces of a stream are to be: as the annotation says, else of the library that wrote the frame."""
    cls = piece_of(annotation)
    if cls is None:
        return POLARS if natural in {POLARS, LAZY} else PANDAS if natural == PANDAS else BATCH
    kind = kind_of(cls)
    if kind not in _PIECES:
        raise FormatError(f"the output is a frame and cannot be loaded as an iterator of {name_of(cls)}", hint=_PIECE_CHOICES)
    return kind


def _opened(stored: Stored) -> Any:
    """The Parquet file, to be read as it is asked for: buffering ahead would have all of it in memory."""
    return _parquet().ParquetFile(stored.lasting(), pre_buffer=False)


def _pieces(file: Any, kind: str) -> Iterator[Any]:
    """Read the file as it is asked for; an empty frame is one empty piece, so that its columns are not lost."""
    batches = file.iter_batches() if file.metadata.num_rows else [_arrow().RecordBatch.from_pylist([], file.schema_arrow)]
    for batch in batches:
        if kind == BATCH:
            yield batch
        elif kind == POLARS:
            yield library("polars", "'flowstone[polars]'").from_arrow(batch)
        else:
            table = _arrow().Table.from_batches([batch])
            yield table.to_pandas() if kind == PANDAS else table


@contextlib.contextmanager
def _refusing(sink: Sink) -> Iterator[None]:
    """Turn a library's complaint about a value into ``FormatError``; the sink's own failure goes first."""
    try:
        yield
    except FormatError:
        raise
    except Exception as error:
        if sink.failure is not None:
            raise sink.failure from error
        if isinstance(error, MemoryError):
            raise
        hint = "convert the column to a type Parquet has (numbers, text, dates, lists, structs)"
        raise FormatError(f"the frame cannot be written as Parquet: {error}", hint=hint) from error


def _write_lazy(frame: Any, sink: Sink) -> Written:
    schema = _schema_text(frame.collect_schema().items())
    try:
        frame.sink_parquet(sink)
    except Exception as error:
        if sink.failure is not None:
            raise sink.failure from error
        raise
    polars = library("polars", "'flowstone[polars]'")
    counted = polars.scan_parquet(sink.reopen(), glob=False, hive_partitioning=False).select(polars.len()).collect()
    return Written(counted.item(), schema, LAZY)


def _write_pieces(pieces: Iterable[Any], schema: Any, sink: Sink, natural: str) -> Written:
    """Write batches as they come; a batch with another schema than the first is refused."""
    writer = None if schema is None else _parquet().ParquetWriter(sink, schema)
    rows = 0
    try:
        for piece in pieces:
            with _refusing(sink):
                table = _as_table(piece)
                if writer is None:
                    schema = table.schema
                    writer = _parquet().ParquetWriter(sink, schema)
                writer.write_table(table)
            rows += table.num_rows
        with _refusing(sink):
            if writer is None:
                raise FormatError("the iterator gave no batch, so the columns are unknown", hint="yield one empty frame")
            writer.close()
    except BaseException:
        if writer is not None:
            with contextlib.suppress(Exception):
                writer.close()
        raise
    return Written(rows, _arrow_schema(schema), natural)


def _as_table(frame: Any) -> Any:
    kind = kind_of(type(frame))
    if kind == ARROW:
        return frame
    if kind == PANDAS:
        if len(set(map(type, frame.columns))) > 1:
            raise FormatError("the frame's column names are of several types", hint="rename them to text: frame.columns.map(str)")
        return _arrow().Table.from_pandas(frame)
    if kind == POLARS:
        _arrow()
        return frame.to_arrow()
    if kind == BATCH:
        return _arrow().Table.from_batches([frame])
    raise FormatError(f"the iterator gave a {type(frame).__name__} between frames", hint="yield pieces of one type")


def _arrow_schema(schema: Any) -> str:
    return _schema_text(zip(schema.names, schema.types, strict=True))


def _schema_text(columns: Iterable[tuple[str, Any]]) -> str:
    pairs = [(str(name), str(kind)) for name, kind in columns]
    shown = dict(pairs[:MOST_COLUMNS])
    if len(pairs) > MOST_COLUMNS:
        shown["..."] = f"{len(pairs) - MOST_COLUMNS} more"
    return to_json(shown)


def _arrow() -> Any:
    return library("pyarrow", "'flowstone[arrow]'")


def _parquet() -> Any:
    return library("pyarrow.parquet", "'flowstone[arrow]'")
