"""Two runs that want the same assets in opposite orders: they take turns, and neither stops the other."""

from __future__ import annotations

import threading
from pathlib import Path

from flowstone import FlowStone, Pipeline, RunResult, asset
from flowstone.testing import isolated_settings

NAMES = [f"asset_{number}" for number in range(8)]


def pipeline(names: list[str]) -> Pipeline:
    """Assets that need nothing, in the given order: the order in which they are claimed."""

    def make(name: str):
        @asset(name=name, code_version="1")
        def body() -> str:
            return name

        return body

    return Pipeline("crossing", [make(name) for name in names])


def test_runs_in_opposite_orders_end(database_url: str, tmp_path: Path) -> None:
    """Two processes' worth of threads claim and settle the same steps from both ends, round after round; every run succeeds."""
    found = isolated_settings(tmp_path, database_url=database_url)
    results: list[RunResult | BaseException] = []

    def work(names: list[str]) -> None:
        with FlowStone(pipeline(names), settings=found) as flow:
            for _ in range(6):
                try:
                    results.append(flow.run(force=True, executor="thread", jobs=3))
                except BaseException as error:  # noqa: BLE001 - told by the assertion below
                    results.append(error)

    threads = [threading.Thread(target=work, args=(names,)) for names in (NAMES, NAMES[::-1])]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [getattr(result, "status", result) for result in results] == ["success"] * 12
    with FlowStone(settings=found) as flow:
        assert [finding for finding in flow.doctor() if finding.level == "fail"] == []
        events = flow.events(names=["flowstone.materialization.*"], limit=10_000)
    starts = sum(event.name.endswith("start") for event in events)
    assert starts == sum(event.name.endswith(("stop", "exception")) for event in events) == 12 * len(NAMES)
