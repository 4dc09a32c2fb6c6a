"""Schemas say what a recorded event looks like, and a change that breaks who reads events is told from one that does not."""

from __future__ import annotations

import copy

import pytest
from jsonschema import Draft202012Validator, ValidationError

from flowstone import Bytes, Count, Event, Label, Text, event, span
from flowstone.events.catalogue import CATALOGUE
from flowstone.events.schemas import breaks, schema_of, snapshot


@event("tests.schemas.shipped", recorded=False)
class Shipped(Event, frozen=True, kw_only=True):
    """An order left the house.

    More about it.
    """

    region: Label
    size: Bytes
    note: Text = ""
    retried: bool = False


def test_a_schema_says_types_roles_and_units():
    """Each field has its JSON type, its role, its unit and its default; what has none is required."""
    schema = schema_of(Shipped)

    assert (schema["title"], schema["description"], schema["x-recorded"]) == (
        "tests.schemas.shipped", "An order left the house.", False,
    )  # fmt: skip
    assert schema["properties"]["size"] == {"type": "integer", "x-role": "measurement", "x-unit": "By"}
    assert schema["properties"]["note"] == {"type": "string", "default": "", "x-role": "text"}
    assert schema["properties"]["retried"] == {"type": "boolean", "default": False, "x-role": "attribute"}
    assert schema["required"] == ["at", "region", "size"]


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_schema_is_one(name):
    """The schema of every event of the catalogue is a valid draft 2020-12 schema and knows each of its fields."""
    schema = schema_of(CATALOGUE[name])
    Draft202012Validator.check_schema(schema)

    assert list(schema["properties"]) == list(CATALOGUE[name].__struct_fields__)


def test_what_is_no_such_event_is_refused():
    """A missing field and one of another type do not validate; a field nobody knows yet does."""
    validator = Draft202012Validator(schema_of(Shipped))
    validator.validate({"at": 1, "region": "eu", "size": 3, "of_tomorrow": True})
    for wrong in ({"at": 1, "region": "eu"}, {"at": 1, "region": "eu", "size": "3"}):
        with pytest.raises(ValidationError):
            validator.validate(wrong)


def changed(change):
    """The sentences about a snapshot of one event that was changed."""
    before = snapshot([Shipped])
    now = copy.deepcopy(before)
    change(now, now["events"]["tests.schemas.shipped"])
    return breaks(before, now)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda now, schema: now["events"].clear(), "event tests.schemas.shipped is gone"),
        (lambda now, schema: schema["properties"].pop("note"), "field note is gone"),
        (lambda now, schema: schema["properties"]["size"].update(type="number"), "size has type 'number', it was 'integer'"),
        (
            lambda now, schema: schema["properties"]["region"].update({"x-role": "text"}),
            "field region has role 'text', it was 'label'",
        ),
        (lambda now, schema: schema["properties"]["size"].update({"x-unit": "ns"}), "field size has unit 'ns', it was 'By'"),
        (lambda now, schema: schema["required"].append("note"), "field note is required, it was not"),
        (lambda now, schema: schema["required"].remove("region"), "field region may be missing, it was required"),
        (lambda now, schema: schema.update({"x-recorded": True}), "event tests.schemas.shipped is now recorded"),
        (
            lambda now, schema: (schema["properties"].update(new={"type": "string"}), schema["required"].append("new")),
            "field new is required, and older records do not have it",
        ),
    ],
)  # fmt: skip
def test_a_breaking_change_is_told(change, said):
    """What is gone, has another type, role or unit, or must be there now, is one sentence that names it."""
    (sentence,) = changed(change)

    assert said in sentence


@pytest.mark.parametrize(
    "change",
    [
        lambda now, schema: None,
        lambda now, schema: schema["properties"].update(new={"type": "string", "default": ""}),
        lambda now, schema: schema.update(description="Said better."),
        lambda now, schema: now["events"].update(other=copy.deepcopy(schema)),
        lambda now, schema: (now.update(version=now["version"] + 1), schema["properties"].pop("note")),
    ],
    ids=["nothing", "new field", "other words", "new event", "raised version"],
)
def test_a_harmless_change_is_none(change):
    """New events, new fields with a default and other words break nobody, nor does what a raised version announces."""
    assert changed(change) == []


def test_spans_of_ones_own_have_schemas():
    """The three events that a span declaration makes have schemas as any other."""

    @span("tests.schemas.upload")
    class Upload(Event):
        """A file was sent."""

        region: Label
        rows: Count = 0

    assert schema_of(Upload.stop)["required"] == ["at", "region", "duration_ns"]
    assert schema_of(Upload.exception)["properties"]["message"]["x-role"] == "text"
