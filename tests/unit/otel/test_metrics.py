"""The defined metrics as instruments: the same figures, names Prometheus makes ours of again, and a bound."""

from __future__ import annotations

import pytest

from flowstone import Event, GiveUp, Label, Pipeline, asset, event
from flowstone.events.catalogue import IoStoreStop, MaterializationReused
from flowstone.events.dispatcher import Dispatcher
from flowstone.events.trace import span_id_of
from flowstone.foundation.clock import SystemClock
from flowstone.observability.logs.capture import Capture
from flowstone.observability.metrics.defaults import METRICS
from flowstone.observability.metrics.definitions import OVERFLOW, Metric
from flowstone.observability.otel.metrics import Measurements
from flowstone.observability.otel.names import UNITS, instrument_name
from flowstone.observability.otel.signals import LOGS, Observers
from flowstone.observability.otel.signals import METRICS as METRICS_OBSERVER
from flowstone.testing import isolated_flow


@asset
def orders():
    return [1, 2, 3]


@asset
def broken(orders):
    raise GiveUp("never")


def test_a_run_is_measured(everything):
    """A run's events reach counters and histograms with the labels of their definitions, in seconds and bytes."""
    with isolated_flow(Pipeline("shop", [orders, broken])) as flow:
        flow.run()
        duration = next(one.payload for one in flow.events(names=("flowstone.run.stop",)))["duration_ns"]
        size = next(one.payload for one in flow.events(names=("flowstone.io.store.stop",)))["size_bytes"]

    assert {labels: point.value for labels, point in everything.points("flowstone.run").items()} == {("shop", "partial"): 1}
    (point,) = everything.points("flowstone.run.duration").values()
    assert (point.count, point.sum) == (1, pytest.approx(duration / 1e9))
    assert {point.value for labels, point in everything.points("flowstone.io").items() if "store" in labels} == {size}


def test_metrics_of_the_pipeline_are_measured(everything):
    """A metric of users' own events is an instrument like any other."""

    @event("acme.order.rejected")
    class OrderRejected(Event):
        """An order cannot be filled."""

        reason: Label

    @asset
    def rejecting(ctx):
        ctx.emit(OrderRejected, reason="sold_out")
        return 1

    metric = Metric.counter("acme_orders_rejected_total", OrderRejected, labels=["reason"])
    with isolated_flow(Pipeline("shop", [rejecting], metrics=[metric])) as flow:
        flow.run()

    assert {labels: point.value for labels, point in everything.points("acme.orders.rejected").items()} == {("sold_out",): 1}


def test_an_exemplar_leads_to_the_attempt(everything):
    """The measurement of an attempt carries the ids of its span."""
    with isolated_flow(Pipeline("shop", [orders])) as flow:
        run = flow.run().run_id

    (point,) = everything.points("flowstone.materialization.duration").values()
    assert {f"{exemplar.span_id:016x}" for exemplar in point.exemplars} == {span_id_of(run, "orders", "", 1)}


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_prometheus_makes_our_name_of_it_again(metric):
    """Dots become underscores, the unit and ``_total`` are added: the name is the metric's, so dashboards hold for both."""
    word = {"s": "_seconds", "By": "_bytes", "1": ""}[UNITS[metric.unit]]
    exported = (
        instrument_name(metric.name, metric.unit).replace(".", "_")
        + word
        + ("_total" if metric.kind in ("counter", "sum") else "")
    )

    assert exported == metric.name


def test_label_values_are_bounded_and_totals_exact(everything):
    """What is beyond the bound is counted in one series: no measurement is missing from the sum."""
    dispatcher = Dispatcher()
    metric = Metric.counter("acme_reused_total", MaterializationReused, labels=["asset"])
    measurements = Measurements(everything.meters.get_meter("test"), [metric], 3, dispatcher.losses)
    dispatcher.attach("measure", measurements.events, measurements.handle)
    for number in range(10):
        place = {"asset": f"a{number}", "partition": "", "run_id": "run_1"}
        dispatcher.emit(MaterializationReused, output="out_1", because="", **place)

    found = {labels: point.value for labels, point in everything.points("acme.reused").items()}
    assert found == {("a0",): 1, ("a1",): 1, ("a2",): 1, (OVERFLOW,): 7}


@pytest.mark.parametrize("own", [True, False])
def test_who_waits_for_instruments(everything, own):
    """A run does not wait for instruments and records that this process has set up itself; closing empties their queues."""
    dispatcher = Dispatcher()
    Observers(
        dispatcher, Capture(SystemClock(), dispatcher.redactor), facts=lambda run_id: None, metrics=METRICS, max_series=10,
        version="1", everything=own,
    ).close()  # fmt: skip
    queued = {handler.id for handler in dispatcher.list_handlers() if handler.queued}
    for _ in range(100):
        dispatcher.emit(MaterializationReused, output="out_1", because="", asset="a", partition="", run_id="run_1")
    dispatcher.close()

    assert queued == ({METRICS_OBSERVER, LOGS} if own else set())
    assert [point.value for point in everything.points("flowstone.materialization").values()] == [100]
    assert len([one for one in everything.records if one.event_name == MaterializationReused.name]) == 100


def test_a_negative_amount_is_refused_and_said(everything):
    """A sum that only grows takes nothing below zero; what it refuses is counted as lost."""
    dispatcher = Dispatcher()
    metric = Metric.sum("acme_bytes_total", IoStoreStop, measurement="size_bytes", labels=["manager"])
    measurements = Measurements(everything.meters.get_meter("test"), [metric], 3, dispatcher.losses)
    dispatcher.attach("measure", measurements.events, measurements.handle)
    place = {"asset": "a", "partition": "", "run_id": "run_1", "attempt": 1, "manager": "files", "subject": "a"}
    for size in (5, -3):
        dispatcher.emit(IoStoreStop, duration_ns=1, size_bytes=size, **place)

    assert [point.value for point in everything.points("acme").values()] == [5]
    assert [tuple(loss) for loss in dispatcher.losses.totals()] == [("otel.metrics", "refused", 1)]
