"""The schemas of events are a promise: additions are free, what breaks a reader is decided on purpose."""

from __future__ import annotations

import json
from pathlib import Path

from flowstone.events.catalogue import CATALOGUE
from flowstone.events.schemas import BREAKING, breaks, schema_of, snapshot
from flowstone.testing.matchers import OURS, methods

SNAPSHOT = Path(__file__).resolve().parents[2] / "docs/reference/events.schema.json"


def test_no_event_has_changed_in_a_way_that_breaks_its_readers():
    """Against the committed snapshot nothing is gone, renamed, of another type, role or unit, or newly required."""
    broken = breaks(json.loads(SNAPSHOT.read_text(encoding="utf-8")), snapshot())

    assert broken == [], "\n".join([*broken, BREAKING])


def test_the_snapshot_has_every_event_as_it_is_now():
    """Additions are in the snapshot too: ``make docs`` writes them."""
    recorded = json.loads(SNAPSHOT.read_text(encoding="utf-8"))["events"]

    assert sorted(CATALOGUE) == sorted(recorded)
    assert [name for name, cls in CATALOGUE.items() if recorded[name] != schema_of(cls)] == []


def test_every_field_has_a_role_and_every_measurement_a_unit():
    """A field without a role would not be redacted where it must be; a measurement without a unit could not be shown."""
    wanting = [
        f"{name}.{field}"
        for name, cls in CATALOGUE.items()
        for field, said in schema_of(cls)["properties"].items()
        if said["x-role"] not in ("label", "attribute", "text", "measurement")
        or (said["x-role"] == "measurement") != bool(said.get("x-unit"))
    ]

    assert wanting == []


def test_no_two_events_are_expected_by_the_same_name():
    """Every event has its own method in ``expect_events``."""
    ours = [name.removeprefix(OURS).replace(".", "_") for name in CATALOGUE]

    assert sorted(set(ours)) == sorted(ours)
    assert {name: methods()[name] for name in ours} == dict(zip(ours, CATALOGUE, strict=True))
