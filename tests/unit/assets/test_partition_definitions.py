"""Daily, static and open partitions, and the mappings between keys."""

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flowstone.assets import Daily, Keys, Static, encode_key, latest_before, same, upstream_keys
from flowstone.foundation.errors import PartitionError, ValidationError

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
MANY = Static([f"k{n}" for n in range(30)])


def test_latest_day_is_the_newest_closed_one():
    """Without a key, the newest day that is over is meant."""
    assert Daily("2026-01-01").latest(NOON) == date(2026, 11, 22)


def test_latest_day_of_the_present_is_today():
    """Where the past is refused, the open day is meant, and it is the only key there is."""
    today = Daily("2026-01-01", past="refuse")
    assert today.latest(NOON) == date(2026, 11, 23)
    assert list(today.keys(NOON)) == [date(2026, 11, 23)]


def test_days_are_local():
    """The same instant lies in different days of different zones."""
    late = datetime(2026, 11, 22, 23, 30, tzinfo=UTC)
    assert Daily("2026-01-01", past="refuse").latest(late) == date(2026, 11, 22)
    assert Daily("2026-01-01", timezone="Europe/Zurich", past="refuse").latest(late) == date(2026, 11, 23)
    assert Daily("2026-01-01", timezone="Europe/Zurich").closes_at(date(2026, 11, 22)) == datetime(2026, 11, 22, 23, tzinfo=UTC)


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Zurich", date(2026, 3, 29), 23),
        ("Europe/Zurich", date(2026, 10, 25), 25),
        ("America/Sao_Paulo", date(2018, 11, 4), 23),  # midnight itself does not exist
        ("America/Sao_Paulo", date(2018, 2, 17), 25),  # midnight is put off by an hour
        ("Pacific/Apia", date(2011, 12, 30), 0),  # skipped: the zone crossed the date line
    ],
)
def test_days_change_length(zone, day, hours):
    """Days are as long as the zone's clock makes them."""
    days = Daily("2000-01-01", timezone=zone)
    assert days.closes_at(day) - days.opens_at(day) == timedelta(hours=hours)


def test_skipped_day_is_no_key():
    """A day the calendar skipped is neither listed, nor latest, nor valid."""
    days = Daily("2011-12-28", timezone="Pacific/Apia")
    now = datetime(2011, 12, 30, 22, tzinfo=UTC)  # noon of the 31st there
    assert list(days.keys(now)) == [date(2011, 12, 28), date(2011, 12, 29)]
    assert days.latest(now) == date(2011, 12, 29)
    with pytest.raises(PartitionError, match="skipped"):
        days.validate(date(2011, 12, 30), now)


@given(
    st.sampled_from(["UTC", "America/St_Johns", "America/Sao_Paulo", "Australia/Lord_Howe", "Asia/Beirut", "Pacific/Apia"]),
    st.datetimes(datetime(1990, 1, 1), datetime(2030, 1, 1)).map(lambda moment: moment.replace(tzinfo=UTC)),
)
def test_latest_is_always_closed_and_the_next_is_not(zone, now):
    """At every instant the latest day is over and no later listed day is."""
    days = Daily("1985-01-01", timezone=zone)
    latest = days.latest(now)
    assert days.closes_at(latest) <= now
    following = latest + timedelta(days=1)
    assert days.closes_at(following) > now or days.opens_at(following) == days.closes_at(following)
    days.validate(latest, now)


@pytest.mark.parametrize(
    ("key", "why"),
    [
        (date(2026, 11, 24), "future"),
        (date(2025, 12, 31), "before the first day"),
        (datetime(2026, 11, 22), "datetime"),
        ("2026-11-22", "str"),
        (None, "not a key"),
    ],
)
def test_days_that_are_no_keys(key, why):
    """Future days, days before the start and other types are refused, each with its reason."""
    with pytest.raises(PartitionError, match=why):
        Daily("2026-01-01").validate(key, NOON)


def test_the_past_is_refused():
    """A snapshot of the present cannot be filed under the past; the same day without the rule can."""
    with pytest.raises(PartitionError, match="a snapshot of the present cannot be filed under the past"):
        Daily("2026-01-01", past="refuse").validate(date(2026, 11, 22), NOON)
    Daily("2026-01-01").validate(date(2026, 11, 22), NOON)
    Daily("2026-01-01", past="refuse").validate(date(2026, 11, 23), NOON)


def test_no_day_yet():
    """Before the first day is over there is no latest key and none is listed."""
    days = Daily("2026-11-23")
    assert list(days.keys(NOON)) == []
    with pytest.raises(PartitionError, match="no day has closed yet"):
        days.latest(NOON)


def test_now_needs_a_zone():
    """A clock reading without a zone is refused: it names no instant."""
    with pytest.raises(PartitionError, match="no time zone"):
        Daily("2026-01-01").latest(datetime(2026, 11, 23))


@pytest.mark.parametrize(
    "make",
    [
        lambda: Daily("2026-13-01"),
        lambda: Daily("20260101"),
        lambda: Daily(datetime(2026, 1, 1)),
        lambda: Daily("0001-01-01"),
        lambda: Daily("2026-01-01", timezone="Mars/Base"),
        lambda: Daily("2026-01-01", timezone="../etc/passwd"),
        lambda: Daily("2026-01-01", past="ignore"),
        lambda: Static([]),
        lambda: Static("abc"),
        lambda: Static(["a", "a"]),
        lambda: Static([1, "1"]),
        lambda: Static([None]),
        lambda: Keys(type=float),
        lambda: Keys(type=3),
    ],
)
def test_impossible_definitions(make):
    """A definition that cannot work fails where it is written, with a hint."""
    with pytest.raises(ValidationError) as caught:
        make()
    assert caught.value.hint


def test_static_keys_have_no_latest_one():
    """Declared keys have no time: the choice is left to the person, with at most 20 keys to choose from."""
    with pytest.raises(PartitionError) as caught:
        MANY.latest(NOON)
    assert "--partition: k0, k1" in (caught.value.hint or "")
    assert "k19" in (caught.value.hint or "")
    assert "k20" not in (caught.value.hint or "")


def test_static_keys_are_parsed_by_name_or_text():
    """A declared key is found by what is displayed and by its stored text."""
    static = Static([1, date(2026, 1, 1)])
    assert static.parse("1") == static.parse("i:1") == 1
    assert static.parse("2026-01-01") == date(2026, 1, 1)
    with pytest.raises(PartitionError, match="none of the declared"):
        static.parse("2")
    with pytest.raises(PartitionError):
        static.validate(True, NOON)


@pytest.mark.parametrize(
    ("kind", "text", "key"),
    [
        (str, "a b", "a b"),
        (int, "-7", -7),
        (bool, "false", False),
        (date, "2026-01-01", date(2026, 1, 1)),
        (datetime, "2026-01-01T00:00+00:00", datetime(2026, 1, 1, tzinfo=UTC)),
        (tuple, encode_key(("a", 1)), ("a", 1)),
    ],
)
def test_open_keys_are_parsed_by_type(kind, text, key):
    """The declared type decides what a text on the command line means."""
    parsed = Keys(type=kind).parse(text)
    assert parsed == key
    assert type(parsed) is kind
    Keys(type=kind).validate(parsed, NOON)


@pytest.mark.parametrize(("kind", "text"), [(int, "x"), (bool, "1"), (date, "tomorrow"), (datetime, "noon"), (tuple, "a")])
def test_open_keys_refuse_other_texts(kind, text):
    """A text that is not of the declared type is refused with an example."""
    with pytest.raises(PartitionError) as caught:
        Keys(type=kind).parse(text)
    assert "write" in (caught.value.hint or "")


def test_latest_before_takes_the_greatest_smaller_key():
    """The mapping gives the newest existing key before this one, in any order of the existing ones, or none."""
    days = [date(2026, 1, n) for n in (9, 2, 5, 4)]
    assert latest_before().upstream(date(2026, 1, 5), days) == [date(2026, 1, 4)]
    assert latest_before().upstream(date(2026, 1, 2), days) == []
    assert latest_before().upstream(date(2026, 1, 3), [*days, "x", datetime(2026, 1, 1)]) == [date(2026, 1, 2)]


def test_upstream_keys_by_default():
    """Without a mapping a key needs itself; an upstream without partitions has the one key None."""
    assert upstream_keys(None, "eu", Static(["eu"])) == upstream_keys(same(), "eu", Static(["eu"])) == ["eu"]
    assert upstream_keys(None, "eu", None) == [None]
