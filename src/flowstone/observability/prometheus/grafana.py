"""The dashboard as the JSON that Grafana 11 and later import: https://grafana.com/docs/grafana/latest/reference/dashboard-json."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from flowstone.observability.metrics import defaults as m
from flowstone.observability.prometheus.dashboard import ROWS, Look, Panel, Row
from flowstone.observability.prometheus.promql import Like, series

DASHBOARD_FILE = "flowstone-dashboard.json"
SCHEMA = 39
"""The version of Grafana 11.0's dashboards; later ones read it and bring it up to theirs."""
_WIDTH = 24
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}
_KINDS: dict[Look, str] = {
    "stat": "stat", "bars": "timeseries", "lines": "timeseries", "gauges": "bargauge", "table": "table",
}  # fmt: skip
_COLORS = {
    "success": "green", "reused": "blue", "skipped": "yellow", "failed": "red", "partial": "orange", "cancelled": "purple",
    "lost": "dark-red", "waiting": "light-blue", "approved": "green", "approved_by_timeout": "light-green", "rejected": "orange",
    "expired": "dark-orange", "invalidated": "yellow",
}  # fmt: skip


def dashboard_file() -> str:
    """The dashboard, as text."""
    return json.dumps(dashboard(), indent=2) + "\n"


def dashboard() -> dict[str, Any]:
    """The dashboard, as plain values."""
    return {
        "uid": "flowstone",
        "title": "FlowStone",
        "description": "Written by `flowstone catalogue dashboard` from the definitions of FlowStone's metrics.",
        "tags": ["flowstone"],
        "schemaVersion": SCHEMA,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-24h", "to": "now"},
        "templating": {"list": list(_variables())},
        "panels": list(_panels()),
    }


def _variables() -> Iterator[dict[str, Any]]:
    yield {"name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus"}
    chosen = {"job": Like("$job")}
    for name, label, metric, matchers in (
        ("job", "Deployment", m.BUILD, {}),
        ("pipeline", "Pipeline", m.RUNS, chosen),
        ("asset", "Asset", m.MATERIALIZATIONS, chosen),
    ):
        query = f"label_values({series(metric, **matchers)}, {name})"
        yield {
            "name": name,
            "label": label,
            "type": "query",
            "datasource": _SOURCE,
            "query": {"qryType": 1, "query": query, "refId": name},
            "refresh": 2,
            "sort": 1,
            "multi": True,
            "includeAll": True,
            "allValue": ".*",
        }


def _panels() -> Iterator[dict[str, Any]]:
    number, y = 0, 0
    for row in ROWS:
        number += 1
        yield {
            "id": number, "type": "row", "title": row.title, "collapsed": False, "panels": [],
            "gridPos": {"x": 0, "y": y, "w": _WIDTH, "h": 1},
        }  # fmt: skip
        y += 1
        for panel, x, below in _placed(row):
            number += 1
            yield _panel(panel, number, {"x": x, "y": y + below, "w": panel.width, "h": panel.height})
        y += below + panel.height


def _placed(row: Row) -> Iterator[tuple[Panel, int, int]]:
    """Each panel of *row*, from left to right, and how far it is from the left and from the heading."""
    x = below = 0
    for panel in row.panels:
        if x + panel.width > _WIDTH:
            x, below = 0, below + panel.height
        yield panel, x, below
        x += panel.width


def _panel(panel: Panel, number: int, place: dict[str, int]) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [
        {"color": "green", "value": None},
        *({"color": color, "value": value} for value, color in panel.turns),
    ]
    defaults: dict[str, Any] = {"unit": panel.unit, "thresholds": {"mode": "absolute", "steps": steps}}
    if panel.look in ("bars", "lines"):
        defaults |= {"min": 0, "custom": _drawn(panel.look)}
    if panel.look in ("stat", "gauges"):
        defaults |= {"color": {"mode": "thresholds"}}
    return {
        "id": number,
        "type": _KINDS[panel.look],
        "title": panel.title,
        "description": panel.meaning,
        "datasource": _SOURCE,
        "gridPos": place,
        "targets": list(_targets(panel)),
        "fieldConfig": {"defaults": defaults, "overrides": list(_overrides()) if panel.look == "bars" else []},
        **({"interval": "1m"} if panel.look == "bars" else {}),
        **_shown(panel),
    }


def _targets(panel: Panel) -> Iterator[dict[str, Any]]:
    over_time = panel.look in ("bars", "lines")
    for letter, question in zip("ABCDEF", panel.questions, strict=False):
        yield {
            "refId": letter,
            "datasource": _SOURCE,
            "expr": question.expression,
            "legendFormat": question.legend or panel.title,
            "range": over_time,
            "instant": not over_time,
            **({"format": "table"} if panel.look == "table" else {}),
        }


def _drawn(look: Look) -> dict[str, Any]:
    if look == "lines":
        return {"drawStyle": "line", "lineWidth": 1, "fillOpacity": 10, "showPoints": "never"}
    return {"drawStyle": "bars", "lineWidth": 0, "fillOpacity": 80, "stacking": {"mode": "normal", "group": "A"}}


def _overrides() -> Iterator[dict[str, Any]]:
    for outcome, color in _COLORS.items():
        yield {
            "matcher": {"id": "byName", "options": outcome},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}],
        }


def _shown(panel: Panel) -> dict[str, Any]:
    """How this kind of panel shows its figures."""
    last = {"values": False, "calcs": ["lastNotNull"], "fields": ""}
    match panel.look:
        case "stat":
            return {"options": {"reduceOptions": last, "colorMode": "value", "graphMode": "none", "textMode": "value"}}
        case "gauges":
            return {"options": {"reduceOptions": last, "orientation": "horizontal", "displayMode": "basic"}}
        case "table":
            hidden = {"id": "organize", "options": {"excludeByName": {"Time": True}}}
            return {"options": {"showHeader": True, "footer": {"show": False}}, "transformations": [hidden]}
        case _:
            legend = {
                "showLegend": True,
                "displayMode": "table",
                "placement": "right",
                "calcs": ["sum" if panel.look == "bars" else "lastNotNull"],
            }
            return {"options": {"legend": legend, "tooltip": {"mode": "multi", "sort": "desc"}}}
