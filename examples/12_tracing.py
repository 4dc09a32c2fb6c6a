"""A run is a trace: FlowStone's spans, yours inside them, links to what made the inputs, and whoever asked above it all."""

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from flowstone import Count, Event, FlowStone, Label, Pipeline, Retry, asset, span

tracer = trace.get_tracer("shop")


@span("acme.upload")
class Upload(Event):
    """A file was sent to the archive."""

    region: Label
    rows: Count = 0


@asset
def orders(ctx) -> list:
    """Uploads its rows; the request inside is what an instrumented library would record."""
    with ctx.span(Upload, region="eu") as upload:
        with tracer.start_as_current_span("PUT"):
            headers = {"traceparent": ctx.traceparent}
        upload.set(rows=len(headers))
    return ["A-17", "A-18"]


@asset(retries=Retry(attempts=2, delay=0.0))
def total(ctx, orders: list) -> int:
    """Fails once."""
    if ctx.attempt == 1:
        raise TimeoutError("the warehouse did not answer")
    return len(orders)


if __name__ == "__main__":
    kept = InMemorySpanExporter()  # in earnest: OTLPSpanExporter, behind a BatchSpanProcessor
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(kept))
    trace.set_tracer_provider(provider)  # an application does this, FlowStone never does

    with FlowStone(Pipeline("shop", [orders, total]), home=":memory:") as flow, tracer.start_as_current_span("nightly job"):
        flow.run()

    spans = {one.context.span_id: one for one in kept.get_finished_spans()}
    for one in sorted(spans.values(), key=lambda one: one.start_time):
        depth, above = 0, one
        while above.parent is not None:
            depth, above = depth + 1, spans[above.parent.span_id]
        links = ", ".join(spans[link.context.span_id].name for link in one.links)
        print("  " * depth + one.name, one.attributes.get("error.type", ""), f"(from {links})" if links else "")
