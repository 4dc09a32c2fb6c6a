"""Outputs that users' code wrote itself: recorded where they are, never moved, never deleted."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import msgspec

from flowstone.foundation.errors import CorruptOutputError, FormatError, MissingOutputError, StorageError
from flowstone.foundation.serialize import to_json
from flowstone.io_managers.annotations import name_of, wanted
from flowstone.io_managers.failures import storage_error, tell_about
from flowstone.io_managers.manager import Durability, Output, Target

NAME = "external"
_FILE, _FILE_GIVEN, _FOLDER, _OPAQUE = "file", "file+given", "folder", "location"
"""What a location is, stored as the output's format; ``+given``: the digest is users' own and says nothing of the bytes."""
_is_digest = re.compile(r"[\x21-\x7e]{1,200}").fullmatch
_GONE = (FileNotFoundError, NotADirectoryError)


class External(msgspec.Struct, frozen=True):
    """What an asset returns for an output it has written itself; made by ``ctx.written``."""

    location: str | Path
    rows: int | None = None
    digest: str | None = None
    schema: dict[str, str] | None = None


class ExternalIOManager:
    """Records files and folders by their path, and anything else by a location that only users understand (``s3://...``).

    Paths inside *root*, the project's folder, are kept relative to it. There is one version: what is written over is gone, so an
    older record cannot be loaded any more.
    """

    name = NAME
    versioned = False
    one_process = False

    def __init__(self, root: Path) -> None:
        self._root = Path(os.path.abspath(root))  # noqa: PTH100 - links are left as they are

    def store(
        self,
        value: Any,
        target: Target,
        *,
        format: str | None = None,
        annotation: Any = None,  # noqa: ARG002
        durability: Durability | None = None,  # noqa: ARG002
        previous: Output | None = None,  # noqa: ARG002
    ) -> Output:
        """Record what was written; the digest of a file is taken now unless it is given."""
        try:
            if not isinstance(value, External):
                raise FormatError(
                    f"the IO manager {NAME!r} stores nothing itself and got a {name_of(type(value))}",
                    hint="write the output, then: return ctx.written(path)",
                )
            if format is not None:
                raise FormatError(f"the declared format {format!r} cannot hold what was written already", hint="leave it out")
            return self._record(value)
        except StorageError as error:
            tell_about(error, f"asset {target.asset!r}", asset=target.asset, partition=target.partition)
            raise

    def load(self, output: Output, annotation: Any = None, *, produced: Any = None, allow_pickle: bool = False) -> Any:  # noqa: ARG002
        """Return the path, or the location where there is none; ``bytes`` is a file's content, ``str`` the location."""
        asked = wanted(annotation)
        if asked is Output:
            return output
        if output.format == _OPAQUE:
            if asked not in (None, Any, str):
                raise self._cannot(output, asked, "str or Output")
            return output.location
        if asked is bytes and output.format != _FOLDER:
            return self.read_bytes(output)
        if asked not in (None, Any, Path, str):
            raise self._cannot(output, asked, "Path, str, bytes (of a file) or Output")
        path = self._path(output)
        self._check(output, path)
        return str(path) if asked is str else path

    def exists(self, output: Output) -> bool:
        """Return whether the file is there with the recorded size, or the folder; of other locations nothing is known."""
        path = self._path(output)
        if output.format in (_FILE, _FILE_GIVEN):
            return path.is_file() and path.stat().st_size == output.size
        return output.format == _OPAQUE or path.is_dir()

    def delete(self, output: Output) -> None:
        """Refuse: the bytes are not FlowStone's, and a newer record may be of the same place."""
        raise StorageError(
            f"{output.location!r} was written by users' code, and FlowStone does not delete it",
            hint="delete it yourself",
            **self._about(output),
        )

    def path(self, output: Output) -> Path | None:
        """Return the file's or the folder's path."""
        return None if output.format == _OPAQUE else self._path(output)

    def read_bytes(self, output: Output) -> bytes:
        """Return a file's bytes, checked against the recorded digest unless users' code gave one of its own."""
        if output.format not in (_FILE, _FILE_GIVEN):
            raise self._cannot(output, bytes, "Path or str")
        path = self._path(output)
        self._check(output, path)
        try:
            return path.read_bytes()
        except OSError as error:
            raise storage_error(error, f"load {output.location!r}", **self._about(output)) from error

    def _record(self, value: External) -> Output:
        if value.digest is not None and not _is_digest(value.digest):
            raise FormatError(f"the digest {value.digest[:50]!r} is none", hint="give 1 to 200 characters without spaces")
        schema = to_json(value.schema) if value.schema is not None else None
        location, kind, digest, size = str(value.location), _OPAQUE, value.digest, 0
        if isinstance(value.location, Path) or "://" not in location:
            path = self._root / os.path.abspath(location)  # noqa: PTH100
            location = path.relative_to(self._root).as_posix() if path.is_relative_to(self._root) else str(path)
            kind = _FOLDER if path.is_dir() else _FILE
            if kind == _FILE:
                found, size = _digest_of(path, location)
                kind, digest = (_FILE_GIVEN, digest) if digest is not None else (_FILE, found)
        if digest is None:
            raise FormatError(
                f"{location!r} is no file, so FlowStone cannot tell when it changes",
                hint="give digest=, a text that differs when the content does",
            )
        return Output(location, kind, digest, size, NAME, value.rows, schema)

    def _check(self, output: Output, path: Path) -> None:
        """Raise unless *path* is there and, where the recorded digest is one of its bytes, has these bytes."""
        if output.format == _FOLDER:
            if not path.is_dir():
                raise self._missing(output)
            return
        try:
            found, size = _digest_of(path, output.location)
        except FormatError:
            raise self._missing(output) from None
        if size != output.size or (output.format == _FILE and found != output.digest):
            raise CorruptOutputError(
                f"{output.location!r} is not what was recorded: it was written over or changed since",
                hint="there is one version of what users' code writes itself: materialize it again",
                **self._about(output),
            )

    def _missing(self, output: Output) -> MissingOutputError:
        return MissingOutputError(f"{output.location!r} is gone", hint="materialize it again", **self._about(output))

    def _cannot(self, output: Output, asked: Any, choices: str) -> FormatError:
        message = f"{output.location!r} was written by users' code and cannot be loaded as {name_of(asked)}"
        return FormatError(message, hint=f"annotate {choices}", **self._about(output))

    def _path(self, output: Output) -> Path:
        return self._root / output.location

    def _about(self, output: Output) -> dict[str, str]:
        return {"location": output.location, "manager": NAME}


def _digest_of(path: Path, location: str) -> tuple[str, int]:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size
    except _GONE as error:
        raise FormatError(f"there is no file {location!r}", hint="write it before returning ctx.written(...)") from error
    except OSError as error:
        raise storage_error(error, f"read {location!r}") from error
