"""Text, bytes, the user's own files, and pickle: values that are almost bytes already."""

from __future__ import annotations

import io
import pickle
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from flowstone.foundation.errors import FormatError
from flowstone.io_managers.annotations import Stream, is_stream, name_of, piece_of, wanted
from flowstone.io_managers.failures import storage_error
from flowstone.io_managers.format import Stored, Written
from flowstone.io_managers.sink import Sink

_CHUNK = 1 << 20
_plain_suffix = re.compile(r"\.[A-Za-z0-9]{1,10}").fullmatch


class TextFormat:
    """UTF-8 text, exactly as given: no newline is changed. An iterator of ``str`` is stored piece by piece."""

    name = "text"

    def extension(self, value: Any) -> str:  # noqa: ARG002
        """Return ``.txt``."""
        return ".txt"

    def can_store(self, value: Any) -> bool:
        """Return whether *value* is a ``str`` or a stream of them."""
        return type(value) is str or (isinstance(value, Stream) and value.item is str)

    def write(self, value: Any, sink: Sink, annotation: Any) -> Written:  # noqa: ARG002
        """Write the text; text with lone surrogates is refused."""
        if isinstance(value, Stream):
            _write_pieces((_utf8(piece) for piece in value.items), sink)
        else:
            sink.write(_utf8(value))
        return Written()

    def read(self, stored: Stored, natural: str, annotation: Any) -> Any:  # noqa: ARG002
        """Return the text; an iterator, where one is asked for, gives it line by line."""
        if is_stream(annotation):
            _refuse_pieces(annotation, str, "text")
            return _lines(stored.lasting())
        _refuse_other(annotation, {str}, "text")
        return stored.file.read().decode()


class BytesFormat:
    """Bytes as they are. An iterator of ``bytes`` is stored piece by piece."""

    name = "bytes"

    def extension(self, value: Any) -> str:  # noqa: ARG002
        """Return ``.bin``."""
        return ".bin"

    def can_store(self, value: Any) -> bool:
        """Return whether *value* is ``bytes``, a ``bytearray`` or a stream of ``bytes``."""
        return type(value) is bytes or type(value) is bytearray or (isinstance(value, Stream) and value.item is bytes)

    def write(self, value: Any, sink: Sink, annotation: Any) -> Written:  # noqa: ARG002
        """Write the bytes."""
        if isinstance(value, Stream):
            _write_pieces((_same_type(piece, bytes) for piece in value.items), sink)
        else:
            sink.write(value)
        return Written(natural="bytearray" if type(value) is bytearray else "")

    def read(self, stored: Stored, natural: str, annotation: Any) -> Any:
        """Return ``bytes``, or a ``bytearray`` (also where that was stored), ``str`` or blocks of bytes where asked for."""
        if is_stream(annotation):
            _refuse_pieces(annotation, bytes, "bytes")
            return _blocks_of(stored.lasting())
        _refuse_other(annotation, {bytes, bytearray, str}, "bytes")
        data, asked = stored.file.read(), wanted(annotation)
        if asked is str:
            return data.decode()
        return bytearray(data) if asked is bytearray or (natural == "bytearray" and asked is not bytes) else data


class PathFormat:
    """A file the user's code wrote, returned as a ``pathlib.Path``: its bytes are copied in."""

    name = "path"

    def extension(self, value: Any) -> str:
        """Return the file's own suffix if it is a plain one."""
        return value.suffix if _plain_suffix(value.suffix) else ""

    def can_store(self, value: Any) -> bool:
        """Return whether *value* is a ``Path``."""
        return isinstance(value, Path)

    def write(self, value: Any, sink: Sink, annotation: Any) -> Written:  # noqa: ARG002
        """Copy the file's bytes."""
        try:
            source = value.open("rb")
        except OSError as error:
            reason = "is a folder" if value.is_dir() else f"cannot be read ({error.strerror})"
            hint = 'return the path of one finished file, or format="text" with str(path) to store the name itself'
            raise FormatError(f"the returned path {str(value)!r} {reason}", hint=hint) from error
        with source:
            for piece in _pieces_of(source):
                sink.write(piece)
        return Written()

    def read(self, stored: Stored, natural: str, annotation: Any) -> Any:  # noqa: ARG002
        """Return the stored file's path, or its content where ``bytes``, ``str`` or an iterator of them is asked for."""
        if is_stream(annotation):
            return _lines(stored.lasting()) if piece_of(annotation) is str else _blocks_of(stored.lasting())
        _refuse_other(annotation, {Path, bytes, str}, "a file")
        asked = wanted(annotation)
        if asked in {bytes, str}:
            data = stored.file.read()
            return data.decode() if asked is str else data
        if stored.path is None:
            raise FormatError("this output is a file and its IO manager has none to give", hint='declare io="files"')
        return Path(stored.path)


class PickleFormat:
    """Any picklable object, for assets that declare ``format="pickle"``; never chosen by itself."""

    name = "pickle"

    def extension(self, value: Any) -> str:  # noqa: ARG002
        """Return ``.pickle``."""
        return ".pickle"

    def can_store(self, value: Any) -> bool:
        """Return whether *value* is anything but a one-shot stream."""
        return not isinstance(value, Stream)

    def write(self, value: Any, sink: Sink, annotation: Any) -> Written:  # noqa: ARG002
        """Pickle the value."""
        try:
            data = pickle.dumps(value, protocol=5)
        except (pickle.PicklingError, TypeError, AttributeError, RecursionError) as error:
            raise FormatError(f"the value cannot be pickled: {error}", hint="return plain data or a frame instead") from error
        sink.write(data)
        return Written()

    def read(self, stored: Stored, natural: str, annotation: Any) -> Any:  # noqa: ARG002
        """Return the object; callers have checked that pickle is allowed."""
        return pickle.load(stored.file)


def _pieces_of(source: BinaryIO) -> Iterator[bytes]:
    while True:
        try:
            piece = source.read(_CHUNK)
        except OSError as error:
            raise storage_error(error, f"read the returned file {source.name!r}") from error
        if not piece:
            return
        yield piece


def _utf8(text: Any) -> bytes:
    try:
        return str.encode(text)
    except UnicodeEncodeError as error:
        raise FormatError(
            f"the text has a lone surrogate at position {error.start}, which UTF-8 cannot hold",
            hint='decode it with errors="replace", or return bytes',
        ) from error
    except TypeError:
        raise _mixed(text, str) from None


def _same_type(piece: Any, item: type) -> Any:
    if not isinstance(piece, item):
        raise _mixed(piece, item)
    return piece


def _mixed(piece: Any, item: type) -> FormatError:
    message = f"the iterator began with {item.__name__} and then gave {type(piece).__name__}"
    return FormatError(message, hint="yield pieces of one type")


def _write_pieces(pieces: Iterable[bytes], sink: Sink) -> None:
    for block in _blocks(pieces):
        sink.write(block)


def _blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Small pieces joined to blocks of about a megabyte, so that a generator of lines does not cost a system call each."""
    waiting: list[bytes] = []
    size = 0
    for piece in pieces:
        waiting.append(piece)
        size += len(piece)
        if size >= _CHUNK:
            yield b"".join(waiting)
            waiting, size = [], 0
    yield b"".join(waiting)


def _lines(place: Any) -> Iterator[str]:
    with _opened(place) as file, io.TextIOWrapper(file, "utf-8", newline="\n") as text:
        yield from text


def _blocks_of(place: Any) -> Iterator[bytes]:
    with _opened(place) as file:
        while block := file.read(_CHUNK):
            yield block


def _opened(place: Any) -> Any:
    return place if isinstance(place, io.BytesIO) else Path(place).open("rb")


def _refuse_pieces(annotation: Any, item: type, what: str) -> None:
    cls = piece_of(annotation)
    if cls not in {None, item}:
        hint = f"annotate Iterator[{item.__name__}]"
        raise FormatError(f"the output is {what} and cannot be loaded as an iterator of {name_of(cls)}", hint=hint)


def _refuse_other(annotation: Any, known: set[type], what: str) -> None:
    """Raise ``FormatError`` if *annotation* asks for a class that is none of the *known*; unions and iterators pass."""
    asked = wanted(annotation)
    if isinstance(asked, type) and asked not in known and not any(issubclass(cls, asked) for cls in known):
        names = ", ".join(sorted(cls.__name__ for cls in known))
        raise FormatError(f"the output is {what} and cannot be loaded as {name_of(asked)}", hint=f"annotate one of: {names}")
