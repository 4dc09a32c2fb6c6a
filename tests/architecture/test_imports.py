"""What importing FlowStone may load: a pipeline file must open fast, whatever it will do later."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

HEAVY = [
    "alembic", "click", "matplotlib", "numpy", "opentelemetry", "pandas", "polars", "prometheus_client", "psycopg", "pyarrow",
    "pytest",
    "rich", "sqlalchemy", "structlog",
]  # fmt: skip

STATEMENTS = {
    "the package": "import flowstone",
    "a pipeline file": "from flowstone import GiveUp, Daily, Keys, Output, Pipeline, Retry, RetryLater, Static, asset, "
    "latest_before, source",
}


@pytest.mark.parametrize("statement", STATEMENTS.values(), ids=STATEMENTS)
def test_nothing_heavy_is_loaded(statement):
    """Neither the package nor what a pipeline file needs of it loads a database, a terminal, a frame or a telemetry library."""
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted({{name.split('.')[0] for name in sys.modules}})))"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert sorted(set(HEAVY) & set(json.loads(done.stdout))) == []


def test_only_who_shows_metrics_loads_a_server(house):
    """Of the verbs only ``flowstone metrics``, and what ``run --metrics`` asks for, loads the web server and the exposition."""
    verbs = [module.name for module in house if module.room == "flowstone.cli" and not module.is_package]
    names = [name.removeprefix("src/").removesuffix(".py").replace("/", ".") for name in verbs]
    light = sorted(set(names) - {"flowstone.cli.metrics", "flowstone.cli.exporting"})
    heavy = ("http.server", "prometheus_client")
    code = f"import sys, {', '.join(light)}\nprint([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=False)

    assert len(light) > 20
    assert (done.stdout, done.stderr) == ("[]\n", "")
