"""Public keys as OpenSSH writes them, and what they verify.

Keys: RFC 8709 (Ed25519), RFC 5656 (ECDSA), RFC 4253 section 6.6 with the signatures of RFC 8332 (RSA with SHA-2), and OpenSSH's
PROTOCOL.u2f (keys on a token). Refused: RSA below 2048 bits and RSA with SHA-1, DSA, certificates.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from flowstone.foundation.errors import SignatureError
from flowstone.foundation.signatures.wire import Reader, string
from flowstone.foundation.texts import cut

MIN_RSA_BITS, MAX_RSA_BITS = 2048, 16_384
CERTIFICATE = "-cert-v01@openssh.com"
USER_PRESENT = 0x01
"""The flag a token sets when somebody touched it."""


class PublicKey(NamedTuple):
    """A public key: its type, such as ``ssh-ed25519``, and its bytes in SSH's encoding, which say the type again."""

    type: str
    blob: bytes

    def __str__(self) -> str:
        return f"{self.type} {base64.b64encode(self.blob).decode()}"

    @property
    def fingerprint(self) -> str:
        """What ``ssh-keygen -l`` calls the key: ``SHA256:`` and its digest in base64 without padding."""
        return "SHA256:" + base64.b64encode(hashlib.sha256(self.blob).digest()).decode().rstrip("=")

    def check(self, signature: bytes, data: bytes) -> None:
        """Raise :class:`SignatureError` unless *signature*, in SSH's encoding, is this key's of *data*."""
        from cryptography.exceptions import InvalidSignature

        kind, parts = _parts(self.blob)
        reader = Reader(signature, "the signature")
        check = kind.algorithms.get(algorithm := reader.name())
        if check is None:
            raise SignatureError(
                f"a key of type {self.type} does not sign with {cut(algorithm)!r}", hint=f"use {' or '.join(kind.algorithms)}"
            )
        try:
            check(parts, reader, data)
            reader.end()
        except InvalidSignature as error:
            raise SignatureError(
                f"the signature is not one of the key {self.fingerprint} of this text",
                hint="the text or the signature was changed",
            ) from error
        except ValueError as error:
            raise SignatureError(f"the key {self.fingerprint} cannot verify anything: {error}") from error


def public_key(blob: bytes) -> PublicKey:
    """Read a key in SSH's encoding; raises :class:`SignatureError` for one that is malformed, weak or of a type not accepted."""
    _parts(blob)
    return PublicKey(Reader(blob, "the public key").name(), blob)


def public_key_of(text: str) -> PublicKey:
    """Read a key as its file has it, ``type base64 comment``; raises :class:`SignatureError`."""
    words = text.split(maxsplit=2)
    try:
        blob = base64.b64decode(words[1], validate=True)
    except (IndexError, ValueError, binascii.Error) as error:
        raise SignatureError(f"{cut(text)!r} is no public key", hint="it looks like ssh-ed25519 AAAAC3...") from error
    key = public_key(blob)
    if key.type != words[0]:
        raise SignatureError(
            f"the key says it is of type {key.type}, the word before it says {cut(words[0])!r}", hint="copy it whole"
        )
    return key


_Parts: TypeAlias = tuple[Any, ...]
_Check: TypeAlias = Callable[[_Parts, Reader, bytes], None]


class _Kind(NamedTuple):
    """A type of key: how it is read after its type, and how what it signed with each algorithm is checked."""

    read: Callable[[Reader], _Parts]
    algorithms: dict[str, _Check]


def _parts(blob: bytes) -> tuple[_Kind, _Parts]:
    """The kind of a key and what it consists of."""
    reader = Reader(blob, "the public key")
    type = reader.name()
    kind = _KINDS.get(type)
    if kind is None:
        what = "a certificate" if type.endswith(CERTIFICATE) else f"a key of type {cut(type)!r}"
        raise SignatureError(f"{what} is not accepted", hint=f"use a key of type {', '.join(_KINDS)}")
    parts = kind.read(reader)
    reader.end()
    return kind, parts


def _read_ed25519(reader: Reader) -> _Parts:
    raw = reader.string()
    if len(raw) != 32:
        raise SignatureError(f"an Ed25519 key has 32 bytes, not {len(raw)}")
    return (raw,)


def _check_ed25519(parts: _Parts, reader: Reader, data: bytes) -> None:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

    Ed25519PublicKey.from_public_bytes(parts[0]).verify(reader.string(), data)


_SIZES = {"nistp256": 32, "nistp384": 48, "nistp521": 66}
"""The bytes of one coordinate on each curve."""


def _read_ecdsa(reader: Reader, curve: str) -> _Parts:
    named, point = reader.name(), reader.string()
    if named != curve or len(point) != 1 + 2 * _SIZES[curve] or point[0] != 4:
        raise SignatureError(f"the key is no uncompressed point on the curve {curve}")
    return curve, point


def _check_ecdsa(parts: _Parts, reader: Reader, data: bytes) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature

    curve, digest = {
        "nistp256": (ec.SECP256R1(), hashes.SHA256()),
        "nistp384": (ec.SECP384R1(), hashes.SHA384()),
        "nistp521": (ec.SECP521R1(), hashes.SHA512()),
    }[parts[0]]
    pair = Reader(reader.string(), "the signature")
    signature = encode_dss_signature(pair.mpint(), pair.mpint())
    pair.end()
    ec.EllipticCurvePublicKey.from_encoded_point(curve, parts[1]).verify(signature, data, ec.ECDSA(digest))


def _read_rsa(reader: Reader) -> _Parts:
    exponent, modulus = reader.mpint(), reader.mpint()
    if not MIN_RSA_BITS <= (bits := modulus.bit_length()) <= MAX_RSA_BITS:
        raise SignatureError(
            f"an RSA key of {bits} bits is not accepted, but of {MIN_RSA_BITS} to {MAX_RSA_BITS}",
            hint="make a new key: ssh-keygen -t ed25519",
        )
    return exponent, modulus


def _check_rsa(parts: _Parts, reader: Reader, data: bytes, digest: str) -> None:
    from cryptography.hazmat.primitives import hashes
    from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicNumbers

    exponent, modulus = parts
    # Some agents leave out leading zeros, of about one signature in 256; OpenSSH puts them back, too.
    signature = reader.string().rjust((modulus.bit_length() + 7) // 8, b"\0")
    chosen = {"sha256": hashes.SHA256(), "sha512": hashes.SHA512()}[digest]
    RSAPublicNumbers(exponent, modulus).public_key().verify(signature, data, PKCS1v15(), chosen)


def _read_on_token(reader: Reader, read: Callable[[Reader], _Parts]) -> _Parts:
    return (*read(reader), reader.string())


def _check_on_token(parts: _Parts, reader: Reader, data: bytes, check: _Check) -> None:
    """What a token signs is not the data but the digests of its application and of the data, its flags and counter between."""
    *key, application = parts
    signature, flags, counter = reader.string(), reader.take(1), reader.take(4)
    if not flags[0] & USER_PRESENT:
        raise SignatureError("the token signed without anybody touching it", hint="make a key without -O no-touch-required")
    signed = hashlib.sha256(application).digest() + flags + counter + hashlib.sha256(data).digest()
    check(tuple(key), Reader(string(signature), "the signature"), signed)


_read_nistp256 = partial(_read_ecdsa, curve="nistp256")
_KINDS = {
    "ssh-ed25519": _Kind(_read_ed25519, {"ssh-ed25519": _check_ed25519}),
    "ecdsa-sha2-nistp256": _Kind(_read_nistp256, {"ecdsa-sha2-nistp256": _check_ecdsa}),
    "ecdsa-sha2-nistp384": _Kind(partial(_read_ecdsa, curve="nistp384"), {"ecdsa-sha2-nistp384": _check_ecdsa}),
    "ecdsa-sha2-nistp521": _Kind(partial(_read_ecdsa, curve="nistp521"), {"ecdsa-sha2-nistp521": _check_ecdsa}),
    "ssh-rsa": _Kind(
        _read_rsa, {"rsa-sha2-512": partial(_check_rsa, digest="sha512"), "rsa-sha2-256": partial(_check_rsa, digest="sha256")}
    ),
    "sk-ssh-ed25519@openssh.com": _Kind(
        partial(_read_on_token, read=_read_ed25519),
        {"sk-ssh-ed25519@openssh.com": partial(_check_on_token, check=_check_ed25519)},
    ),
    "sk-ecdsa-sha2-nistp256@openssh.com": _Kind(
        partial(_read_on_token, read=_read_nistp256),
        {"sk-ecdsa-sha2-nistp256@openssh.com": partial(_check_on_token, check=_check_ecdsa)},
    ),
}
