"""Asynchronous, streaming and gathering bodies, and their resources, are the same in every executor."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import polars as pl
import pytest

from flowstone import FlowStone
from flowstone.app.pipelines import load_pipeline
from flowstone.foundation import settings
from flowstone.foundation.errors import UsageError

PROJECT = Path(__file__).parents[1] / "projects" / "bodies.py"
EXECUTORS = ("inline", "thread", "process")
DAY = date(2025, 3, 7)
TOKEN = "correct-horse"


@pytest.fixture
def flow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FlowStone]:
    monkeypatch.setenv("BODIES_SCRATCH", str(tmp_path))
    monkeypatch.setenv("BODIES_TOKEN", TOKEN)
    found = settings.load(start=tmp_path, variables={}, arguments={"home": str(tmp_path / "kept"), "project": "tests"})
    with FlowStone(load_pipeline(str(PROJECT), tmp_path), settings=found, echo=lambda text: None) as made:
        yield made


@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_kind_of_body_runs_everywhere(flow: FlowStone, executor: str) -> None:
    """An ``async def``, a gathered generator, a stream that is consumed and an own output give the same in each executor."""
    result = flow.run(["report"], partition=DAY, executor=executor).raise_if_failed()

    assert flow.get("report", partition=DAY) == f"{5 + 6 + 7 + 3 * len(TOKEN)} visits"
    assert flow.get("pieces", partition=DAY, as_=pl.DataFrame)["day"].to_list() == [date(2025, 3, day) for day in (5, 6, 7)]
    assert flow.explain("total", partition=DAY).output.manager == "external"
    opened = {line.message for line in flow.logs(result.run_id)}
    assert opened == {"the token is [redacted]"}
    assert flow.run(["report"], partition=DAY, executor=executor).materialized == ()


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_resource_that_is_down_is_told_everywhere(flow: FlowStone, executor: str) -> None:
    """The failure to open a resource has the same type and text in each executor, and its event reaches observers."""
    heard = []
    flow.attach("test", "flowstone.resource.failed", heard.append)
    (failed,) = flow.run(["needy"], executor=executor).failed

    assert failed.reason == "resource_unavailable"
    assert failed.message == "resource 'down' could not be opened: ConnectionError: refused"
    assert [(event.resource, event.during, event.type) for event in heard] == [("down", "open", "ConnectionError")]


def test_given_resources_do_not_reach_children(flow: FlowStone) -> None:
    """A run that would open the real resource in a child, although a test gave its own, is refused before it begins."""
    with FlowStone(flow.pipeline, settings=flow.settings, resources={"service": "fake"}) as made:
        with pytest.raises(UsageError, match="value given for resource 'service' cannot reach"):
            made.run(["visits"], partition=DAY, executor="process")
        assert made.runs() == []
        assert made.run(["visits"], partition=DAY, executor="thread").ok
        assert made.get("visits", partition=DAY) == 7 + len("fake")


@pytest.mark.parametrize("executor", EXECUTORS)
def test_a_cancelled_arun_ends_asynchronous_bodies_and_children(flow: FlowStone, executor: str) -> None:
    """A body that would never end is ended when the task of ``arun`` is cancelled; the run waits to be resumed."""

    async def main() -> None:
        begun = asyncio.Event()
        loop = asyncio.get_running_loop()
        flow.attach("test", "flowstone.materialization.start", lambda event: loop.call_soon_threadsafe(begun.set))
        task = asyncio.ensure_future(flow.arun(["endless"], executor=executor))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(asyncio.wait_for(main(), 30))
    (run,) = flow.runs()
    assert run.status == "waiting"
    assert [attempt.status for attempt in flow.show(run.id).attempts] == ["cancelled"]
