"""JSON for plain values, and only where reading gives back equal values of the same types.

Plain is ``None``, ``bool``, ``int``, finite ``float``, ``str``, ``list`` and ``dict`` with ``str`` keys, each exactly that type.
Everything else that JSON would quietly change (tuples, sets, dates, dataclasses, NaN) is refused with its place in the value,
unless the producer's annotation restores it: then it is written, read back and compared before a byte is stored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from math import isfinite
from typing import Any

import msgspec

from flowstone.foundation.errors import FormatError
from flowstone.io_managers.annotations import Stream, given, name_of
from flowstone.io_managers.format import Stored, Written
from flowstone.io_managers.sink import Sink

DEEPEST = 200  # levels; what one thread can write another with less stack left must be able to read
TYPED = "typed"

_ATOMS = frozenset({type(None), bool, int, str})
_TEXT = frozenset({str})
_encode = msgspec.json.Encoder().encode
_encode_sets = msgspec.json.Encoder(order="deterministic").encode
_decode = msgspec.json.Decoder().decode
_REFUSALS = (TypeError, ValueError, OverflowError, RecursionError)


class JsonFormat:
    """Compact JSON in the order of the value, so that equal values built alike have equal digests."""

    name = "json"

    def extension(self, value: Any) -> str:  # noqa: ARG002
        """Return ``.json``."""
        return ".json"

    def can_store(self, value: Any) -> bool:
        """Return whether *value* is no stream; whether its content fits is told by ``write``."""
        return not isinstance(value, Stream)

    def write(self, value: Any, sink: Sink, annotation: Any) -> Written:
        """Write *value*; raises ``FormatError`` naming the place and the fix for what would not come back the same."""
        rows = len(value) if type(value) is list else None
        if _is_plain(value, 0):
            try:
                data = _encode(value)
            except _REFUSALS as error:
                raise _refusal(value) from error
            sink.write(data)
            return Written(rows)
        sink.write(_typed(value, given(annotation)))
        return Written(rows, natural=TYPED)

    def read(self, stored: Stored, natural: str, annotation: Any) -> Any:
        """Return the value converted to *annotation*, or plain."""
        asked = given(annotation)
        if asked is None and natural == TYPED:
            raise FormatError(
                "the output holds typed values (dataclasses, dates, tuples, ...) and nothing says which",
                hint="annotate the parameter with the producer's return type, or with Any for plain data",
            )
        data = stored.file.read()
        if asked is None or asked is Any:
            return _decode(data)
        try:
            return msgspec.json.decode(data, type=asked)
        except msgspec.ValidationError as error:
            message = f"the output cannot be loaded as {name_of(asked)}: {error}"
            raise FormatError(message, hint="change the parameter's annotation, or what the upstream asset returns") from error
        except TypeError:  # an annotation that says nothing about data, like Iterable[Row] with a plain class
            return _decode(data)


def _is_plain(value: Any, depth: int) -> bool:
    kind = type(value)
    if kind in _ATOMS:
        return True
    if kind is float:
        return isfinite(value)
    if kind is dict:
        if not _TEXT.issuperset(map(type, value)):
            return False
        items = value.values()
    elif kind is list:
        items = value
    else:
        return False
    if depth >= DEEPEST:
        return False
    rest = set(map(type, items)) - _ATOMS
    if not rest:
        return True
    if rest == {float}:
        return all(isfinite(item) for item in items if type(item) is float)
    return all(_is_plain(item, depth + 1) for item in items)


def _typed(value: Any, annotation: Any) -> bytes:
    """The JSON of *value*, proved to come back the same through *annotation*."""
    if annotation is None or annotation is Any:
        raise _refusal(value)
    try:
        data: bytes = (_encode_sets if _holds_set(value) else _encode)(value)
        same = _same(msgspec.json.decode(data, type=annotation), value)
    except _REFUSALS as error:
        raise _refusal(value, f"; its annotation {name_of(annotation)} does not restore it") from error
    if not same:
        raise _refusal(value, f"; its annotation {name_of(annotation)} does not restore it")
    return data


def _fields(value: Any) -> dict[str, Any] | None:
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return value if isinstance(value, dict) else None


def _holds_set(value: Any) -> bool:
    if isinstance(value, set | frozenset):
        return True
    fields = _fields(value)
    children = fields.values() if fields is not None else value if isinstance(value, list | tuple) else ()
    return any(_holds_set(child) for child in children)


def _same(one: Any, other: Any) -> bool:
    """Whether two values are equal in content and in every type inside; ``repr`` tells 0.0 from -0.0 and zones apart."""
    if type(one) is not type(other):
        return False
    mine, theirs = _fields(one), _fields(other)
    if mine is not None and theirs is not None:
        return sorted(map(repr, mine)) == sorted(map(repr, theirs)) and all(_same(mine[key], theirs[key]) for key in mine)
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, set | frozenset):
        return bool(one == other) and sorted(map(repr, one)) == sorted(map(repr, other))
    return bool(one == other) and repr(one) == repr(other)


_ANNOTATE = "annotate the function's return type so that it can be restored"
_FIXES: dict[type, str] = {
    tuple: f"return a list, or {_ANNOTATE}",
    set: f"return a sorted list, or {_ANNOTATE}",
    frozenset: f"return a sorted list, or {_ANNOTATE}",
    bytes: "return it alone as bytes, or encode it as text",
}


def _refusal(value: Any, because: str = "") -> FormatError:
    """The error for a value that is not plain: the first place that is not, and what to do about it."""
    place, what, fix = next(_faults(value, "$", 0), ("$", "cannot be written as JSON", "return plain data"))
    return FormatError(f"{place} {what}{because}", hint=fix, place=place)


def _faults(value: Any, place: str, depth: int) -> Iterator[tuple[str, str, str]]:
    """Every fault in *value* as place, what is wrong there and the fix, in order."""
    kind = type(value)
    if kind is str or kind is int:
        yield from _atom_faults(value, place)
    elif kind is float and not isfinite(value):
        yield place, f"is {value!r}, which JSON cannot hold", "use None for a missing number"
    elif kind is list or kind is dict:
        if depth >= DEEPEST:
            yield place[:60], f"is nested more than {DEEPEST} levels deep or contains itself", "return a flatter value"
            return
        for key, item in value.items() if kind is dict else enumerate(value):
            if kind is dict and type(key) is not str:
                what = f"has the key {key!r:.80} of type {type(key).__name__}; JSON would bring it back as text"
                yield place, what, "use str keys, or return a list of pairs"
                continue
            if kind is dict:
                yield from _atom_faults(key, place)
            yield from _faults(item, f"{place}[{key!r:.80}]", depth + 1)
    elif kind not in _ATOMS and kind is not float:
        yield place, f"is a {name_of(kind)}, which JSON would not bring back as one", _fix_for(value)


def _atom_faults(value: str | int, place: str) -> Iterator[tuple[str, str, str]]:
    try:
        _encode(value)
    except UnicodeEncodeError:
        yield place, "holds text with a lone surrogate, which UTF-8 cannot hold", 'decode it with errors="replace"'
    except ValueError:
        yield place, "is a number of more than 4300 digits", "return it as text"


def _fix_for(value: Any) -> str:
    if hasattr(value, "item") and hasattr(value, "dtype"):
        return "convert it with .item()"
    return _FIXES.get(type(value)) or f'{_ANNOTATE}, return plain data or a frame, or declare format="pickle"'
