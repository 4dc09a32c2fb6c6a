"""The one JSON encoder, and the canonical form that digests are taken of."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

_encoder = msgspec.json.Encoder()
_canonical = msgspec.json.Encoder(order="sorted")
_decoder = msgspec.json.Decoder()


def to_json(value: Any) -> str:
    """Return *value* as compact JSON text; raises ``TypeError`` for what JSON cannot hold."""
    return _encoder.encode(value).decode()


def from_json(text: str | bytes) -> Any:
    """Return the value of JSON *text*; raises ``ValueError`` for malformed text."""
    return _decoder.decode(text)


def canonical(value: Any) -> bytes:
    """Return the canonical JSON bytes of *value*: keys sorted, no white space, UTF-8."""
    return _canonical.encode(value)


def digest_of(value: Any) -> str:
    """Return the SHA-256 of *value*'s canonical JSON as 64 hexadecimal digits."""
    return hashlib.sha256(_canonical.encode(value)).hexdigest()
