"""Which partitions there are: the same answers from every database."""

from __future__ import annotations

import pytest

from flowstone import Keys, Pipeline, asset
from flowstone.stores import outputs, partitions


@asset(partitions=Keys())
def orders(ctx):
    if ctx.partition == "b":
        raise ValueError("no")
    return 1


@asset(partitions=Keys())
def total(orders):
    return orders


@pytest.fixture
def connection(database_url, flow):
    """A store in which ``orders`` was made for a, tried for b, made again for a, and made for c; beside another project's."""
    for project in ("shop", "elsewhere"):
        made = flow(Pipeline("p", [orders, total]), project=project, database_url=database_url)
        for key in ("a", "b", "a", "c") if project == "shop" else ("z",):
            made.run(partition=key, force=True)
    with made._deployment.reading().reading() as found:
        yield found


def test_each_assets_ends_and_newest_are_found(connection):
    """Every asset has its first and last partition and the newest materialization of the last; other projects have theirs."""
    found = {span.asset: span for span in partitions.spans(connection, "shop")}

    assert {name: (span.least, span.greatest) for name, span in found.items()} == {"orders": ("a", "c"), "total": ("a", "c")}
    assert found["orders"].newest == partitions.newest(connection, "shop", "orders", "c")
    assert [span.greatest for span in partitions.spans(connection, "elsewhere")] == ["z", "z"]
    assert partitions.spans(connection, "nowhere") == []


def test_each_partition_has_its_newest_materialization(connection):
    """Of a partition that was made twice the later one counts; a limit takes the first in the order of texts."""
    places = partitions.of_asset(connection, "shop", "orders")
    rows = partitions.materializations(connection, [place.newest for place in places])

    assert [place.partition for place in places] == ["a", "b", "c"]
    assert places[0].newest > places[1].newest
    assert {key: record.status for (_, key), record in rows.items()} == {"a": "success", "b": "failed", "c": "success"}
    assert partitions.of_asset(connection, "shop", "orders", limit=2) == places[:2]
    assert partitions.of_asset(connection, "shop", "nothing") == []
    assert partitions.newest(connection, "shop", "orders", "z") is None


def test_values_are_counted_apart_from_tries(connection):
    """A partition that only failed has no value: it is in no count and at no end."""
    assert partitions.with_value(connection, "shop") == {"orders": 2, "total": 2}
    assert outputs.ends(connection, "shop", "orders") == ("a", "c")
    assert outputs.ends(connection, "shop", "nothing") is None


def test_versions_are_found_one_by_one(connection):
    """The version before the current one is found, and there is none before the first."""
    current = outputs.current(connection, "shop", "orders", "a")
    before = outputs.before(connection, "shop", current)

    assert (current.version, before.version) == (2, 1)
    assert outputs.before(connection, "shop", before) is None
    assert outputs.count_versions(connection, "shop", "orders", "a") == 2
    assert set(outputs.current_at(connection, "shop", [("orders", "a"), ("orders", "b"), ("total", "c")])) == {
        ("orders", "a"),
        ("total", "c"),
    }
