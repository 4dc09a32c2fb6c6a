"""Dashboard and alerts ask for what exists: expressions are read here by rules of their own, not by those that built them."""

from __future__ import annotations

import json
import re
from collections import Counter

import click
import pytest
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

from flowstone.cli.main import flowstone
from flowstone.cli.runs import STATUSES
from flowstone.observability.metrics.defaults import METRICS
from flowstone.observability.prometheus.alert_examples import EXAMPLES
from flowstone.observability.prometheus.alerts import ALERTS
from flowstone.observability.prometheus.process_series import PROCESS_FAMILIES

DEFINED = {metric.name: metric for metric in (*METRICS, *PROCESS_FAMILIES)}
OF_A_TARGET = {"job", "instance"}
HISTOGRAM = re.compile(r"_(bucket|count|sum)$")
SELECTOR = re.compile(r"\b((?:flowstone|acme)_\w+)(?:\{([^}]*)\})?")
GROUPING = re.compile(r"\b(?:by|on|without|ignoring) \(([^)]*)\)")
MATCHER = re.compile(r'\s*(\w+)\s*(?:=~|!~|!=|=)\s*"(?:[^"\\]|\\.)*"\s*(?:,|$)')


@pytest.fixture(scope="module")
def dashboard(root):
    """The dashboard as it is committed."""
    return json.loads((root / "deploy/grafana/flowstone-dashboard.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def panels(dashboard):
    """Its panels without the headings of rows."""
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def faults(expression):
    """What *expression* names that is not defined."""
    found, known = [], set(OF_A_TARGET)
    for name, matchers in SELECTOR.findall(expression):
        metric = DEFINED.get(name) or DEFINED.get(HISTOGRAM.sub("", name))
        if metric is None:
            found.append(f"metric {name}")
            continue
        if (metric.name != name) != (metric.kind in ("distribution", "histogram")):
            found.append(f"{name} of a {metric.kind}")
        labels = {*metric.labels, *OF_A_TARGET, *(["le"] if name.endswith("_bucket") else [])}
        known |= labels
        found += [f"label {label} of {name}" for label in MATCHER.findall(matchers) if label not in labels]
        if MATCHER.sub("", matchers):
            found.append(f"matchers {matchers}")
    grouped = {label.strip() for group in GROUPING.findall(expression) for label in group.split(",") if label.strip()}
    return found + [f"label {label}" for label in sorted(grouped - known)]


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("sum(flowstone_runs_total)", "metric flowstone_runs_total"),
        ('flowstone_run_total{asset="x"}', "label asset of flowstone_run_total"),
        ("sum by (asset) (flowstone_run_total)", "label asset"),
        ("rate(flowstone_run_duration_seconds[5m])", "flowstone_run_duration_seconds of a distribution"),
        ("flowstone_run_total_bucket", "flowstone_run_total_bucket of a counter"),
        ("flowstone_run_total{outcome}", "matchers outcome"),
    ],
)
def test_a_wrong_expression_is_seen(expression, fault):
    """What these tests look for they find: an unknown metric, label or grouping, a histogram without part, a broken matcher."""
    assert faults(expression) == [fault]


def test_alerts_name_what_is_defined():
    """Every alert's expression asks for defined metrics by labels they have, and for at least one of them."""
    assert [(alert.name, found) for alert in ALERTS if (found := faults(alert.expression))] == []
    assert [alert.name for alert in ALERTS if not SELECTOR.search(alert.expression)] == []


def test_panels_name_what_is_defined(panels):
    """Every panel's expressions, and those of the page's variables, ask for defined metrics by labels they have."""
    asked = [(panel["title"], target["expr"]) for panel in panels for target in panel["targets"]]

    assert len(asked) > 35
    assert [(title, found) for title, expression in asked if (found := faults(expression))] == []


def test_every_metric_is_shown(panels):
    """Each metric of a deployment is asked for by a panel: nothing is measured that nobody can look at."""
    asked = {name for panel in panels for target in panel["targets"] for name, _ in SELECTOR.findall(target["expr"])}

    assert {metric.name for metric in METRICS} - {HISTOGRAM.sub("", name) for name in asked} == set()


def test_legends_and_texts_name_labels_that_are_there(panels):
    """A legend in a panel, and a text of an alert, uses labels its expression groups by or its metric has."""
    wrong = []
    for panel in panels:
        for target in panel["targets"]:
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                wrong += [(panel["title"], label)] if label not in _kept(target["expr"]) else []
    for alert in ALERTS:
        for label in re.findall(r"\$(\w+)", alert.summary + alert.command):
            wrong += [(alert.name, label)] if label not in _kept(alert.expression) else []

    assert wrong == []


def _kept(expression):
    """The labels that are left by an expression's outermost grouping, or those of the metric where it has none."""
    groups = re.findall(r"\b(?:sum|max|group) by \(([^)]*)\)", expression)
    if groups:
        return {label.strip() for label in groups[0].split(",")}
    return {label for name, _ in SELECTOR.findall(expression) for label in DEFINED[name].labels} | OF_A_TARGET


def test_every_alert_has_examples():
    """Each alert has an example that fires and one that does not, and names a severity; no two have one name."""
    fires, quiet = ({e.alert for e in EXAMPLES if bool(e.fires) == fired} for fired in (True, False))
    names = [alert.name for alert in ALERTS]

    assert set(names) == fires == quiet
    assert [name for name, number in Counter(names).items() if number > 1] == []
    assert all(re.fullmatch(r"FlowStone[A-Z]\w+", name) for name in names)


def test_every_alert_gives_a_command_that_exists():
    """The command of each alert is one the program has, with options it has and, for states of runs, values it takes."""
    for alert in ALERTS:
        _, verb, *words = alert.command.split()
        command = flowstone.get_command(click.Context(flowstone), verb)
        assert command is not None, alert.command
        if isinstance(command, click.Group):
            command = command.commands[words.pop(0)]
        flags = {flag for parameter in command.params for flag in parameter.opts}
        assert {word for word in words if word.startswith("-")} <= flags, alert.command
    assert {"failed", "partial", "running", "waiting"} <= set(STATUSES)


def test_grafanas_own_model_knows_all_of_it(dashboard):
    """Read and written by Grafana's published schema, the dashboard keeps every key and value: none is misspelt."""
    register_default_plugins()
    written = json.loads(JSONEncoder().encode(Dashboard.from_json(dashboard)))

    assert list(_lost(dashboard, written)) == []
    assert json.loads(JSONEncoder().encode(Dashboard.from_json(written))) == written


def _lost(ours, theirs, where=""):
    """The places of *ours* that *theirs* does not have alike; theirs may say defaults as well."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            yield from _lost(value, theirs[key], f"{where}/{key}") if key in theirs else [f"{where}/{key}"]
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for place, pair in enumerate(zip(ours, theirs, strict=True)):
            yield from _lost(*pair, f"{where}/{place}")
    elif ours != theirs:
        yield where


def test_a_misspelt_key_would_be_seen(dashboard):
    """The comparison with Grafana's model finds a key that it does not know, and a value that is none of its type."""
    register_default_plugins()
    broken = {**dashboard, "titel": "x", "panels": [{**dashboard["panels"][1], "targts": []}]}
    written = json.loads(JSONEncoder().encode(Dashboard.from_json(broken)))

    assert set(_lost(broken, written)) == {"/titel", "/panels/0/targts"}


def test_panels_lie_side_by_side(dashboard):
    """No two panels cover one place of the page, none sticks out of its 24 columns, and each has an id of its own."""
    covered = Counter(
        (x, y)
        for panel in dashboard["panels"]
        for x in range(panel["gridPos"]["x"], panel["gridPos"]["x"] + panel["gridPos"]["w"])
        for y in range(panel["gridPos"]["y"], panel["gridPos"]["y"] + panel["gridPos"]["h"])
    )
    ids = [panel["id"] for panel in dashboard["panels"]]

    assert [place for place, number in covered.items() if number > 1 or place[0] >= 24] == []
    assert len(set(ids)) == len(ids)
