"""Signatures in the format of ``ssh-keygen -Y sign``: OpenSSH's PROTOCOL.sshsig, in its armour.

What is signed is not the message but its digest, the name of the digest, and a namespace that keeps a signature made for one
purpose from being shown for another.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from typing import TYPE_CHECKING

from flowstone.foundation.errors import SignatureError
from flowstone.foundation.signatures.keys import PublicKey, public_key, public_key_of
from flowstone.foundation.signatures.wire import Reader, mpint, string
from flowstone.foundation.texts import cut

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

BEGIN = "-----BEGIN SSH SIGNATURE-----\n"
END = "\n-----END SSH SIGNATURE-----"
MAGIC = b"SSHSIG"
VERSION = 1
MAX_ARMOURED = 16_384
HASHES = ("sha512", "sha256")
WIDTH = 70
"""How many characters of base64 OpenSSH puts on a line."""


def verify(armored: str, message: bytes, namespace: str) -> PublicKey:
    """Return the key that signed *message* for *namespace*; raises :class:`SignatureError` where it is not proven that one did.

    Whose key it is, and whether it may be used, is not known here: ask a list of signers. Stricter than ``ssh-keygen -Y verify``:
    other versions, anything in the reserved field, and anything around the armour are refused, since no signature covers them.
    """
    reader = Reader(_dearmour(armored), "the signature")
    if (magic := reader.take(len(MAGIC))) != MAGIC:
        raise SignatureError(f"the signature begins with {magic!r}, not with {MAGIC!r}", hint="make it with ssh-keygen -Y sign")
    if (version := reader.number(4)) != VERSION:
        raise SignatureError(f"the signature is of version {version}; version {VERSION} is understood")
    key, named, reserved, digest, signature = (
        public_key(reader.string()), reader.name(), reader.string(), reader.name(), reader.string()
    )  # fmt: skip
    reader.end()
    if named != namespace:
        raise SignatureError(
            f"the signature was made for the namespace {cut(named)!r}, not for {namespace!r}",
            hint=f"ssh-keygen -Y sign -n {namespace}",
        )
    if reserved:
        raise SignatureError("the signature's reserved field is not empty", hint="make it with ssh-keygen -Y sign")
    if digest not in HASHES:
        raise SignatureError(f"the signature is of a digest by {cut(digest)!r}", hint=f"use {' or '.join(HASHES)}")
    key.check(signature, _signed(message, namespace, digest))
    return key


def sign(private_key: PrivateKeyTypes, message: bytes, namespace: str) -> str:
    """The armoured signature of *message* by a loaded private key, for *namespace*; what ``ssh-keygen -Y sign`` would write.

    Raises :class:`SignatureError` for a key that :func:`verify` would refuse.
    """
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    if not namespace:
        raise SignatureError("a signature needs a namespace", hint="name what it is for")
    try:
        text = private_key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).decode()
    except ValueError as error:
        raise SignatureError(f"OpenSSH has no keys of the type {type(private_key).__name__}") from error
    key = public_key_of(text)
    signature = _signature(private_key, key.type, _signed(message, namespace, HASHES[0]))
    head = MAGIC + VERSION.to_bytes(4, "big") + string(key.blob) + string(namespace.encode())
    return _armour(head + string(b"") + string(HASHES[0].encode()) + string(signature))


def _signed(message: bytes, namespace: str, digest: str) -> bytes:
    """What the key signs."""
    head = MAGIC + string(namespace.encode()) + string(b"") + string(digest.encode())
    return head + string(hashlib.new(digest, message).digest())


def _signature(private_key: PrivateKeyTypes, type: str, data: bytes) -> bytes:
    """The signature of *data* in SSH's encoding."""
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
    from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

    if isinstance(private_key, ed25519.Ed25519PrivateKey):
        return string(type.encode()) + string(private_key.sign(data))
    if isinstance(private_key, rsa.RSAPrivateKey):
        return string(b"rsa-sha2-512") + string(private_key.sign(data, padding.PKCS1v15(), hashes.SHA512()))
    assert isinstance(private_key, ec.EllipticCurvePrivateKey)  # no other has a public key of an accepted type
    digest = {256: hashes.SHA256(), 384: hashes.SHA384(), 521: hashes.SHA512()}[private_key.key_size]
    r, s = decode_dss_signature(private_key.sign(data, ec.ECDSA(digest)))
    return string(type.encode()) + string(mpint(r) + mpint(s))


def _armour(blob: bytes) -> str:
    text = base64.b64encode(blob).decode()
    return BEGIN + "\n".join(text[at : at + WIDTH] for at in range(0, len(text), WIDTH)) + END + "\n"


def _dearmour(armored: str) -> bytes:
    """The bytes inside the armour, strictly: no byte of it may change without being noticed, but lines may be of any length."""
    if len(armored) > MAX_ARMOURED:
        raise SignatureError(f"the signature has {len(armored):,} characters; {MAX_ARMOURED:,} are read at most")
    body = armored.removesuffix("\n")
    if not body.startswith(BEGIN) or not body.endswith(END):
        raise SignatureError(
            f"{cut(armored)!r} is no SSH signature",
            hint=f"it begins with the line {BEGIN.strip()} and ends with {END.strip()}, and no line ends in a carriage return",
        )
    lines = body[len(BEGIN) : -len(END)].split("\n")
    text = "".join(lines)
    try:
        blob = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        blob = b""
    if not all(lines) or base64.b64encode(blob).decode() != text:
        raise SignatureError("what is between the first and the last line of the signature is no base64", hint="copy it whole")
    return blob
