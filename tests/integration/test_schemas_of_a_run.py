"""What real runs record is what the schemas say, on both databases."""

from __future__ import annotations

from jsonschema import Draft202012Validator

from flowstone import Pipeline, Retry, asset, source
from flowstone.events.catalogue import CATALOGUE
from flowstone.events.schemas import schema_of
from flowstone.testing import MovableClock, isolated_flow

SEEN = {
    "flowstone.asset.invalidated", "flowstone.asset.observed", "flowstone.error", "flowstone.hold.added",
    "flowstone.hold.released", "flowstone.io.load.stop", "flowstone.io.store.start", "flowstone.io.store.stop",
    "flowstone.materialization.exception", "flowstone.materialization.reused", "flowstone.materialization.skipped",
    "flowstone.materialization.start", "flowstone.materialization.stop", "flowstone.output.erased", "flowstone.run.start",
    "flowstone.run.stop", "flowstone.telemetry.lost",
}  # fmt: skip


@asset(retries=Retry(attempts=2, delay=0))
def orders(ctx):
    if ctx.attempt == 1:
        raise TimeoutError("slow \ud800")
    ctx.summary("made 1")
    return [1]


@asset
def totals(orders, rates):
    return sum(orders)


@asset
def broken(totals):
    raise ValueError


@asset
def never(broken):
    return 1


@asset
def chosen(ctx):
    ctx.skip("not today")


def test_every_recorded_event_validates_against_its_schema(tmp_path, database_url):
    """Each event of runs, retries, failures, skips, holds, erasure and losses validates and has no field the schema lacks."""
    rates = source("rates", version=lambda: "v1")
    pipeline = Pipeline("shop", [orders, rates, totals, broken, never, chosen])
    with isolated_flow(pipeline, home=tmp_path, database_url=database_url, clock=MovableClock()) as flow:
        flow.attach("bad", "flowstone.run.*", lambda happened: 1 / 0)
        flow.run()
        flow.run()
        flow.release(flow.hold("orders", reason="audit").id, reason="done")
        flow.invalidate("totals")
        flow.erase("orders", reason="on request")
        recorded = flow.events(limit=1_000)

    validators = {name: Draft202012Validator(schema_of(cls)) for name, cls in CATALOGUE.items()}
    wrong = [(record.name, error.message) for record in recorded for error in validators[record.name].iter_errors(record.payload)]
    unknown = [(r.name, f) for r in recorded for f in r.payload if f not in CATALOGUE[r.name].__struct_fields__]

    assert sorted(SEEN - {record.name for record in recorded}) == []
    assert (wrong, unknown) == ([], [])
