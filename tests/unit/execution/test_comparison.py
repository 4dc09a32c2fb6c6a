"""What changed between two values is told by names and counts: bounded, certain, and never by running their code."""

from __future__ import annotations

import copy
import dataclasses
import datetime as dt
import json
import math
from decimal import Decimal
from pathlib import Path

import msgspec
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone.execution.changes import NAMED, Changes, lines
from flowstone.execution.comparison import STRANGE, compare

atoms = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary() | st.dates() | st.uuids()
records = st.lists(
    st.fixed_dictionaries({"id": st.integers(0, 9) | st.text(max_size=2)}, optional={"version": atoms, "x": atoms})
)
values = st.recursive(
    atoms | records,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=4) | st.tuples(inner),
    max_leaves=12,
)
few = st.sampled_from([None, True, 0, 1, 0.0, 1.0, "", "a"])  # so few that equal values are found
plain = st.recursive(
    few, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["id", "a"]), inner), max_leaves=4
)


def bill(day, *components):
    named = [{"name": name, "version": version, "hashes": hashes} for name, version, hashes in components]
    return {"bomFormat": "CycloneDX", "metadata": {"timestamp": day, "tool": "x"}, "components": named}


# -- laws ------------------------------------------------------------------------------------------------------------------


@given(values)
def test_a_copy_is_the_same(value):
    """A value does not differ from its copy, and this is said in one line."""
    changes = compare(value, copy.deepcopy(value))

    assert (changes.same, changes.note, changes.any()) == (True, "", False)
    assert lines(changes) == ["= same     nothing changed"]


@given(values, values)
def test_what_came_one_way_went_the_other(old, new):
    """Exchanging the values exchanges what was added and removed; as much has changed, and is as certain."""
    there, back = compare(old, new), compare(new, old)

    assert (sorted(there.added), there.added_count) == (sorted(back.removed), back.removed_count)
    assert (sorted(there.removed), there.removed_count) == (sorted(back.added), back.added_count)
    assert (there.changed_count, there.same, there.kind) == (back.changed_count, back.same, back.kind)


@given(plain, plain)
def test_equal_json_decides_whether_plain_values_are_the_same(old, new):
    """What is called the same has the same JSON, keys in any order; what differs in its JSON is not called the same."""
    assert compare(old, new).same == (json.dumps(old, sort_keys=True) == json.dumps(new, sort_keys=True))


@given(values, values)
def test_changes_are_the_same_after_json(old, new):
    """What is stored beside the request is what was found."""
    changes = compare(old, new)

    assert msgspec.json.decode(msgspec.json.encode(changes), type=Changes) == changes


@given(st.lists(st.text(min_size=1)), st.lists(st.text(min_size=1)))
def test_names_are_one_line_each(old, new):
    """Whatever a name holds, it is printable, short, and at most twenty of a kind are kept."""
    changes = compare(old, new)

    assert all(name.isprintable() and len(name) < 1_000 for name in (*changes.added, *changes.removed))
    assert len(changes.added) == min(changes.added_count, NAMED)


# -- what is said ----------------------------------------------------------------------------------------------------------


def test_a_bill_of_materials_is_told_by_its_components():
    """Components that came, went and changed stand by name and version, before the keys around them."""
    old = bill("16", ("requests", "2.32.1", []), ("certifi", "2026.8.3", ["9f"]), ("pip", "23.2", []))
    new = bill("23", ("certifi", "2026.8.3", ["51"]), ("pip", "23.3", []), ("httpx", "1.0.2", []), ("h2", "4.3.0", []))

    assert lines(compare(old, new)) == [
        "+ added    httpx 1.0.2, h2 4.3.0",
        "- removed  requests 2.32.1",
        "~ changed  certifi 2026.8.3 (hashes), pip 23.2 -> 23.3, metadata.timestamp",
        "~ changed  rows 3 -> 4",
    ]
    assert compare(old, new).kind == "keys, components by name"


def test_two_lists_below_a_dictionary_are_told_apart():
    """Where records of several lists differ, each name has its list's in front."""
    old, new = {"a": [{"id": 1}], "b": [{"id": 1}], "c": [{"id": 1}]}, {"a": [{"id": 2}], "b": [], "c": [{"id": 1}]}
    changes = compare(old, new)

    assert (changes.added, changes.removed, changes.kind) == (("a: 2",), ("a: 1", "b: 1"), "keys")


def test_dictionaries_are_looked_into_one_level():
    """Below the first level a key is named with the one above it, and what is deeper is one thing."""
    old, new = (
        {"a": {"b": 1, "c": {"d": 1}, "e": 2}, "f": 1, "tags": ["x"]},
        {"a": {"b": 2, "c": {"d": 2}}, "g": 1, "tags": ["y", "z"]},
    )
    changes = compare(old, new)

    assert (changes.added, changes.removed, changes.kind) == (("g",), ("f", "a.e"), "keys")
    assert set(changes.changed) == {"a.b", "a.c", "tags (+2 -1)"}


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ([{"id": 1, "name": "a"}], [{"id": 2, "name": "a"}], "rows by id"),
        ([{"id": 1, "name": "a"}, {"id": 1, "name": "b"}], [{"id": 1, "name": "a"}], "rows by name"),
        ([{"name": "a", "version": "1"}, {"name": "a", "version": "2"}], [], "rows by name+version"),
        ([{"id": True, "purl": "pkg:a"}], [{"id": None, "purl": "pkg:a"}], "rows by purl"),
        ([{"bom-ref": "x", "purl": 1.5}], [{"bom-ref": "y", "purl": 1.5}], "rows by bom-ref"),
        ([{"other": 1}], [{"other": 2}], "rows"),
        ([{"id": 1}, 7], [{"id": 2}], "rows"),
    ],
)
def test_records_are_told_by_what_identifies_them(old, new, kind):
    """The first field that every record of both lists has, and no two have the same, identifies; else rows are only rows."""
    assert compare(old, new).kind == kind


def test_dataclasses_are_records():
    """What a list of a user's own records differs in is told like that of dictionaries."""
    row = dataclasses.make_dataclass("Row", ["id", "price", "day"])
    slim = msgspec.defstruct("Slim", ["id", "price"])
    day = dt.date(2026, 11, 23)

    assert compare([row(1, Decimal(1), day)], [row(1, Decimal("1.0"), day), row(2, 0, day)]).changed == ("1 (price)",)
    assert compare(slim(1, 2), slim(1, 3)).changed == ("price",)


def test_items_without_names_are_counted_as_often_as_they_are_there():
    """Plain values are compared as heaps; another order alone is said, and is not the same."""
    changes = compare(["a", "b", "b"], ["b", "a", "c", "c"])

    assert (changes.added, changes.added_count, changes.removed) == (("c", "c"), 2, ("b",))
    assert compare([1, 2], [2, 1]).note == "the same rows in another order"
    assert compare({1, 2}, {2, 1}).same
    assert compare({"a": {1}}, {"a": [1]}).changed == ("a",)
    assert not compare([1], [True]).same
    assert not compare([0.0], [0]).same
    assert not compare({1: 0}, {True: 0}).same
    assert not compare([{"a": 1}], [("dict", [("a", 1)])]).same
    assert lines(compare([[1]], [[2], [3]]))[:2] == ["+ added    2 rows", "- removed  1 row"]


def test_texts_are_told_by_lines_and_bytes_by_size():
    """Neither shows what it holds."""
    assert lines(compare("a\nsecret\n", "a\nb\nc\n")) == ["+ added    2 lines", "- removed  1 line", "~ changed  lines 2 -> 3"]
    assert lines(compare(b"secret", b"other")) == ["~ changed  content", "~ changed  size 6 -> 5 bytes"]
    assert compare("a\nb\n", "b\na\n").note == "the same lines in another order"
    assert compare("a", "a\n").rows == (1, 1)
    assert not compare("a", "a\n").same


def test_a_number_has_content_only():
    """A value without parts has changed or has not; it is not shown."""
    assert lines(compare(41, 42)) == ["~ changed  content"]
    assert compare(math.nan, math.copysign(math.nan, -1)).same
    assert compare(None, 5).changed == ("content",)


def test_another_kind_of_value_is_said_to_be_one():
    """Where nothing can be compared, the note says why."""
    assert compare([1], {"a": 1}) == Changes(same=False, note="the kind of value: list -> dictionary")
    assert lines(compare("a", b"a")) == ["? note     the kind of value: text -> bytes"]
    assert compare(Path("a"), Path("b")) == Changes(same=False, note=STRANGE)


def test_a_secret_is_masked_before_a_name_is_cut():
    """A secret that the cut of a long name would go through is not there in part, wherever names come from."""
    secret = "s3cr3t" * 20
    long = "x" * 50 + secret

    def mask(text):
        return text.replace(secret, "***")

    pairs = [
        ([], [long]), ({}, {long: 1}), ([{"id": 1}], [{"id": 1}, {"id": long}]), ([{"id": 1, "a": 1}], [{"id": 1, long: 1}]),
        ([{"name": "a", "version": "1"}], [{"name": "a", "version": long}]),
        (pl.DataFrame({"a": [1]}), pl.DataFrame({long: [1]})),
        ({"a": {}}, {"a": {long: 1}}), ([{"id": 1, "a": [1]}], [{"id": 1, "a": [2], long: 3}]),
    ]  # fmt: skip
    for old, new in pairs:
        assert "s3cr3" in json.dumps(msgspec.to_builtins(compare(old, new)))
        told = json.dumps(msgspec.to_builtins(compare(old, new, mask)))
        assert "s3c" not in told
        assert "***" in told
