"""Which upstream keys one downstream key needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from flowstone.assets.keys import PartitionKey, display_key
from flowstone.assets.partitions import Partitions
from flowstone.foundation.errors import PartitionError, ValidationError


@runtime_checkable
class PartitionMapping(Protocol):
    """Names the upstream keys of a downstream key.

    ``needs_existing`` tells whether ``upstream`` looks at *existing*, so that callers do not query keys for nothing. The
    answer depends on nothing but the arguments. An empty list means there is no upstream: an optional dependency gets its
    default, a required one is missing.

    A mapping whose attribute ``several`` is true names any number of keys: its parameter receives a ``dict`` from key to value,
    and *existing* are all keys that are known, those that are due and those there are outputs for.
    """

    needs_existing: bool

    def upstream(self, key: PartitionKey, existing: Sequence[PartitionKey]) -> list[PartitionKey]:
        """Return the upstream keys of *key*; *existing* are the keys upstream has outputs for, in any order."""
        ...

    def describe(self) -> str:
        """Return the mapping as it is written in a pipeline."""
        ...


class SameKey:
    """Every key needs the upstream of the same key."""

    needs_existing = False

    def upstream(self, key: PartitionKey, existing: Sequence[PartitionKey]) -> list[PartitionKey]:  # noqa: ARG002 - protocol
        return [key]

    def describe(self) -> str:
        return "same()"


class LatestBefore:
    """Every key needs the greatest upstream key that exists and is smaller."""

    needs_existing = True

    def upstream(self, key: PartitionKey, existing: Sequence[PartitionKey]) -> list[PartitionKey]:
        earlier = _ordered(key, existing, self.describe())
        return [earlier[-1]] if earlier else []

    def describe(self) -> str:
        return "latest_before()"


class Last:
    """Every key needs the last *count* known upstream keys up to itself; an asset without partitions, the last ones of all."""

    needs_existing = True
    several = True

    def __init__(self, count: int) -> None:
        if isinstance(count, bool) or not isinstance(count, int) or count < 1:
            raise ValidationError(f"last({count!r}): not a whole number of at least 1", hint="last(7)")
        self.count = count

    def upstream(self, key: PartitionKey, existing: Sequence[PartitionKey]) -> list[PartitionKey]:
        if key is None:
            return sorted(existing)[-self.count :]  # type: ignore[type-var]
        return [*_ordered(key, existing, self.describe()), key][-self.count :]

    def describe(self) -> str:
        return f"last({self.count})"


class AllPartitions:
    """Every key needs all known upstream keys."""

    needs_existing = True
    several = True

    def upstream(self, key: PartitionKey, existing: Sequence[PartitionKey]) -> list[PartitionKey]:  # noqa: ARG002 - see above
        return list(existing)

    def describe(self) -> str:
        return "all_partitions()"


def _ordered(key: PartitionKey, existing: Sequence[PartitionKey], what: str) -> list[Any]:
    """Return the *existing* keys before *key*, in order; raises ``PartitionError`` where they have none."""
    try:
        return sorted(other for other in existing if type(other) is type(key) and other < key)  # type: ignore[operator]
    except TypeError as error:
        raise PartitionError(
            f"{display_key(key)} cannot be ordered among the existing keys",
            hint=f"{what} needs keys of one type, all with a time zone or all without",
        ) from error


def same() -> SameKey:
    """Return the mapping of each key to itself, which is the default."""
    return SameKey()


def latest_before() -> LatestBefore:
    """Return the mapping of each key to the greatest existing upstream key before it, if there is one."""
    return LatestBefore()


def last(count: int) -> Last:
    """Return the mapping of each key to the last *count* known upstream keys up to itself; the parameter receives a ``dict``.

    Raises ``ValidationError`` unless *count* is a whole number of at least 1.
    """
    return Last(count)


def all_partitions() -> AllPartitions:
    """Return the mapping of each key to all known upstream keys; the parameter receives a ``dict``."""
    return AllPartitions()


def gathers(mapping: PartitionMapping | None) -> bool:
    """Return whether the mapping's parameter receives the values of several keys."""
    return mapping is not None and bool(getattr(mapping, "several", False))


def upstream_keys(
    mapping: PartitionMapping | None, key: PartitionKey, upstream: Partitions | None, existing: Sequence[PartitionKey] = ()
) -> list[PartitionKey]:
    """Return the keys of *upstream* that *key* needs: ``[None]`` where upstream is not partitioned, *key* itself by default."""
    if upstream is None:
        return [None]
    return [key] if mapping is None else mapping.upstream(key, existing)
