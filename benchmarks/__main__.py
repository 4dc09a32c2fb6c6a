"""``python -m benchmarks [NAME ...] [--write] [--tiny]``: run the named groups, or all; ``--write`` keeps them for the page."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks import audit, dispatch, graphs, logs, page, postgres, processes, reading, scrape, steps, telemetry
from benchmarks.measure import FULL, TINY, Bench

GROUPS: dict[str, Callable[[Bench], None]] = {
    "dispatch": dispatch.measure,
    "logs": logs.measure,
    "step": steps.measure,
    "executors": steps.executors,
    "graph": graphs.measure,
    "process": processes.measure,
    "reading": reading.measure,
    "postgres": postgres.measure,
    "telemetry": telemetry.measure,
    "scrape": scrape.measure,
    "audit": audit.measure,
    "writers": audit.writers,
}


def main() -> None:
    """Measure, print, and keep."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="What FlowStone costs on this machine.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(GROUPS)}; default: all")
    parser.add_argument("--write", action="store_true", help="keep the figures in docs/performance.json and write the page")
    parser.add_argument("--tiny", action="store_true", help="sizes that only show that the harness works")
    asked = parser.parse_args()
    for name in asked.names:
        if name not in GROUPS:
            parser.error(f"unknown group {name!r}; known: {', '.join(GROUPS)}")
    with TemporaryDirectory(prefix=".bench-", dir=Path.cwd()) as folder:  # on this disk: the temporary folder may be memory
        os.environ["FLOWSTONE_STATE_HOME"] = str(Path(folder, "state"))  # keys of logs that go again
        for name in asked.names or GROUPS:
            bench = Bench(TINY if asked.tiny else FULL, Path(folder))
            GROUPS[name](bench)
            if asked.write:
                page.keep(name, bench.figures)
    if asked.write:
        page.write()


if __name__ == "__main__":
    main()
