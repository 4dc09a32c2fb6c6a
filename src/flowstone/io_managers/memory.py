"""Values kept in this process, for tests, notebooks and steps too small for a file."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any, get_args

from flowstone.foundation.errors import CorruptOutputError, FormatError, MissingOutputError
from flowstone.io_managers.annotations import class_of, is_stream, wanted
from flowstone.io_managers.failures import tell_about
from flowstone.io_managers.format import Format, Stored
from flowstone.io_managers.formats import JSON, PATH, choose, decode, is_one_shot
from flowstone.io_managers.manager import Durability, Output, Target
from flowstone.io_managers.sink import Sink

OPAQUE = "object"


class _Kept:
    """One value, with how it is encoded when somebody asks for its bytes; ``data`` is set where there is no live value."""

    __slots__ = ("annotation", "data", "format", "value")

    def __init__(self, value: Any, fmt: Format | None, annotation: Any, data: bytes | None) -> None:
        self.value = value
        self.format = fmt
        self.annotation = annotation
        self.data = data

    def encoded(self) -> bytes:
        """The value's bytes, encoded now."""
        if self.data is not None or self.format is None:
            return self.data or b""
        buffer = io.BytesIO()
        self.format.write(self.value, Sink(buffer.write, buffer.getvalue), self.annotation)
        return buffer.getvalue()


class MemoryIOManager:
    """Keeps values in a dictionary for the life of the process.

    ``load`` returns **the very object that was stored**, unless the consumer's annotation asks for another type: whoever changes
    it changes it for everybody. Digests are those the same value has as a file; a value no format holds is an ``object`` output
    with a digest of its own, so that it never counts as unchanged. Streams are kept as bytes, because they can be read only once.
    """

    name = "memory"
    versioned = True
    one_process = True

    def __init__(self) -> None:
        self._kept: dict[str, _Kept] = {}

    def store(
        self,
        value: Any,
        target: Target,
        *,
        format: str | None = None,
        annotation: Any = None,
        durability: Durability | None = None,  # noqa: ARG002
        previous: Output | None = None,  # noqa: ARG002
    ) -> Output:
        """Keep *value*; durability and sharing mean nothing here."""
        location = f"{target.run_id}-{target.attempt}-{target.output_id}"
        live = not is_one_shot(value)
        try:
            chosen, writable = choose(value, format, annotation)
            if chosen is PATH and format is None:
                return self._keep_opaque(value, location)
            output, data = self._encode(writable, chosen, location, annotation, keep=not live)
        except FormatError as error:
            if format is None and live:
                return self._keep_opaque(value, location)
            tell_about(error, f"asset {target.asset!r}", asset=target.asset, partition=target.partition)
            raise
        self._kept[location] = _Kept(value if live else None, chosen, annotation, data)
        return output

    def load(self, output: Output, annotation: Any = None, *, produced: Any = None, allow_pickle: bool = False) -> Any:
        """Return the object of *output*, or a conversion of it where *annotation* asks for another type."""
        kept = self._get(output)
        asked = wanted(annotation)
        if asked is Output:
            return output
        if kept.data is None and _is_wanted(kept, asked):
            return kept.value
        if asked is Path:
            raise FormatError("the output is in memory and has no file", hint='declare io="files" on the asset', **_about(output))
        if kept.format is None:
            return kept.value
        try:
            return decode(output, Stored(io.BytesIO(kept.encoded()), None), annotation, produced, allow_pickle=allow_pickle)
        except FormatError as error:
            tell_about(error, f"output {output.location!r}", **_about(output))
            raise

    def exists(self, output: Output) -> bool:
        """Return whether this process still keeps the value."""
        return output.location in self._kept

    def delete(self, output: Output) -> None:
        """Forget the value."""
        self._kept.pop(output.location, None)

    def path(self, output: Output) -> Path | None:  # noqa: ARG002
        """Return ``None``: there is no file."""
        return None

    def read_bytes(self, output: Output) -> bytes:
        """Return the value encoded now; ``CorruptOutputError`` tells that the object was changed after it was stored."""
        kept = self._get(output)
        if kept.format is None:
            raise FormatError("the output is a Python object in memory that no format holds", **_about(output))
        data = kept.encoded()
        if hashlib.sha256(data).hexdigest() != output.digest:
            raise CorruptOutputError(
                f"the object of output {output.location!r} was changed after it was stored",
                hint='change a copy, or declare io="files" so that every consumer gets its own',
                **_about(output),
            )
        return data

    def _encode(self, value: Any, chosen: Format, location: str, annotation: Any, *, keep: bool) -> tuple[Output, bytes | None]:
        buffer = io.BytesIO()
        sink = Sink(buffer.write if keep else None, lambda: io.BytesIO(buffer.getvalue()))
        written = chosen.write(value, sink, annotation)
        kind = f"{chosen.name}+{written.natural}" if written.natural else chosen.name
        output = Output(location, kind, sink.digest, sink.size, self.name, written.rows, written.schema)
        return output, buffer.getvalue() if keep else None

    def _keep_opaque(self, value: Any, location: str) -> Output:
        self._kept[location] = _Kept(value, None, None, None)
        return Output(location, OPAQUE, hashlib.sha256(location.encode()).hexdigest(), 0, self.name)

    def _get(self, output: Output) -> _Kept:
        try:
            return self._kept[output.location]
        except KeyError:
            raise MissingOutputError(
                f"output {output.location!r} is not in this process's memory",
                hint='memory outputs live as long as the process that made them: declare io="files", or materialize it again',
                **_about(output),
            ) from None


def _is_wanted(kept: _Kept, asked: Any) -> bool:
    """Whether the live value is what was asked for; JSON values of generic types are left to the conversion."""
    if asked is None or asked is Any:
        return True
    if is_stream(asked):
        return False  # frames and texts are iterable, but not over their pieces
    if isinstance(asked, type) and not get_args(asked):
        return isinstance(kept.value, asked)
    cls = class_of(asked)
    return kept.format is not JSON and cls is not None and isinstance(kept.value, cls)


def _about(output: Output) -> dict[str, str]:
    return {"location": output.location, "manager": output.manager}
