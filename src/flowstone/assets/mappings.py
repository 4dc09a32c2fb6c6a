"""Which upstream keys one downstream key needs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from flowstone.assets.keys import PartitionKey, display_key
from flowstone.assets.partitions import Partitions
from flowstone.foundation.errors import PartitionError


@runtime_checkable
class PartitionMapping(Protocol):
    """Names the upstream keys of a downstream key.

    ``needs_existing`` tells whether ``upstream`` looks at *existing*, so that callers do not query keys for nothing. The
    answer depends on nothing but the arguments. An empty list means there is no upstream: an optional dependency gets its
    default, a required one is missing.
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
        earlier: list[Any] = []
        try:
            earlier = [other for other in existing if type(other) is type(key) and other < key]  # type: ignore[operator]
        except TypeError as error:
            raise PartitionError(
                f"{display_key(key)} cannot be ordered among the existing keys",
                hint="latest_before() needs keys of one type, all with a time zone or all without",
            ) from error
        return [max(earlier)] if earlier else []

    def describe(self) -> str:
        return "latest_before()"


def same() -> SameKey:
    """Return the mapping of each key to itself, which is the default."""
    return SameKey()


def latest_before() -> LatestBefore:
    """Return the mapping of each key to the greatest existing upstream key before it, if there is one."""
    return LatestBefore()


def upstream_keys(
    mapping: PartitionMapping | None, key: PartitionKey, upstream: Partitions | None, existing: Sequence[PartitionKey] = ()
) -> list[PartitionKey]:
    """Return the keys of *upstream* that *key* needs: ``[None]`` where upstream is not partitioned, *key* itself by default."""
    if upstream is None:
        return [None]
    return [key] if mapping is None else mapping.upstream(key, existing)
