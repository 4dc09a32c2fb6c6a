"""Testing: run one asset with a real ctx, or the whole pipeline in memory with a clock you move. pytest runs this file too."""

from datetime import UTC, datetime, timedelta

from flowstone import Daily, Pipeline, Retry, asset
from flowstone.testing import MovableClock, capture_events, isolated_flow, run_asset


@asset(partitions=Daily("2025-01-01"))
def readings(ctx) -> list:
    """One reading a day, none on the first of a month."""
    if ctx.partition.day == 1:
        ctx.skip("the sensor is serviced")
    ctx.summary("1 reading")
    return [20.5]


@asset(partitions=Daily("2025-01-01"), retries=Retry(attempts=3, delay=3600, max_delay=7200))
def mean(ctx, readings) -> float:
    """Fails twice."""
    if ctx.attempt < 3:
        raise TimeoutError("try later")
    return sum(readings) / len(readings)


pipeline = Pipeline("weather", [readings, mean])


def test_an_asset_is_a_function() -> None:
    assert run_asset(mean, inputs={"readings": [1.0, 3.0]}, partition="2025-03-02", attempt=3).value == 2.0


def test_what_it_says() -> None:
    assert run_asset(readings, partition="2025-03-02").summary == "1 reading"
    assert run_asset(readings, partition="2025-03-01").skipped == "the sensor is serviced"


def test_the_pipeline_retries_for_three_hours() -> None:
    clock = MovableClock(datetime(2025, 3, 3, 12, tzinfo=UTC))
    with isolated_flow(pipeline, clock=clock) as flow, capture_events(flow, "flowstone.materialization.exception") as events:
        result = flow.run().raise_if_failed()  # the latest closed day is 2025-03-02; the delays of 1 h and 2 h take no time
        assert flow.get("mean") == 20.5
        assert [happened.retry_in_ns / 1e9 for happened in events] == [3600, 7200]
        assert clock.now - datetime(2025, 3, 3, 12, tzinfo=UTC) == timedelta(hours=3)
        assert [step.asset for step in result.materialized] == ["readings", "mean"]


if __name__ == "__main__":
    for name, test in list(globals().items()):
        if name.startswith("test_"):
            test()
            print("passed:", name.removeprefix("test_").replace("_", " "))
