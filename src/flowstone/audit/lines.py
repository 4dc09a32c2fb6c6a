"""The lines of an export: one JSON object each. A header, entries in order, and the signed tree head they are proven by.

The page ``docs/audit/format.md`` is the definition. Nothing here knows a database.
"""

from __future__ import annotations

from typing import TypeVar

import msgspec

from flowstone.foundation.errors import ProofError

FORMAT = "flowstone-audit-export@v1"
MAX_LINE = 1_048_576
"""Bytes of a line that are read at most."""
_T = TypeVar("_T", bound=msgspec.Struct)


class Line(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A line of an export."""


class Header(Line, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The first line: entries *begin* to (without) *end* of the log *origin* follow, all of them, or chosen ones with proofs."""

    format: str
    origin: str
    begin: int
    end: int
    before: list[str] = []
    """The roots of the complete subtrees of the entries below *begin*, largest first."""
    chosen: str = ""
    """How entries were chosen; empty when all of them follow."""
    root: str = ""
    """Where entries were chosen: the root of the tree of *end* entries, to which each one's proof leads."""
    withheld: bool = False
    """Whether what entries disclose was left out."""


class Disclosed(Line, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """What a commitment of an entry commits to."""

    salt: str
    value: str


class EntryLine(Line, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """One entry; without *leaf* its bytes were pruned."""

    seq: int
    leaf: str = ""
    leaf_hash: str
    disclosures: dict[str, Disclosed] = {}
    redacted: list[str] = []
    """Fields that were redacted: what proves it is a later entry."""
    proof: list[str] | None = None


class Trailer(Line, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The last line: the note of a tree head, and the proof that *end* is its beginning where it has more entries."""

    head: str
    consistency: list[str] = []


_encode = msgspec.json.Encoder().encode
_decoders: dict[type[msgspec.Struct], msgspec.json.Decoder[msgspec.Struct]] = {
    cls: msgspec.json.Decoder(cls) for cls in (Header, EntryLine, Trailer)
}


def written(line: Line) -> bytes:
    """The bytes of a line, its newline included."""
    return _encode(line) + b"\n"


def read_line(cls: type[_T], data: bytes, where: str) -> _T:
    """Read a line of that kind; raises :class:`ProofError` for bytes that an export would not have there."""
    try:
        line = _decoders[cls].decode(data)
    except (ValueError, RecursionError) as error:
        raise ProofError(f"{where} is no {cls.__name__.lower()} of an export: {str(error)[:120]}") from error
    assert isinstance(line, cls)
    return line
