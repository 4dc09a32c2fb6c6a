"""The text of a proof that an entry is in a log, as in c2sp.org/tlog-proof: index, hashes, and the signed tree head they lead to.

The entry's own bytes ride along as the proof's extra data, which nobody has to believe: they are hashed.
"""

from __future__ import annotations

import base64
import binascii
import re
from typing import NamedTuple

from flowstone.audit.note import MAX_NOTE
from flowstone.audit.tree import HASH_BYTES
from flowstone.foundation.errors import ProofError

FIRST = "c2sp.org/tlog-proof@v1"
MAX_HASHES = 63
MAX_EXTRA = 32_768
MAX_TEXT = MAX_NOTE + MAX_EXTRA + 100 * (MAX_HASHES + 2)
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")


class InclusionProof(NamedTuple):
    """The place of an entry, the hashes from its sibling up, the note of the tree head, and extra data."""

    seq: int
    hashes: tuple[bytes, ...]
    note: str
    extra: bytes = b""

    def text(self) -> str:
        """The proof as it is written to a ``.tlog-proof`` file."""
        extra = [f"extra {encoded(self.extra)}"] if self.extra else []
        return "\n".join([FIRST, *extra, f"index {self.seq}", *map(encoded, self.hashes), "", self.note])


def inclusion_proof_of(text: str) -> InclusionProof:
    """Read a proof, strictly; raises :class:`ProofError`."""
    if len(text) > MAX_TEXT:
        raise ProofError(f"a proof of more than {MAX_TEXT:,} characters")
    proof, blank, note = text.partition("\n\n")
    first, *lines = proof.split("\n")
    if first != FIRST or not blank:
        raise ProofError(f"{first[:60]!r} begins no proof", hint=f"the first line is {FIRST}, a blank line follows the hashes")
    extra = b""
    if lines and lines[0].startswith("extra "):
        extra = decoded(lines.pop(0).removeprefix("extra "))
    index = _INDEX.fullmatch(lines[0]) if lines else None
    if index is None:
        raise ProofError("a proof says `index` and a number before its hashes")
    if len(lines) - 1 > MAX_HASHES:
        raise ProofError(f"a proof of {len(lines) - 1} hashes; no tree is higher than {MAX_HASHES}")
    hashes = tuple(map(hash_of, lines[1:]))
    return InclusionProof(int(index[1]), hashes, note, extra)


def encoded(data: bytes) -> str:
    """Base64, as everywhere in what the log gives out."""
    return base64.b64encode(data).decode()


def decoded(text: str) -> bytes:
    """The bytes of base64, strictly; raises :class:`ProofError`."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        data = b""
    if not data or encoded(data) != text:
        raise ProofError(f"{text[:60]!r} is no base64")
    return data


def hash_of(text: str) -> bytes:
    """The hash in base64, strictly; raises :class:`ProofError`."""
    data = decoded(text)
    if len(data) != HASH_BYTES:
        raise ProofError(f"{text[:60]!r} is no hash of {HASH_BYTES} bytes")
    return data
