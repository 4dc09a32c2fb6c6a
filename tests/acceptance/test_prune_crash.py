"""A prune, and the collection at the end of a run, killed before and after each commit and each removal of a file."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

TRIALS = '''
import dataclasses, json, os, shutil, signal, sys
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from flowstone import FlowStone, Pipeline, asset
from flowstone.foundation.clock import DAY
from flowstone.foundation.setting_groups import RetentionSettings
from flowstone.stores import pruning
from flowstone.stores.sqlite import SqliteBackend
from flowstone.testing import MovableClock, isolated_settings

pruning.WINDOW = 25
MODE = sys.argv[2]
BEGIN = datetime.now(UTC)

def flow_at(home, retention, days=0):
    tries = []

    @asset(source=True)
    def orders(ctx):
        ctx.log.info("seen")
        return [os.urandom(4).hex()]

    @asset
    def total(orders, ctx):
        if (home / "fail").exists():
            raise ValueError("no")
        return orders * 2

    clock = MovableClock(BEGIN)
    clock.advance(days * 86_400)
    settings = dataclasses.replace(isolated_settings(home), retention=retention)
    return FlowStone(Pipeline("p", [orders, total]), settings=settings, clock=clock)

def make(home):
    """Four runs, one of which fails, and a file nobody refers to."""
    with flow_at(home, RetentionSettings(outputs=None)) as flow:
        for number in range(4):
            (home / "fail").touch() if number == 2 else (home / "fail").unlink(missing_ok=True)
            last = flow.run().run_id
    (home / "fail").unlink(missing_ok=True)
    (home / "outputs" / "orders" / "@none" / f"{last}-1-zzzzzzzz_1.json").write_text("left")

def arm(at):
    left = [at]
    def step():
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
    def around(function):
        def call(*arguments, **options):
            step()
            given = function(*arguments, **options)
            step()
            return given
        return call
    SqliteBackend.commit = staticmethod(around(SqliteBackend.commit))
    unlink = os.unlink
    def counted(path, *more, **options):
        if not str(path).endswith(".json"):
            return unlink(path, *more, **options)
        return armed(path, *more, **options)
    armed = around(unlink)
    os.unlink = counted

KEEP = RetentionSettings(outputs=1, events=DAY, logs=DAY, errors=DAY)
DAYS = 30 if MODE == "prune" else 0

def work(home, at):
    flow = flow_at(home, KEEP, DAYS)
    flow._deployment.services()
    arm(at)
    flow.prune() if MODE == "prune" else flow.run()
    os._exit(0)

def facts(flow):
    events = flow.events(limit=100_000)
    pruned = Counter()
    for event in events:
        if event.name == "flowstone.db.pruned":
            pruned[event.payload["kind"]] += event.payload["removed"]
    return {
        "kept": [(v.output.asset, v.output.version) for v in flow.outputs()],
        "files": len(list((flow.settings.home / "outputs").rglob("*.json"))),
        "gone": len(flow.outputs(which="gone")),
        "collected": sum(e.payload["outputs"] for e in events if e.name == "flowstone.output.collected"),
        "events": sum(1 for e in events if e.run_id),
        "lines": sum(len(flow.logs(run.id)) for run in flow.runs()),
        "errors": len(flow.errors()),
        "pruned": {kind: pruned[kind] for kind in ("events", "logs", "errors")},
    }

def faults(flow, levels):
    return [str(f) for f in flow.doctor() if f.level in levels]

def recover(home, at):
    with flow_at(home, KEEP, DAYS or 0.1) as flow:
        flow._deployment.services()
        told = {"at": at, "before": faults(flow, ("fail",))}
        for run in flow.runs(status="waiting"):
            flow.resume(run.id)
        flow.prune()
        flow.audit.seal()
        told |= facts(flow) | {"after": faults(flow, ("fail", "warn")), "value": flow.get("total") == flow.get("orders") * 2}
    print(json.dumps(told), flush=True)

def in_child(function, *arguments):
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    try:
        function(*arguments)
    except BaseException as error:
        print(json.dumps({"at": arguments[1], "error": repr(error)}), flush=True)
        os._exit(1)
    os._exit(0)

base = Path(sys.argv[1]) / "base"
base.mkdir()
os.environ["FLOWSTONE_STATE_HOME"] = str(base / "state")
in_child(lambda home, _: make(home), base, 0)
at = 0
while True:
    at += int(sys.argv[3])
    home = Path(sys.argv[1]) / str(at)
    shutil.copytree(base, home)
    os.environ["FLOWSTONE_STATE_HOME"] = str(home / "state")  # who keeps the log remembers what this copy has signed
    status = in_child(work, home, at)
    in_child(recover, home, at)
    shutil.rmtree(home)
    if os.WIFEXITED(status):
        break
'''


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.prove)])
@pytest.mark.parametrize("mode", ["prune", "run"])
def test_a_kill_at_commits_and_removals_leaves_nothing_wrong(tmp_path, mode, every):
    """Killed anywhere, records agree at once; the next prune makes all as if nothing had happened, each row counted once."""
    program = tmp_path / "program.py"
    program.write_text(TRIALS)
    finished = subprocess.run(
        [sys.executable, program.name, str(tmp_path), mode, str(every)],
        cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    trials = [json.loads(line) for line in finished.stdout.splitlines()]

    assert finished.returncode == 0, finished.stderr
    assert len(trials) >= (25 if mode == "prune" else 15) // every
    whole = trials[-1]
    for trial in trials:
        assert "error" not in trial, trial
        assert (trial["before"], trial["after"], trial["value"]) == ([], [], True), trial
        assert trial["files"] == len(trial["kept"]) == 2, trial
        assert trial["gone"] == trial["collected"], trial
        if mode == "prune":
            assert {**trial, "at": 0} == {**whole, "at": 0}, trial
