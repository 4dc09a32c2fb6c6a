"""Mappings that name several upstream keys: what is planned, what the parameter receives, what makes it outdated."""

from __future__ import annotations

from datetime import date, timedelta

import polars as pl
import pytest

from flowstone import Daily, Keys, Pipeline, Static, all_partitions, asset, last, latest_before
from flowstone.assets.mappings import gathers
from flowstone.foundation.errors import DependencyError, PartitionError, ValidationError

DAYS = Daily("2026-11-18")  # the clock of these tests stands at noon of the 23rd, so the 18th to the 22nd are closed
YESTERDAY = date(2026, 11, 22)


@asset(partitions=DAYS)
def sales(ctx):
    """The day of the month."""
    return ctx.partition.day


@asset(partitions=DAYS, mapping={"sales": last(3)})
def trend(sales):
    """The last three days."""
    return [[key.isoformat(), value] for key, value in sales.items()]


def places(plan, name):
    """The encoded keys that are planned for an asset."""
    return sorted(step.partition for step in plan.steps if step.asset == name)


# -- which keys --------------------------------------------------------------------------------------------------------


def test_the_last_keys_end_with_ones_own():
    """``last`` names the key itself and the known ones before it, in order; fewer where there are not as many."""
    keys = [date(2026, 1, day) for day in (3, 1, 2, 9)]
    assert last(2).upstream(date(2026, 1, 3), keys) == [date(2026, 1, 2), date(2026, 1, 3)]
    assert last(9).upstream(date(2026, 1, 2), keys) == [date(2026, 1, 1), date(2026, 1, 2)]
    assert last(2).upstream(None, keys) == [date(2026, 1, 3), date(2026, 1, 9)]
    assert last(2).upstream(5, ["a", 4, True]) == [4, 5]


def test_all_keys_are_those_that_are_known():
    """``all_partitions`` names what it is given, whatever the key."""
    assert all_partitions().upstream("x", [1, 2]) == all_partitions().upstream(None, [1, 2]) == [1, 2]
    assert [gathers(mapping) for mapping in (None, latest_before(), last(1), all_partitions())] == [False, False, True, True]


@pytest.mark.parametrize("count", [0, -1, 1.5, True, "7"], ids=repr)
def test_a_count_is_a_whole_number(count):
    """``last`` of anything but a whole number from 1 is refused where it is written."""
    with pytest.raises(ValidationError, match="not a whole number"):
        last(count)


def test_gathering_needs_keys_that_fit():
    """The last keys need an order and the same kind of keys; all keys can be gathered by anything, also without partitions."""

    def pipeline(upstream, downstream, mapping):
        up = asset(name="up", partitions=upstream)(lambda: 1)
        down = asset(name="down", partitions=downstream, mapping={"up": mapping})(lambda up: up)
        return Pipeline("p", [up, down])

    for upstream, downstream in ((Static(["a"]), None), (Static(["a"]), DAYS), (DAYS, Static(["a"])), (DAYS, None)):
        assert len(pipeline(upstream, downstream, all_partitions())) == 2
    assert len(pipeline(DAYS, None, last(3))) == 2
    with pytest.raises(ValidationError, match=r"have no order; use all_partitions\(\)"):
        pipeline(Static(["a"]), Static(["a"]), last(3))
    with pytest.raises(ValidationError, match="give both the same partitions="):
        pipeline(DAYS, Keys(int), last(3))
    with pytest.raises(ValidationError, match="is not partitioned; remove the mapping"):
        pipeline(None, None, all_partitions())


# -- what a run makes of them ------------------------------------------------------------------------------------------


def test_missing_keys_are_planned_and_given_by_key(flow, clock, plan):
    """Every named key is a step of the plan; the parameter receives a ``dict`` from key to value."""
    made = flow(Pipeline("p", [sales, trend]), clock=clock)
    assert places(plan(made, ["trend"]), "sales") == ["d:2026-11-20", "d:2026-11-21", "d:2026-11-22"]
    made.run("trend").raise_if_failed()
    assert made.get("trend") == [["2026-11-20", 20], ["2026-11-21", 21], ["2026-11-22", 22]]
    made.run("trend", partition="2026-11-19").raise_if_failed()
    assert made.get("trend", partition="2026-11-19") == [["2026-11-18", 18], ["2026-11-19", 19]]


def test_one_of_many_inputs_outdates_and_is_named(flow, clock):
    """What was gathered is reused until one of the inputs changes, which is named with its key; lineage has them all."""
    value = [0]

    @asset(partitions=DAYS)
    def sales(ctx):
        return [ctx.partition.day, value[0]]

    made = flow(Pipeline("p", [sales, trend]), clock=clock)
    made.run("trend")
    assert [step.asset for step in made.run("trend").reused].count("trend") == 1
    assert len(made.lineage("trend").edges) == 3

    value[0] = 1
    made.run("sales", partition="2026-11-21", force=True)
    (preview,) = [seen for seen in made.preview("trend") if seen.asset == "trend"]
    assert preview.because.startswith("input sales 2026-11-21 changed (")
    made.run("trend")
    assert [change.text.split(":")[0] for change in made.explain("trend").changes if change.what == "inputs"] == [
        "sales 2026-11-21 changed"
    ]


def test_an_asset_without_partitions_gathers_all(flow, clock):
    """One total of all regions, as frames of the asked kind; a new key makes it outdated."""
    regions = ["eu", "us"]

    def build():
        region = Static(list(regions))

        @asset(partitions=region, code_version="1")
        def orders(ctx) -> pl.DataFrame:
            return pl.DataFrame({"region": [ctx.partition]})

        @asset(mapping={"orders": all_partitions()}, code_version="1")
        def total(orders: dict[str, pl.LazyFrame]):
            return {key: frame.select(pl.len()).collect().item() for key, frame in orders.items()}

        return Pipeline("p", [orders, total])

    made = flow(build(), clock=clock)
    made.run("total").raise_if_failed()
    assert made.get("total") == {"eu": 1, "us": 1}

    regions.append("ch")
    made.pipeline = build()
    (preview,) = [seen for seen in made.preview("total") if seen.asset == "total"]
    assert (preview.action, preview.because) == ("depends", "reused only if orders comes out the same")
    made.run("total").raise_if_failed()
    assert list(made.get("total")) == ["eu", "us", "ch"]


def test_keys_without_a_list_are_those_that_are_stored(flow):
    """Of partitions of any key, those that have a value are gathered; a required parameter needs one."""

    @asset(partitions=Keys(int))
    def part(ctx):
        return ctx.partition

    @asset(mapping={"part": all_partitions()})
    def whole(part):
        return sum(part.values())

    made = flow(Pipeline("p", [part, whole]))
    (failed,) = made.run("whole").failed
    assert failed.message.startswith("asset 'whole': required inputs have no value: part\n")
    for key in (2, 3):
        made.run("part", partition=key)
    made.run("whole").raise_if_failed()
    assert made.get("whole") == 5


def test_an_optional_parameter_gets_what_there_is(flow, clock):
    """An optional gathering leaves out keys that failed, and gets its default when none is left."""

    @asset(partitions=DAYS)
    def sales(ctx):
        if ctx.partition.day != 21:
            raise ValueError("no sales")
        return 1

    @asset(partitions=DAYS, mapping={"sales": last(2)})
    def trend(sales=None):
        return sales and [key.day for key in sales]

    made = flow(Pipeline("p", [sales, trend]), clock=clock)
    made.run("trend")
    assert made.get("trend") == [21]
    made.run("trend", partition="2026-11-19")
    assert made.get("trend", partition="2026-11-19") is None


def test_days_that_are_over_are_taken_as_they_are(flow, clock):
    """Where the past is refused, only what was stored of it is gathered, and today is made."""
    now = Daily("2026-11-18", past="refuse")
    reading = asset(name="reading", partitions=now)(lambda ctx: ctx.partition.day)
    week = asset(name="week", partitions=now, mapping={"reading": last(7)})(lambda reading: list(reading.values()))
    made = flow(Pipeline("p", [reading, week]), clock=clock)
    made.run("week").raise_if_failed()
    assert made.get("week", partition="2026-11-23") == [23]
    clock.advance(timedelta(days=1))
    made.run("week").raise_if_failed()
    assert made.get("week", partition="2026-11-24") == [23, 24]


def test_missing_values_are_listed_with_their_keys(flow, clock):
    """Without ``deps`` every required key needs a value; at most twenty of the missing ones are listed."""
    many = Daily("2026-01-01")
    up = asset(name="up", partitions=many)(lambda: 1)
    down = asset(name="down", partitions=many, mapping={"up": last(30)})(lambda up: up)
    made = flow(Pipeline("p", [up, down]), clock=clock)
    with pytest.raises(DependencyError) as caught:
        made.run("down", deps=False)
    assert "up 2026-10-24, up 2026-10-25" in caught.value.message
    assert caught.value.message.endswith("... 10 more")


def test_a_mapping_that_names_several_must_say_so(flow, clock):
    """A mapping of users' own that names two keys without ``several`` is refused when the plan is made."""

    class Two:
        needs_existing = False

        def upstream(self, key, existing):
            return [key, key - timedelta(days=1)]

        def describe(self):
            return "two()"

    pair = asset(name="pair", partitions=DAYS, mapping={"sales": Two()})(lambda sales: sales)
    made = flow(Pipeline("p", [sales, pair]), clock=clock)
    with pytest.raises(PartitionError, match=r"names 2 keys for 2026-11-22") as caught:
        made.run("pair")
    assert "several = True" in (caught.value.hint or "")

    Two.several = True
    made.run("pair").raise_if_failed()
    assert list(made.get("pair", as_=dict[date, int])) == [YESTERDAY, date(2026, 11, 21)]
