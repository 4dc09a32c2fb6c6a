"""The gate of ``flowstone demo``: what waits for a reviewer, how to decide, and, with ``--yes``, deciding as one."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.text import Text

from flowstone import FlowStone
from flowstone.assets.pipeline import Pipeline
from flowstone.cli import demo_project
from flowstone.cli.console import RunConsole, footer
from flowstone.execution.result import RunResult
from flowstone.foundation.errors import UsageError

ASSET = "bill_of_materials"
REVIEWER = "demo-reviewer"
COMMENT = "saw every finding"
SETTINGS = f"""
[approvals]
allow_asserted = true  # so that one person can try both roles: --as {REVIEWER}. A real project leaves this out.
machines = []  # whoever runs the demo is a person

[approvals.groups]
reviewers = ["{REVIEWER}"]
"""


def say_waiting(flow: FlowStone, folder: Path, result: RunResult, console: Console, *, quiet: bool) -> None:
    """Print how to look at what waits, how to decide, and how to cheat."""
    id = _request(flow)
    if quiet:
        console.print(Text(f"Waits     for a reviewer: flowstone approvals show {id}"))
        return
    steps = [
        ("enter", demo_project.enter(folder)),
        ("look", f"flowstone approvals show {id}"),
        ("decide", f'flowstone approvals approve {id} --as {REVIEWER} -m "{COMMENT}"'),
        ("go on", f"flowstone run --resume {result.run_id}"),
        ("prove", "flowstone audit verify"),
    ]
    console.print(Text("\nThe bill of materials is computed and stored, but nobody can use it until a reviewer says yes:"))
    for number, (word, command) in enumerate(steps):
        console.print(Text(f"  {number}  {word:<7} {command}"))
    console.print(Text("\nThen try to cheat (each takes a few seconds, on a copy):"))
    console.print(Text("  flowstone demo --tamper    changes a result and a decision with plain SQL, then verifies"))
    console.print(Text("  flowstone demo --kill      kills a run with -9 in the middle, then goes on with it"))


def decide(flow: FlowStone, pipeline: Pipeline, result: RunResult, console: Console, *, quiet: bool) -> RunResult:
    """Approve what waits as the reviewer, who is not who asked, and go on with the run; print the trail."""
    id = _request(flow)
    with FlowStone(settings=flow.settings, actor=REVIEWER) as reviewer:
        decided = reviewer.approvals.approve(id, COMMENT)
    console.print(Text(f"\n{id} is {decided.approval.status} by {REVIEWER}, who only says who they are: {COMMENT}"))
    console.print(Text("Exactly the bytes that were asked about are current now. The run goes on:\n"))
    with RunConsole(flow, pipeline, quiet=quiet, console=console) as shown:
        flow.on_print(shown.echo)
        done = flow.resume(result.run_id)
    footer(flow, done, console)
    _trail(flow, id, console)
    return done


def _trail(flow: FlowStone, id: str, console: Console) -> None:
    flow.audit.seal()
    console.print(Text("Trail     every line is an entry of the audit log"))
    for entry in sorted(flow.audit.entries(limit=200), key=lambda entry: entry.seq if entry.seq is not None else 0):
        about = entry.asset or entry.subject
        if entry.action.startswith(("approval.", "run.")) or about in (ASSET, "release_note"):
            console.print(Text(f"          {entry.seq:>4}  {entry.action:<27} {about:<34} {entry.actor}"))
    console.print(Text(f"          flowstone approvals show {id} --as-decided"))


def _request(flow: FlowStone) -> str:
    found = flow.approvals.requests(asset=ASSET)
    if not found:
        raise UsageError("nothing waits for a reviewer any more", hint="flowstone run")
    return found[-1].id
