"""A pipeline to be killed in: diamonds, a retry, a partition, a limited resource, printed lines, a streamed file, skips.

Every body notes when it begins and when it ends, in the file that SHAKEN_NOTES names, so that it can be told afterwards which
code ran, how often, and beside what.
"""

from __future__ import annotations

import functools
import itertools
import os
import time
from collections.abc import Callable, Iterator
from typing import Any

from flowstone import Event, Pipeline, Retry, Static, asset, event, resource, source

PAUSE = 0.002  # seconds in each body, and between pieces of the stream
LANES = "abcd"
PIECES = 8


@event("shaken.counted")
class Counted(Event, frozen=True):
    """An asset of this pipeline has counted something."""

    asset: str
    number: int


def note(*words: object) -> None:
    """Append a line in one write, which no kill can halve."""
    descriptor = os.open(os.environ["SHAKEN_NOTES"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, (" ".join(map(str, words)) + "\n").encode())
    finally:
        os.close(descriptor)


def place_of(ctx: Any) -> tuple[object, ...]:
    """The attempt that is running."""
    return ctx.run_id, ctx.asset, ctx.partition or "-", ctx.attempt


def noted(body: Callable[..., Any]) -> Callable[..., Any]:
    """*body*, which takes ``ctx``, noting its begin and its end."""

    @functools.wraps(body)
    def wrapped(ctx: Any, **inputs: Any) -> Any:
        note("begin", *place_of(ctx))
        time.sleep(PAUSE)
        made = body(ctx, **inputs)
        note("end", *place_of(ctx))
        return made

    return wrapped


def step(body: Callable[..., Any] | None = None, **options: Any) -> Any:
    """An asset of a noted body."""
    if body is None:
        return lambda given: step(given, **options)
    return asset(code_version="1", **options)(noted(body))


@resource(limit=1)
def gate() -> str:
    """What one attempt may hold at a time."""
    return "gate"


@step
def seed(ctx) -> int:
    return 1


def lane(letter: str) -> list[Any]:
    """A diamond: one value, two made of it, and one made of both."""

    @step(name=f"left_{letter}")
    def left(ctx, seed: int) -> int:
        return seed + 1

    @step(name=f"right_{letter}")
    def right(ctx, seed: int) -> int:
        return seed * 10

    @step(name=f"join_{letter}", deps={"left": left, "right": right})
    def join(ctx, left: int, right: int) -> int:
        return left + right

    return [left, right, join]


def guarded(number: int) -> Any:
    @step(name=f"guarded_{number}")
    def body(ctx, gate: str, seed: int) -> int:
        return seed + number

    return body


@step(retries=Retry(attempts=3, delay=0))
def flaky(ctx, seed: int) -> str:
    """Fails the first time it is tried, and never again."""
    if ctx.attempt == 1:
        raise TimeoutError("the first time")
    return "made"


@step
def chatty(ctx, seed: int) -> str:
    print("first line")
    ctx.log.warning("second line")
    ctx.emit(Counted, asset=ctx.asset, number=2)
    return "said"


@asset(code_version="1")
def streamed(ctx, seed: int) -> Iterator[str]:
    note("begin", *place_of(ctx))
    for number in range(PIECES):
        time.sleep(PAUSE)
        yield f"piece {number}\n"
    note("end", *place_of(ctx))


@step
def measured(ctx, streamed: str) -> int:
    return streamed.count("\n")


@step(partitions=Static(["mon", "tue"]))
def daily(ctx, seed: int) -> str:
    return f"{ctx.partition} {seed}"


@step(partitions=Static(["mon", "tue"]))
def report(ctx, daily: str, flaky: str) -> str:
    return f"{daily} {flaky}"


@step
def unwanted(ctx, seed: int) -> None:
    ctx.skip("nobody wants it")


@step
def indifferent(ctx, unwanted: int = 7) -> int:
    return unwanted


rates = source("rates", version=lambda: "r1")
lanes = list(itertools.chain.from_iterable(map(lane, LANES)))
guards = [guarded(number) for number in range(3)]
joins = {f"join_{letter}": f"join_{letter}" for letter in LANES}


@step(deps={**{name: name for name in joins}, "guarded_2": guards[2]}, after=[rates])
def total(ctx, join_a, join_b, join_c, join_d, measured, indifferent, guarded_2, chatty) -> list[Any]:
    return [join_a + join_b + join_c + join_d, measured, indifferent, guarded_2, chatty]


TOTAL = [48, PIECES, 7, 3, "said"]
REPORT = "mon 1 made"

pipeline = Pipeline(
    "shaken",
    [
        seed, *lanes, *guards, flaky, chatty, streamed, measured, daily, report, unwanted, indifferent, rates, total,
    ],
    resources=[gate],
)  # fmt: skip
