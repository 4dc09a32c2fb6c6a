"""Which format holds a value, and how an output's bytes become what a consumer asked for."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

from flowstone.foundation.errors import FlowStoneError, FormatError, did_you_mean
from flowstone.io_managers.annotations import Stream, name_of, piece_of, wanted
from flowstone.io_managers.arrays import NumpyFormat
from flowstone.io_managers.format import Format, Stored
from flowstone.io_managers.frames import BATCH, LAZY, READER, ParquetFormat, kind_of
from flowstone.io_managers.json_format import JsonFormat
from flowstone.io_managers.manager import Output
from flowstone.io_managers.plain import BytesFormat, PathFormat, PickleFormat, TextFormat

JSON, TEXT, BYTES, NUMPY, PARQUET, PATH, PICKLE = (
    JsonFormat(),
    TextFormat(),
    BytesFormat(),
    NumpyFormat(),
    ParquetFormat(),
    PathFormat(),
    PickleFormat(),
)
FORMATS: dict[str, Format] = {fmt.name: fmt for fmt in (JSON, TEXT, BYTES, NUMPY, PARQUET, PATH, PICKLE)}

_BY_TYPE: dict[type, Format] = {
    **dict.fromkeys((type(None), bool, int, float, list, dict), JSON),
    str: TEXT,
    bytes: BYTES,
    bytearray: BYTES,
}
_BY_LOOK: tuple[Format, ...] = (NUMPY, PARQUET, PATH, TEXT, BYTES)


def choose(value: Any, name: str | None, annotation: Any) -> tuple[Format, Any]:
    """Return the format for *value* and the value to write, which is a ``Stream`` where an iterator was given.

    *name* is the asset's declaration; without one the value's type decides. Raises ``FormatError`` for an unknown name and for
    a format that is not for such values.
    """
    if name is None:
        quick = _BY_TYPE.get(type(value))
        if quick is not None:
            return quick, value
    if isinstance(value, Iterator) and kind_of(type(value)) is None:
        value = _streamed(value, annotation)
    if name is not None:
        chosen = named(name)
        if not chosen.can_store(value):
            message = f"the declared format {name!r} cannot hold a {_what(value)}"
            raise FormatError(message, hint="leave the format out to have it chosen by the value", format=name)
        return chosen, value
    for candidate in _BY_LOOK:
        if candidate.can_store(value):
            return candidate, value
    if isinstance(value, Stream) or kind_of(type(value)) == BATCH:
        raise FormatError(f"no format can hold a {_what(value)}", hint=_hint_for(value))
    return JSON, value


def named(name: str) -> Format:
    """Return the format called *name*; raises ``FormatError`` with the closest name."""
    try:
        return FORMATS[name]
    except KeyError:
        hint = did_you_mean(name, FORMATS) or f"known: {', '.join(FORMATS)}"
        raise FormatError(f"there is no format {name!r}", hint=hint, format=name) from None


def is_one_shot(value: Any) -> bool:
    """Return whether *value* can be read only once, or is not computed yet."""
    return isinstance(value, Stream | Iterator) or kind_of(type(value)) in {LAZY, READER}


def decode(output: Output, stored: Stored, annotation: Any, produced: Any, *, allow_pickle: bool) -> Any:
    """Return the value of checked bytes as *annotation* asks, else as it was returned.

    Every failure is a ``FormatError``: the bytes are the recorded ones, so they do not fit what was asked for.
    """
    name, _, natural = output.format.partition("+")
    chosen = named(name)
    asked = wanted(annotation)
    if asked is bytes:
        return stored.file.read()
    if chosen is PICKLE and not allow_pickle:
        raise FormatError(
            "the output is a pickle, which runs code when it is read, and pickle is not allowed here",
            hint='only a consumer of an asset that declares format="pickle" loads it; export the stored file instead',
        )
    if asked is None and chosen is JSON and natural:
        annotation = produced
    try:
        return chosen.read(stored, natural, annotation)
    except (FlowStoneError, MemoryError):
        raise
    except Exception as error:
        target = f" as {name_of(asked)}" if asked is not None else ""
        raise FormatError(f"the {name} output cannot be loaded{target}: {error}", format=output.format) from error


def _streamed(items: Iterator[Any], annotation: Any) -> Stream:
    """The iterator with the type of its pieces, which its first piece tells, else its annotation."""
    for first in items:
        return Stream(itertools.chain((first,), items), type(first))
    return Stream(iter(()), piece_of(annotation))


def _what(value: Any) -> str:
    if not isinstance(value, Stream):
        return name_of(type(value))
    return f"iterator of {name_of(value.item)}" if value.item is not None else "iterator that gives nothing"


def _hint_for(value: Any) -> str:
    if not isinstance(value, Stream):
        return "return pa.Table.from_batches([batch])"
    if value.item is None:
        return "annotate what it gives, like Iterator[bytes], or return a list"
    return "return a list; iterators of bytes, str and frames are streamed"
