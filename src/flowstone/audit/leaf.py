"""The bytes of an audit entry: canonical JSON of a bounded shape that names nobody.

Canonical is RFC 8785, restricted so that no two programs can disagree: keys of ``a-z0-9_``, no floats, integers within 2**53,
text without half surrogates. Whole times are in microseconds. What a person could want forgotten is not in the leaf: there is a
commitment, ``HMAC-SHA256`` of it under a random key, and the text and the key are a disclosure that can be deleted.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, NamedTuple, TypedDict

import msgspec

from flowstone.foundation.errors import LeafError

VERSION = 1
MAX_LEAF = 16_384
MAX_DEPTH = 8
MAX_INTEGER = 2**53 - 1
_LEAST = -MAX_INTEGER
MAX_PLAIN_KEY = 128
"""A partition's key of more bytes is a disclosure."""
SALT_BYTES = 32
KNOWN_KEYS = 10_000


Integer = Annotated[int, msgspec.Meta(ge=_LEAST, le=MAX_INTEGER)]


class Always(TypedDict):
    """The fields of every entry, and their types."""

    v: Integer
    origin: str
    project: str
    subject: str
    version: Integer
    at: Integer
    actor: str
    identity: str
    action: str
    outcome: str
    data: dict[str, Any]


class Fields(Always, total=False):
    """The fields of an entry, and their types."""

    run: str
    trace: str
    commit: dict[str, str]


class Flat(Fields):
    """The fields of an entry whose data hold nothing that nests, as those of most do."""

    data: dict[str, bool | Integer | str | None]


REQUIRED, FIELDS = Fields.__required_keys__, Fields.__required_keys__ | Fields.__optional_keys__

_PLAIN, _LISTS = frozenset({str, bool, type(None)}), frozenset({list, tuple})
_KEY = re.compile(r"[a-z0-9_]{1,64}")
_DOMAIN = b"flowstone/commit/v1\x00"
_encode = msgspec.json.Encoder(order="sorted").encode


class Disclosure(NamedTuple):
    """What a commitment in a leaf commits to: the name of the field, the random key, and the value."""

    field: str
    salt: bytes
    value: str


def canonical(value: Any) -> bytes:
    """*value* as canonical JSON; raises :class:`LeafError` for what the format does not allow."""
    _check(value, 0)
    try:
        return _encode(value)
    except UnicodeEncodeError as error:
        raise LeafError(f"{str(error.object)[:40]!r} has half a surrogate pair") from error


def commitment(disclosure: Disclosure) -> str:
    """``HMAC-SHA256(salt, domain || field || 0x00 || canonical(value))`` in base64."""
    message = _DOMAIN + disclosure.field.encode() + b"\x00" + canonical(disclosure.value)
    return base64.b64encode(hmac.digest(disclosure.salt, message, hashlib.sha256)).decode()


def disclose(field: str, value: str) -> Disclosure:
    """A disclosure of *value* under a new random key."""
    return Disclosure(field, secrets.token_bytes(SALT_BYTES), value)


def leaf(fields: Mapping[str, Any], disclosures: tuple[Disclosure, ...] = ()) -> bytes:
    """The bytes of an entry; raises :class:`LeafError` unless it has the fields of an entry and fits 16 kB."""
    whole: dict[str, Any] = {"v": VERSION, **fields}
    if disclosures:
        whole["commit"] = {disclosure.field: commitment(disclosure) for disclosure in disclosures}
    made = canonical(whole)
    if len(made) > MAX_LEAF:
        raise LeafError(f"an audit entry of {len(made)} bytes: {MAX_LEAF} is the most")
    if not whole.keys() >= REQUIRED or not whole.keys() <= FIELDS:
        missing, unknown = REQUIRED - whole.keys(), whole.keys() - FIELDS
        raise LeafError(f"an audit entry without {sorted(missing)} and with {sorted(unknown)[:5]}")
    return made


def read(data: bytes) -> dict[str, Any]:
    """The fields of a leaf's bytes; raises :class:`LeafError` for bytes this version would not have written."""
    if type(data) is not bytes:
        raise LeafError("it is no bytes")
    if len(data) > MAX_LEAF:
        raise LeafError(f"an audit entry of {len(data)} bytes: {MAX_LEAF} is the most")
    try:
        found: dict[str, Any] = _decode_flat(data)  # type: ignore[assignment]
    except (ValueError, RecursionError):  # msgspec's errors are ValueErrors
        found = _read_nested(data)
    for name in ("data", "commit"):
        if not _known_keys.issuperset(found.get(name, ())):
            _check_keys(found[name])
    if found["v"] != VERSION:
        raise LeafError(f"the entry has version {found['v']}, this FlowStone reads {VERSION}")
    if _encode(found) != data:  # what the decoder has passed over is not here
        raise LeafError("the entry is not in canonical form, or has unknown fields")
    return found


def _read_nested(data: bytes) -> dict[str, Any]:
    try:
        found: dict[str, Any] = _decode(data)  # type: ignore[assignment]
    except (ValueError, RecursionError) as error:
        raise LeafError(f"the entry is no canonical JSON: {str(error)[:100]}") from error
    _check(found, 0)
    return found


def _check(value: Any, depth: int) -> None:
    """Refuse what two readers of JSON could read differently; half surrogates are refused by the encoder."""
    kind = type(value)
    if kind in _PLAIN:
        return
    if kind is int:
        _check_integer(value)
    elif depth > MAX_DEPTH:
        raise LeafError(f"an audit entry nests deeper than {MAX_DEPTH}")
    elif kind is dict:
        if not _known_keys.issuperset(value):
            _check_keys(value)
        for item in value.values():
            kind = type(item)
            if kind is not str and not (kind is int and _LEAST <= item <= MAX_INTEGER):
                _check(item, depth + 1)
    elif kind in _LISTS:
        for item in value:
            _check(item, depth + 1)
    else:
        raise LeafError(f"{kind.__name__} in an audit entry", hint="texts, whole numbers, true, false, null, lists, objects")


def _check_integer(value: int) -> None:
    if not _LEAST <= value <= MAX_INTEGER:
        raise LeafError(f"{str(value)[:30]} is outside the integers that every JSON reader keeps", hint="give it as text")


def _check_keys(keys: Iterable[Any]) -> None:
    for key in keys:
        if type(key) is not str or not _KEY.fullmatch(key):
            raise LeafError(f"{key!r} is no key of an audit entry", hint="a-z, 0-9 and _")
        if len(_known_keys) < KNOWN_KEYS:
            _known_keys.add(key)


_known_keys: set[str] = set()
"""Keys that were found good: most entries have the same ones."""


def _no_float(text: str) -> Any:
    raise ValueError(f"the number {text[:20]}")


_decode = msgspec.json.Decoder(Fields, float_hook=_no_float).decode
_decode_flat = msgspec.json.Decoder(Flat, float_hook=_no_float).decode
