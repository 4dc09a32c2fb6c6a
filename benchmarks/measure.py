"""How a figure is taken: repeated, the median quoted beside the spread, next to a floor measured in turn with it."""

from __future__ import annotations

import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, NamedTuple, TypeVar

from benchmarks.history import Shape


class Sizes(NamedTuple):
    """How much is measured."""

    repetitions: int = 5
    calls: int = 50_000
    chain: int = 200
    fan: int = 1_000
    steps: int = 1_000
    lines: int = 2_000
    graphs: tuple[int, ...] = (1_000, 10_000, 100_000)
    series: tuple[int, ...] = (1_000, 10_000)
    entries: tuple[int, ...] = (200_000, 1_000_000)
    history: Shape = Shape(assets=200, partitions=50, rounds=100)
    verbs: int | None = None
    """How many of the reading verbs; ``None``: all of them."""


FULL = Sizes()
TINY = Sizes(
    1,
    calls=20,
    chain=4,
    fan=5,
    steps=6,
    lines=5,
    graphs=(300,),
    series=(20,),
    entries=(300,),
    history=Shape(assets=42, partitions=2, rounds=2),
    verbs=2,
)


class Budget(NamedTuple):
    """What a figure may be at most: in its own unit, and as a ratio to its floor."""

    most: float
    ratio: float | None = None

    def text(self, unit: str) -> str:
        """The budget as people read it."""
        return f"{self.most:g} {unit}" + (f", {self.ratio:g}x" if self.ratio else "")


T = TypeVar("T", bound=float)


class Took(float):
    """How long something took, and in ``cpu`` how much of a core it used meanwhile, children that have ended included."""

    cpu: float


def beyond(taken: Sequence[Took], base: Sequence[Took]) -> list[Took]:
    """What each of *taken* took more than its counterpart of *base*."""
    more = []
    for one, other in zip(taken, base, strict=True):
        took = Took(one - other)
        took.cpu = one.cpu - other.cpu
        more.append(took)
    return more


def stopwatch(scale: float) -> Callable[[], Took]:
    """Begin to measure; the function that is returned says what it took since, in seconds times *scale*."""
    wall, cpu = time.perf_counter(), _cpu()

    def stop() -> Took:
        took = Took((time.perf_counter() - wall) * scale)
        took.cpu = (_cpu() - cpu) * scale
        return took

    return stop


def _cpu() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


class Bench:
    """Takes figures of one size and keeps them; everything it writes goes to *folder*."""

    def __init__(self, sizes: Sizes, folder: Path, *, say: Callable[[str], None] = print) -> None:
        self.sizes, self.folder, self._say = sizes, folder, say
        self.figures: list[dict[str, Any]] = []
        self._since = _busy_and_own()

    def scratch(self) -> Path:
        """A new folder; it stays until the whole run has ended, because deleting files makes creating the next ones slower."""
        return Path(mkdtemp(dir=self.folder))

    def alternating(self, *measures: Callable[[], T], most: int | None = None) -> list[list[T]]:
        """Take the figures in turn, as often as the sizes say (and *most*), after one of each that does not count."""
        for measure in measures:
            measure()
        repetitions = min(most or self.sizes.repetitions, self.sizes.repetitions)
        rounds = [[measure() for measure in measures] for _ in range(repetitions)]
        return [list(taken) for taken in zip(*rounds, strict=True)]

    def report(
        self,
        case: str,
        unit: str,
        taken: Sequence[float],
        *,
        floor: Sequence[float] | None = None,
        floor_is: str = "",
        budget: Budget | None = None,
        **more: Any,
    ) -> None:
        """Print one JSON line: the median of *taken*, its spread, and the median of the pairwise ratios to *floor*."""
        line: dict[str, Any] = {
            "case": case, "unit": unit, "median": short(statistics.median(taken)),
            "min": short(min(taken)), "max": short(max(taken)), "n": len(taken),
        }  # fmt: skip
        if floor is not None:
            ratio = statistics.median(a / b for a, b in zip(taken, floor, strict=True))
            line |= {"floor": short(statistics.median(floor)), "ratio": short(ratio), "floor_is": floor_is}
        if isinstance(taken[0], Took):
            line["cpu"] = short(statistics.median(took.cpu for took in taken))
            if floor is not None and isinstance(floor[0], Took):
                line["cpu_ratio"] = short(statistics.median(a.cpu / b.cpu for a, b in zip(taken, floor, strict=True) if b.cpu))
        if budget is not None:
            within = line["median"] <= budget.most and (budget.ratio is None or line["ratio"] <= budget.ratio)
            line |= {"budget": budget.text(unit), "met": within}
        line |= {**more, "others": self._others(), "spin_ms": short(spin_ms())}
        self.figures.append(line)
        self._say(json.dumps(line))

    def _others(self) -> float:
        """How many cores other processes kept busy since the last figure."""
        before, self._since = self._since, _busy_and_own()
        busy, own, wall = (now - then for now, then in zip(self._since, before, strict=True))
        return round(max(0.0, busy - own) / max(wall, 0.001), 2)


def short(value: float) -> float:
    """The value to four digits: the noise allows no more."""
    return float(f"{value:.4g}")


def per_call(function: Callable[[], object], number: int) -> float:
    """Microseconds of one call, over *number* calls, in time of the core: what other processes do meanwhile does not count."""
    loop = range(number)
    started = time.process_time_ns()
    for _ in loop:
        function()
    return (time.process_time_ns() - started) / number / 1000


def spin_ms() -> float:
    """Milliseconds of a fixed loop, in time of the core: how fast it is right now."""
    started, total = time.process_time(), 0
    for i in range(200_000):
        total += i
    return (time.process_time() - started) * 1000


def _busy_and_own() -> tuple[float, float, float]:
    """Seconds all cores were busy, seconds this process and its ended children used, and the wall time."""
    ticks = os.sysconf("SC_CLK_TCK")
    with open("/proc/stat", encoding="ascii") as file:
        user, nice, system = (int(word) / ticks for word in file.readline().split()[1:4])
    own = os.times()
    used = own.user + own.system + own.children_user + own.children_system
    return user + nice + system, used, time.perf_counter()


def process(code: str, *arguments: str, **environment: str) -> str:
    """Run *code* in a Python process of its own and return what it printed."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}  # or imports compile
    command = [sys.executable, "-c", code, *arguments]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, env={**inherited, **environment})
    if ended.returncode:
        raise RuntimeError(f"{code[:200]!r} ended with {ended.returncode}: {ended.stderr[-2000:]}")
    return ended.stdout


def process_ms(code: str, *arguments: str) -> Took:
    """Milliseconds of a whole Python process that runs *code*."""
    stop = stopwatch(1000)
    process(code, *arguments)
    return stop()
