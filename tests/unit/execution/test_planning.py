"""Which steps a run has, in which order, and where each input comes from."""

from __future__ import annotations

from datetime import date

import pytest

from flowstone import Daily, Pipeline, Static, asset, latest_before, same, source
from flowstone.foundation.errors import DependencyError, NotFoundError, PartitionError

DAYS = Daily("2026-11-01")
NOW_ONLY = Daily("2026-11-01", past="refuse")


@asset
def orders():
    return [1, 2, 3]


@asset
def cheap(orders):
    return min(orders)


@asset
def dear(orders):
    return max(orders)


@asset
def spread(cheap, dear):
    return dear - cheap


@asset(after=["spread"])
def notice():
    return "done"


SHOP = Pipeline("shop", [orders, cheap, dear, spread, notice])


def names(plan):
    return [step.asset for step in plan.steps]


def test_without_targets_every_asset_is_planned_once(flow, plan):
    """The default targets are all assets; what two of them need is one step."""
    found = plan(flow(SHOP))

    assert names(found) == ["orders", "cheap", "dear", "spread", "notice"]
    assert [asset for asset, _ in found.targets] == names(found)


def test_a_target_brings_what_it_needs_and_nothing_else(flow, plan):
    """The plan of one target holds its ancestors, each once, before what needs them; only the target is a target."""
    found = plan(flow(SHOP), ["spread"])

    assert names(found) == ["orders", "cheap", "dear", "spread"]
    assert found.targets == (("spread", ""),)


def test_an_edge_for_order_alone_plans_the_other_and_loads_nothing(flow, plan):
    """``after`` brings the asset into the plan, ahead, without an input."""
    step = plan(flow(SHOP), ["notice"]).steps[-1]

    assert (step.asset, step.inputs, step.after) == ("notice", (), (("spread", ""),))


def test_an_unknown_target_is_refused_with_the_closest_name(flow, plan):
    """A typing error in a target names the asset that was meant."""
    with pytest.raises(NotFoundError) as refused:
        plan(flow(SHOP), ["sprea"])

    assert "spread" in refused.value.hint


def test_without_a_partition_the_newest_closed_day_is_meant(flow, plan):
    """The default and ``latest`` are yesterday, and today where only the present can be read."""

    @asset(partitions=DAYS)
    def sales():
        return 1

    @asset(partitions=NOW_ONLY)
    def stock():
        return 2

    made = flow(Pipeline("p", [sales, stock]))

    expected = [("sales", "d:2026-11-22"), ("stock", "d:2026-11-23")]
    assert [step.place for step in plan(made).steps] == expected
    assert [step.place for step in plan(made, partition="latest").steps] == expected


@pytest.mark.parametrize("partition", [date(2026, 11, 5), "2026-11-05"])
def test_a_partition_is_given_as_a_key_or_as_its_text(flow, plan, partition):
    """The key and what people write for it plan the same step; its inputs have the same key."""

    @asset(partitions=DAYS)
    def sales():
        return 1

    @asset(partitions=DAYS, mapping={"sales": same()})
    def total(sales):
        return sales

    steps = plan(flow(Pipeline("p", [sales, total])), partition=partition).steps

    assert [step.place for step in steps] == [("sales", "d:2026-11-05"), ("total", "d:2026-11-05")]
    assert steps[1].inputs[0].partition == "d:2026-11-05"


@pytest.mark.parametrize(
    ("partition", "says"), [("2026-10-31", "before the first day"), ("2026-11-24", "future"), ("soon", "no day")]
)
def test_a_partition_the_asset_does_not_have_is_refused(flow, plan, partition, says):
    """A day that is too early, not there yet or no day at all says which it is."""

    @asset(partitions=DAYS)
    def sales():
        return 1

    with pytest.raises(PartitionError, match=says):
        plan(flow(Pipeline("p", [sales])), partition=partition)


def test_a_partition_for_assets_without_any_is_refused(flow, plan):
    """A partition that no target has is an error, not ignored."""
    with pytest.raises(PartitionError, match="have no partitions"):
        plan(flow(SHOP), ["orders"], "2026-11-05")


def test_declared_keys_have_no_latest(flow, plan):
    """Where no key is the newest, the request must name one; the error lists them."""

    @asset(partitions=Static(["eu", "us"]))
    def region():
        return 1

    made = flow(Pipeline("p", [region]))
    with pytest.raises(PartitionError) as refused:
        plan(made)

    assert "eu, us" in refused.value.hint
    assert plan(made, partition="us").targets == (("region", "us"),)


def test_the_present_is_never_planned_for_a_day_that_is_over(flow, clock):
    """A snapshot that refuses the past is not computed for a past key by the way of what needs it: its stored value is read."""

    @asset(partitions=NOW_ONLY, source=True)
    def stock(ctx):
        return str(ctx.partition)

    @asset(partitions=DAYS)
    def report(stock):
        return f"of {stock}"

    made = flow(Pipeline("p", [stock, report]), clock=clock)
    with pytest.raises(PartitionError, match="filed under the past"):
        made.run("stock", partition="2026-11-22")
    early = made.run("report", partition="2026-11-23")
    clock.advance(86_400)
    late = made.run("report", partition="2026-11-23", force=True)
    never = made.run("report", partition="2026-11-22")

    assert [(step.asset, step.partition) for step in early.materialized] == [
        ("stock", "d:2026-11-23"),
        ("report", "d:2026-11-23"),
    ]
    assert [step.asset for step in late.materialized] == ["report"]
    assert [(step.asset, step.reason) for step in never.failed] == [("report", "dependency_not_ready")]


def test_the_greatest_stored_key_before_is_an_input_and_no_step(flow, plan, clock):
    """``latest_before`` names the newest value there is before the key, does not compute it, and has none on the first day."""

    @asset(partitions=DAYS)
    def sales():
        return 1

    @asset(partitions=DAYS, deps={"previous": "sales"}, mapping={"previous": latest_before()})
    def change(sales, previous=None):
        return [sales, previous]

    made = flow(Pipeline("p", [sales, change]), clock=clock)
    first = plan(made, ["change"], "2026-11-05")
    for day in ("2026-11-02", "2026-11-04", "2026-11-09"):
        made.run("sales", partition=day)
    found = plan(made, ["change"], "2026-11-05")

    assert [(i.parameter, i.partition, i.planned, bool(i.output)) for i in first.steps[-1].inputs] == [
        ("sales", "d:2026-11-05", True, False),
        ("previous", "", False, False),
    ]
    assert names(found) == ["sales", "change"]
    assert [(i.partition, i.planned, bool(i.output)) for i in found.steps[-1].inputs] == [
        ("d:2026-11-05", True, False),
        ("d:2026-11-04", False, True),
    ]


def test_a_partitioned_asset_reads_one_that_is_not(flow, plan):
    """An input without partitions is the same step for every key."""

    @asset(partitions=DAYS)
    def sales(orders):
        return orders

    steps = plan(flow(Pipeline("p", [orders, sales])), partition="2026-11-05").steps

    assert [step.place for step in steps] == [("orders", ""), ("sales", "d:2026-11-05")]


def test_without_dependencies_inputs_are_what_is_current(flow, plan):
    """``deps=False`` plans the targets alone; inputs from outside are pinned to their current outputs."""
    made = flow(SHOP)
    made.run("dear")
    current = made.show(made.run("cheap").run_id).materializations

    (step,) = plan(made, ["spread"], deps=False).steps

    assert {i.asset: i.output for i in step.inputs}["cheap"] == next(row.output for row in current if row.asset == "cheap")
    assert all(not i.planned and i.output for i in step.inputs)


def test_missing_inputs_are_listed_at_most_twenty(flow, plan):
    """``deps=False`` names at most twenty inputs without a value, and how many more there are; optional ones are no fault."""
    many = [source(f"s{n:02}", version=lambda: "1") for n in range(25)]
    parameters = ", ".join(f"s{n:02}" for n in range(25))
    scope = {}
    exec(f"def wide({parameters}, orders=None): return 1", scope)
    wide = asset(scope["wide"])

    with pytest.raises(DependencyError) as refused:
        plan(flow(Pipeline("p", [*many, orders, wide])), ["wide"], deps=False)

    assert "s19" in refused.value.message
    assert "s20" not in refused.value.message
    assert "5 more" in refused.value.message
    assert "orders" not in refused.value.message


def test_a_chain_of_two_thousand_is_planned_and_run(flow):
    """Depth is no limit: a chain of 2,000 assets is planned, run and reused, and nothing recurses along it."""
    links = [
        asset(name=f"a{n:04}", deps={"before": f"a{n - 1:04}"}, code_version="1")(lambda before: before + 1)
        for n in range(1, 2000)
    ]
    chain = [asset(name="a0000")(lambda: 0), *links]
    made = flow(Pipeline("p", chain))

    first, again = made.run(), made.run()

    assert made.get("a1999") == 1999
    assert len(first.materialized) == len(again.reused) == 2000
