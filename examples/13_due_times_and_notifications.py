"""Due times: what is late is said once, and who should know is told; a tick looks, and cron calls it."""

import logging
import sys
import tempfile
from datetime import UTC, date, datetime
from pathlib import Path

from flowstone import Daily, FlowStone, Pipeline, asset
from flowstone.foundation.settings import load
from flowstone.testing import MovableClock

SETTINGS = """
[notifications.sales]
type = "log"                            # or slack, teams, webhook, command
on = ["asset.overdue", "run.failed", "run.recovered"]
"""
ready: set[date] = {date(2026, 11, 19)}


@asset(partitions=Daily("2026-11-01", timezone="Europe/Zurich"), due="07:30", owners=["sales"])
def orders(ctx) -> str:
    if ctx.partition not in ready:
        raise FileNotFoundError(f"the file of {ctx.partition} has not come")
    return f"orders of {ctx.partition}"


pipeline = Pipeline("shop", [orders])

if __name__ == "__main__":
    logging.basicConfig(stream=sys.stdout, format="   %(message)s")
    logging.getLogger("flowstone").setLevel(logging.ERROR)
    logging.getLogger("flowstone.notifications").setLevel(logging.WARNING)  # the messages alone
    clock = MovableClock(datetime(2026, 11, 20, 5, tzinfo=UTC))  # 06:00 in Zurich
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "flowstone.toml").write_text(SETTINGS)
        with FlowStone(pipeline, settings=load(start=Path(folder)), clock=clock) as flow:
            print("20 Nov, 06:00:", flow.run(partition="2026-11-19").status)
            for day, hour in ((20, 8), (21, 8), (21, 9)):
                clock.set(datetime(2026, 11, day, hour - 1, tzinfo=UTC))
                duty = next(duty for duty in flow.tick().duties if duty.name == "due times")
                print(f"{day} Nov, {hour:02}:00: {duty.text}")
            print("21 Nov, 09:01:", flow.run(partition="2026-11-20").status)
            ready.add(date(2026, 11, 20))
            clock.advance(60)
            print("21 Nov, 09:02:", flow.run(partition="2026-11-20").status)
            flow.tick()
            print("overdue:", flow.overdue())
        with FlowStone(settings=load(start=Path(folder))) as flow:
            print("told:", [(told.cause, told.status) for told in reversed(flow.notifications())])
