"""Signed webhooks, as the Standard Webhooks specification writes them: receivers verify with its libraries, or with this.

The headers are ``webhook-id``, ``webhook-timestamp`` (seconds since the epoch) and ``webhook-signature``: ``v1,`` and the base64
of HMAC-SHA256 over ``{id}.{timestamp}.{body}``. A secret that begins with ``whsec_`` is base64, any other one is its UTF-8 bytes.
The id stays the same when a message is sent again: a receiver that has seen it has the message.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections.abc import Mapping

from flowstone.foundation.errors import UsageError

ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"
TOLERANCE = 300
_BASE64 = "whsec_"


def sign(secret: str, id: str, timestamp: int, body: bytes) -> str:
    """Return the signature of *body* as it stands in its header; raises :class:`UsageError` for a secret that is none."""
    content = f"{id}.{timestamp}.".encode() + body
    digest = hmac.new(_key(secret), content, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def headers(secret: str, id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the headers that go with a signed *body*."""
    return {ID: id, TIMESTAMP: str(timestamp), SIGNATURE: sign(secret, id, timestamp, body)}


def verify(secret: str, given: Mapping[str, str], body: bytes, *, now: float, tolerance: int = TOLERANCE) -> str:
    """Return the id of the message that a receiver was given: *body* as received, with the headers *given* (names in any case).

    *now* is the receiver's time in seconds since the epoch. Raises :class:`UsageError` unless one of the signatures is right and
    the timestamp no more than *tolerance* seconds away.
    """
    known = {name.lower(): value for name, value in given.items()}
    id, timestamp, signatures = (known.get(name, "") for name in (ID, TIMESTAMP, SIGNATURE))
    if not id or not signatures or not (timestamp.isascii() and timestamp.isdecimal() and len(timestamp) < 16):
        raise UsageError("the webhook is not signed", hint=f"it needs the headers {ID}, {TIMESTAMP} and {SIGNATURE}")
    expected = sign(secret, id, int(timestamp), body).encode()
    if not any(hmac.compare_digest(expected, one.encode()) for one in signatures.split(" ")):
        raise UsageError("the webhook's signature is wrong", hint="both sides need the same secret; verify the bytes as received")
    if abs(now - int(timestamp)) > tolerance:
        raise UsageError(
            f"the webhook was signed more than {tolerance} s ago, or ahead", hint="set the clocks; it may be a replay"
        )
    return id


def _key(secret: str) -> bytes:
    if not secret.startswith(_BASE64):
        return secret.encode()
    try:
        key = base64.b64decode(secret[len(_BASE64) :], validate=True)
    except binascii.Error:
        key = b""
    if not key:
        raise UsageError(f"the webhook's secret begins with {_BASE64} and is no base64", hint="give it as it was made")
    return key
