"""A metric of your own events is a few lines; it counts what every process did, and never what one happened to remember."""

from flowstone import Count, Event, FlowStone, FlowStoneError, Label, Metric, Pipeline, asset, event, span


@event("acme.order.rejected")
class OrderRejected(Event):
    """An order cannot be filled."""

    reason: Label  # few distinct values: it may label a metric
    pieces: Count  # a number with a unit: it may be summed


@span("acme.upload")
class Upload(Event):
    """A file was sent to the archive."""

    region: Label


@asset(source=True)
def orders(ctx) -> list:
    """Rejects two of three orders, and uploads the third."""
    ctx.emit(OrderRejected, reason="sold_out", pieces=3)
    ctx.emit(OrderRejected, reason="too_far", pieces=40)
    with ctx.span(Upload, region="eu"):
        return ["A-18"]


METRICS = [
    Metric.counter("acme_orders_rejected_total", OrderRejected, labels=["reason"]),
    Metric.sum("acme_pieces_rejected_total", OrderRejected, measurement="pieces", drop={"reason": "too_far"}),
    Metric.distribution("acme_upload_seconds", Upload.stop, measurement="duration_ns", labels=["region"], buckets=[1, 10, 60]),
]
pipeline = Pipeline("shop", [orders], metrics=METRICS)

if __name__ == "__main__":
    with FlowStone(pipeline, home=":memory:") as flow:
        flow.run()
        flow.run()
        for family in flow.metrics():
            if family.name.startswith(("acme_", "flowstone_materialization_total")):
                for sample in family.samples:
                    print(family.kind, family.name, *sample.labels, list(sample.counts) or sample.value)
    try:
        Metric.counter("acme_orders_total", OrderRejected, labels=["run_id"])
    except FlowStoneError as refused:
        print(refused)
