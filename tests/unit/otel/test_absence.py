"""Where OpenTelemetry is not installed, or nobody asks for it, none of it is loaded and nothing is missed."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

PROGRAM = """
import sys
if {blocked}:
    class Refuse:
        def find_spec(self, name, *more):
            if name.partition(".")[0] == "opentelemetry":
                raise ImportError(f"no {{name}}", name=name)
    sys.meta_path.insert(0, Refuse())
from flowstone import FlowStone, Pipeline, asset
said = []
@asset
def orders(ctx):
    said.append((ctx.trace_id, ctx.traceparent))
    return 1
with FlowStone(Pipeline("shop", [orders]), home=":memory:") as flow:
    flow.export_telemetry()
    assert flow.run().ok
    assert len(said[0][0]) == 32 and said[0][1] == f"00-{{said[0][0]}}-{{said[0][1][36:52]}}-01"
print(sorted(name for name in sys.modules if name.partition(".")[0] in ("opentelemetry", "grpc")))
"""


def program(*, blocked, **variables):
    """Run the program in a process of its own, with only these variables of OpenTelemetry."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "TRACE"))}
    command = [sys.executable, "-c", PROGRAM.format(blocked=blocked)]
    return subprocess.run(command, env=kept | variables, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("blocked", [True, False])
def test_a_run_loads_nothing_of_it(blocked):
    """A whole run, with bodies that ask for their trace, imports no module of OpenTelemetry, installed or not."""
    done = program(blocked=blocked)

    assert (done.stdout, done.returncode) == ("[]\n", 0), done.stderr


def test_where_it_is_asked_for_it_is_named():
    """With a variable that asks for an export and no OpenTelemetry, the command line says what to install."""
    done = program(blocked=True, OTEL_TRACES_EXPORTER="otlp")

    assert "is not installed" in done.stderr
    assert "pip install 'flowstone[otel]'" in done.stderr
