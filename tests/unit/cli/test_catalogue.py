"""``flowstone catalogue`` and ``flowstone handlers`` say what there is to hear and who hears it."""

from __future__ import annotations

import pytest

from flowstone.events.catalogue import CATALOGUE
from flowstone.events.schemas import schema_of, snapshot
from flowstone.observability.metrics.defaults import METRICS


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)


def test_events_are_listed_with_roles_and_units(cli, folder):
    """Every event has its name, what it says happened, and each field's role and unit; as JSON the same."""
    said = cli("catalogue", "events").out
    rows = cli("catalogue", "events", "flowstone.io.store", "--json").rows

    assert [name for name in CATALOGUE if f"\n{name}\n" not in f"\n{said}".replace("  (not recorded)", "")] == []
    assert "    duration_ns  measurement  ns\n" in said
    assert [row["name"] for row in rows] == [f"flowstone.io.store.{part}" for part in ("start", "stop", "exception")]
    assert rows[1]["doc"] == "A value was stored."
    assert rows[1]["fields"]["size_bytes"] == {"role": "measurement", "unit": "By"}
    assert cli("catalogue", "events", "flowstone.handler", "--json").rows[0]["recorded"] is False


def test_schemas_are_printed(cli, folder):
    """One event's schema, or all of them with their version."""
    assert cli("catalogue", "schema", "flowstone.error").json == schema_of(CATALOGUE["flowstone.error"])
    assert cli("catalogue", "schema").json == snapshot()


def test_metrics_are_listed(cli, folder):
    """Every metric of a deployment has its kind, labels and meaning; as JSON also what events it is told by."""
    said = cli("catalogue", "metrics").out
    (row,) = cli("catalogue", "metrics", "flowstone_run_duration", "--json").rows

    assert [metric.name for metric in METRICS if f"{metric.name}\n  {metric.description}\n" not in said] == []
    assert (row["kind"], row["unit"], row["labels"]) == ("distribution", "seconds", ["pipeline", "outcome"])
    assert row["events"] == {"flowstone.run.stop": "duration_ns"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["events", "flowstone.eror"], "there is no event 'flowstone.eror'\n  did you mean 'flowstone.error'?"),
        (["schema", "flowstone.run"], "there is no event 'flowstone.run'\n  did you mean 'flowstone.run."),
        (["metrics", "flowstone_rum_total"], "there is no metric 'flowstone_rum_total'\n  did you mean 'flowstone_run_total'?"),
    ],
)
def test_what_is_not_there_is_named(cli, folder, words, message):
    """A name nobody declared is refused with the closest one."""
    said = cli("catalogue", *words)

    assert (said.code, said.out) == (2, "")
    assert message in said.err


def test_handlers_are_shown_by_process(cli, shop):
    """Each process has its handlers with calls, failures, latency and what they missed; the newest process comes first."""
    said = cli("handlers").out
    rows = cli("handlers", "--json").rows

    assert "began " in said
    assert "flowstone.logs" in said
    starts = [row["started_at"] for row in rows]
    assert starts == sorted(starts, reverse=True)
    logs = next(handler for handler in rows[0]["handlers"] if handler["id"] == "flowstone.logs")
    assert logs["calls"] > 0
    assert logs["mean_ns"] <= logs["slowest_ns"] <= logs["busy_ns"]
    assert {"failures", "slow", "skipped", "dropped", "waiting", "quarantined"} <= set(logs)
    assert len(cli("handlers", "--limit", "1", "--json").rows) == 1


def test_nobody_has_worked_yet(cli, folder):
    """Without a database the question is refused as every reading verb does it."""
    assert cli("handlers").code == 2
