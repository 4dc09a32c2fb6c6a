"""The verbs that read, each in a process of its own, on a store with a long history; the floor is the same on one run."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path

from benchmarks import history
from benchmarks.measure import Bench, Budget, process_ms
from benchmarks.processes import VERB
from flowstone import FlowStone

BOUNDED = Budget(500)  # milliseconds
SHORT = 1  # rounds, of one partition


def measure(bench: Bench) -> None:
    """Every reading verb, and ``explain`` and ``status`` also of one partition that is long past."""
    long, few = bench.scratch(), bench.scratch()
    started = time.perf_counter()
    history.build(long, bench.sizes.history)
    built = time.perf_counter() - started
    history.build(few, bench.sizes.history._replace(partitions=1, rounds=SHORT))
    number = bench.sizes.history.materializations
    size = (long / "flowstone.db").stat().st_size
    bench.report(f"history of {number:,} materializations, to build", "s", [built], bytes_each=round(size / number))
    subjects = {home: _subjects(home) for home in (long, few)}
    for verb, budget in _verbs(bench.sizes.history.assets - 1)[: bench.sizes.verbs]:
        commands = [(home, [word.format_map(names) for word in verb.split()]) for home, names in subjects.items()]
        measures = [partial(_verb, home, words) for home, words in commands]
        taken, floor = bench.alternating(*measures, most=3)
        bench.report(f"flowstone {verb}", "ms", taken, floor=floor, floor_is="the same on one run", budget=budget)


def _verbs(last: int) -> list[tuple[str, Budget | None]]:
    bounded = [
        "status", f"explain a{last}", "status --json", f"status a{last}", "status --partition {day}",
        "runs", "runs --status failed", "show {run}", "show {run} --json", "show {output}",
        f"explain a{last} --json", f"explain a{last} --partition {{day}}",
        f"lineage a{last}", f"lineage a{last} --json", "lineage a0 --downstream", "lineage a0 --impact",
        "errors", f"errors --each --asset a{last}", "errors --json",
        "events", "events --json", "events --run {run}", f"events --asset a{last}",
        "logs {run}", "outputs list", f"outputs list a{last}",
    ]  # fmt: skip
    return [*((verb, BOUNDED) for verb in bounded), ("doctor", None), ("db info", None)]


def _subjects(home: Path) -> dict[str, str]:
    """What the verbs are asked about: the newest run, one of its outputs, and the first day."""
    with FlowStone(home=home, project=history.PROJECT) as flow:
        (run,) = flow.runs(limit=1)
        return {"run": run.id, "output": flow.show(run.id).outputs[0].id, "day": history.FIRST_DAY.isoformat()}


def _verb(home: Path, words: list[str]) -> float:
    return process_ms(VERB, "--home", str(home), "--project", history.PROJECT, *words)
