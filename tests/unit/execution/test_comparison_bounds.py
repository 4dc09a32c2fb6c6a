"""A comparison looks at a bounded part of any value, raises for none, and says what it leaves open."""

from __future__ import annotations

import copy
import dataclasses

import pytest

from flowstone.execution.changes import NAMED, NOTED, lines
from flowstone.execution.comparison import compare
from flowstone.execution.marks import BUDGET, MOST, Marker, SpentError


class Mine:
    """Raises whatever is done with it."""

    def __getattribute__(self, name):
        raise LookupError("mine")

    __eq__ = __hash__ = __repr__ = __str__ = __len__ = __iter__ = __bool__ = __getattribute__


class Sly(dict):
    """A dictionary whose methods raise."""

    def __getattribute__(self, name):
        raise LookupError("sly")

    __iter__ = __getitem__ = __contains__ = __eq__ = __len__ = keys = items = values = get = __getattribute__


@dataclasses.dataclass
class Crooked:
    """A record one of whose fields cannot be read."""

    id: int

    def __getattribute__(self, name):
        raise SyntaxError(name)


def hostile():
    deep: list = []
    for _ in range(5_000):
        deep = [deep]
    circle: list = []
    circle += [circle]
    return [Mine(), Sly(id=1), Crooked(1), deep, circle, type("Odd", (), {"__module__": 5})(), 10**5_000, "\ud800\u202e\0"]


class Loud(str):
    """A text that says something else."""

    __slots__ = ()

    def __str__(self):
        raise LookupError("loud")


def test_containers_and_texts_of_the_users_are_read_as_what_they_are():
    """Of a dictionary or a text of a user's class the content is compared and shown, and none of its methods called."""
    me = Mine()

    assert compare([Sly(id=1)], [Sly(id=2), Sly(id=Loud("a"))]).rows == (1, 2)
    assert compare(Sly(a=1, b=2), Sly(a=1, b=3)).changed == ("b",)
    assert compare([Loud("a")], [Loud("a"), Loud("b")]).added == ("b",)
    assert compare(me, me).same


@pytest.mark.parametrize("number", range(len(hostile())))
def test_hostile_values_are_compared_or_said_not_to_be(number):
    """No value raises, at the top or below it, and what was passed over is never called the same."""
    old, new = hostile()[number], hostile()[number]
    for wrap in (lambda value: value, lambda value: [value], lambda value: {"a": value}, lambda value: [{"id": 1, "x": value}]):
        there, changed = compare(wrap(old), wrap(new)), compare(wrap(old), wrap(5))

        assert there.same != bool(there.note)
        assert not changed.same
        assert all(line.isprintable() for line in (*lines(there), *lines(changed)))


def test_a_long_list_is_looked_at_up_to_a_bound():
    """Of a million items the first 100,000 are compared: what is beyond changes nothing, and what it leaves open is not told."""
    old, new = list(range(1_000_000)), list(range(1_000_001))
    new[MOST] = Mine()
    same, differ = compare(old, new), compare(old, [-1, *new])

    assert (same.note, same.rows) == ("compared the first 100,000, which are the same", (1_000_000, 1_000_001))
    assert (differ.note, differ.added_count, differ.removed_count) == ("compared the first 100,000, which differ", 0, 0)
    assert compare(["x"], ["x", *new]).removed_count == 0
    assert compare(["x", "y"], ["x", *new]).note == "compared the first 100,000"


def test_a_value_within_is_looked_at_up_to_a_bound():
    """However many values are nested, a budget of them is looked at, and texts count by their length."""
    many = [[0] * 10] * (BUDGET // 10)
    long = {"a": "x" * (65 * BUDGET), "b": 1}

    forked: list = []
    forked += [forked, forked]

    assert compare([many], [copy.copy(many)]).note == "too large to be compared"
    with pytest.raises(SpentError):
        Marker(1_000).mark(forked)
    assert compare(long, {**long}).note == "a is too large to be compared; not compared from b on: too large"
    for old in ({**dict.fromkeys(range(MOST)), "x": 1}, {"x": 1}):
        assert compare(old, dict.fromkeys(range(MOST + 5))).note == "compared the first 100,000 keys"


def test_lines_of_a_long_text_are_looked_at_up_to_a_bound():
    """A text of many lines, or of a very long one, is compared as far as it was looked at."""
    text = "x\n" * (MOST + 10)

    assert compare(text, text + "y").note == "compared the first 100,000, which are the same"
    assert compare("x" * 9_000_000, "y" * 9_000_000).note == "too large to be compared"


def test_what_is_said_stays_short():
    """However much differs, lines and notes are few, and say how many more there are."""
    many = compare({f"key {number}": number for number in range(300)}, {})
    orders = compare({str(number): [1, 2] for number in range(300)}, {str(number): [2, 1] for number in range(300)})

    assert (len(many.removed), many.removed_count) == (NAMED, 300)
    assert lines(many) == ["- removed  key 0, key 1, key 2, key 3, key 4, key 5, key 6, key 7, key 8, key 9, ... 290 more"]
    assert orders.note.count(";") == NOTED
    assert orders.note.endswith("and 295 more")
