"""What slices an asset has: the protocol, a declared list, and any key of a type."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from datetime import date, datetime
from typing import Any, Literal, TypeAlias

from flowstone.assets.keys import DAY_EXAMPLE, PartitionKey, decode_key, display_key, encode_key, parse_day
from flowstone.foundation.errors import PartitionError, ValidationError
from flowstone.foundation.texts import cut

Past: TypeAlias = Literal["allow", "refuse"]

SHOWN = 20


class Partitions(ABC):
    """The keys an asset can be materialized for.

    ``past`` is "refuse" where a key must not be computed once its time is over. ``key_types`` are the exact types of the
    keys; ``ordered`` tells whether "before" means something among them.
    """

    past: Past = "allow"
    ordered: bool = False
    key_types: frozenset[type]

    @abstractmethod
    def parse(self, text: str) -> PartitionKey:
        """Return the key a person means by *text*; raises ``PartitionError`` that says what is understood."""

    @abstractmethod
    def validate(self, key: PartitionKey, now: datetime) -> None:
        """Raise ``PartitionError`` unless *key* is one of these keys and may be materialized at *now* (an aware datetime)."""

    @abstractmethod
    def latest(self, now: datetime) -> PartitionKey:
        """Return the key meant when none is given; raises ``PartitionError`` where there is no such key."""

    @abstractmethod
    def keys(self, now: datetime) -> Iterable[PartitionKey]:
        """Return every key that is known to be due at *now*, oldest first."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """Return these partitions as plain values for the stored definition."""

    @abstractmethod
    def meaning(self) -> dict[str, Any]:
        """Return only what changes the meaning of one key; it enters the definition digest, so new keys outdate nothing."""

    def mismatch(self, downstream: Partitions) -> str | None:
        """Return why keys of *downstream* cannot be used as these keys, or ``None`` when they can."""
        if downstream.key_types <= self.key_types:
            return None
        return f"its keys are {_type_names(self.key_types)}, not {_type_names(downstream.key_types)}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.describe().items() if k != 'kind')})"

    def require_type(self, key: PartitionKey) -> None:
        """Raise ``PartitionError`` unless *key* has exactly one of the key types."""
        if type(key) not in self.key_types:
            raise PartitionError(
                f"{display_key(key)} ({type(key).__name__}) is not a key of {self!r}",
                hint=f"pass a {_type_names(self.key_types)}",
            )


class Static(Partitions):
    """The declared keys, in declared order. Raises ``ValidationError`` for none, repeated or indistinguishable keys."""

    def __init__(self, keys: Iterable[PartitionKey]) -> None:
        if isinstance(keys, str):
            raise ValidationError(f"Static({keys!r}): one text is no list of keys", hint=f"write Static([{keys!r}])")
        self._keys = tuple(keys)
        self._by_text = {encode_key(key): key for key in self._keys}
        self._by_name = {display_key(key): key for key in self._keys}
        if not self._keys or None in self._keys:
            raise ValidationError(f"Static({list(self._keys)!r}): declare keys, and not None", hint='Static(["eu", "us"])')
        if len(self._by_text) < len(self._keys):
            raise ValidationError(f"Static({list(self._keys)!r}): a key is declared twice", hint="declare each key once")
        if len(self._by_name) < len(self._keys):
            raise ValidationError(
                f"Static({list(self._keys)!r}): two keys read the same on a command line", hint="use keys of one type"
            )
        self.key_types = frozenset(map(type, self._keys))

    def parse(self, text: str) -> PartitionKey:
        if text in self._by_name:
            return self._by_name[text]
        if text in self._by_text:
            return self._by_text[text]
        raise PartitionError(f"{cut(text)!r} is none of the declared keys", hint=f"choose one of: {self._shown()}")

    def validate(self, key: PartitionKey, now: datetime) -> None:  # noqa: ARG002 - declared keys have no time
        if encode_key(key) not in self._by_text:
            raise PartitionError(f"{display_key(key)} is none of the declared keys", hint=f"choose one of: {self._shown()}")

    def latest(self, now: datetime) -> PartitionKey:  # noqa: ARG002 - declared keys have no time
        raise PartitionError("declared keys have no latest one", hint=f"choose one with --partition: {self._shown()}")

    def keys(self, now: datetime) -> Sequence[PartitionKey]:  # noqa: ARG002 - declared keys have no time
        return self._keys

    def describe(self) -> dict[str, Any]:
        return {"kind": "static", "keys": list(self._by_text)}

    def meaning(self) -> dict[str, Any]:
        return {"kind": "static"}

    def mismatch(self, downstream: Partitions) -> str | None:
        if isinstance(downstream, Static):
            missing = [display_key(key) for text, key in downstream._by_text.items() if text not in self._by_text]
            return f"it has no key {', '.join(missing[:SHOWN])}" if missing else None
        return super().mismatch(downstream)

    def _shown(self) -> str:
        names = list(self._by_name)
        more = f", ... ({len(names) - SHOWN} more)" if len(names) > SHOWN else ""
        return ", ".join(names[:SHOWN]) + more


class Keys(Partitions):
    """Any key of one type: ``str``, ``int``, ``bool``, ``date``, ``datetime`` or ``tuple``."""

    def __init__(self, type: type = str) -> None:
        if type not in _PARSERS:
            name = getattr(type, "__name__", repr(type))
            known = ", ".join(kind.__name__ for kind in _PARSERS)
            raise ValidationError(f"Keys(type={name}): no partition key has this type", hint=f"use one of {known}")
        self.key_types = frozenset({type})
        self.ordered = type in (str, int, date, datetime)
        self._type = type

    def parse(self, text: str) -> PartitionKey:
        try:
            return _PARSERS[self._type](text)
        except ValueError as error:
            raise PartitionError(f"{cut(text)!r} is no {self._type.__name__}", hint=_EXAMPLES[self._type]) from error

    def validate(self, key: PartitionKey, now: datetime) -> None:  # noqa: ARG002 - these keys have no time
        self.require_type(key)
        encode_key(key)

    def latest(self, now: datetime) -> PartitionKey:  # noqa: ARG002 - these keys have no time
        raise PartitionError(f"any {self._type.__name__} is a key, so there is no latest one", hint="choose one with --partition")

    def keys(self, now: datetime) -> Sequence[PartitionKey]:  # noqa: ARG002 - these keys have no time
        return ()

    def describe(self) -> dict[str, Any]:
        return {"kind": "keys", "type": self._type.__name__}

    meaning = describe


def _parse_bool(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(text)
    return text == "true"


def _parse_tuple(text: str) -> PartitionKey:
    key = decode_key(text)
    if not isinstance(key, tuple):
        raise PartitionError(f"{cut(text)!r} is no tuple", hint=_EXAMPLES[tuple])
    return key


def _type_names(types: frozenset[type]) -> str:
    return " or ".join(sorted(kind.__name__ for kind in types))


_PARSERS: dict[type, Callable[[str], PartitionKey]] = {
    str: str,
    int: int,
    bool: _parse_bool,
    date: parse_day,
    datetime: datetime.fromisoformat,
    tuple: _parse_tuple,
}

_EXAMPLES: dict[type, str] = {
    str: "any text",
    int: "write it like 7",
    bool: "write true or false",
    date: DAY_EXAMPLE,
    datetime: "write it like 2026-11-23T10:00:00+01:00",
    tuple: "write it as encode_key gives it, t:...",
}
