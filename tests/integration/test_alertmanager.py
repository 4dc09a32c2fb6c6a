"""From a failed run to the message: exporter, Prometheus with the shipped rules, Alertmanager, a receiver."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from flowstone.observability.prometheus.rule_files import RULES_FILE, rules_file

FLOWSTONE = [sys.executable, "-m", "flowstone"]
DEADLINE = 60
PIPELINE = """
from pathlib import Path
from flowstone import Pipeline, asset

@asset
def orders():
    if not (Path(__file__).parent / "broken").exists():
        return 1
    raise ValueError("no")

pipeline = Pipeline("shop", [orders])
"""
PROMETHEUS = """
global: {{scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}}
rule_files: [{rules}]
alerting: {{alertmanagers: [{{static_configs: [{{targets: ["127.0.0.1:{alertmanager}"]}}]}}]}}
scrape_configs: [{{job_name: flowstone, static_configs: [{{targets: {exporters}}}]}}]
"""
ALERTMANAGER = """
route: {{receiver: hook, group_by: [alertname, pipeline], group_wait: 0s, group_interval: 1s, repeat_interval: 4h}}
receivers: [{{name: hook, webhook_configs: [{{url: "http://127.0.0.1:{port}/", send_resolved: true}}]}}]
"""


@pytest.fixture
def receiver():
    """Where Alertmanager sends, and the list of the alerts it has sent."""
    received = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            received.extend(json.loads(self.rfile.read(int(self.headers["Content-Length"])))["alerts"])
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield server.server_address[1], received
        server.shutdown()
        thread.join()


@pytest.fixture
def project(tmp_path):
    """A folder with a pipeline, and two exporters at work in it: their addresses."""
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    command = [*FLOWSTONE, "metrics", "--serve", "127.0.0.1:0"]
    started = [subprocess.Popen(command, cwd=tmp_path, stderr=subprocess.PIPE, text=True) for _ in range(2)]
    yield tmp_path, [process.stderr.readline().split("//")[1].split("/")[0] for process in started]
    for process in started:
        process.terminate()
        process.communicate(timeout=DEADLINE)


def until(look, what):
    end = time.monotonic() + DEADLINE
    while not look():
        assert time.monotonic() < end, f"not in {DEADLINE} s: {what}"
        time.sleep(0.05)


def past(folder, promtool):
    """A past of half an hour for Prometheus, in which exporters were there: a rule is silent on what it finds when it begins."""
    lines = ["# TYPE flowstone_build_info gauge"]
    now = int(time.time())
    lines += [f'flowstone_build_info{{job="flowstone",instance="before:1"}} 1 {at}' for at in range(now - 1800, now, 15)]
    (folder / "past.om").write_text("\n".join([*lines, "# EOF", ""]))
    code, said = promtool("tsdb", "create-blocks-from", "openmetrics", "past.om", "data", cwd=folder)
    assert code == 0, said


@pytest.mark.prove
def test_a_failed_run_is_one_message(project, receiver, prometheus, alertmanager, promtool, tmp_path_factory):
    """A run that fails becomes exactly one alert at the receiver, though two exporters tell of it and rules are evaluated on."""
    folder, exporters = project
    port, received = receiver
    state = tmp_path_factory.mktemp("state")
    (state / RULES_FILE).write_text(rules_file())
    past(state, promtool)
    manager = alertmanager(ALERTMANAGER.format(port=port))
    server = prometheus(PROMETHEUS.format(rules=RULES_FILE, alertmanager=manager.port, exporters=json.dumps(exporters)), state)

    def run():
        return subprocess.run(
            [*FLOWSTONE, "run", "--force"], cwd=folder, capture_output=True, timeout=DEADLINE, check=False
        ).returncode

    def failures():
        return [alert for alert in received if alert["labels"]["alertname"] == "FlowStoneRunFailed"]

    def evaluations():
        (group,) = server.ask("/api/v1/rules")["data"]["groups"]
        return group["lastEvaluation"]

    assert run() == 0
    until(lambda: len(server.query('flowstone_run_total{outcome="success"}')) == 2, "both exporters tell of a good run")
    (folder / "broken").touch()
    assert run() == 1
    until(failures, "the message is there")
    seen = {evaluations()}
    until(lambda: seen.add(evaluations()) or len(seen) > 5, "the rules were evaluated five times more")

    (alert,) = failures()
    assert (alert["status"], alert["labels"]["pipeline"], alert["labels"]["outcome"]) == ("firing", "shop", "failed")
    assert alert["annotations"] == {
        "summary": "A run of pipeline shop ended failed.",
        "command": "flowstone runs --status failed",
    }
