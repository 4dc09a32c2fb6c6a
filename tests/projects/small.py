"""A small pipeline whose child process can be told to die, with the process that started it, at one of its own changes."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from dying import counting, over_files
from shaken import gate, note, place_of, step

from flowstone import Pipeline, Retry, asset, source


@step
def orders(ctx, gate: str) -> list[int]:
    print("ordered")
    return [1, 2]


@step(retries=Retry(attempts=3, delay=0))
def total(ctx, orders: list[int]) -> int:
    if ctx.attempt == 1:
        raise TimeoutError("the first time")
    return sum(orders)


@asset(code_version="1")
def report(ctx, total: int, rates: Any = None) -> Iterator[str]:
    note("begin", *place_of(ctx))
    yield f"{total}\n"
    note("end", *place_of(ctx))


pipeline = Pipeline("small", [source("rates", version=lambda: "r1"), orders, total, report], resources=[gate])
REPORT = "3\n"


def _arm(at: int) -> None:
    """Let the first child process of all die at its *at*-th moment."""
    try:
        os.close(os.open(f"{os.environ['SHAKEN_NOTES']}.armed", os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return
    around = counting(at, lambda: [os.getppid()])
    over_files(around)
    Connection.send_bytes = around(Connection.send_bytes)  # type: ignore[method-assign]


if "SHAKEN_CHILD_AT" in os.environ and sys.modules["__main__"].__spec__ is not None:  # a child: it was started with -m
    _arm(int(os.environ["SHAKEN_CHILD_AT"]))
