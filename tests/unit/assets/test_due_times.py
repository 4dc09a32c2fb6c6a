"""Due times: what may be declared, and the instant that is meant, against a clock that is read minute by minute."""

from datetime import UTC, date, datetime, time, timedelta
from itertools import islice
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from flowstone import Daily, Keys, Pipeline, Static, asset, source
from flowstone.assets.definition import definition_digest, describe
from flowstone.assets.due import due_times
from flowstone.foundation.errors import ValidationError

ZONES = ["UTC", "Europe/Zurich", "America/Havana", "Asia/Beirut", "Pacific/Apia", "Australia/Lord_Howe", "America/St_Johns"]
DAYS = st.dates(date(2005, 1, 1), date(2030, 12, 31))
CLOCKS = st.times().map(lambda moment: moment.strftime("%H:%M"))
MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)


def declared(due, partitions=None):
    """The due times of an asset, as they are read from its stored description."""
    return due_times(describe(asset(name="a", due=due, partitions=partitions)(lambda: 1)))


def first_shown(zone, day, at):
    """The first minute of local *day* at which its clock shows *at* or later, found by looking at every minute."""
    midnight, wanted = datetime.combine(day, time(), UTC), time.fromisoformat(at)
    minutes = (midnight - 2 * DAY + n * MINUTE for n in range(4 * 24 * 60))
    shown = ((minute, minute.astimezone(zone)) for minute in minutes)
    return next(minute for minute, local in shown if local.date() == day and local.time() >= wanted)


def is_there(zone, day):
    """Whether the calendar of *zone* has the day."""
    noon = datetime.combine(day, time(12), zone)
    return noon.astimezone(UTC).astimezone(zone).date() == day


@given(zone=st.sampled_from(ZONES), key=DAYS, at=CLOCKS)
@example("Europe/Zurich", date(2026, 3, 28), "02:30")
@example("Europe/Zurich", date(2026, 10, 24), "02:30")
@example("America/Havana", date(2026, 10, 31), "00:30")
@example("Asia/Beirut", date(2026, 3, 28), "00:00")
@example("Pacific/Apia", date(2011, 12, 29), "07:30")
@example("Australia/Lord_Howe", date(2026, 10, 3), "02:15")
def test_a_clock_time_is_of_the_first_local_day_after_the_partition(zone, key, at):
    """A closed day is due when the clock of the next day there is first shows the time or later, never before it closes."""
    days, local = Daily("1990-01-01", timezone=zone), ZoneInfo(zone)
    if not is_there(local, key):
        return
    following = next(day for day in (key + n * DAY for n in range(1, 4)) if is_there(local, day))

    assert declared(at, days).due_at(key) == max(first_shown(local, following, at), days.closes_at(key))


@given(zone=st.sampled_from(ZONES), key=DAYS, at=CLOCKS)
@example("America/Havana", date(2026, 11, 1), "00:00")
def test_an_open_partition_is_due_on_its_own_day(zone, key, at):
    """Where the past is refused the day is due at the time of the day itself, never before it opens."""
    days, local = Daily("1990-01-01", timezone=zone, past="refuse"), ZoneInfo(zone)
    if not is_there(local, key):
        return

    assert declared(at, days).due_at(key) == max(first_shown(local, key, at), days.opens_at(key))


def test_a_clock_that_jumps():
    """A time the clock skips is due when it jumps, to the second; one that it shows twice is due the first time."""
    due = declared("02:30", Daily("2026-01-01", timezone="Europe/Zurich"))

    assert due.due_at(date(2026, 3, 28)) == datetime(2026, 3, 29, 1, 0, tzinfo=UTC)
    assert due.due_at(date(2026, 10, 24)) == datetime(2026, 10, 25, 0, 30, tzinfo=UTC)


@given(zone=st.sampled_from(ZONES), key=DAYS, hours=st.integers(0, 500), past=st.sampled_from(["allow", "refuse"]))
def test_a_length_of_time_counts_from_closing(zone, key, hours, past):
    """A timedelta is added to the instant at which the partition closes, open or not."""
    days = Daily("1990-01-01", timezone=zone, past=past)

    assert declared(timedelta(hours=hours), days).due_at(key) == days.closes_at(key) + timedelta(hours=hours)


@given(
    zone=st.sampled_from(ZONES), now=st.datetimes(datetime(2026, 1, 20), datetime(2026, 12, 31), timezones=st.just(UTC)),
    due=st.one_of(CLOCKS, st.timedeltas(timedelta(0), timedelta(days=9))), past=st.sampled_from(["allow", "refuse"]),
)  # fmt: skip
def test_what_was_due_and_what_is_next(zone, now, due, past):
    """Of all days from the start those due by now are listed, newest first; the next one is the first that is due later."""
    days = Daily("2026-01-01", timezone=zone, past=past)
    times = declared(due, days)
    every = {key: times.due_at(key) for key in (date(2026, 1, 1) + n * DAY for n in range(400))}

    assert [d.key for d in islice(times.passed(now), 5)] == [key for key, at in every.items() if at <= now][::-1][:5]
    assert times.ahead(now)[0].due_at == min(at for at in every.values() if at > now)


def test_nothing_is_due_before_the_first_day():
    """Before the first partition is due nothing was, and before it could be nothing is ahead."""
    times = declared("07:30", Daily("2026-11-23"))

    assert list(times.passed(datetime(2026, 11, 24, 7, 29, tzinfo=UTC))) == []
    assert [d.key for d in times.passed(datetime(2026, 11, 24, 7, 30, tzinfo=UTC))] == [date(2026, 11, 23)]
    assert times.ahead(datetime(2026, 11, 24, 7, 29, tzinfo=UTC))[0].due_at == datetime(2026, 11, 24, 7, 30, tzinfo=UTC)
    assert times.ahead(datetime(2026, 11, 1, tzinfo=UTC)) == []


@given(
    zone=st.sampled_from(ZONES),
    now=st.datetimes(datetime(2005, 1, 20), datetime(2030, 12, 31), timezones=st.just(UTC)),
    at=CLOCKS,
)
@example("Pacific/Apia", datetime(2011, 12, 30, 12, tzinfo=UTC), "07:30")
def test_what_is_due_every_day(zone, now, at):
    """Without partitions the newest due time is the last one of any local day, and counts from that day's midnight."""
    times, local = declared(f"{at} {zone}"), ZoneInfo(zone)
    around = [day for day in (now.date() + n * DAY for n in range(-3, 4)) if is_there(local, day)]
    midnights = {day: Daily("1990-01-01", timezone=zone).opens_at(day) for day in around}
    due = {day: max(first_shown(local, day, at), midnights[day]) for day in around}
    newest, coming = max(d for d in around if due[d] <= now), min(d for d in around if due[d] > now)

    assert times.passed(now) == (due[newest], midnights[newest])
    assert times.ahead(now) == (due[coming], midnights[coming])
    assert times.keys == (None,)


def test_the_zone_is_that_of_the_partitions_else_the_named_one_else_utc():
    """What is stored names the zone that counts; a length of time is stored in nanoseconds."""

    def told(due, partitions=None):
        return describe(asset(name="a", due=due, partitions=partitions)(lambda: 1))["due"]

    zurich = Daily("2026-01-01", timezone="Europe/Zurich")

    assert told("07:30") == {"at": "07:30", "timezone": "UTC"}
    assert told("07:30 Asia/Tokyo") == {"at": "07:30", "timezone": "Asia/Tokyo"}
    assert told("07:30", zurich) == told("07:30 Europe/Zurich", zurich) == {"at": "07:30", "timezone": "Europe/Zurich"}
    assert told(timedelta(hours=6, microseconds=1)) == {"within_ns": 21_600_000_001_000}
    assert told("00:00", Static(["eu", "us"])) == {"at": "00:00", "timezone": "UTC"}
    assert declared("00:00", Static(["eu", 7])).keys == ("eu", 7)
    assert describe(asset(name="b")(lambda: 1))["due"] is None


@pytest.mark.parametrize(
    ("due", "partitions", "said"),
    [
        ("7:30", None, "neither a time of the day nor a timedelta"),
        ("24:00", None, "neither a time of the day nor a timedelta"),
        ("07:30:00", None, "neither a time of the day nor a timedelta"),
        (730, None, "neither a time of the day nor a timedelta"),
        (time(7, 30), None, "neither a time of the day nor a timedelta"),
        ("07:30 Mars/Olympus", None, "there is no time zone 'Mars/Olympus'"),
        ("07:30 ../etc/passwd", None, "there is no time zone"),
        (timedelta(seconds=-1), None, "no length between 0 and 366 days"),
        (timedelta(days=367), None, "no length between 0 and 366 days"),
        (timedelta(0), None, "every value is older than 0 s"),
        (timedelta(0), Static(["eu"]), "every value is older than 0 s"),
        ("07:30", Keys(str), "nothing says which of the keys"),
        ("07:30 Asia/Tokyo", Daily("2026-01-01"), "its days are those of UTC, not of Asia/Tokyo"),
    ],
)
def test_what_means_nothing_is_refused_where_it_is_written(due, partitions, said):
    """A due time that is none, or means nothing for the partitions, is an error that names the asset and the fix."""
    with pytest.raises(ValidationError) as refused:
        asset(name="late", due=due, partitions=partitions)(lambda: 1)

    assert "asset 'late'" in refused.value.message
    assert said in refused.value.message
    assert refused.value.hint


def test_a_due_time_changes_no_value():
    """Due times are part of what is stored of a pipeline and not of what decides a value; observed sources may have them."""
    plain = asset(name="a")(lambda: 1)
    due = asset(name="a", due="07:30")(lambda: 1)
    rates = source("rates", version=lambda: "1", due=timedelta(hours=1))

    assert definition_digest(plain) == definition_digest(due)
    assert Pipeline("p", [plain]).digest() != Pipeline("p", [due]).digest()
    assert describe(rates)["due"] == {"within_ns": 3_600_000_000_000}
