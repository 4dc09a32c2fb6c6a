"""What a format is: one way for values to be bytes."""

from __future__ import annotations

import importlib
import io
from dataclasses import dataclass
from typing import Any, BinaryIO, NamedTuple, Protocol

from flowstone.foundation.errors import FormatError
from flowstone.io_managers.sink import Sink


class Written(NamedTuple):
    """What a format can tell of the value it wrote; ``natural`` is the kind of value that reading gives back unasked."""

    rows: int | None = None
    schema: str | None = None
    natural: str = ""


@dataclass(frozen=True, slots=True)
class Stored:
    """Checked bytes, ready to be read: an open file and, if they are in a file of their own, its path."""

    file: BinaryIO
    path: str | None

    def lasting(self) -> Any:
        """Return a path or a file that stays readable after this load: lazy frames and streams read late."""
        return self.path or io.BytesIO(self.file.read())


class Format(Protocol):
    """Turns values into bytes and back; reading gives a value equal in content and in type."""

    @property
    def name(self) -> str:
        """The name that assets declare and outputs record."""
        ...

    def extension(self, value: Any) -> str:
        """Return the file name's end for *value*, with its dot."""
        ...

    def can_store(self, value: Any) -> bool:
        """Return whether *value* is of a type this format is for; looks at types, never inside."""
        ...

    def write(self, value: Any, sink: Sink, annotation: Any) -> Written:
        """Write *value*; raises ``FormatError`` naming the part that cannot be held and the fix."""
        ...

    def read(self, stored: Stored, natural: str, annotation: Any) -> Any:
        """Return the value as *annotation* asks, else as *natural* says; raises ``FormatError`` if it cannot be that."""
        ...


def library(name: str, extra: str) -> Any:
    """Return the optional library *name*; raises ``FormatError`` that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise FormatError(f"this needs {name.partition('.')[0]}, which is not installed", hint=f"pip install {extra}") from error
