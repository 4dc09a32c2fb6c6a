"""A real Prometheus scrapes two exporters and three running processes: what it then says is what the store says."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import func, select

from flowstone import Approval, FlowStone, Pipeline, asset
from flowstone.observability.prometheus.alerts import ALERTS
from flowstone.observability.prometheus.rule_files import RULES_FILE, TESTS_FILE, rule_tests_file, rules_file
from flowstone.stores.tables import materialization, run
from flowstone.testing import isolated_flow, isolated_settings

FLOWSTONE = [sys.executable, "-m", "flowstone"]
DEADLINE = 60
PIPELINE = """
import time
from pathlib import Path
from flowstone import Pipeline, Retry, Static, asset

HERE, SLICES = Path(__file__).parent, Static(["first", "one", "two", "three"])

@asset(partitions=SLICES)
def orders(ctx):
    while not (HERE / "go").exists():
        time.sleep(0.01)
    return [1, 2, 3]

@asset(partitions=SLICES, retries=Retry(attempts=2, delay=0.001))
def total(ctx, orders):
    if ctx.attempt == 1:
        raise TimeoutError("slow")
    return sum(orders)

@asset(partitions=SLICES)
def broken(ctx, orders):
    raise ValueError("no")

@asset(partitions=SLICES)
def behind(ctx, broken):
    return 1

pipeline = Pipeline("shop", [orders, total, broken, behind])
"""
GATED = Pipeline("gated", [asset(name="ledger", approval=Approval(four_eyes=False, assurance="asserted"))(lambda: 1)])
CONFIGURATION = """
global: {{scrape_interval: 1s, scrape_timeout: 1s}}
scrape_configs:
  - job_name: flowstone
    static_configs: [{{targets: {exporters}}}]
  - job_name: runs
    static_configs: [{{targets: {runs}}}]
"""
VARIABLES = {
    "$__rate_interval": "5s",
    "$__interval": "2s",
    "$__range": "10m",
    "$job": "flowstone|runs",
    "$pipeline": ".*",
    "$asset": ".*",
}


class Scene(NamedTuple):
    """What the tests look at once everything has happened."""

    prometheus: Any
    flow: FlowStone
    exporters: list[str]
    began: float
    watched: float
    """When Prometheus had seen the first run, and the others had not ended."""


class Place:
    """A project in a folder, and processes that work in it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self._started = folder, []
        (folder / "pipeline.py").write_text(PIPELINE)

    def run(self, *arguments: str) -> int:
        """Run one command line to its end."""
        return subprocess.run(
            [*FLOWSTONE, *arguments], cwd=self.folder, capture_output=True, timeout=DEADLINE, check=False
        ).returncode

    def start(self, *arguments: str) -> tuple[subprocess.Popen[str], str]:
        """Start a process that serves metrics; return it and where it serves them."""
        command = [*FLOWSTONE, *arguments]
        process = subprocess.Popen(command, cwd=self.folder, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        self._started.append(process)
        assert process.stderr is not None
        return process, re.search(r"http://(\S+)/metrics", process.stderr.readline())[1]

    def close(self) -> None:
        """End what was started."""
        for process in self._started:
            process.terminate()
        for process in self._started:
            process.communicate(timeout=DEADLINE)


@pytest.fixture(scope="module")
def scene(tmp_path_factory, prometheus):
    """One run before anybody looks, then three at once while two exporters and they themselves are scraped.

    Of a pipeline with a gate one value is approved before anybody looks, and one afterwards.
    """
    place, began = Place(tmp_path_factory.mktemp("shop")), time.time()
    try:
        (place.folder / "go").touch()
        with isolated_flow(GATED, home=place.folder / ".flowstone", project=place.folder.name) as flow:
            for _ in range(2):
                flow.run(force=True)
                (asked,) = flow.approvals.requests()
                if not flow.approvals.requests(status="approved"):
                    flow.approvals.approve(asked.id, "fine")
        assert place.run("run", "--partition", "first") == 1  # one asset is broken
        assert place.run("audit", "verify") == 0
        (place.folder / "go").unlink()
        exporters = [place.start("metrics", "--serve", "127.0.0.1:0")[1] for _ in range(2)]
        runs = [place.start("run", "--metrics", "127.0.0.1:0", "--partition", key) for key in ("one", "two", "three")]
        at = {"exporters": json.dumps(exporters), "runs": json.dumps([address for _, address in runs])}
        server = prometheus(CONFIGURATION.format_map(at))
        _until(lambda: _total(server, "flowstone_run_total") == [2, 2], "both exporters tell of the first runs")
        _until(lambda: server.query('sum(flowstone_process_runs{job="runs"})') == [({}, 3.0)], "the three runs are scraped")
        watched = time.time()
        (place.folder / "go").touch()
        assert [process.wait(DEADLINE) for process, _ in runs] == [1, 1, 1]
        assert place.run("tick") == 0

        with FlowStone(settings=isolated_settings(place.folder / ".flowstone", project=place.folder.name)) as flow:
            flow.approvals.approve(asked.id, "fine")
            ended = sum(counted(flow).values())
            _until(lambda: _total(server, "flowstone_materialization_total") == [ended] * 2, f"{ended} materializations are told")
            _until(lambda: server.query("flowstone_tick_last_timestamp_seconds offset 2s"), "what happened is some seconds past")
            yield Scene(server, flow, exporters, began, watched)
    finally:
        place.close()


def _until(look, what):
    until = time.monotonic() + DEADLINE
    while not look():
        assert time.monotonic() < until, f"not in {DEADLINE} s: {what}"
        time.sleep(0.05)


def _total(server, name):
    return [value for _, value in server.query(f"sum by (instance) ({name})")]


def counted(flow):
    """How many materializations of each asset ended how, and why, by the store's own rows."""
    columns = (materialization.c.asset, materialization.c.status, materialization.c.reason)
    with flow._deployment.reading().reading() as connection:
        rows = connection.execute(select(*columns, func.count()).group_by(*columns)).all()
    return {(asset, status, "error" if status == "failed" else reason): count for asset, status, reason, count in rows}


def panels(root=Path(__file__).parents[2]):
    found = json.loads((root / "deploy/grafana/flowstone-dashboard.json").read_text(encoding="utf-8"))["panels"]
    return {panel["title"]: panel for panel in found if panel["type"] != "row"}


def asked(scene, expression, at=None, **other):
    """What Prometheus answers to a panel's question, with everything chosen that can be."""
    for variable, text in {**VARIABLES, **other}.items():
        expression = expression.replace(variable, text)
    return scene.prometheus.query(expression, at)


def test_every_panel_shows_something(scene):
    """After real runs each question of the dashboard has an answer that is a number."""
    answers = {
        (title, target["refId"]): asked(scene, target["expr"]) for title, panel in panels().items() for target in panel["targets"]
    }

    assert [place for place, found in answers.items() if not any(math.isfinite(value) for _, value in found)] == []


def test_totals_are_the_stores(scene):
    """What the tables of the dashboard add up, shown by two exporters, is what the store's rows say, outcome by outcome."""
    materializations = asked(scene, panels()["All materializations"]["targets"][0]["expr"])
    runs = asked(scene, panels()["All runs"]["targets"][0]["expr"])

    assert {(s["asset"], s["outcome"], s.get("reason", "")): int(v) for s, v in materializations} == counted(scene.flow)
    assert {(s["pipeline"], s["outcome"]): int(v) for s, v in runs} == Counter(
        (r.pipeline, r.status) for r in scene.flow.runs(limit=100)
    )
    assert sum(counted(scene.flow).values()) == 4 * 4 + 2


@pytest.mark.parametrize(
    ("title", "counted"),
    [
        ("Runs that ended", {("partial",): 3, ("success",): 1}),
        ("Requests that ended", {("approved",): 1}),
        ("Materializations that ended", {("success",): 7, ("failed",): 3, ("skipped",): 3}),
        ("Why skipped or failed", {("failed", "error"): 3, ("skipped", "upstream_failed"): 3}),
        ("Errors by type", {("TimeoutError",): 3, ("ValueError",): 3}),
        ("Errors by asset", {("total",): 3, ("broken",): 3}),
        ("Attempts that ended", {("success",): 6, ("failed",): 6}),
        ("Cured by retry", {("total",): 3}),
    ],
)
def test_bars_count_what_came_since(scene, title, counted):
    """A bar counts exactly what was recorded in its time, also of series that began in it, and not twice for two exporters."""
    now = time.time()  # the question is asked of this moment, whenever it arrives: its time begins where the watching began
    since = f"{round((now - scene.watched) * 1000)}ms"
    found = asked(scene, panels()[title]["targets"][0]["expr"], now, **{"$__interval": since})

    assert {tuple(labels.values()): value for labels, value in found if value} == counted


def test_both_exporters_tell_the_same(scene):
    """Two exporters of one deployment show equal figures for everything that is folded from the record."""
    for name in ("flowstone_materialization_total", "flowstone_io_bytes_total", "flowstone_run_duration_seconds_count"):
        by_exporter = {}
        for labels, value in scene.prometheus.query(name):
            by_exporter.setdefault(labels.pop("instance"), {})[tuple(sorted(labels.items()))] = value

        assert len(by_exporter) == 2
        assert len({tuple(sorted(found.items())) for found in by_exporter.values()}) == 1


def test_live_runs_were_scraped(scene):
    """Each of the three runs was scraped while it worked, on its own process's series and none of the deployment's."""
    handlers = scene.prometheus.query(
        'last_over_time(flowstone_process_handler_calls_total{job="runs", handler="flowstone.console"}[10m])'
    )

    assert len({labels["instance"] for labels, _ in handlers}) == 3
    assert all(value > 0 for _, value in handlers)
    assert scene.prometheus.query('last_over_time(flowstone_run_total{job="runs"}[10m])') == []


def test_no_scrape_failed(scene):
    """Prometheus takes everything the exporters give it, as OpenMetrics, without an error."""
    found = scene.prometheus.ask("/api/v1/targets")["data"]["activeTargets"]
    exporters = [target for target in found if target["labels"]["job"] == "flowstone"]

    assert [(target["health"], target["lastError"]) for target in exporters] == [("up", "")] * 2


@pytest.mark.parametrize(
    "name",
    ["flowstone_materialization_duration_seconds_bucket", "flowstone_run_duration_seconds_bucket", "flowstone_error_total"],
)
def test_an_exemplar_leads_to_its_run(scene, name):
    """A bucket's or a counter's exemplar names a run of the store and the trace that this run has there."""
    end = str(time.time() + 5)
    found = scene.prometheus.ask("/api/v1/query_exemplars", query=name, start=str(scene.began), end=end)["data"]
    exemplars = [exemplar["labels"] for series in found for exemplar in series["exemplars"]]
    with scene.flow._deployment.reading().reading() as connection:
        traces = dict(connection.execute(select(run.c.id, run.c.trace_id)).all())

    assert exemplars
    assert {exemplar["run_id"]: exemplar["trace_id"] for exemplar in exemplars}.items() <= traces.items()


def test_every_alert_can_be_asked(scene):
    """Prometheus understands each alert's expression; asked about the time since the runs began, those for what happened fire."""
    for alert in ALERTS:
        scene.prometheus.query(alert.expression)
    now = time.time()
    since = f"offset {round((now - scene.watched) * 1000)}ms"
    fired = {alert.name for alert in ALERTS if scene.prometheus.query(re.sub(r"offset \d+m", since, alert.expression), now)}

    assert fired >= {"FlowStoneRunFailed"}
    assert fired <= {"FlowStoneRunFailed", "FlowStoneErrorGroup", "FlowStoneTickMissing", "FlowStoneExporterDown"}


def test_names_follow_prometheus_rules(scene, promtool):
    """Promtool's linter of metrics finds nothing in what the exporter shows."""
    with urllib.request.urlopen(f"http://{scene.exporters[0]}/metrics", timeout=20) as answer:
        text = answer.read().decode()

    assert promtool("check", "metrics", given=text) == (0, "")


def test_the_linter_of_metrics_finds_faults(promtool):
    """The linter says something of a counter whose name does not say that it is one."""
    code, said = promtool("check", "metrics", given="# HELP acme x\n# TYPE acme counter\nacme 1\n")

    assert code != 0
    assert "_total" in said


def test_rules_are_valid_and_their_tests_pass(tmp_path, promtool):
    """Promtool takes the rules, and each fires on its examples and keeps still on the others."""
    (tmp_path / RULES_FILE).write_text(rules_file())
    (tmp_path / TESTS_FILE).write_text(rule_tests_file())
    checked, said = promtool("check", "rules", RULES_FILE, cwd=tmp_path)

    assert (checked, f"{len(ALERTS)} rules found" in said) == (0, True)
    assert promtool("test", "rules", TESTS_FILE, cwd=tmp_path) == (0, "Unit Testing:  flowstone-alerts-test.yml\n  SUCCESS\n\n")


def test_ending_an_exporter_is_no_error(tmp_path):
    """SIGTERM ends a server of metrics with code 0, and it says nothing but where it was."""
    place = Place(tmp_path)
    process, _ = place.start("metrics", "--serve", "127.0.0.1:0")
    process.terminate()
    _, said = process.communicate(timeout=DEADLINE)

    assert (process.returncode, said) == (0, "")
