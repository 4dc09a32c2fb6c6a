"""JSON Schemas (draft 2020-12) of events, generated from their declarations, and what would break who reads them.

A field's role stands beside its type as ``x-role``, its unit as ``x-unit``; ``x-recorded`` says whether the event is kept. These
are annotations: a validator passes them by.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from flowstone.events.catalogue import CATALOGUE
from flowstone.events.event import Event

VERSION = 1
"""To be raised, with a decision record, by a change that :func:`breaks` who reads events."""
BREAKING = (
    "Readers of events would break. Keep what there is and add an event or a field with a default; or raise VERSION in "
    "src/flowstone/events/schemas.py, say why in a decision record and in the change log, and run make docs."
)
DIALECT = "https://json-schema.org/draft/2020-12/schema"


def schema_of(cls: type[Event]) -> dict[str, Any]:
    """The schema of an event's recorded payload; readers must expect further fields, because events may gain some."""
    made = msgspec.json.schema(cls)
    found = made["$defs"][made["$ref"].rpartition("/")[2]]
    properties = {name: _property(cls, name, kind) for name, kind in found["properties"].items()}
    return {
        "$schema": DIALECT,
        "title": cls.name,
        "description": first_line(cls),
        "type": "object",
        "properties": properties,
        "required": found.get("required", []),
        "x-recorded": cls.recorded,
    }


def _property(cls: type[Event], name: str, kind: Mapping[str, Any]) -> dict[str, Any]:
    role = cls.fields.get(name)
    if role is None:  # of every event: when it happened and which trace it belongs to
        return {**kind, "x-role": "measurement", "x-unit": "ns"} if name == "at" else {**kind, "x-role": "attribute"}
    unit = {"x-unit": role.unit} if role.unit else {}
    return {**kind, "x-role": role.kind, **unit}


def first_line(cls: type[Event]) -> str:
    """What the event says happened."""
    return (cls.__doc__ or cls.name).splitlines()[0]


def snapshot(classes: Iterable[type[Event]] = tuple(CATALOGUE.values())) -> dict[str, Any]:
    """The schemas of *classes* by name, with the version they have."""
    return {"version": VERSION, "events": {cls.name: schema_of(cls) for cls in classes}}


def breaks(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What of *now* breaks who was made for *before* (both as :func:`snapshot` gives them): one sentence each.

    New events and new fields with a default break nobody; nor does a version that was raised.
    """
    if now["version"] > before["version"]:
        return []
    found = []
    for name, old in before["events"].items():
        new = now["events"].get(name)
        if new is None:
            found.append(f"event {name} is gone")
            continue
        if old["x-recorded"] != new["x-recorded"]:
            found.append(f"event {name} is {'now' if new['x-recorded'] else 'no longer'} recorded")
        found += [f"event {name}: {change}" for change in _changes(old, new)]
    return found


def _changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> Iterable[str]:
    for field, was in old["properties"].items():
        is_now = new["properties"].get(field)
        if is_now is None:
            yield f"field {field} is gone"
            continue
        for what, key in (("type", "type"), ("role", "x-role"), ("unit", "x-unit")):
            if was.get(key) != is_now.get(key):
                yield f"field {field} has {what} {is_now.get(key)!r}, it was {was.get(key)!r}"
    for field in sorted({*new["required"]} - {*old["required"]}):
        yield f"field {field} is required, {'it was not' if field in old['properties'] else 'and older records do not have it'}"
    for field in sorted({*old["required"]} - {*new["required"]}):
        if field in new["properties"]:
            yield f"field {field} may be missing, it was required"
