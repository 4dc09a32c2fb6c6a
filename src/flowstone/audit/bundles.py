"""Bundles of evidence: parts as lines of JSON, and a last line that signs all bytes before it.

``verify_evidence`` beside this module verifies one without FlowStone; the page ``docs/audit/format.md`` defines it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from flowstone.audit.note import Signer, sign
from flowstone.audit.tlog_proof import encoded

FORMAT = "flowstone-evidence@v1"
VERIFIER = Path(__file__).with_name("verify_evidence.py")
"""The program that verifies a bundle; it needs Python and ``cryptography``, and nothing else."""

_encoder = msgspec.json.Encoder(enc_hook=str)


def bundle(origin: str, parts: Iterable[Mapping[str, Any]], signer: Signer | None) -> Iterator[bytes]:
    """The lines of a bundle of the log *origin*; without *signer* the last line only says what could have been signed."""
    digest, length = hashlib.sha256(), 0
    for part in parts:
        line = _encoder.encode(part) + b"\n"
        digest.update(line)
        length += len(line)
        yield line
    text = f"{FORMAT}\n{origin}\n{length}\n{encoded(digest.digest())}\n"
    yield _encoder.encode({"part": "signature", "note": sign(text, [signer]) if signer else text}) + b"\n"
