"""The alerts as files Prometheus reads: its rules, and the unit tests of ``promtool test rules``. YAML, for people to read."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping

from flowstone.observability.prometheus.alert_examples import EXAMPLES
from flowstone.observability.prometheus.alerts import ALERTS, Alert

RULES_FILE, TESTS_FILE = "flowstone-alerts.yml", "flowstone-alerts-test.yml"
_NOTE = "# Written by `flowstone catalogue {what}` from the definitions of FlowStone's metrics.\n"


def rules_file() -> str:
    """The rules file: one group, one rule an alert."""
    lines = ["groups:", "  - name: flowstone", "    rules:"]
    for alert in ALERTS:
        lines += [
            f"      - alert: {alert.name}",
            "        expr: |-",
            *(f"          {line}" for line in alert.expression.splitlines()),
        ]
        lines += [
            f"        for: {alert.hold}",
            "        labels:",
            f"          severity: {alert.severity}",
            "        annotations:",
        ]
        lines += [f"          {name}: {_text(text)}" for name, text in _annotations(alert).items()]
    return _NOTE.format(what="alerts") + "\n".join(lines) + "\n"


def rule_tests_file() -> str:
    """The unit tests of the rules file, which stands beside them."""
    known = {alert.name: alert for alert in ALERTS}
    lines = ["rule_files:", f"  - {RULES_FILE}", "evaluation_interval: 1m", "tests:"]
    for example in EXAMPLES:
        lines += ["  - interval: 1m", "    input_series:" if example.given else "    input_series: []"]
        for given in example.given:
            lines += [f"      - series: {_text(given.series)}", f"        values: {_text(given.values)}"]
        lines += ["    alert_rule_test:", f"      - eval_time: {example.at}m", f"        alertname: {example.alert}"]
        lines += ["        exp_alerts:" if example.fires else "        exp_alerts: []"]
        for labels in example.fires:
            lines += _expected(known[example.alert], labels)
    return _NOTE.format(what="alerts --tests") + "\n".join(lines) + "\n"


def _expected(alert: Alert, labels: Mapping[str, str]) -> Iterator[str]:
    yield "          - exp_labels:"
    for name, text in {"severity": alert.severity, **labels}.items():
        yield f"              {name}: {_text(text)}"
    yield "            exp_annotations:"
    for name, text in _annotations(alert).items():
        yield f"              {name}: {_text(_LABEL.sub(lambda found: labels.get(found[1], ''), text))}"


_NAME = re.compile(r"\$(\w+)")
_LABEL = re.compile(r"\{\{ \$labels\.(\w+) \}\}")


def _annotations(alert: Alert) -> dict[str, str]:
    texts = {"summary": alert.summary, "command": alert.command}
    return {name: _NAME.sub(r"{{ $labels.\1 }}", text) for name, text in texts.items()}


def _text(text: str) -> str:
    """A text of YAML, quoted: its double-quoted style has every escape of JSON's."""
    return json.dumps(text, ensure_ascii=False)
