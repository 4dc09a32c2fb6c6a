"""Wherever an error arises it is one row, one event and one count in its group; and the same one whichever executor met it."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

import pytest

from flowstone import Daily, Pipeline, asset
from flowstone.app.pipelines import load_pipeline
from flowstone.foundation.errors import DependencyError, NotFoundError, PlanError
from flowstone.testing import MovableClock, isolated_flow

PROJECT = Path(__file__).parents[1] / "projects" / "failing.py"
EXPECTED = {
    "loads": ["output_corrupt"], "stores": ["format_unsupported"], "raises": ["ValueError"], "groups": ["ExceptionGroup"],
    "recurs": ["RecursionError"], "wraps": ["RuntimeError"], "recovers": ["TimeoutError"] * 2, "postpones": ["RetryLater"],
    "leaves": ["execution_failed"], "watched": ["ConnectionError"], "asks": ["ConnectionError"],
    "needs_secret": ["settings_error"], "needs_resource": ["resource_unavailable"], "hangs": ["timeout"],
    "dies": ["worker_lost"] * 3,
}  # fmt: skip
NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
DAYS = Daily("2026-11-01")


@pytest.fixture
def flow(tmp_path, database_url):
    """A FlowStone over the failing pipeline, with the value of ``blob`` damaged on disk."""
    made = load_pipeline(str(PROJECT), tmp_path)
    with isolated_flow(made, home=tmp_path, database_url=database_url, echo=lambda _: None) as flow:
        flow.run("blob")
        (stored,) = (tmp_path / "outputs").rglob("*.json")
        stored.chmod(0o644)
        stored.write_bytes(b"2")
        yield flow


def told(flow, run_id, name):
    """The payloads of a run's events of one name."""
    return [event.payload for event in flow.events(run_id=run_id, names=[f"flowstone.{name}"])]


def test_each_error_is_one_row_one_event_and_one_count(flow):
    """Load, store, user code, exits, versions, secrets, resources, timeouts, dead children: rows = events = failed attempts."""
    prints = {}
    for executor in ("inline", "thread", "process"):
        run = flow.run(list(EXPECTED), executor=executor, force=True).run_id
        errors = flow.errors(run_id=run, limit=100)
        failed = [attempt for attempt in flow.show(run).attempts if attempt.error]
        found = {name: sorted(e.type for e in errors if e.asset == name) for name in {e.asset for e in errors}}
        prints[executor] = {(error.asset, error.fingerprint) for error in errors}

        assert found == EXPECTED
        assert sorted(e["error"] for e in told(flow, run, "error")) == sorted(e.id for e in errors)
        assert sorted(attempt.error for attempt in failed) == sorted(e.id for e in errors)
        assert {error.definition == "" for error in errors} == {False}
        assert {e["cured"] for e in told(flow, run, "materialization.stop") if e["asset"] == "recovers" and "cured" in e} == {2}

    groups = flow.error_groups()
    rows = Counter(error.fingerprint for error in flow.errors(limit=1_000))
    assert prints["inline"] == prints["thread"] == prints["process"]
    assert {group.fingerprint: group.errors for group in groups} == dict(rows)
    assert [group.assets for group in groups if group.cured] == [["recovers"]]
    assert len(told(flow, None, "error_group.opened")) == len(groups)
    assert [
        finding.text for finding in flow.doctor(thorough=True) if finding.level == "fail" and "lost theirs" not in finding.text
    ] == []


class Unknown:
    """A mapping that raises."""

    needs_existing = False

    def upstream(self, key, existing):
        raise KeyError(f"no region for {key}")

    def describe(self):
        return "unknown()"


@asset(partitions=DAYS)
def sales():
    return 1


@asset(partitions=DAYS, mapping={"sales": Unknown()})
def change(sales):
    return 2


@asset(partitions=DAYS)
def report(sales):
    return 1


def test_a_run_that_cannot_be_planned_is_a_failed_run(tmp_path, database_url):
    """What a mapping raises is one clear error, and a failed run with it; it groups over days. Bad usage is not recorded."""
    clock = MovableClock(NOON)
    with isolated_flow(Pipeline("p", [sales, change]), home=tmp_path, database_url=database_url, clock=clock) as flow:
        flow.run("sales")
        clock.advance(1)
        ids = []
        for day in ("2026-11-21", "2026-11-22"):
            with pytest.raises(PlanError, match=f"change {day} could not be planned: KeyError") as raised:
                flow.run(partition=day)
            ids.append(str(raised.value.hint).rpartition(" ")[2])
            clock.advance(1)
        with pytest.raises(NotFoundError):
            flow.run("chnage")
        runs, (group,) = flow.runs(), flow.error_groups()
        view = flow.show(runs[0].id)

        assert [run.status for run in runs] == ["failed", "failed", "success"]
        assert [error.id for error in view.errors] == ids[1:]
        assert (view.errors[0].asset, view.errors[0].partition, view.errors[0].attempt) == ("change", "d:2026-11-22", 0)
        assert [e.name for e in flow.events(run_id=runs[0].id)] == [
            "flowstone.run.start",
            "flowstone.error",
            "flowstone.run.stop",
        ]
        assert (group.type, group.errors, group.assets) == ("plan_failed", 2, ["change"])
        assert [finding for finding in flow.doctor() if finding.level == "fail"] == []


def test_a_run_without_what_it_needs_is_a_failed_run(tmp_path):
    """``deps=False`` where an input has no value is recorded: who started it may not be looking at a terminal."""
    with isolated_flow(Pipeline("p", [sales, report]), home=tmp_path) as flow:
        with pytest.raises(DependencyError):
            flow.run("report", partition="2026-11-02", deps=False)
        assert not (tmp_path / "flowstone.db").exists(), "what cannot be planned makes no database"

        flow.run("sales", partition="2026-11-03")
        with pytest.raises(DependencyError):
            flow.run("report", partition="2026-11-02", deps=False)

        assert [(run.status, len(flow.errors(run_id=run.id))) for run in flow.runs()] == [("failed", 1), ("success", 0)]


def test_what_stops_a_run_is_recorded_with_it(tmp_path, database_url, monkeypatch):
    """An error between attempts leaves the run waiting, with the error in it; the run goes on when it is resumed."""

    @asset
    def one():
        return 1

    with isolated_flow(Pipeline("p", [one]), home=tmp_path, database_url=database_url) as flow:
        flow.run()
        with monkeypatch.context() as patch:
            patch.setattr(type(flow._deployment.io.get("files")), "exists", lambda *_: 1 / 0)
            with pytest.raises(ZeroDivisionError) as raised:
                flow.run()
        (error,) = flow.errors()

        assert (error.run_id, error.asset, error.attempt, error.type) == (raised.value.run_id, "", 0, "ZeroDivisionError")
        assert flow.show(error.run_id).run.status == "waiting"
        assert len(told(flow, error.run_id, "error")) == 1
        assert flow.resume(error.run_id).ok
        assert [finding for finding in flow.doctor() if finding.level == "fail"] == []
