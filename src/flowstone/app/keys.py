"""Which partition a person means: the newest of many, or the one they wrote."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from flowstone.assets.keys import PartitionKey, decode_key, display_key, encode_key
from flowstone.foundation.errors import PartitionError

_SORTED = frozenset({"", "d", "dt", "ndt"})  # the kinds of texts that sort as their keys do
_PREFIXES = ("", "d:", "dt:", "ndt:", "i:", "b:")


def in_order(encoded: Iterable[str]) -> list[str]:
    """The encoded partitions in the order of their keys: numbers by value, times by time."""
    return sorted(encoded, key=lambda text: _rank(decode_key(text)))


def newest(least: str, greatest: str, every: Callable[[], list[str]]) -> str:
    """The last of an asset's partitions, of which *least* and *greatest* are the ends in the order of texts.

    *every* is asked for all of them, where the order of texts is not that of keys.
    """
    kinds = {text.partition(":")[0] if ":" in text else "" for text in (least, greatest)}
    return greatest if len(kinds) == 1 and kinds <= _SORTED else in_order(every())[-1]


def written(text: str) -> list[str]:
    """The encoded partitions that *text* may mean, as people or as programs write it; tuples only as programs do."""
    found = [encode_key(text)]  # the very text, whatever it looks like
    for encoded in (prefix + text for prefix in _PREFIXES):
        try:
            if text in (encoded, display_key(decode_key(encoded))):
                found.append(encoded)
        except PartitionError:
            continue
    return list(dict.fromkeys(found))


def _rank(key: PartitionKey) -> tuple[Any, ...]:
    """What keys of any type can be sorted by."""
    if isinstance(key, tuple):
        return ("tuple", *map(_rank, key))
    if isinstance(key, datetime):
        return ("datetime", key.tzinfo is not None, key)
    return (type(key).__name__, key if key is not None else "")
