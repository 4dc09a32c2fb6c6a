"""Partition keys as text: one key, one text, and back with its type.

| key | text |
|---|---|
| ``None`` (not partitioned) | empty |
| ``date`` | ``d:2026-11-23`` |
| ``datetime`` with a zone | ``dt:2026-11-23T10:00:00Z`` (UTC: equal instants are equal keys) |
| ``datetime`` without one | ``ndt:2026-11-23T10:00:00`` |
| ``int`` / ``bool`` | ``i:7`` / ``b:true`` |
| ``str`` of letters, digits, ``_``, ``.``, ``-`` | itself |
| any other ``str`` | ``s:`` + base64url of its UTF-8, no padding |
| ``tuple`` | ``t:`` + base64url of a JSON array of its elements' texts; inner tuples are inner arrays |
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any, TypeAlias

from flowstone.foundation.errors import PartitionError
from flowstone.foundation.texts import cut

PartitionKey: TypeAlias = str | int | bool | date | datetime | tuple["PartitionKey", ...] | None

MAX_NESTING = 16
MAX_INT_BITS = 4096  # far below the 4,300 digits at which Python refuses to turn integers into text
DAY_EXAMPLE = "write it like 2026-11-23"
ALLOWED = "use None, str, int, bool, date, datetime or a tuple of them"

_BARE = re.compile(r"[A-Za-z0-9_.\-]+", re.ASCII)


def encode_key(key: PartitionKey) -> str:
    """Return the one text of *key*; raises ``PartitionError`` for a value that cannot be a key."""
    if key is None:
        return ""
    encoder = _ENCODERS.get(type(key))
    if encoder is None:
        raise PartitionError(f"{_short(key)} ({type(key).__name__}) cannot be a partition key", hint=_fix_for(key))
    return encoder(key)


def decode_key(text: str) -> PartitionKey:
    """Return the key whose text is *text*; raises ``PartitionError`` unless ``encode_key`` gives exactly this text."""
    if not isinstance(text, str):
        raise PartitionError(f"{_short(text)} is not the text of a partition key", hint="pass what encode_key returned")
    if text == "" or _BARE.fullmatch(text):
        return text or None
    prefix, separator, rest = text.partition(":")
    decoder = _DECODERS.get(prefix) if separator else None
    if decoder is None:
        raise _malformed(text)
    try:
        key = decoder(rest)
        if encode_key(key) == text:
            return key
    except (ValueError, TypeError, PartitionError, RecursionError) as error:
        raise _malformed(text) from error
    raise _malformed(text)


def display_key(key: PartitionKey) -> str:
    """Return *key* as people read it: ``2026-11-23``, ``-`` for None, ``(acme, eu)``; what does not print is escaped."""
    if key is None:
        return "-"
    if isinstance(key, str):
        return escape(key) if key else '""'
    if isinstance(key, bool):
        return "true" if key else "false"
    if isinstance(key, tuple):
        return "(" + ", ".join(map(display_key, key)) + ")"
    if isinstance(key, datetime):
        return encode_key(key).partition(":")[2]
    return key.isoformat() if isinstance(key, date) else str(key)


def parse_day(text: str) -> date:
    """Return the day written as ``2026-11-23``; raises ``PartitionError`` for any other text."""
    try:
        day = date.fromisoformat(text)
        if day.isoformat() == text:
            return day
    except ValueError:
        pass
    raise PartitionError(f"{cut(text)!r} is no day", hint=DAY_EXAMPLE)


def escape(text: str) -> str:
    """Return *text* with every character that does not print written as its Python escape."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)


def _encode_str(key: str) -> str:
    if _BARE.fullmatch(key):
        return key
    try:
        return "s:" + _to_base64(key.encode())
    except UnicodeEncodeError as error:
        raise PartitionError(f"{_short(key)} holds half a surrogate pair, so is no text", hint="decode it correctly") from error


def _encode_int(key: int) -> str:
    if key.bit_length() > MAX_INT_BITS:
        raise PartitionError(f"an integer of {key.bit_length()} bits is too large for a partition key", hint="use its digest")
    return f"i:{key}"


def _encode_datetime(key: datetime) -> str:
    if key.utcoffset() is None:
        return "ndt:" + key.replace(tzinfo=None).isoformat()
    try:
        return "dt:" + key.astimezone(UTC).replace(tzinfo=None).isoformat() + "Z"
    except OverflowError as error:
        raise PartitionError(f"{key.isoformat()} has no UTC form", hint="use an instant between the years 1 and 9999") from error


def _encode_tuple(key: tuple[PartitionKey, ...]) -> str:
    return "t:" + _to_base64(json.dumps(_texts(key, MAX_NESTING), separators=(",", ":")).encode())


def _texts(key: tuple[PartitionKey, ...], depth: int) -> list[Any]:
    if depth == 0:
        raise PartitionError(f"a partition key nests tuples more than {MAX_NESTING} deep", hint="flatten the tuple")
    return [_texts(part, depth - 1) if type(part) is tuple else encode_key(part) for part in key]


def _decode_str(rest: str) -> str:
    return _from_base64(rest).decode()


def _decode_datetime(rest: str) -> datetime:
    return datetime.fromisoformat(rest.removesuffix("Z")).replace(tzinfo=UTC)


def _decode_tuple(rest: str) -> tuple[PartitionKey, ...]:
    return _keys(json.loads(_from_base64(rest)))


def _keys(texts: Any) -> tuple[PartitionKey, ...]:
    if not isinstance(texts, list):
        raise PartitionError("a tuple's text holds a JSON array")
    return tuple(_keys(part) if isinstance(part, list) else decode_key(part) for part in texts)


def _to_base64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _from_base64(text: str) -> bytes:
    return base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)


def _malformed(text: str) -> PartitionError:
    return PartitionError(f"{_short(text)} is not the text of a partition key", hint="texts look like 2026, d:2026-11-23 or i:7")


def _fix_for(key: object) -> str:
    """The conversion that makes *key* a key, where there is an obvious one."""
    if isinstance(key, datetime):
        return "make it a plain datetime.datetime, for example with .to_pydatetime()"
    if isinstance(key, str | int | date):
        plain = next(base for base in (str, int, date) if isinstance(key, base))
        return f"its class would be lost on the way back: pass a plain {plain.__name__}"
    if isinstance(key, list):
        return "write it as a tuple"
    if isinstance(key, float):
        return "floats are equal by accident only: use an int or a str"
    return ALLOWED


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 100 else text[:97] + "..."


_ENCODERS: dict[type, Callable[[Any], str]] = {
    str: _encode_str,
    int: _encode_int,
    bool: lambda key: "b:true" if key else "b:false",
    date: lambda key: "d:" + key.isoformat(),
    datetime: _encode_datetime,
    tuple: _encode_tuple,
}

_DECODERS: dict[str, Callable[[str], PartitionKey]] = {
    "s": _decode_str,
    "i": int,
    "b": lambda rest: rest == "true",
    "d": date.fromisoformat,
    "dt": _decode_datetime,
    "ndt": datetime.fromisoformat,
    "t": _decode_tuple,
}
