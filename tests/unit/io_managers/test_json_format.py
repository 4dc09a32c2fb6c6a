"""JSON holds a value exactly or not at all."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from collections import OrderedDict
from decimal import Decimal
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowstone.foundation.errors import FormatError
from flowstone.io_managers import MemoryIOManager, Target
from flowstone.io_managers.json_format import DEEPEST


class Colour(enum.Enum):
    RED = "red"


class Text(str):
    __slots__ = ()


@dataclasses.dataclass
class Order:
    number: int
    placed: dt.date
    lines: tuple[str, ...] = ()


class Rate(msgspec.Struct):
    name: str
    value: float


class Pair(NamedTuple):
    left: int
    right: str


AN_ORDER = Order(7, dt.date(2026, 11, 23), ("a", "b"))
TARGET = Target("shop", "orders", "", "run_1", 1, "out_1")
TEXT = st.text(st.characters(codec="utf-8"), max_size=8)
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=12,
)
HARD_LEAVES = (
    st.just(float("nan"))
    | st.just(float("-inf"))
    | st.dates()
    | st.binary(max_size=3)
    | st.text(max_size=4)
    | st.just(Text("x"))
    | st.just(Colour.RED)
    | st.decimals(allow_nan=False)
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4) | HARD_LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=3) | st.integers() | st.none(), inner, max_size=3)
        | st.dictionaries(TEXT, inner, max_size=3).map(OrderedDict)
        | st.sets(st.integers(), max_size=3)
    ),
    max_leaves=8,
)


def reloaded(value: Any, produced: Any = None, annotation: Any = None) -> Any:
    """Return what a consumer gets after *value* was encoded: asking for bytes first makes memory encode it."""
    memory = MemoryIOManager()
    output = memory.store(value, TARGET, format="json", annotation=produced)
    kept = memory._kept[output.location]
    kept.data = memory.read_bytes(output)
    return memory.load(output, annotation, produced=produced)


def refusal(value: Any, produced: Any = None) -> FormatError:
    """Return the error that storing *value* raises."""
    with pytest.raises(FormatError) as caught:
        reloaded(value, produced)
    assert caught.value.hint
    return caught.value


@given(PLAIN)
@example([1, True, 1.0, -0.0, 2**64, -(2**63) - 1, 1e16, "\x7f"])
def test_plain_values_come_back_the_same(value: Any) -> None:
    """Every plain value is accepted and comes back equal, with the same types and the same order of keys."""
    assert repr(reloaded(value)) == repr(value)


@given(ANYTHING)
def test_what_is_accepted_comes_back_the_same(value: Any) -> None:
    """Whatever is thrown at it, JSON either gives back the same value and types or refuses with a hint."""
    refused = None
    try:
        loaded = reloaded(value)
    except FormatError as error:
        refused = error
    assert refused.hint if refused else repr(loaded) == repr(value)


@pytest.mark.parametrize(
    ("value", "place"),
    [
        ({"a": [1, (2, 3)]}, "$['a'][1] is a tuple"),
        ([[1.0, float("nan")]], "$[0][1] is nan"),
        ({"a": {1: 2}}, "$['a'] has the key 1 of type int"),
        ([{"\ud800": 1}], "$[0] holds text with a lone surrogate"),
        (["x", "\ud800"], "$[1] holds text with a lone surrogate"),
        ([10**5000], "$[0] is a number of more than 4300 digits"),
        ({"when": dt.datetime(2026, 1, 1)}, "$['when'] is a datetime"),
        ([Text("x")], "$[0] is a Text"),
        ([OrderedDict()], "$[0] is a OrderedDict"),
    ],
)
def test_refusal_names_the_place(value: Any, place: str) -> None:
    """A refusal names the first place in the value that would not come back the same, and why."""
    assert refusal(value).message.startswith(f"asset 'orders': {place}")


def test_nested_too_deeply() -> None:
    """A value that contains itself, or is deeper than can be read back anywhere, is refused instead of overflowing the stack."""
    endless: list[Any] = []
    endless.append(endless)
    assert "contains itself" in refusal(endless).message
    deep: list[Any] = []
    for _ in range(DEEPEST - 1):
        deep = [deep]
    assert reloaded(deep) == deep
    assert "nested more than" in refusal([deep]).message


@pytest.mark.parametrize(
    ("value", "produced"),
    [
        (AN_ORDER, Order),
        ([AN_ORDER, AN_ORDER], list[Order]),
        ({"eur": Rate("eur", 1.5)}, dict[str, Rate]),
        ((1, "a"), tuple[int, str]),
        (Pair(1, "a"), Pair),
        ({"a": dt.datetime(2026, 1, 1, 12, 30, 0, 5, tzinfo=dt.UTC)}, dict[str, dt.datetime]),
        ({"b": {3, 1, 2}, "a": set()}, dict[str, set[int]]),
        ([Colour.RED], list[Colour]),
        ({1: Decimal("1.10")}, dict[int, Decimal]),
        ([b"\xff", b""], list[bytes]),
        ((1,), tuple[int, ...] | None),
    ],
    ids=lambda value: str(value)[:40],
)
def test_annotation_restores_types(value: Any, produced: Any) -> None:
    """Values JSON alone would change are stored when the producer's annotation restores them, types included."""
    loaded = reloaded(value, produced)
    assert loaded == value
    assert type(loaded) is type(value)


@pytest.mark.parametrize(
    ("value", "produced"),
    [
        ((1, 2), list[int]),
        ([(1, 2)], list[Any]),
        ({1, 2}, Any),
        ([dt.datetime(2026, 1, 1, tzinfo=ZoneInfo("Europe/Berlin"))], list[dt.datetime]),
        (Rate("x", float("nan")), Rate),
        (Order(1, dt.date(2026, 1, 1), ["a"]), Order),  # type: ignore[arg-type]
        ([Text("x")], list[str]),
        (AN_ORDER, "Order"),
    ],
    ids=lambda value: str(value)[:40],
)
def test_annotation_that_does_not_restore(value: Any, produced: Any) -> None:
    """An annotation that would bring back another type, zone or value is no permission to store."""
    assert refusal(value, produced).message.startswith("asset 'orders': $")


def test_typed_output_needs_an_annotation() -> None:
    """Typed values are never loaded as something else in silence: unannotated is an error, ``Any`` asks for plain data."""
    memory = MemoryIOManager()
    output = memory.store(AN_ORDER, TARGET, annotation=Order)
    memory._kept[output.location].data = memory.read_bytes(output)
    with pytest.raises(FormatError, match="typed values"):
        memory.load(output)
    assert memory.load(output, Any) == {"number": 7, "placed": "2026-11-23", "lines": ["a", "b"]}
    assert memory.load(output, dict) == memory.load(output, Any)
    assert memory.load(output, Order) == AN_ORDER


def test_sets_have_one_digest() -> None:
    """The digest of a set does not depend on the order in which it was built."""
    words = [f"word {number}" for number in range(50)]
    backwards: set[str] = set()
    for word in reversed(words):
        backwards.add(word)
    memory = MemoryIOManager()
    one = memory.store(set(words), TARGET, annotation=set[str])
    other = memory.store(backwards, TARGET, annotation=set[str])
    assert one.digest == other.digest
    assert memory.read_bytes(one).startswith(b'["word 0","word 1","word 10"')


def test_rows_are_those_of_a_list() -> None:
    """A list records its length as rows; other values record none."""
    memory = MemoryIOManager()
    assert memory.store([1, 2, 3], TARGET).rows == 3
    assert memory.store({"a": [1]}, TARGET).rows is None
