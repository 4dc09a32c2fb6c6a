"""One value a day: partitions, the day before, and days that cannot be asked for."""

from datetime import date

from flowstone import Daily, FlowStone, Pipeline, asset, latest_before
from flowstone.foundation.errors import PartitionError

day = Daily("2025-01-01", timezone="Europe/Zurich")


@asset(partitions=day)
def visitors(ctx) -> int:
    """How many came that day."""
    return 100 + ctx.partition.day


@asset(partitions=day, deps={"before": visitors}, mapping={"before": latest_before()})
def change(visitors, before=None) -> str:
    """The difference from the latest earlier day that has a value; the first day has none."""
    return "first day" if before is None else f"{visitors - before:+d}"


pipeline = Pipeline("museum", [visitors, change])

if __name__ == "__main__":
    with FlowStone(pipeline, home=":memory:") as flow:
        for key in ("2025-03-01", "2025-03-02", "2025-03-07"):
            flow.run(partition=key).raise_if_failed()
            print(key, flow.get("visitors", partition=key), flow.get("change", partition=key))

        print("a date works as well:", flow.get("visitors", partition=date(2025, 3, 7)))
        print("stored:", [condition.partition for condition in flow.status() if condition.asset == "visitors"])

        for wrong in ("2024-12-31", "2999-01-01", "yesterday"):
            try:
                flow.run(partition=wrong)
            except PartitionError as error:
                print("refused:", error.message.partition(":")[0])
