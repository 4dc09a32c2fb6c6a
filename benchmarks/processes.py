"""What a whole process costs: importing, ``--help``, a reading verb, and the memory of a run."""

from __future__ import annotations

import json
from statistics import median

from benchmarks.graphs import chain
from benchmarks.measure import Bench, Budget, beyond, process, process_ms
from flowstone import FlowStone

VERB = """
import sys
from flowstone.cli.main import main
sys.argv[0] = "flowstone"
try:
    main()
except SystemExit as ended:
    if ended.code not in (0, None):
        raise
"""
PEAK = """
import re
def peak():
    return int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) / 1024
"""
RUN = (
    PEAK
    + """
import json, sys
before = peak()
from flowstone import FlowStone
from benchmarks.graphs import chain
imported = peak()
with FlowStone(chain(int(sys.argv[2]), "memory"), home=sys.argv[1]) as flow:
    flow.run().raise_if_failed()
print(json.dumps([before, imported, peak()]))
"""
)


def measure(bench: Bench) -> None:
    """Importing FlowStone, ``--help`` and a reading verb, as whole processes against bare Python; then memory."""
    home = bench.scratch()
    with FlowStone(chain(3, "files"), home=home, project="bench") as flow:
        flow.run().raise_if_failed()
    reading = ("--home", str(home), "--project", "bench", "runs")
    for case, budget, code, arguments in (
        ("import flowstone, over bare Python", Budget(80), "import flowstone", ()),
        ("flowstone --help", Budget(150), VERB, ("--help",)),
        ("a reading verb (runs), small store", Budget(500), VERB, reading),
    ):
        taken, floor = bench.alternating(
            lambda code=code, arguments=arguments: process_ms(code, *arguments), lambda: process_ms("pass")
        )
        over = beyond(taken, floor)
        shown = over if "over bare" in case else taken
        bench.report(case, "ms", shown, floor=floor, floor_is="bare Python", budget=budget, over_bare=round(median(over), 1))
    _memory(bench)


def _memory(bench: Bench) -> None:
    """The most memory a run holds, absolute and over bare Python."""
    times, size = min(3, bench.sizes.repetitions), str(bench.sizes.steps)
    peaks = [json.loads(process(RUN, str(bench.scratch()), size)) for _ in range(times)]
    bare, imported, most = ([peak[i] for peak in peaks] for i in range(3))
    bench.report(
        f"peak memory of a run of {bench.sizes.steps:,} steps", "MB", most, floor=bare, floor_is="bare Python", budget=Budget(70),
        imported=round(median(imported), 1), over_bare=round(median(a - b for a, b in zip(most, bare, strict=True)), 1),
    )  # fmt: skip
