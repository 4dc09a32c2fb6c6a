"""One asset's function runs as an attempt would run it, without a database."""

from __future__ import annotations

import logging
from datetime import date

import pytest

from flowstone import Count, Daily, Event, GiveUp, Keys, Label, Pipeline, RetryLater, asset, event, source, span
from flowstone.events.catalogue import MaterializationProgress
from flowstone.events.context import current
from flowstone.foundation.errors import PartitionError, UsageError, ValidationError
from flowstone.testing import MovableClock, isolated_flow, run_asset


@event("acme.counted")
class Counted(Event, frozen=True, kw_only=True):
    """Something was counted."""

    asset: Label
    number: Count


@span("acme.fetch")
class Fetch(Event, frozen=True, kw_only=True):
    """Something was fetched."""


@asset
def totals(orders, previous=0, config=None, ctx=None):
    return [orders, previous]


def test_the_value_is_what_the_function_returns():
    """Inputs are given by parameter; optional ones keep their default."""
    assert run_asset(totals, inputs={"orders": 3}).value == [3, 0]
    assert run_asset(totals, inputs={"orders": 3, "previous": None}).value == [3, None]


def test_a_renamed_dependency_is_given_by_its_parameter():
    """With ``deps`` the parameter's name counts, not the asset's."""

    @asset(deps={"o": "sales_orders"})
    def sums(o):
        return sum(o)

    assert run_asset(sums, inputs={"o": [1, 2]}).value == 3
    with pytest.raises(UsageError, match="takes no input 'sales_orders'"):
        run_asset(sums, inputs={"sales_orders": [1]})


def test_the_context_is_the_real_one():
    """``ctx`` knows asset, partition, attempt and the key of idempotency; what it is told is in the result."""

    @asset(partitions=Daily("2026-01-01"))
    def orders(ctx):
        ctx.log.warning("token=abc")
        print("printed", end="")
        ctx.summary("3 orders")
        ctx.emit(Counted, number=3)
        with ctx.span(Fetch):
            ctx.progress(1, 1)
        return ctx.asset, ctx.partition, ctx.attempt, ctx.idempotency_key

    done = run_asset(orders, partition="2026-11-23", attempt=2, clock=MovableClock())

    assert done.value == ("orders", date(2026, 11, 23), 2, "run_test:orders:d:2026-11-23")
    assert (done.summary, done.skipped) == ("3 orders", None)
    assert [type(happened) for happened in done.events] == [Counted, Fetch.start, MaterializationProgress, Fetch.stop]
    assert done.events.assert_emitted(Counted, number=3).asset == "orders"
    assert [(line.logger, line.message) for line in done.lines] == [
        ("flowstone.asset.orders", "token=[redacted]"),
        ("stdout", "printed"),
    ]


def test_a_skip_is_in_the_result():
    """``ctx.skip`` ends the function; the reason is the result and there is no value."""

    @asset
    def orders(ctx):
        ctx.skip("nothing to do")
        return 1

    done = run_asset(orders)
    assert (done.value, done.skipped) == (None, "nothing to do")


@pytest.mark.parametrize(
    "error", [ValueError("mine"), RetryLater(5), GiveUp("no"), KeyboardInterrupt()], ids=lambda e: type(e).__name__
)
def test_what_is_raised_passes(error):
    """Whatever the function raises reaches the test unchanged, and nothing of the capture stays behind."""

    @asset
    def orders():
        raise error

    handlers = list(logging.getLogger().handlers)
    with pytest.raises(type(error)) as caught:
        run_asset(orders)
    assert caught.value is error
    assert (logging.getLogger().handlers, current.get()) == (handlers, None)


def test_config_replaces_declared_defaults():
    """The function gets the declared values, those given instead of their defaults; others are refused."""

    @asset(config={"limit": 5, "region": "eu"})
    def orders(config):
        return dict(config)

    assert run_asset(orders, config={"limit": 7}).value == {"limit": 7, "region": "eu"}
    with pytest.raises(UsageError, match="declares no config 'limt'") as caught:
        run_asset(orders, config={"limt": 7})
    assert "'limit'" in caught.value.hint


def test_resources_are_given_by_their_names():
    """A resource's value reaches the parameter that receives it, whatever that is called; an unknown name is refused."""

    @asset(deps={"db": "warehouse"})
    def rows(db, orders):
        return [db, orders]

    assert run_asset(rows, resources={"warehouse": "fake"}, inputs={"orders": 1}).value == ["fake", 1]
    with pytest.raises(UsageError, match="takes no resource 'warehose'") as caught:
        run_asset(rows, resources={"warehose": "fake"}, inputs={"orders": 1})
    assert "'warehouse'" in caught.value.hint
    with pytest.raises(UsageError, match="needs the inputs db"):
        run_asset(rows, inputs={"orders": 1})


def test_async_functions_are_run_to_their_end(capsys):
    """What an ``async def`` returns is the value; what it prints is captured."""

    @asset
    async def orders(ctx):
        print("fetched")
        ctx.summary("1 order")
        return ["tea"]

    done = run_asset(orders)
    assert (done.value, done.summary, [line.message for line in done.lines]) == (["tea"], "1 order", ["fetched"])
    assert capsys.readouterr().out == "fetched\n"


def test_prints_are_shown_by_the_test(capsys):
    """What the function prints is captured and goes on to the test's own output."""

    @asset
    def orders():
        print("hello")

    run_asset(orders)
    assert capsys.readouterr().out == "hello\n"


@pytest.mark.parametrize(
    ("inputs", "message", "hint"),
    [
        ({}, "needs the inputs orders", "run_asset(totals, inputs={'orders': ...})"),
        ({"orders": 1, "previus": 2}, "takes no input 'previus'", "'previous'"),
        ({"orders": 1, "ctx": 2}, "takes no input 'ctx'", "its inputs: orders, previous"),
    ],
)
def test_wrong_inputs_are_refused(inputs, message, hint):
    """A missing input, an unknown one and a given ``ctx`` are each an error that says what to do."""
    with pytest.raises(UsageError, match=message) as caught:
        run_asset(totals, inputs=inputs)
    assert hint in caught.value.hint


def test_the_partition_must_be_one():
    """A partition is needed exactly where the asset has partitions, and must be of their type."""

    @asset(partitions=Keys(int))
    def by_number(ctx):
        return ctx.partition

    assert run_asset(by_number, partition=7).value == 7
    assert run_asset(by_number, partition="7").value == 7
    for call, message in (
        (lambda: run_asset(by_number), "has partitions and none was given"),
        (lambda: run_asset(by_number, partition=date(2026, 1, 1)), "is not a key"),
        (lambda: run_asset(totals, inputs={"orders": 1}, partition="x"), "has no partitions"),
    ):
        with pytest.raises(PartitionError, match=message):
            call()


def test_only_assets_can_be_run():
    """A plain function, an asset of a wrong signature and an observed source are each refused."""

    @asset
    def wrong(*orders):
        return orders

    with pytest.raises(UsageError, match="an asset is needed"):
        run_asset(lambda: 1)
    with pytest.raises(ValidationError, match="'wrong'"):
        run_asset(wrong)
    with pytest.raises(ValidationError, match="observed only"):
        run_asset(source("rates", version=lambda: "v"))


def test_a_run_gives_the_same():
    """What ``run_asset`` gives is what a run of the pipeline stores: value, summary and lines."""

    @asset(config={"limit": 2})
    def orders(ctx, config):
        ctx.summary("some")
        ctx.log.warning("a line")
        return list(range(config["limit"]))

    alone = run_asset(orders, config={"limit": 3})
    with isolated_flow(Pipeline("shop", [orders]), config={"limit": 3}) as flow:
        run = flow.run()
        stored = flow.get("orders")
        lines = [line.message for line in flow.logs(run.run_id)]
        kept = flow.show(run.run_id)

    assert stored == alone.value == [0, 1, 2]
    assert lines == [line.message for line in alone.lines] == ["a line"]
    assert alone.summary in repr(kept)
