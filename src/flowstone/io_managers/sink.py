"""The file object that formats write into: it counts and hashes the bytes on their way."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Callable
from typing import Any

from flowstone.foundation.errors import StorageError
from flowstone.io_managers.failures import storage_error


class Sink(io.RawIOBase):
    """A write-only binary file whose bytes go to *put*, with the size and digest of what has been written.

    It has no file descriptor to offer on purpose: libraries that find one write past it. A failed write is the last one and is
    remembered in ``failure``, because frame libraries rename the exceptions of the file they write to. *reopen* gives what was
    written so far to whoever must read it back, as a path or a file.
    """

    def __init__(self, put: Callable[[Any], object] | None, reopen: Callable[[], Any], doing: str = "store") -> None:
        self._put = put
        self._hash = hashlib.sha256()
        self._doing = doing
        self.reopen = reopen
        self.size = 0
        self.failure: StorageError | None = None

    def writable(self) -> bool:
        """Return ``True``."""
        return True

    def tell(self) -> int:
        """Return the number of bytes written."""
        return self.size

    def write(self, data: Any) -> int:
        """Write all of *data*, or raise a ``StorageError``."""
        if type(data) is not bytes:
            data = memoryview(data).cast("B")
        size = len(data)
        if self.failure is not None:
            raise self.failure
        if self._put is not None:
            try:
                self._put(data)
            except OSError as error:
                self.failure = storage_error(error, self._doing)
                raise self.failure from error
        self._hash.update(data)
        self.size += size
        return size

    @property
    def digest(self) -> str:
        """The SHA-256 of everything written, as 64 hexadecimal digits."""
        return self._hash.hexdigest()
