"""Values as files in one folder: written beside, renamed when complete, checked when read."""

# Paths stay strings here: a step has 250 us for its file, and pathlib would take a tenth of that.
# ruff: noqa: PTH100, PTH103, PTH105, PTH108, PTH116, PTH118, PTH120, PTH123

from __future__ import annotations

import contextlib
import hashlib
import io
import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from flowstone.foundation.clock import NANOSECONDS, Clock, SystemClock
from flowstone.foundation.errors import CorruptOutputError, FormatError, MissingOutputError, SettingsError, StorageError
from flowstone.foundation.ids import Ids
from flowstone.io_managers.annotations import wanted
from flowstone.io_managers.failures import storage_error, tell_about
from flowstone.io_managers.format import Format, Stored
from flowstone.io_managers.formats import choose, decode
from flowstone.io_managers.manager import Durability, Output, Target
from flowstone.io_managers.naming import checked_location, safe_name
from flowstone.io_managers.sink import Sink

TEMPORARY = ".tmp-"
_WHOLE = 1 << 20  # files up to this size are read once, for the check and the value together
_MODE = 0o444  # an output never changes; equal outputs share one file
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0)
_GONE = (FileNotFoundError, NotADirectoryError)


class FilesIOManager:
    """Keeps each output in a file of its own: ``<asset>/<partition>/<run>-<attempt>-<output>.<extension>`` under *root*.

    *durability* holds where an asset names none. Locations are relative, so that the folder can be moved. Symbolic links that
    an operator puts under *root* are followed.
    """

    name = "files"
    versioned = True
    one_process = False

    def __init__(
        self,
        root: Path,
        *,
        durability: Durability = "process",
        owner: str = "",
        ids: Ids | None = None,
        clock: Clock | None = None,
    ) -> None:
        if durability not in {"process", "power"}:
            raise SettingsError(f"durability is {durability!r}", hint="use 'process' or 'power'")
        self.root = Path(root)
        self.durability: Durability = durability
        self._base = os.path.abspath(root)
        self._owner = owner
        self._new_id = (ids or Ids()).new
        self._clock = clock or SystemClock()
        self._lasting: set[str] = set()  # folders whose own entry is known to be on the disk

    def store(
        self,
        value: Any,
        target: Target,
        *,
        format: str | None = None,
        annotation: Any = None,
        durability: Durability | None = None,
        previous: Output | None = None,
    ) -> Output:
        """Write *value* to a new file; equal bytes of *previous* are shared by a hard link."""
        try:
            chosen, value = choose(value, format, annotation)
            folder = f"{safe_name(target.asset)}/{safe_name(target.partition)}"
            version = f"{safe_name(target.run_id)}-{target.attempt}-{safe_name(target.output_id.removeprefix('out_'))}"
            location = f"{folder}/{version}{chosen.extension(value)}"
            power = (durability or self.durability) == "power"
            return self._write(value, chosen, annotation, location, previous, power=power)
        except StorageError as error:
            tell_about(error, f"asset {target.asset!r}", asset=target.asset, partition=target.partition)
            raise

    def load(self, output: Output, annotation: Any = None, *, produced: Any = None, allow_pickle: bool = False) -> Any:
        """Return the value of *output*; a consumer that wants ``Path`` gets the stored file, which is read-only."""
        asked = wanted(annotation)
        if asked is Output:
            return output
        path = self._path(output)
        with self._checked(output, path) as stored:
            if asked is Path:
                return Path(path)
            try:
                return decode(output, stored, annotation, produced, allow_pickle=allow_pickle)
            except FormatError as error:
                tell_about(error, f"output {output.location!r}", location=output.location, manager=self.name)
                raise

    def exists(self, output: Output) -> bool:
        """Return whether the file is there with the recorded size."""
        try:
            return os.stat(self._path(output)).st_size == output.size
        except _GONE:
            return False
        except OSError as error:
            raise self._failure(error, "look for", output) from error

    def delete(self, output: Output) -> None:
        """Remove the file; the empty folder stays, because another attempt may be about to write there."""
        try:
            os.unlink(self._path(output))
        except _GONE:
            return
        except OSError as error:
            raise self._failure(error, "delete", output) from error

    def path(self, output: Output) -> Path | None:
        """Return the file's absolute path."""
        return Path(self._path(output))

    def read_bytes(self, output: Output) -> bytes:
        """Return the file's checked bytes."""
        with self._checked(output, self._path(output)) as stored:
            return stored.file.read()

    def sweep(self, older_than_seconds: float, *, owner: str = "") -> int:
        """Remove temporary files that nobody has written to for *older_than_seconds*, and return how many there were.

        They are left by processes that were killed while writing. *owner* keeps to those of one process and its children,
        whose names go on with a dot.
        """
        start = (f"{TEMPORARY}{owner}-", f"{TEMPORARY}{owner}.") if owner else TEMPORARY
        limit = self._clock.now_ns() - int(older_than_seconds * NANOSECONDS)
        removed = 0
        for folder, _, names in os.walk(self._base):
            for name in names:
                if name.startswith(start):
                    path = os.path.join(folder, name)
                    with contextlib.suppress(*_GONE):
                        if os.stat(path, follow_symlinks=False).st_mtime_ns <= limit:
                            os.unlink(path)
                            removed += 1
        return removed

    def _write(
        self, value: Any, chosen: Format, annotation: Any, location: str, previous: Output | None, *, power: bool
    ) -> Output:
        final = f"{self._base}/{location}"
        folder = final[: final.rindex("/")]
        temporary = f"{folder}/{TEMPORARY}{self._owner}-{self._new_id('new')}"
        doing = f"store {location!r}"
        descriptor = -1
        try:
            descriptor = self._create(temporary, folder, doing)
            sink = Sink(partial(_write_all, descriptor), lambda: temporary, doing)
            written = chosen.write(value, sink, annotation)
            kind = f"{chosen.name}+{written.natural}" if written.natural else chosen.name
            output = Output(location, kind, sink.digest, sink.size, self.name, written.rows, written.schema)
            try:
                shared = previous is not None and self._share(previous, output, temporary)
                if power:
                    _sync(temporary)
                os.replace(temporary, final)
                if shared:
                    _remove(temporary)  # rename does nothing between two names of one file
                if power:
                    self._sync_folders(folder)
            except OSError as error:
                raise self._failure(error, "store", output) from error
        except BaseException:
            _remove(temporary)
            raise
        finally:
            if descriptor >= 0:
                os.close(descriptor)
        return output

    def _create(self, temporary: str, folder: str, doing: str) -> int:
        try:
            try:
                return os.open(temporary, _CREATE, _MODE)
            except FileNotFoundError:
                os.makedirs(folder, exist_ok=True)
                return os.open(temporary, _CREATE, _MODE)
        except OSError as error:
            raise storage_error(error, doing, manager=self.name) from error

    def _is_shareable(self, previous: Output, output: Output) -> bool:
        """Whether *previous* has the new output's bytes, by record and by its file as it is now."""
        if (previous.digest, previous.size, previous.manager) != (output.digest, output.size, self.name):
            return False
        try:
            with open(self._path(previous), "rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == output.digest
        except OSError:
            return False

    def _share(self, previous: Output, output: Output, temporary: str) -> bool:
        """Let *temporary* be another name of *previous*'s equal file; where that cannot be, it stays a file of its own."""
        if not self._is_shareable(previous, output):
            return False
        link = f"{temporary}-link"
        try:
            os.link(self._path(previous), link)
            os.replace(link, temporary)
        except OSError:
            return False
        finally:
            _remove(link)
        return True

    def _sync_folders(self, folder: str) -> None:
        """Put the new name on the disk, and the names of the folders above it that may be new as well."""
        _sync(folder)
        while folder not in self._lasting and len(folder) > len(self._base):
            above = os.path.dirname(folder)
            _sync(above)
            self._lasting.add(folder)
            folder = above

    @contextlib.contextmanager
    def _checked(self, output: Output, path: str) -> Iterator[Stored]:
        """The file of *output*, open at its start, after its bytes were compared with the record."""
        try:
            file = open(path, "rb")  # noqa: SIM115 - closed below; only opening may be told as missing
        except _GONE as error:
            raise MissingOutputError(
                f"the file of output {output.location!r} is gone",
                hint="materialize it again, or restore the outputs folder from a backup",
                **self._about(output),
            ) from error
        except OSError as error:
            raise self._failure(error, "load", output) from error
        with file:
            try:
                stored = self._compared(output, path, file)
            except OSError as error:
                raise self._failure(error, "load", output) from error
            yield stored

    def _compared(self, output: Output, path: str, file: io.BufferedReader) -> Stored:
        size = os.fstat(file.fileno()).st_size
        if size == output.size:
            if size <= _WHOLE:
                data = file.read()
                if hashlib.sha256(data).hexdigest() == output.digest:
                    return Stored(io.BytesIO(data), path)
            elif hashlib.file_digest(file, "sha256").hexdigest() == output.digest:
                file.seek(0)
                return Stored(file, path)
        found = f"{size} bytes instead of {output.size}" if size != output.size else "other bytes of the same length"
        raise CorruptOutputError(
            f"the file of output {output.location!r} is not what was stored: it has {found}",
            hint="materialize it again, or restore the file from a backup; `flowstone doctor` looks for others",
            **self._about(output),
        )

    def _path(self, output: Output) -> str:
        return f"{self._base}/{checked_location(output.location, self.name)}"

    def _failure(self, error: OSError, doing: str, output: Output) -> StorageError:
        return storage_error(error, f"{doing} {output.location!r}", **self._about(output))

    def _about(self, output: Output) -> dict[str, str]:
        return {"location": output.location, "manager": self.name}


def _write_all(descriptor: int, data: bytes | memoryview) -> None:
    written = os.write(descriptor, data)
    if written < len(data):  # a signal, a nearly full disk, or more than 2 GB at once
        rest = memoryview(data)
        while written < len(rest):
            written += os.write(descriptor, rest[written:])


def _sync(path: str) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _remove(path: str) -> None:
    with contextlib.suppress(OSError):
        os.unlink(path)
