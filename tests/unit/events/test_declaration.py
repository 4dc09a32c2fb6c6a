"""Events are declared once, and a wrong declaration is refused where it is written."""

from __future__ import annotations

import pytest

from flowstone import Attribute, Bytes, Count, Event, Label, Text, event, measurement, span
from flowstone.events.catalogue import CATALOGUE
from flowstone.events.event import Role, attributes_of
from flowstone.foundation.errors import EventError


@event("acme.order.shipped", recorded=False)
class Shipped(Event, frozen=True, kw_only=True):
    """An order left the house.

    More about it.
    """

    region: Label
    order: Attribute
    note: Text
    remark: str
    weight: Bytes
    express: bool = False


def test_a_declaration_gives_every_field_its_role():
    """Annotated roles are kept; a bare text is text and a bare number or truth value an attribute."""
    assert (Shipped.name, Shipped.recorded) == ("acme.order.shipped", False)
    assert Shipped.fields == {
        "run_id": Role("attribute"), "region": Role("label"),
        "order": Role("attribute"), "note": Role("text"), "remark": Role("text"),
        "weight": Role("measurement", "By"), "express": Role("attribute"),
    }  # fmt: skip
    assert Shipped.texts == ("note", "remark")


def test_attributes_are_all_fields_but_the_time():
    """``attributes_of`` gives every field by name and leaves out ``at``."""
    happened = Shipped(at=1, region="eu", order="o1", note="n", remark="r", weight=2)

    assert attributes_of(happened) == {
        "trace_id": "", "run_id": "", "region": "eu", "order": "o1", "note": "n", "remark": "r", "weight": 2, "express": False,
    }  # fmt: skip


@pytest.mark.parametrize("name", ["", "acme", "Acme.order", "acme..order", "acme.order.", ".acme.order", "acme.order-x", "1.a"])
def test_a_malformed_name_is_refused(name):
    """A name is at least two lower-case words joined by dots."""
    with pytest.raises(EventError, match="use lower-case words") as caught:
        event(name)
    assert "acme.order.shipped" in caught.value.hint


def test_a_class_that_is_no_event_is_refused():
    """Only subclasses of Event can be declared."""
    with pytest.raises(EventError, match="not a subclass of Event"):
        event("acme.order")(int)


def test_a_missing_docstring_is_refused():
    """An event or span without a docstring has no documentation, so it is refused; the base class's does not count."""

    class Silent(Event, frozen=True):
        x: Count = 0

    for declare in (event("acme.order"), span("acme.order")):
        with pytest.raises(EventError, match="Silent has no docstring"):
            declare(Silent)


@pytest.mark.parametrize(
    ("annotation", "complaint"),
    [
        ("__import__('typing').Annotated[float, Role('label')]", "label 'x' is <class 'float'>"),
        ("__import__('typing').Annotated[list, Role('label')]", "label 'x'"),
        ("__import__('typing').Annotated[str, measurement('ns')]", "measurement 'x' is <class 'str'>"),
        ("__import__('typing').Annotated[bool, measurement()]", "measurement 'x' is <class 'bool'>"),
    ],
)
def test_a_role_of_the_wrong_type_is_refused(annotation, complaint):
    """A label is a text, a truth value or a whole number, and a measurement is a number."""
    kind = eval(annotation, {"Role": Role, "measurement": measurement})
    cls = type(Event)("Wrong", (Event,), {"__annotations__": {"x": kind}, "__doc__": "Wrong.", "__module__": __name__})

    with pytest.raises(EventError) as caught:
        event("acme.wrong")(cls)
    assert complaint in str(caught.value)


@pytest.mark.parametrize("field", ["name", "fields", "texts", "recorded"])
def test_a_field_cannot_hide_the_declaration(field):
    """A field called like a part of the declaration would be lost, so it is refused."""
    cls = type(Event)("Wrong", (Event,), {"__annotations__": {field: str}, "__doc__": "Wrong.", "__module__": __name__})

    with pytest.raises(EventError, match=f"cannot be called {field}"):
        event("acme.wrong")(cls)


def test_events_cannot_be_changed():
    """An event that was seen by one handler is the same for the next."""
    happened = Shipped(at=1, region="eu", order="o1", note="n", remark="r", weight=2)

    with pytest.raises(AttributeError):
        happened.region = "us"


def test_the_catalogue_lists_every_declared_event_by_its_name():
    """The catalogue has only ours, each under its own name, with the roles of all its fields."""
    assert CATALOGUE
    for name, cls in CATALOGUE.items():
        assert cls.name == name
        assert set(cls.fields) == set(cls.__struct_fields__) - {"at", "trace_id"}
