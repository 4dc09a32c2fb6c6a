"""Two projects in one store: what one of them left behind is settled under its own name."""

from __future__ import annotations

from flowstone import FlowStone, Pipeline, asset
from flowstone.stores import runs
from flowstone.testing import isolated_settings


def dying(settings):
    """Leave a run as a process that was killed in a step leaves it."""

    @asset
    def value():
        raise KeyboardInterrupt

    flow = FlowStone(Pipeline("p", [value]), settings=settings)
    services = flow._deployment.services()
    run_id = ""
    try:
        flow.run()
    except KeyboardInterrupt as stopped:
        run_id = stopped.run_id
    with services.database.transaction() as tx:
        assert runs.move(tx, run_id, "waiting", "running", process=services.process)
    flow._deployment.locks.release()
    services.database.close()
    return run_id


def test_a_dead_process_is_settled_by_its_own_project(tmp_path, database_url):
    """Another project of the store does not touch the run; its own next process makes it resumable, in its own event log."""
    first, second = (isolated_settings(tmp_path, project=name, database_url=database_url) for name in ("first", "second"))
    run_id = dying(first)

    @asset
    def value():
        return 1

    with FlowStone(Pipeline("p", [value]), settings=second) as other:
        assert other.run().ok
        assert other.events(names=["flowstone.run.suspended"]) == []
    with FlowStone(Pipeline("p", [value]), settings=first) as own:
        own._deployment.services()
        assert [run.status for run in own.runs() if run.id == run_id] == ["waiting"]
        assert [event.payload["reason"] for event in own.events(names=["flowstone.run.suspended"])] == ["interrupted", "lost"]
