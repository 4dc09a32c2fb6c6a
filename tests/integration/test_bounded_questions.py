"""Questions cost what they ask about, not what the store holds: no statement of a verb that reads goes through a whole table."""

from __future__ import annotations

import re
import sqlite3

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine

from flowstone import Daily, Pipeline, Retry, asset
from flowstone.stores import outputs

DAYS = Daily("2026-01-01")
tries = []


@asset(partitions=DAYS)
def orders():
    return [1, 2, 3]


@asset(partitions=DAYS, retries=Retry(attempts=2, delay=0.0))
def total(orders):
    tries.append(1)
    if len(tries) == 1:
        raise TimeoutError("slow")
    return sum(orders)


@asset(partitions=DAYS)
def report(total):
    return str(total)


def output_of(flow, id):
    """One output by its id, as ``flowstone show`` finds it."""
    with flow._deployment.reading().reading() as connection:
        return outputs.one(connection, flow.settings.project, id)


QUESTIONS = {
    "status": lambda flow, _: flow.status(newest=True),
    "status of an asset": lambda flow, _: flow.status("total", limit=1),
    "status of a partition": lambda flow, _: flow.status(partition="2026-01-02"),
    "explain": lambda flow, _: flow.explain("total"),
    "explain an old partition": lambda flow, _: flow.explain("total", partition="2026-01-01"),
    "runs": lambda flow, _: flow.runs(),
    "runs of a status": lambda flow, _: flow.runs(status="failed"),
    "show": lambda flow, run: flow.show(run),
    "show by the beginning of an id": lambda flow, run: flow.show(run[:12]),
    "show an output": lambda flow, run: output_of(flow, flow.show(run).outputs[0].id[:14]),
    "upstream": lambda flow, _: flow.lineage("report"),
    "downstream": lambda flow, _: flow.lineage("orders", direction="downstream"),
    "impact": lambda flow, _: flow.lineage("orders", direction="impact"),
    "errors": lambda flow, _: flow.errors(),
    "errors of an asset": lambda flow, _: flow.errors(asset="total"),
    "errors of a run": lambda flow, run: flow.errors(run_id=run),
    "groups of errors": lambda flow, _: flow.error_groups(),
    "all groups of an asset": lambda flow, _: flow.error_groups(status=None, asset="total"),
    "a group of errors": lambda flow, _: flow.error_group(flow.errors()[0].fingerprint[:6]),
    "events of a run": lambda flow, run: flow.events(run_id=run),
    "logs": lambda flow, run: flow.logs(run),
    "get": lambda flow, _: flow.get("report", partition="2026-01-02"),
}
OF_A_RESULT = re.compile(r"SCAN (?:seen|spans|newest|CONSTANT ROW|\(subquery-\d+\)|\d+ CONSTANT ROWS)\b")
PARTLY = re.compile(r"SCAN (?:pipeline|current_output USING COVERING INDEX)\b")
"""Not of the history: the versions of the code, and the pointers, of which ``status`` counts those of each asset."""
WHOLE_PROJECT = re.compile(r"SEARCH (?!pipeline)\w+ USING (?:COVERING )?INDEX (?!run_by_time|error_by_time)\w+ \(project=\?\)")
"""An index, but all rows of the project in it; those by time are read from their end, as far as the limit."""
NO_SEEK = ("SELECT min(asset)", "current_output")
"""The smallest entry of an index is found at once; pointers are counted."""


@pytest.fixture
def shop(flow, tmp_path):
    """A store with two partitions of three assets, one attempt that failed, and one value that was withdrawn."""
    tries.clear()
    made = flow(Pipeline("shop", [orders, total, report]), home=tmp_path)
    for day in ("2026-01-01", "2026-01-02"):
        made.run(partition=day).raise_if_failed()
    made.invalidate("report", partition="2026-01-01")
    made.close()
    return flow(home=tmp_path)


@pytest.mark.parametrize("question", QUESTIONS)
def test_no_question_reads_a_whole_table(shop, tmp_path, question):
    """Every statement of the question finds its rows by an index."""
    run, asked = shop.runs(limit=1)[0].id, []

    def note(_connection, _cursor, statement, parameters, _context, _many):
        asked.append((statement, parameters))

    event.listen(Engine, "before_cursor_execute", note)
    try:
        QUESTIONS[question](shop, run)
    finally:
        event.remove(Engine, "before_cursor_execute", note)

    with sqlite3.connect(tmp_path / "flowstone.db") as database:
        plans = [
            (row[3], statement)
            for statement, parameters in asked
            if statement.lstrip().startswith(("SELECT", "WITH"))
            for row in database.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)
        ]
    database.close()
    known = [plan for plan in plans if OF_A_RESULT.match(plan[0]) or PARTLY.match(plan[0])]
    scans = [plan for plan in plans if plan[0].startswith("SCAN") and plan not in known]
    walks = [plan for plan in plans if WHOLE_PROJECT.match(plan[0]) and not any(text in plan[1] for text in NO_SEEK)]

    assert len(plans) > 1
    assert scans == []
    assert walks == []
