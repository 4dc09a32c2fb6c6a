"""Streams: values larger than memory go through a pipeline piece by piece; async bodies wait for many things at once."""

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import polars as pl

from flowstone import FlowStone, Pipeline, asset


@asset
async def pages() -> list[str]:
    """Fetched at the same time, not one after the other."""

    async def fetch(number: int) -> str:
        return await asyncio.sleep(0, f"page {number}")

    return await asyncio.gather(*(fetch(number) for number in range(3)))


@asset
def readings(ctx: Any) -> Iterator[pl.DataFrame]:
    """Each frame is written before the next one is made."""
    for day in ctx.track(range(50), unit="days"):
        yield pl.DataFrame({"day": [day] * 10_000, "value": range(10_000)})


@asset
def positive(readings: Iterator[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    """Read and written at the same time, never whole in memory."""
    for piece in readings:
        yield piece.filter(pl.col("value") > 0)


@asset
def summary(positive: pl.LazyFrame) -> dict[str, int]:
    return positive.select(pl.len().alias("rows"), pl.col("value").max().alias("most")).collect().row(0, named=True)


@asset
def export(ctx: Any, positive: Path) -> Any:
    """Writes its output itself; FlowStone records where it is and what it was."""
    shutil.copy(positive, "export.parquet")
    return ctx.written("export.parquet")


pipeline = Pipeline("weather", [pages, readings, positive, summary, export])

if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), FlowStone(pipeline, home=".flowstone") as flow:
        asyncio.run(flow.arun()).raise_if_failed()
        print(flow.get("pages"), flow.get("summary"))
        print("first piece:", next(flow.get("readings", as_=Iterator[pl.DataFrame])).shape)
        print("export:", flow.get("export").name, flow.explain("export").output.manager)
