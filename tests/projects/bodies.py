"""A pipeline of every kind of body; children of the process executor load this very file."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pyarrow as pa

from flowstone import Daily, Pipeline, asset, last, resource

SCRATCH = Path(os.environ.get("BODIES_SCRATCH", "."))
DAYS = Daily("2025-01-01")


@resource(config={"token": "secret:BODIES_TOKEN"})
def service(config: dict[str, str]) -> Iterator[str]:
    print("the token is", config["token"])
    yield config["token"][::-1]


@resource
def down() -> None:
    raise ConnectionError("refused")


@asset(partitions=DAYS)
async def visits(ctx, service: str) -> int:
    await asyncio.sleep(0)
    return ctx.partition.day + len(service)


@asset(partitions=DAYS, mapping={"visits": last(3)})
def pieces(ctx, visits: dict[date, int]) -> Iterator[pa.RecordBatch]:
    for key, count in ctx.track(visits.items()):
        yield pa.record_batch({"day": [key], "visits": [count]})


@asset(partitions=DAYS)
def total(ctx, pieces: Iterator[pa.RecordBatch]):
    path = SCRATCH / "total.txt"
    path.write_text(str(sum(sum(batch["visits"].to_pylist()) for batch in pieces)))
    return ctx.written(path)


@asset(partitions=DAYS)
def report(total: bytes) -> str:
    return f"{total.decode()} visits"


@asset
def needy(down: None) -> None:
    return down


@asset
async def endless() -> None:
    await asyncio.Event().wait()


pipeline = Pipeline("bodies", [visits, pieces, total, report, needy, endless], resources=[service, down])
