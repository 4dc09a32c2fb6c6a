"""Conditions of long chains and old partitions."""

from __future__ import annotations

import pytest

from flowstone import Daily, Pipeline, Static, asset
from flowstone.foundation.errors import NotFoundError, PartitionError

DAYS = Daily("2026-01-01")


@asset(partitions=Static([2, 10]))
def counted(ctx):
    return ctx.partition


@asset(partitions=DAYS)
def daily():
    return 1


@asset
def plain():
    return 1


def test_a_change_at_the_top_of_a_long_chain_reaches_its_end(flow):
    """What is outdated is followed through more steps than Python's stack has frames, and names the nearest one."""
    length, value = 1_200, [1]
    head = asset(name="n0", io="memory")(lambda: value[0])
    rest = [asset(name=f"n{i}", deps={"x": f"n{i - 1}"}, io="memory")(lambda x: x) for i in range(1, length)]
    made = flow(Pipeline("long", [head, *rest]))
    made.run().raise_if_failed()
    last = f"n{length - 1}"
    before = made.condition(last)
    value[0] = 2
    made.run("n0", force=True).raise_if_failed()

    assert before.state == "up to date"
    assert made.condition("n1").because[0].startswith("upstream n0 was recomputed")
    assert made.condition(last).because == (f"upstream n{length - 2} is outdated",)


def test_numbers_are_newest_by_value(flow):
    """Of the partitions 2 and 10 the newest is 10, alone and in the list of all."""
    made = flow(Pipeline("p", [counted]))
    for key in (10, 2):
        made.run(partition=key).raise_if_failed()
    (found,) = made.status(newest=True)

    assert (found.partition, found.others) == ("i:10", 1)
    assert [condition.partition for condition in made.status("counted")] == ["i:10", "i:2"]
    assert [condition.partition for condition in made.status("counted", limit=1)] == ["i:10"]


def test_one_partition_of_every_asset(flow):
    """A partition is found by its key or its text in every asset that has it; assets without it are left out."""
    made = flow(Pipeline("p", [daily, plain]))
    made.run("daily", partition="2026-01-01").raise_if_failed()
    made.run("plain").raise_if_failed()

    for written in ("2026-01-01", "d:2026-01-01"):
        assert [(c.asset, c.partition) for c in made.status(partition=written)] == [("daily", "d:2026-01-01")]
    with pytest.raises(PartitionError, match="nothing is known of partition '2026-01-02'") as refused:
        made.status(partition="2026-01-02")
    assert refused.value.hint == "known: 2026-01-01"
    with pytest.raises(NotFoundError, match="there is no asset 'dayly'") as unknown:
        made.status("dayly")
    assert "daily" in str(unknown.value.hint)


def test_an_asset_that_is_no_longer_defined_is_still_known(flow, tmp_path):
    """What was recorded of an asset can be asked for after it left the pipeline."""
    with flow(Pipeline("p", [daily, plain]), home=tmp_path) as made:
        made.run("daily", partition="2026-01-01").raise_if_failed()
    later = flow(Pipeline("p", [plain]), home=tmp_path)

    assert [condition.state for condition in later.status("daily")] == ["up to date"]
    assert [condition.asset for condition in later.status(newest=True)] == ["plain"]
