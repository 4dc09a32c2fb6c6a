"""What an IO manager is: it stores a value and returns an output; it loads from one."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol

import msgspec

Durability = Literal["process", "power"]
"""``process`` survives kill -9; ``power`` survives losing power as well (fsync of file and folder)."""


class Output(msgspec.Struct, frozen=True):
    """One stored version of a value: where its bytes are and what they must be.

    ``digest`` is the SHA-256 of the stored bytes and ``size`` their number; ``format`` names how to read them, after a ``+`` the
    kind of value that was returned (``parquet+polars``). An ``object`` output exists in memory only, was never encoded, and has
    size 0 and a digest no other output has. ``rows`` is known for frames, arrays and lists; ``schema`` is short JSON text.
    """

    location: str
    format: str
    digest: str
    size: int
    manager: str
    rows: int | None = None
    schema: str | None = None


class Target(msgspec.Struct, frozen=True):
    """Where a new version goes: a place that belongs to one attempt, so that no attempt overwrites another's bytes.

    ``partition`` is the encoded key, empty for an unpartitioned asset.
    """

    project: str
    asset: str
    partition: str
    run_id: str
    attempt: int
    output_id: str


class IOManager(Protocol):
    """Keeps values outside the database; ``flowstone.testing.io_contract`` checks these obligations for any manager.

    Every failure is of the ``StorageError`` family, with ``context`` and with ``retryable`` true only where the same call can
    succeed later. What user code raises while it is streamed (a generator, a lazy frame) passes unchanged.
    """

    @property
    def name(self) -> str:
        """The name that outputs record and assets choose by."""
        ...

    @property
    def versioned(self) -> bool:
        """Whether each output keeps a place of its own; ``False`` for managers that replace in place."""
        ...

    @property
    def one_process(self) -> bool:
        """Whether values can only be loaded by the process that stored them."""
        ...

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
        """Store *value* completely or not at all, and return its output.

        The digest and the size are taken while writing. ``None`` is a value like any other. *format* is the asset's declaration,
        *annotation* the producer's resolved return annotation, *previous* an older output whose bytes may be shared when equal.
        After any failure, ``KeyboardInterrupt`` included, nothing of this call is left behind.
        """
        ...

    def load(self, output: Output, annotation: Any = None, *, produced: Any = None, allow_pickle: bool = False) -> Any:
        """Return the value of *output* as the consumer's *annotation* asks, else as it was returned.

        The bytes are checked against the digest before they are used: other bytes are ``CorruptOutputError``, absent ones
        ``MissingOutputError`` and never ``None``. *produced* is the producer's return annotation, used where the consumer gave
        none and plain data cannot tell (dataclasses, dates). Pickled bytes are read only with *allow_pickle*, which execution
        sets for an asset that declares ``format="pickle"``, and which reading verbs never set.
        """
        ...

    def exists(self, output: Output) -> bool:
        """Return whether the bytes are there with the recorded size; their digest is not checked."""
        ...

    def delete(self, output: Output) -> None:
        """Remove the bytes of *output*; other outputs with equal bytes keep theirs. Deleting twice is no error."""
        ...

    def path(self, output: Output) -> Path | None:
        """Return the file that holds the bytes, or ``None`` where there is none; the file may be gone."""
        ...

    def read_bytes(self, output: Output) -> bytes:
        """Return the stored bytes, checked against the digest and never interpreted."""
        ...
