"""The benchmark harness works, on sizes that say nothing about speed; and the page says what was kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from benchmarks import history, page
from flowstone import FlowStone

ROOT = Path(__file__).resolve().parents[2]


def bench(folder, *names):
    """The lines that the named groups print, by case."""
    command = [
        sys.executable,
        "-c",
        "import sys; sys.path.insert(0, sys.argv.pop(1)); from benchmarks.__main__ import main; main()",
    ]
    ended = subprocess.run(
        [*command, str(ROOT), "--tiny", *names], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )
    assert ended.returncode == 0, ended.stderr
    assert list(folder.glob(".bench-*")) == []
    return {line["case"]: line for line in map(json.loads, ended.stdout.splitlines())}


def test_costs_of_events_and_steps_are_measured(tmp_path):
    """Events, steps, executors and graphs have a line for each case, with a floor and what was kept of the budget."""
    lines = bench(tmp_path, "dispatch", "logs", "step", "executors", "graph", "scrape")

    assert {
        "emit unheard",
        "captured log line",
        "JSON line of a record",
        "no-op step, memory IO",
        "no-op step, memory IO, audited",
        "database of a materialization, audited",
        "plan 300 assets",
        "fan of 5, files, process",
    } <= set(lines)
    assert lines["scrape of 20 series"]["shown"] > 20
    assert {"case", "unit", "median", "min", "max", "n", "floor", "ratio", "budget", "met"} <= set(lines["no-op step, memory IO"])
    assert lines["no-op step, memory IO"]["statements"] > 3
    assert "fan of 5, memory, process" not in lines


def test_questions_are_measured_on_a_history_that_agrees_with_itself(tmp_path):
    """The history is one that ``doctor`` finds nothing in, as large as its shape says, and every verb answers on it."""
    shape = history.Shape(assets=42, partitions=2, rounds=2)
    history.build(tmp_path / "home", shape)
    with FlowStone(home=tmp_path / "home", project=history.PROJECT) as flow:
        assert [finding for finding in flow.doctor(thorough=True) if finding.level in ("warn", "fail")] == []
        assert len(flow.runs(limit=100)) == shape.runs
        assert [condition.state for condition in flow.status()] == ["up to date"] * 84
        assert flow.explain("a41", partition="2020-01-02").versions == shape.rounds
        assert flow.get("a41", partition="2020-01-01") == 4
        assert sum(len(flow.show(run.id).materializations) for run in flow.runs()) == shape.materializations
    lines = bench(tmp_path, "reading")
    assert {"flowstone status", "flowstone explain a41"} <= set(lines)
    assert lines["history of 168 materializations, to build"]["bytes_each"] > 1000


def test_what_the_audit_log_costs_is_measured(tmp_path):
    """Steps with and without a log, appending, sealing, verifying in a process of its own, and the lag of sealing have a line."""
    lines = bench(tmp_path, "audit")

    assert {"audit adds to a no-op step, memory IO", "append, 1 in a transaction", "seal 300"} <= set(lines)
    assert (lines["verify 300"]["unit"], lines["verify 300, and fold what they tell"]["grows_mb"] < 50) == ("us/entry", True)
    assert next(line["unit"] for case, line in lines.items() if case.startswith("seal lag")) == "s"


def test_the_page_says_what_was_measured():
    """docs/performance.md is what its script makes of docs/performance.json and the peers' figures."""
    peers = json.loads(page.PEERS.read_text(encoding="utf-8"))

    assert page.PAGE.read_text(encoding="utf-8") == page.render(page.load(), peers)


def test_every_missed_budget_has_its_reason():
    """The page says of every budget that is missed why it is."""
    assert page.UNEXPLAINED not in page.PAGE.read_text(encoding="utf-8")


def test_a_group_nobody_knows_is_refused():
    """An unknown name ends with the known ones, before anything is measured."""
    command = [sys.executable, "-m", "benchmarks", "nonsense"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=60)

    assert ended.returncode == 2
    assert "unknown group 'nonsense'; known: dispatch, logs, step, " in ended.stderr
