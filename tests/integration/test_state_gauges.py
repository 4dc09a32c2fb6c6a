"""Gauges tell the state of a deployment as it is when they are asked for; what reads whole tables is at most a minute old."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from flowstone import Daily, Pipeline, asset
from flowstone.app.state_gauges import WHOLE, Gauges
from flowstone.observability.metrics.defaults import METRICS, OVERFLOW_TOTAL, REFUSED_TOTAL
from flowstone.stores import state
from flowstone.stores.tables import SCHEMA_VERSION, metadata
from flowstone.testing import MovableClock, isolated_flow

START = datetime.fromisoformat("2026-03-01T12:00:00+00:00")


def values(flow, name):
    family = next(family for family in flow.metrics() if family.name == name)
    return {sample.labels: sample.value for sample in family.samples}


@pytest.fixture
def clock():
    """A clock that stands at noon."""
    return MovableClock(START)


@pytest.fixture
def opened(tmp_path, database_url, clock):
    """A function that opens a FlowStone on the same store."""
    flows = []

    def open_(*assets, name="p", **more):
        pipeline = Pipeline(name, assets) if assets else None
        flows.append(isolated_flow(pipeline, home=tmp_path, database_url=database_url, clock=clock, **more))
        return flows[-1]

    yield open_
    for flow in flows:
        flow.close()


@asset
def orders():
    return [1, 2, 3]


@asset
def total(orders):
    return sum(orders)


def test_every_gauge_of_the_catalogue_is_read(opened):
    """Nothing is defined that nobody reads, and nothing is read that is not defined."""
    flow = opened(orders)
    flow.run()
    defined = {metric.name: metric for metric in METRICS if not metric.sources}

    found = Gauges(flow._deployment).read()

    assert set(found) == set(defined) - {OVERFLOW_TOTAL.name, REFUSED_TOTAL.name}
    for name, samples in found.items():
        assert {len(sample.labels) for sample in samples} <= {len(defined[name].labels)}


def test_runs_and_attempts_are_in_flight_while_they_run(opened, clock):
    """Seen from another FlowStone while a body runs: its run, since when, and its attempt; nothing of it afterwards."""
    seen = {}
    names = ("flowstone_run_in_flight", "flowstone_run_oldest_start_timestamp_seconds", "flowstone_materialization_in_flight")

    @asset
    def looking():
        clock.advance(30)
        seen.update({name: values(exporter, name) for name in names})
        return 1

    flow, exporter = opened(looking), opened()
    flow.run()

    assert [seen[name] for name in names] == [{("p",): 1}, {("p",): START.timestamp()}, {("looking",): 1}]
    assert [values(exporter, name) for name in names] == [{}, {}, {}]


def test_an_outdated_value_is_told_within_a_minute(opened, clock):
    """The newest stored definition says that a value is outdated; what takes long is looked at once a minute."""
    flow = opened(orders, total)
    flow.run()
    exporter = opened()
    before = values(exporter, "flowstone_asset_outdated")

    @asset(name="orders")
    def others():
        return [4]

    opened(others, total).run("orders")
    at_once = values(exporter, "flowstone_asset_outdated")
    clock.advance(60)

    assert before == at_once == {("orders",): 0, ("total",): 0}
    assert values(exporter, "flowstone_asset_outdated") == {("orders",): 0, ("total",): 1}


def test_sizes_are_those_of_the_records(opened, clock):
    """Rows are counted, current and superseded bytes of outputs are told apart, and the database has a size."""
    flow = opened(orders, total)
    flow.run()
    flow.run(force=True)
    sizes = {name: flow.get_bytes(name) for name in ("orders", "total")}
    current = sum(map(len, sizes.values()))

    rows, size = values(flow, "flowstone_store_rows"), values(flow, "flowstone_store_bytes")

    assert {table for (table,) in rows} == set(metadata.tables)
    assert (rows[("run",)], rows[("materialization",)], rows[("attempt",)]) == (2, 4, 4)
    assert values(flow, "flowstone_outputs_bytes") == {("files", "current"): current, ("files", "superseded"): current}
    assert sum(size.values()) > 50_000
    assert set(size) in ({(WHOLE,)}, {(name,) for name in metadata.tables})


def test_a_large_table_is_estimated_and_not_counted(opened, monkeypatch):
    """Beyond a number of rows it is told by their numbers, or by the server; other tables are counted."""
    flow = opened(orders)
    flow.run()
    monkeypatch.setattr(state, "COUNTED", 3)
    with flow._deployment.reading().reading() as connection:
        found = dict(state.rows_of(connection))
        exact = len(flow.events())

    assert found["event"] >= exact
    assert found["run"] == 1


def test_what_is_due_and_overdue_is_told_of_assets_with_due_times(opened, clock):
    """An asset that is there has its next due time and 0 that are late; one that is late has a due time in the past and 1."""

    @asset(partitions=Daily("2026-02-28"), due=timedelta(hours=6))
    def report():
        return 1

    flow = opened(report, orders)
    flow.run("report", partition="2026-02-28")
    first = [values(flow, f"flowstone_asset_{name}") for name in ("due_timestamp_seconds", "overdue")]
    clock.advance(timedelta(hours=20))  # the next day closed at midnight, and was due at six
    flow.tick()
    second = [values(flow, f"flowstone_asset_{name}") for name in ("due_timestamp_seconds", "overdue")]

    six = datetime.fromisoformat("2026-03-02T06:00:00+00:00").timestamp()
    assert first == [{("report",): six}, {("report",): 0}]
    assert second == [{("report",): six}, {("report",): 1}]
    assert values(flow, "flowstone_tick_last_timestamp_seconds")[()] == pytest.approx(clock.now_ns() / 1e9, abs=60)


def test_the_build_names_version_schema_and_environment(opened):
    """One series that is always 1 says what shows the metrics; lost workers and open groups of errors begin at 0."""
    flow = opened(orders)
    flow.run()
    ((labels, one),) = values(flow, "flowstone_build_info").items()

    assert (labels[1:], one) == ((SCHEMA_VERSION, ""), 1)
    assert values(flow, "flowstone_workers_lost") == values(flow, "flowstone_error_groups_open") == {(): 0}
