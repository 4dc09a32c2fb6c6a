"""How a figure is taken: repeated, the median quoted beside the spread, next to a floor measured in turn with it."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

REPETITIONS = 5


def report(case: str, unit: str, taken: list[float], *, floor: list[float] | None = None, budget: str = "", **more: Any) -> None:
    """Print one JSON line: the median of *taken*, its spread, and the median of the pairwise ratios to *floor*."""
    line: dict[str, Any] = {
        "case": case,
        "unit": unit,
        "median": _short(statistics.median(taken)),
        "min": _short(min(taken)),
        "max": _short(max(taken)),
        "n": len(taken),
    }
    if floor is not None:
        line["floor"] = _short(statistics.median(floor))
        line["ratio"] = round(statistics.median(a / b for a, b in zip(taken, floor, strict=True)), 2)
    print(json.dumps({**line, **({"budget": budget} if budget else {}), **more}), flush=True)


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def per_call(function: Callable[[], object], number: int) -> float:
    """Microseconds of one call, over *number* calls."""
    loop = range(number)
    started = time.perf_counter_ns()
    for _ in loop:
        function()
    return (time.perf_counter_ns() - started) / number / 1000


def alternating(
    first: Callable[[], float], second: Callable[[], float], repetitions: int = REPETITIONS
) -> tuple[list[float], list[float]]:
    """Take both figures in turn, *repetitions* times, after one of each that does not count."""
    first(), second()
    pairs = [(first(), second()) for _ in range(repetitions)]
    return [pair[0] for pair in pairs], [pair[1] for pair in pairs]


def process_ms(code: str, *flags: str) -> float:
    """Milliseconds of a whole Python process that runs *code*."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # or imports compile
    started = time.perf_counter()
    subprocess.run([sys.executable, *flags, "-c", code], check=True, stdout=subprocess.DEVNULL, env=environment)
    return (time.perf_counter() - started) * 1000


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder on the disk the benchmark is run from: the system's temporary folder may be memory."""
    with TemporaryDirectory(prefix=".bench-", dir=Path.cwd()) as folder:
        yield Path(folder)
