"""The page ``docs/performance.md``, written from the figures that were kept: it cannot say what was not measured."""

from __future__ import annotations

import json
import os
import platform
import re
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
DOCS = HERE.parent / "docs"
KEPT, PAGE, PEERS = DOCS / "performance.json", DOCS / "performance.md", HERE / "peers.json"

READING = (
    "most of it is the start of Python and imports (0.3 to 0.4 s on this machine, whatever the verb), and it takes as long on a "
    "store with one run: see the ratio"
)
WHY = {
    "no-op step, memory IO": (
        "sampled, about 140 us of it is SQLite: commit 85, statements 36, rows added together 19. The rest is spread over six "
        "events built, encoded and shown, binding, the body's spans, deciding, scheduling and the records of a claim."
    ),
    "no-op step, memory IO, audited": (
        "by hand its statements take about 45 us of a core more than those without audit: the entry, its key and two "
        "indexes are four more pages of each commit. Making the entry takes 10 to 20 us, sealing it about 10. The rest is "
        "what a step without audit takes."
    ),
    "emit to one handler": (
        "two readings of the clock, counting, and the depth of handlers that emit. Without them nobody would find a handler that "
        "hangs or fails."
    ),
    "first step of 1,000": (
        "planning takes 5 ms, reading the 1,000 current outputs 4, the transactions that record the request, the plan and the "
        "start 4, opening eight read transactions 3; one full collection of garbage in it costs 40 to 60 more."
    ),
    "peak memory of a run of 1,000 steps": (
        "imports are 51 MB of it (SQLAlchemy alone 28), signing the log loads OpenSSL and takes 8, and each step adds 9 kB, of "
        "which up to 6 are Python's objects, its description first of all."
    ),
    "file IO adds, folder exists": "creating and renaming a file by hand is most of it: see the floor.",
}
"""Why a budget is missed, by case, where it is missed on a machine that had nothing else to do."""
BUSY = 0.3  # cores that others used, from which on a miss says nothing
UNEXPLAINED = "not explained yet"

TITLES = {
    "dispatch": "Events, spans and captured lines",
    "logs": "Log lines",
    "step": "A step",
    "executors": "Runs by executor and IO manager",
    "graph": "Building and planning",
    "process": "Processes and memory",
    "reading": "Questions on a long history",
    "postgres": "PostgreSQL",
    "telemetry": "OpenTelemetry",
    "scrape": "Metrics",
    "audit": "The audit log",
    "writers": "The audit log with many writers",
}

INTRO = """<!-- Written by `python -m benchmarks --write` from docs/performance.json: measure again instead of editing. -->

# What FlowStone costs

Every figure here was measured by `python -m benchmarks`, on {machine}. Run it yourself:

```sh
make bench                                    # every group; prints JSON lines; takes about {minutes} minutes
python -m benchmarks step executors           # some groups: {groups}
python -m benchmarks --write                  # keeps the figures in docs/performance.json and writes this page
```

## How to read the figures

- A figure is the **median** of *n* repetitions; the spread is their smallest and greatest. A first repetition is thrown away.
- The **floor** is the least that could do the work, or the same work at its smallest, measured in turn with the figure in the
  same minutes. The **ratio** is the median of the pairwise ratios. Another machine, or a busy one, has other microseconds and
  about the same ratios: compare those first.
- Noise: `others` in docs/performance.json says how many cores other processes kept busy meanwhile ({others} here), `spin_ms` what
  a fixed loop took ({spin} ms here). The same code differs by up to 1.8x from one minute to the next, so a difference below that
  between two tables is noise unless the ratios differ as well. Where *cpu* is given, it is what the processes themselves used.
- Nothing is deleted while a run measures: creating files is slower after files were deleted.
- No figure fails a build. That the harness works is tested, with tiny sizes.
"""

PEERS_INTRO = """## Beside the peers

The peers were measured once, with scripts of their own, on the same kind of machine: {machine}. They were *not* measured in
the same minutes as FlowStone, and they do different work for "a step": *record* says what is left of one afterwards. FlowStone
leaves a claimed and settled attempt, the exact inputs, every event, and a version that survives `kill -9`. Shapes: a chain of 200
no-op steps; a fan of 1,000 (a root, 998 steps behind it, a step that takes all of them). Microseconds a step over the whole run.

To run the peers again: one virtual environment each with the version named here, byte-compiled, everything pinned to one core
(`taskset -c 0`; FlowStone was not), three repetitions in fresh processes, console logging at the peer's default level to the null
device. Their scripts, raw notes and pitfalls stand with the project's shared design material (`bench/README.md` there), not in
this repository.
"""


def keep(group: str, figures: list[dict[str, Any]]) -> None:
    """Put the figures of a group in the place of those that were kept."""
    kept = load() if KEPT.exists() else {"groups": {}}
    kept["machine"] = machine()
    kept["groups"][group] = {"date": datetime.now(UTC).date().isoformat(), "figures": figures}
    KEPT.write_text(json.dumps(kept, indent=1) + "\n", encoding="utf-8")


def load() -> dict[str, Any]:
    """What was kept."""
    return dict(json.loads(KEPT.read_text(encoding="utf-8")))


def write() -> None:
    """Write the page."""
    PAGE.write_text(render(load(), json.loads(PEERS.read_text(encoding="utf-8"))), encoding="utf-8")


def machine() -> dict[str, str]:
    """The machine, without its name."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    device, kind = _disk(Path.cwd())
    spins = {"0": "solid state", "1": "rotating"}.get(device, device or "unknown")
    return {
        "cores": f"{os.cpu_count()} cores ({model[1].strip() if model else platform.machine()})",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": f"SQLite {sqlite3.sqlite_version}",
        "disk": f"{kind} on a {spins} disk",
        "system": f"{platform.system()} {platform.machine()}",
    }


def _disk(path: Path) -> tuple[str, str]:
    """Whether the disk under *path* rotates (``0``, ``1``), is ``virtual`` or unknown, and its file system."""
    mounts = [line.split() for line in Path("/proc/mounts").read_text(encoding="utf-8").splitlines()]
    under = max((words for words in mounts if path.is_relative_to(words[1])), key=lambda words: len(words[1]))
    name = Path(under[0]).name
    if name.startswith(("vd", "xvd")):
        return "virtual", under[2]
    block = Path("/sys/class/block", name)
    for folder in (block, block.resolve().parent):
        rotational = folder / "queue" / "rotational"
        if rotational.exists():
            return rotational.read_text(encoding="ascii").strip(), under[2]
    return "", under[2]


def render(kept: dict[str, Any], peers: dict[str, Any]) -> str:
    """The page's text."""
    groups = {name: kept["groups"][name] for name in TITLES if name in kept["groups"]}
    figures = [figure for group in groups.values() for figure in group["figures"]]
    spins = sorted(figure["spin_ms"] for figure in figures)
    others = sorted(figure["others"] for figure in figures)
    told = ", ".join(kept["machine"].values())
    parts = [
        INTRO.format(
            machine=told,
            minutes=10,
            groups=", ".join(TITLES),
            spin=f"{spins[0]:.1f} to {spins[-1]:.1f}",
            others=f"{others[0]:.1f} to {others[-1]:.1f}",
        ),
        _budgets(figures),
        PEERS_INTRO.format(machine=peers["machine"]) + "\n" + _beside(figures, peers),
        *(f"## {TITLES[name]}\n\nMeasured on {group['date']}.\n\n{_table(group['figures'])}" for name, group in groups.items()),
    ]
    return "\n".join(parts)


def _budgets(figures: list[dict[str, Any]]) -> str:
    rows = [
        (f["case"], _with_unit(f["median"], f["unit"]), f"{f['ratio']:g}x {f['floor_is']}" if "ratio" in f else "", f["budget"],
         "met" if f["met"] else "**missed**")
        for f in figures if "budget" in f
    ]  # fmt: skip
    over = [f for f in figures if f.get("met") is False]
    text = "".join(f"- **{f['case']}**: {_reason(f)}\n" for f in over)
    reasons = f"\nWhere a budget is missed, and why:\n\n{text}" if over else "\nEvery budget is met.\n"
    return f"## Budgets\n\n{_rows(('what', 'median', 'ratio to the floor', 'budget', ''), rows)}{reasons}"


def _reason(figure: dict[str, Any]) -> str:
    """Why the figure is over its budget."""
    text = WHY.get(figure["case"], READING if figure["case"].startswith("flowstone ") else "")
    if figure["others"] > BUSY:
        cpu = f"; the work itself took {_with_unit(figure['cpu'], figure['unit'])} of a core" if "cpu" in figure else ""
        busy = f"other processes kept {figure['others']:.1f} of the cores busy meanwhile{cpu}: measure again on a quiet machine"
        text = f"{busy}. {text}".strip().rstrip(".") + "."
    return text or UNEXPLAINED


def _beside(figures: list[dict[str, Any]], peers: dict[str, Any]) -> str:
    ours = {figure["case"]: figure["median"] for figure in figures}
    return (
        _rows(("", "record", "chain of 200, us/step", "fan of 1,000, us/step"), _steps(ours, peers["steps"]))
        + "\nDeclaring, validating and planning a graph (100 wide, two dependencies each), seconds:\n\n"
        + _rows(("", "1,000", "10,000"), _graphs(ours, peers["graphs"]))
        + "\nFrom the call that runs to the first line of user code, warm:\n\n"
        + _rows(("", "milliseconds"), _pairs("FlowStone, chain of 1,000", ours.get("first step of 1,000"), peers["first"], "ms"))
        + "\nA process that only imports, and what it holds in memory:\n\n"
        + _rows(("", "ms", "MB"), _imports(figures, peers["imports"]))
    )


def _steps(ours: dict[str, float], peers: list[dict[str, Any]]) -> Iterable[tuple[str, ...]]:
    for io in ("memory", "files"):
        for executor in ("inline", "thread", "process"):
            chain, fan = (ours.get(f"{shape}, {io}, {executor}") for shape in ("chain of 200", "fan of 1,000"))
            if chain is not None and fan is not None:
                yield f"**FlowStone**, {io}, {executor}", "everything, in SQLite", _number(chain), _number(fan)
    for row in peers:
        note = f" ({row['note']})" if "note" in row else ""
        fan_figure = _number(row["fan"]) if "fan" in row else ""
        yield f"{row['peer']}, {row['case']}{note}", row["record"], _number(row["chain"]), fan_figure


def _graphs(ours: dict[str, float], peers: list[dict[str, Any]]) -> Iterable[tuple[str, ...]]:
    both = [[ours.get(f"{what} {size} assets") for what in ("build and validate", "plan")] for size in ("1,000", "10,000")]
    yield "**FlowStone**", *("" if None in pair else _number(sum(filter(None, pair))) for pair in both)
    for row in peers:
        yield row["peer"], _number(row["1000"]), _number(row["10000"])


def _pairs(name: str, value: float | None, peers: list[dict[str, Any]], field: str) -> Iterable[tuple[str, ...]]:
    if value is not None:
        yield f"**{name}**", _number(value)
    for row in peers:
        yield f"{row['peer']}, {row['case']}", _number(row[field])


def _imports(figures: list[dict[str, Any]], peers: list[dict[str, Any]]) -> Iterable[tuple[str, ...]]:
    ours = next((f for f in figures if f["case"].startswith("import flowstone")), None)
    memory = next((f for f in figures if f["case"].startswith("peak memory")), None)
    if ours is not None and memory is not None:
        yield (
            "**flowstone** (memory: with the engine loaded)",
            _number(ours["median"] + ours["floor"]),
            _number(memory["imported"]),
        )
    for row in peers:
        yield row["peer"], _number(row["ms"]), _number(row["mb"])


def _table(figures: list[dict[str, Any]]) -> str:
    rows = [
        (
            f["case"],
            _with_unit(f["median"], f["unit"]),
            f"{_number(f['min'])} to {_number(f['max'])}",
            str(f["n"]),
            _number(f["cpu"]) if "cpu" in f else "",
            f"{_number(f['floor'])} ({f['floor_is']})" if "floor" in f else "",
            f"{f['ratio']:g}" if "ratio" in f else "",
        )
        for f in figures
    ]
    return _rows(("what", "median", "spread", "n", "cpu", "floor", "ratio"), rows)


def _rows(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)


def _with_unit(value: float, unit: str) -> str:
    return f"{_number(value)} {unit}"


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"
