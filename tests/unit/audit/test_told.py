"""What the log tells of records is kept in files, and read back as it was told."""

from __future__ import annotations

from contextlib import closing

import pytest

from flowstone.audit import told
from flowstone.audit.leaf import leaf
from flowstone.audit.told import Tales


@pytest.fixture
def tales():
    """Nothing is told yet."""
    with closing(Tales()) as made:
        yield made


def entry(**data):
    """The bytes of an entry."""
    fields = {"origin": "o", "project": "p", "subject": "s:1", "version": 1, "at": 1, "actor": "ann", "identity": "os"}
    return leaf({**fields, "action": "a", "outcome": "success", "data": data})


@pytest.mark.parametrize("size", [0, 700, told.AT_ONCE - 260, told.AT_ONCE, 9_000])
@pytest.mark.parametrize("disclosed", [{}, {"reason": "née"}, {"reason": "x" * 3_000}], ids=["nothing", "little", "much"])
def test_an_entry_of_any_size_is_told_as_it_was_kept(tales, size, disclosed):
    """With its place and what it discloses, whatever is kept behind it."""
    tales.put("output", tales.keep(7, entry(text="a" * size), disclosed), "out_1")
    tales.put("output", tales.keep(8, entry(text="b"), {"reason": "another"}), "out_2")
    found = tales.get("output", ("out_1",))

    assert (found.seq, found.data, found.disclosed) == (7, {"text": "a" * size}, disclosed)


@pytest.mark.parametrize("seq", [None, "x", 2.5, b"3"])
def test_an_entry_without_a_place_has_none(tales, seq):
    """One that is not sealed, or whose place was overwritten with something else, is told all the same."""
    tales.put("failed", tales.keep(seq, entry(n=1), {}), 12)

    assert tales.get("failed", (12,)).seq is None


@pytest.mark.parametrize("together", [1, 2, 3, 5_000])
def test_what_was_told_last_holds(tales, monkeypatch, together):
    """In the order of the keys, kind by kind, also where it was told, taken back and told again in several writes."""
    monkeypatch.setattr(told, "TOGETHER", together)
    for number, key in enumerate([("b", "x"), ("a", "y"), ("a", "x"), ("c",), ("b", "x")]):
        tales.put("current", tales.keep(number, entry(n=number), {}), *key)
    tales.put("current", None, "c")
    tales.put("gone", tales.keep(5, entry(n=5), {}), "c")

    assert [(line.key, line.told.data["n"]) for line in tales.every("current")] == [
        (("a", "x", ""), 2), (("a", "y", ""), 1), (("b", "x", ""), 4),
    ]  # fmt: skip
    assert [line.key for line in tales.every("gone")] == [("c", "", "")]
    assert (tales.get("current", ("c",)), tales.get("held", ("c",)), list(tales.every("held"))) == (None, None, [])
