"""Shapes of pipelines, as the peers' benchmarks have them, and what building and planning them costs."""

from __future__ import annotations

import itertools
import time
from typing import Any

from benchmarks.measure import Bench, Budget
from flowstone import FlowStone, Pipeline, asset

WIDE = 100  # assets of one layer


def first(runs: itertools.count[int]) -> Any:
    """A body that counts its runs, so that no run makes the bytes of another."""
    return lambda: next(runs)


def following(x: int) -> int:
    """Add one."""
    return x + 1


def chain(length: int, io: str) -> Pipeline:
    """n0 counts its runs, each next one adds 1."""
    assets: list[Any] = [asset(name="n0", io=io)(first(itertools.count(1)))]
    assets += [asset(name=f"n{i}", deps={"x": f"n{i - 1}"}, io=io)(following) for i in range(1, length)]
    return Pipeline("chain", assets)


def fan(size: int, io: str) -> Pipeline:
    """One root, size - 2 assets that depend on it, one sink that takes all their values."""
    middle = {f"p{i}": f"m{i}" for i in range(size - 2)}
    sink: dict[str, Any] = {}
    exec(f"def total({', '.join(middle)}):\n    return sum(({', '.join(middle)},))", sink)
    assets: list[Any] = [asset(name="root", io=io)(first(itertools.count(1)))]
    assets += [asset(name=name, deps={"x": "root"}, io=io)(following) for name in middle.values()]
    return Pipeline("fan", [*assets, asset(name="sink", deps=middle, io=io)(sink["total"])])


def one() -> int:
    """A value."""
    return 1


def both(a: int, b: int) -> int:
    """Add two values."""
    return a + b


def layers(size: int) -> Pipeline:
    """Layers of 100, two dependencies an asset."""
    assets: list[Any] = [asset(name=f"a{i}", io="memory")(one) for i in range(WIDE)]
    for i in range(WIDE, size):
        deps = {"a": f"a{i - WIDE}", "b": f"a{i - WIDE + 1 if i % WIDE < WIDE - 1 else i - 2 * WIDE + 1}"}
        assets.append(asset(name=f"a{i}", deps=deps, io="memory")(both))
    return Pipeline("layers", assets)


def measure(bench: Bench) -> None:
    """Building with validation, and planning, at several sizes, in time of the core; a ratio tells whether it stays linear."""
    smallest: dict[str, list[float]] = {}
    budgets = {"build and validate": Budget(0.25), "plan": Budget(0.15)}
    for size in bench.sizes.graphs:
        taken: dict[str, list[float]] = {"build and validate": [], "plan": []}
        for _ in range(min(3, bench.sizes.repetitions)):
            started = time.process_time()
            pipeline = layers(size)
            taken["build and validate"].append(time.process_time() - started)
            with FlowStone(pipeline, home=":memory:") as flow:
                started = time.process_time()
                plan = flow._plan(None, None, deps=True)
                taken["plan"].append(time.process_time() - started)
                assert len(plan.steps) == size
        for what, seconds in taken.items():
            floor = [value * size / bench.sizes.graphs[0] for value in smallest.setdefault(what, seconds)]
            told = f"{bench.sizes.graphs[0]:,}, scaled"
            bench.report(
                f"{what} {size:,} assets",
                "s",
                seconds,
                floor=floor,
                floor_is=told,
                budget=budgets[what] if size == 10_000 else None,
            )
