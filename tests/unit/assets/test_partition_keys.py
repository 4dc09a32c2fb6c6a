"""Partition keys as text."""

from datetime import UTC, date, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from flowstone.assets import decode_key, display_key, encode_key
from flowstone.foundation.errors import PartitionError

zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
aware = st.datetimes(datetime(2, 1, 1), datetime(9998, 1, 1), timezones=zones)
texts = st.text(st.characters(exclude_categories=["Cs"]))
plain = st.none() | texts | st.integers() | st.booleans() | st.dates() | st.datetimes() | aware
keys = st.recursive(plain, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=6)


def typed(key):
    """The key with its types spelled out, so that True, 1 and "1" are three things and equal instants are one."""
    if isinstance(key, tuple):
        return ("tuple", *map(typed, key))
    if isinstance(key, datetime):
        return ("naive", key.replace(fold=0)) if key.tzinfo is None else ("aware", key.astimezone(UTC))
    return (type(key).__name__, key)


@given(keys)
@settings(max_examples=300)
def test_round_trip(key):
    """Every key comes back from its text equal and with the same types."""
    assert typed(decode_key(encode_key(key))) == typed(key)


@given(keys, keys)
@settings(max_examples=300)
def test_injective(one, other):
    """Two keys have the same text exactly when they are the same key."""
    assert (encode_key(one) == encode_key(other)) == (typed(one) == typed(other))


@given(st.text() | st.from_regex(r"(d|dt|ndt|t|s|i|b):[\w:.=-]*", fullmatch=True))
@settings(max_examples=300)
def test_texts_are_canonical(text):
    """A text is either refused or the very text of the key it gives: no key has two texts."""
    try:
        key = decode_key(text)
    except PartitionError:
        return
    assert encode_key(key) == text


def test_lookalikes_differ():
    """Values that Python or a person takes for equal have texts of their own."""
    lookalikes = [None, "", True, 1, "1", "true", "True", False, 0, (), ("",), (None,), ("a", "b"), (("a",), "b"), ("a,b",)]
    lookalikes += ["i:1", date(2026, 1, 1), datetime(2026, 1, 1), datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01", "d:2026-01-01"]
    assert len({encode_key(key) for key in lookalikes}) == len(lookalikes)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (None, ""),
        (date(2024, 1, 1), "d:2024-01-01"),
        (datetime(2024, 1, 1, tzinfo=UTC), "dt:2024-01-01T00:00:00Z"),
        (datetime(2024, 1, 1, 1, tzinfo=timezone(timedelta(hours=1))), "dt:2024-01-01T00:00:00Z"),
        (datetime(2024, 1, 1, 12, 30), "ndt:2024-01-01T12:30:00"),
        (("acme", "eu"), "t:WyJhY21lIiwiZXUiXQ"),
        ("simple", "simple"),
        ("a|b", "s:YXxi"),
        ("", "s:"),
        (123, "i:123"),
        (True, "b:true"),
    ],
)
def test_documented_forms(key, text):
    """The stored texts are those of the documented table."""
    assert encode_key(key) == text
    assert typed(decode_key(text)) == typed(key)


@pytest.mark.parametrize(
    "text",
    ["d:junk", "d:20240101", "dt:2024-01-01T00:00:00", "dt:2024-01-01T00:00:00+00:00", "i:007", "i:1_0", "i: 1", "i:٣", "b:yes",
     "s:YQ", "s:YXxi=", "s:!", "t:WzFd", "t:e30", "t:", "x:1", "a b", ":", "é", "a\n"],
)  # fmt: skip
def test_malformed_texts_are_refused(text):
    """Text that no key has is refused with the text in the message."""
    with pytest.raises(PartitionError) as caught:
        decode_key(text)
    assert repr(text) in str(caught.value)


class Name(str):
    """A text with a class of its own."""

    __slots__ = ()


@pytest.mark.parametrize(
    ("key", "fix"),
    [(1.5, "int or a str"), (["a"], "tuple"), ({"a": 1}, "use None"), (Name("x"), "plain str"), ((1, 2.0), "int or a str")],
)
def test_other_values_are_refused(key, fix):
    """A value of another type is refused, and the hint says what to pass instead."""
    with pytest.raises(PartitionError) as caught:
        encode_key(key)
    assert fix in (caught.value.hint or "")


@pytest.mark.parametrize("key", ["\ud800", 1 << 5000, datetime.min.replace(tzinfo=timezone(timedelta(hours=3)))])
def test_values_without_a_text_are_refused(key):
    """Half a character, an enormous integer and an instant before year 1 are refused instead of failing deeper down."""
    with pytest.raises(PartitionError):
        encode_key(key)


def test_nesting_is_bounded():
    """Tuples nest to a fixed depth; deeper ones are refused in both directions."""
    deep = ("x",)
    for _ in range(15):
        deep = (deep,)
    assert decode_key(encode_key(deep)) == deep
    with pytest.raises(PartitionError, match="deep"):
        encode_key((deep,))


def test_ten_kilobytes():
    """A key of 10 kB of any characters comes back whole."""
    key = "ü/\x00\n" * 2048
    assert decode_key(encode_key(key)) == key


@pytest.mark.parametrize(
    ("key", "shown"),
    [
        (date(2026, 11, 23), "2026-11-23"),
        (None, "-"),
        ("", '""'),
        (("acme", "eu"), "(acme, eu)"),
        ("a\x1b[2Jb\n\u202e", "a\\x1b[2Jb\\n\\u202e"),
        (datetime(2026, 1, 1, tzinfo=UTC), "2026-01-01T00:00:00Z"),
        (True, "true"),
        (7, "7"),
    ],
)
def test_display(key, shown):
    """People see the value without tags, and no character that could steer their terminal."""
    assert display_key(key) == shown
