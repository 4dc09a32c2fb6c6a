"""However many label values users' events have, an exporter stays small and its totals stay exact."""

from __future__ import annotations

import subprocess
import sys

import pytest
from sqlalchemy import insert

from flowstone import Event, Label, Metric, Pipeline, asset, event
from flowstone.foundation.serialize import from_json
from flowstone.observability.metrics.definitions import OVERFLOW
from flowstone.stores.tables import event as events
from flowstone.testing import isolated_flow

MEGABYTES = 10
BATCH = 10_000


@event("test.visit.seen")
class VisitSeen(Event, frozen=True, kw_only=True):
    """Somebody came."""

    visitor: Label


VISITS = Metric.counter("acme_visits_total", VisitSeen, labels=["visitor"])
ANY = Metric.counter("acme_any_visits_total", VisitSeen)

EXPORTER = """
import resource, sys
from flowstone.foundation.serialize import to_json
from flowstone.testing import isolated_flow

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

with isolated_flow(home=sys.argv[1], project="nobody", database_url=sys.argv[2]) as warm:
    warm.metrics()
with isolated_flow(home=sys.argv[1], database_url=sys.argv[2]) as flow:
    before = peak()
    families = flow.metrics()
    found = {f.name: {"/".join(s.labels): s.value for s in f.samples} for f in families if f.name.startswith("acme_")}
print(to_json({"kB": peak() - before, "found": found}))
"""


@asset
def door():
    return 1


@pytest.mark.parametrize("count", [10_000, pytest.param(1_000_000, marks=pytest.mark.prove)])
def test_a_million_visitors_are_a_thousand_series(tmp_path, database_url, count):
    """Each event has a label value of its own: the series are capped, the total is exact, memory grows by at most 10 MB."""
    with isolated_flow(Pipeline("p", [door], metrics=[VISITS, ANY]), home=tmp_path, database_url=database_url) as flow:
        flow.run()
        with flow._deployment.reading().backend.changing() as connection:
            for start in range(0, count, BATCH):
                rows = [
                    {"project": "test", "at": i, "name": VisitSeen.name, "payload": f'{{"at":{i},"visitor":"v{i}"}}'}
                    for i in range(start, start + BATCH)
                ]
                connection.execute(insert(events), rows)

    command = [sys.executable, "-c", EXPORTER, str(tmp_path), database_url]
    done = from_json(subprocess.run(command, capture_output=True, text=True, check=True).stdout)

    visits = done["found"][VISITS.name]
    assert len(visits) == 1001
    assert visits[OVERFLOW] == count - 1000
    assert sum(visits.values()) == done["found"][ANY.name][""] == count
    assert done["kB"] <= MEGABYTES * 1024
