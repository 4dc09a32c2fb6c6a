"""A small project with two runs behind it, and the command line in this process."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from flowstone import FlowStone
from flowstone.app.pipelines import load_pipeline
from flowstone.cli.grammar import Given
from flowstone.cli.main import execute
from flowstone.cli.session import find

PIPELINE = '''
from pathlib import Path
from flowstone import Daily, Pipeline, Retry, asset, source

HERE = Path(__file__).parent
tries = []


def version():
    return (HERE / "orders.txt").read_text()


@asset(source=True, version=version, owners=["sales"])
def orders(ctx):
    """What was ordered."""
    ctx.log.warning("careful \\x1b[31m password=abc")
    ctx.log.info("three of them")
    print("printed")
    ctx.summary("3 orders")
    return [1, 2, 3]


@asset(retries=Retry(attempts=3, delay=0.001))
def total(orders):
    tries.append(1)
    if len(tries) == 1:
        raise TimeoutError("slow")
    return {"sum": sum(orders)}


@asset
def broken(total):
    raise ValueError("no\\nsuch thing")


@asset
def behind(broken):
    return 1


@asset
def skipper(ctx):
    ctx.skip("nothing to do")


@asset
def note(total, broken=None):
    return "one\\ntwo"


@asset
def blob():
    return b"\\x00\\xff"


rates = source("rates", version=lambda: "r1")


@asset(partitions=Daily("2020-01-01"))
def daily(ctx, orders):
    if (HERE / "down").exists():
        raise RuntimeError("down")
    return {"day": str(ctx.partition)}


pipeline = Pipeline("shop", [orders, total, broken, behind, skipper, note, blob, rates, daily])
'''


class Said(NamedTuple):
    """What a command line did."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one JSON object it printed."""
        return json.loads(self.out)

    @property
    def rows(self) -> list[Any]:
        """The JSON objects it printed, one a line."""
        return [json.loads(line) for line in self.out.splitlines()]


def materialize(folder: Path, *requests: dict[str, Any]) -> list[str]:
    """Run the project's pipeline once for each request and return the runs' ids."""
    found = find(Given(pipeline=str(folder / "pipeline.py")))
    loaded = load_pipeline(str(folder / "pipeline.py"), folder)
    with FlowStone(loaded, settings=found.settings, echo=lambda _: None) as flow:
        return [flow.run(**request).run_id for request in requests]


class Project(NamedTuple):
    """A folder with a pipeline and its runs."""

    folder: Path
    runs: list[str]


def make(folder: Path) -> Project:
    """Write the project into *folder* and run it: all of it, then one earlier day."""
    (folder / "pipeline.py").write_text(PIPELINE)
    (folder / "orders.txt").write_text("v1")
    return Project(folder, materialize(folder, {}, {"targets": "daily", "partition": "2020-02-03"}))


@pytest.fixture(autouse=True)
def _as_it_was():
    """Take back what loading a pipeline file and showing logs leave in a process."""
    root, path, loaded = logging.getLogger(), list(sys.path), sys.modules.get("pipeline")
    level = root.level
    yield
    root.setLevel(level)
    sys.path[:] = path
    sys.modules.pop("pipeline", None)
    if loaded is not None:
        sys.modules["pipeline"] = loaded


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    """The project that tests of one module only read."""
    path, project = list(sys.path), make(tmp_path_factory.mktemp("shop"))
    sys.path[:] = path
    return project


@pytest.fixture
def shop(kept, monkeypatch):
    """The read-only project, as the working directory."""
    monkeypatch.chdir(kept.folder)
    return kept


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A project that belongs to one test, as the working directory."""
    monkeypatch.chdir(tmp_path)
    return make(tmp_path)


@pytest.fixture
def cli(capsys):
    """A function that runs one command line in this process."""

    def run(*arguments: str) -> Said:
        capsys.readouterr()
        code = execute(arguments)
        said = capsys.readouterr()
        return Said(code, said.out, said.err)

    return run


@pytest.fixture(name="materialize")
def _materialize():
    """The function that runs a project's pipeline again."""
    return materialize
