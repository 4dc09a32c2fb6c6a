"""Which partition a person means."""

from __future__ import annotations

from datetime import UTC, date, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone.app.keys import in_order, newest, written
from flowstone.assets.keys import display_key, encode_key

DATES = st.dates()
TIMES = st.datetimes(timezones=st.just(UTC)).map(lambda moment: moment.replace(microsecond=0))
ONE_KIND = st.one_of(
    *(st.lists(kind, min_size=1, max_size=8) for kind in (DATES, TIMES, st.integers(), st.text(min_size=1), st.booleans()))
)


@given(ONE_KIND)
def test_the_newest_is_the_last_in_order(keys):
    """From the ends of the order of texts comes the greatest key, whatever order its type's texts have."""
    encoded = sorted(map(encode_key, keys))

    assert newest(encoded[0], encoded[-1], lambda: encoded) == encode_key(max(keys))
    assert in_order(encoded) == [encode_key(key) for key in sorted(keys)]


def test_times_are_not_listed_to_find_the_newest():
    """Where texts sort as keys do, two of them are enough."""

    def never():
        raise AssertionError("all partitions were asked for")

    assert newest("d:2026-01-01", "d:2026-02-01", never) == "d:2026-02-01"
    assert newest("", "", never) == ""


def test_keys_of_several_types_have_an_order():
    """Keys that do not compare, as after a change of the partitions, are sorted by type first."""
    keys = [("eu", 2), ("eu", None), 3, "b", date(2026, 1, 1), datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC), None]

    assert sorted(in_order(map(encode_key, keys))) == sorted(map(encode_key, keys))


@given(st.one_of(DATES, TIMES, st.integers(), st.booleans(), st.text(min_size=1)))
def test_what_people_write_is_understood(key):
    """The text a key is shown as, and the one it is stored as, mean that key."""
    encoded = encode_key(key)

    assert encoded in written(encoded)
    if display_key(key).isprintable() and not isinstance(key, str):
        assert encoded in written(display_key(key))


@pytest.mark.parametrize(("text", "meant"), [("7", ["7", "i:7"]), ("a b", ["s:YSBi"]), ("", [""]), ("d:2026-13-01", [])])
def test_a_text_may_mean_several_keys_or_none(text, meant):
    """A text that several types share means each of them; one that is no key of any type means none."""
    assert [encoded for encoded in written(text) if not encoded.startswith("s:") or meant == ["s:YSBi"]] == meant
