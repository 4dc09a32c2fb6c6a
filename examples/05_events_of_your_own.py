"""Events and spans of your own are declared like FlowStone's, recorded in the same log, and heard by the same handlers."""

from flowstone import Attribute, Count, Event, FlowStone, Label, Pipeline, asset, event, span


@event("acme.order.rejected")
class OrderRejected(Event):
    """An order cannot be filled."""

    reason: Label  # few distinct values
    order: Attribute  # an identifier of ours
    pieces: Count  # a measurement


@span("acme.upload")
class Upload(Event):
    """A file was sent to the archive."""

    region: Label  # without a default: in all three events
    rows: Count = 0  # with a default: in the stop event only


@asset
def orders(ctx) -> list:
    """Rejects one of two orders, and uploads the other."""
    ctx.emit(OrderRejected, reason="sold_out", order="A-17", pieces=3)
    with ctx.span(Upload, region="eu") as upload:
        upload.set(rows=1)
    return ["A-18"]


pipeline = Pipeline("shop", [orders])


def broken(happened: Event) -> None:
    """A handler that raises: the run does not notice, the handler is put aside for a while."""
    raise RuntimeError(f"no connection to the dashboard, {happened.name} is not shown")


if __name__ == "__main__":
    heard = []
    with FlowStone(pipeline, home=":memory:") as flow:
        flow.attach("acme.counter", OrderRejected, lambda happened: heard.append(happened.pieces))
        flow.attach("acme.dashboard", "flowstone.materialization.*", broken)

        print("run:     ", flow.run().status)
        print("heard:   ", heard)
        print("recorded:", [record.name for record in flow.events(names=["acme.*"])])
        print("payload: ", flow.events(names=["acme.order.rejected"])[0].payload["reason"])
        for info in flow.list_handlers():
            if info.id.startswith("acme."):
                print(f"handler:  {info.id}: {info.calls} calls, {info.failures} failed, quarantined: {info.quarantined}")
