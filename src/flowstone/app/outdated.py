"""Why outputs are outdated, from what they were made of and what is current in those places now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from flowstone.assets.keys import decode_key, display_key
from flowstone.execution.decision import short
from flowstone.stores.database import Connection
from flowstone.stores.lineage import InputNow, inputs_now
from flowstone.stores.records import OutputRecord


def reasons(connection: Connection, current: Iterable[OutputRecord], digests: Mapping[str, str]) -> dict[str, tuple[str, ...]]:
    """Why each of the *current* outputs is outdated, by id; *digests* are the assets' definitions now.

    An upstream that is outdated itself makes an output outdated, so what was made of what is followed up to the sources, level
    by level: neither a long chain nor a large store is read as a whole.
    """
    outputs = list(current)
    inputs = _inputs(connection, outputs)
    made = {output.id: (output.asset, output.definition) for output in outputs}
    made |= {item.id: (item.asset, item.definition) for items in inputs.values() for item in items if item.id}
    own = {id: _of_definition(digests.get(asset), definition) for id, (asset, definition) in made.items()}
    outdated = {id for id, reason in own.items() if reason} | {id for id, items in inputs.items() if any(map(_is_other, items))}
    _spread(outdated, inputs)
    return {
        output.id: (*own[output.id], *(text for item in inputs.get(output.id, ()) if (text := _reason(item, outdated))))
        for output in outputs
    }


def _inputs(connection: Connection, current: list[OutputRecord]) -> dict[str, list[InputNow]]:
    """The inputs of the *current* outputs, of what is current in the places of those, and so on, by what was made of them."""
    found: dict[str, list[InputNow]] = {}
    seen = frontier = {output.id for output in current}
    while frontier:
        ahead = set()
        for item in inputs_now(connection, frontier):
            found.setdefault(item.downstream, []).append(item)
            if not _is_other(item):
                ahead.add(item.id)
        frontier = ahead - seen
        seen = seen | frontier
    return found


def _spread(outdated: set[str], inputs: Mapping[str, list[InputNow]]) -> None:
    """Add to *outdated* whatever was made of it."""
    behind: dict[str, list[str]] = {}
    for id, items in inputs.items():
        for item in items:
            behind.setdefault(item.id, []).append(id)
    spreading = list(outdated)
    while spreading:
        found = {id for id in behind.get(spreading.pop(), ()) if id not in outdated}
        outdated |= found
        spreading += found


def _of_definition(digest: str | None, made_by: str) -> tuple[str, ...]:
    return (f"definition {short(made_by)} -> {short(digest)}",) if digest is not None and digest != made_by else ()


def _is_other(item: InputNow) -> bool:
    """Whether the place of the input holds other bytes now, or none."""
    return item.digest != item.used_digest


def _reason(item: InputNow, outdated: set[str]) -> str:
    label = f"{item.asset} {display_key(decode_key(item.partition))}" if item.partition else item.asset
    if not item.id:
        return f"upstream {label} was invalidated"
    if _is_other(item):
        return f"upstream {label} was recomputed (sha256 {short(item.used_digest)} -> {short(item.digest)})"
    return f"upstream {label} is outdated" if item.id in outdated else ""
