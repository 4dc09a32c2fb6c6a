"""``flowstone approvals``: what waits for people, what they must know, and their decisions."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click
import msgspec

from flowstone import FlowStone
from flowstone.app.approval_policy import Gate
from flowstone.cli.approval_words import about, plain_request, rules, said, state
from flowstone.cli.approvals_decide import approve, cancel, reject, statement
from flowstone.cli.approvals_show import plain_view, say_preview, say_view
from flowstone.cli.grammar import json_option
from flowstone.cli.lines import place, plain_of, say, say_fields, say_json, say_rows
from flowstone.cli.session import open_for_reading
from flowstone.cli.words import ago, counted
from flowstone.foundation.durations import show_duration

STATUSES = ("pending", "approved", "rejected", "expired", "invalidated", "cancelled")


def _listing(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of the list, which ``flowstone approvals`` alone prints as well."""
    options = (
        click.option("--all", "every", is_flag=True, help="Those that are decided too."),
        click.option("--status", type=click.Choice(STATUSES), help="Only requests that are so; default: pending."),
        click.option("--asset", metavar="ASSET", help="Only about ASSET."),
        click.option("--run", "run_id", metavar="RUN", help="Only those that this run has asked."),
        click.option("--limit", type=click.IntRange(1, 100_000), default=50, help="At most so many; default: 50."),
        json_option,
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.group(invoke_without_command=True)
@_listing
@click.pass_context
def approvals(ctx: click.Context, /, **options: Any) -> None:
    """List what waits for people, the oldest first; show one request, and decide about it."""
    if ctx.invoked_subcommand is None:
        _list(open_for_reading(ctx), **options)


@approvals.command("list")
@_listing
@click.pass_context
def list_(ctx: click.Context, /, **options: Any) -> None:
    """List requests for approval: those that wait, the oldest first; with --all or --status the newest first."""
    _list(open_for_reading(ctx), **options)


def _list(
    flow: FlowStone, *, every: bool, status: str | None, asset: str | None, run_id: str | None, limit: int, as_json: bool
) -> None:
    wanted = status or (None if every else "pending")
    found = flow.approvals.requests(status=wanted, asset=asset, run=run_id, limit=limit)
    if as_json:
        for asked in found:
            say_json(plain_request(asked))
        return
    if not found:
        what = f" about {asset}" if asset else ""
        say(f"Nothing{what} waits for people. What was decided: flowstone approvals list --all" if wanted == "pending"
            else f"No requests{what} are {wanted or 'recorded'}.")  # fmt: skip
        return
    now = flow._deployment.clock.now_ns()
    say_rows((asked.id, about(asked), state(asked), f"asked {ago(now - asked.requested_at)}") for asked in found)
    say()
    say(f"One of them, with all there is to decide upon: flowstone approvals show {found[0].id}")


@approvals.command()
@click.argument("id")
@click.option("--as-decided", is_flag=True, help="Only what was stored when people were asked and decided.")
@click.option("--preview", is_flag=True, help="Also the beginning of the value; reading a sensitive one is audited.")
@json_option
@click.pass_context
def show(ctx: click.Context, id: str, as_decided: bool, preview: bool, as_json: bool) -> None:
    """Show the request ID (its beginning is enough): which bytes, made from what, what changed, what is next, may you decide."""
    view = open_for_reading(ctx).approvals.show(id, as_decided=as_decided, preview=preview)
    if as_json:
        say_json(plain_view(view))
        return
    say_view(view)
    if view.preview is not None:
        say_preview(view.preview)


@approvals.command()
@click.argument("asset")
@click.option("--partition", metavar="KEY", help="Only this partition.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, help="At most so many; default: 100.")
@json_option
@click.pass_context
def history(ctx: click.Context, asset: str, partition: str | None, limit: int, as_json: bool) -> None:
    """Tell every request about ASSET and what people have said to it, the newest first."""
    found = open_for_reading(ctx).approvals.history(asset, partition=partition, limit=limit)
    if as_json:
        for asked, votes in found:
            say_json({**plain_request(asked), "votes": [plain_of(vote) for vote in votes]})
        return
    if not found:
        say(f"Nobody was ever asked about {asset}.")
        return
    for asked, votes in found:
        say(f"{asked.id}  {about(asked)}  {state(asked)}")
        for vote in votes:
            say(f"    {said(vote)}")
    say()
    say(f"What was known at one of them: flowstone approvals show {found[0].request.id} --as-decided")


@approvals.command()
@click.option("--violations", is_flag=True, help="Instead: what breaks these gates, or has passed them by. Exit code 1: some.")
@json_option
@click.pass_context
def policy(ctx: click.Context, violations: bool, as_json: bool) -> None:
    """Tell which assets have a gate, who keeps it, and how: as the newest stored definitions say. No code is imported."""
    flow = open_for_reading(ctx)
    if violations:
        _say_violations(ctx, flow, as_json=as_json)
        return
    found = flow.approvals.policy()
    if as_json:
        for gate in found:
            say_json(gate)
        return
    if not found:
        say("No asset has a gate. @asset(approval=Approval(...)) makes one: it holds from the next run on.")
        return
    for gate in found:
        _say_gate(gate)
    say()
    say("What breaks them, or has passed them by: flowstone approvals policy --violations")


def _say_gate(gate: Gate) -> None:
    told = gate.policy
    named = told.asked if gate.people == list(told.approvers) else f"{told.asked} ({', '.join(gate.people) or 'nobody'})"
    timeout = {"fail": "then fails", "remind": "then again", "approve": "then APPROVED unseen"}.get(told.on_timeout)
    escalated = f"then also {msgspec.structs.replace(told, approvers=told.escalate_to).asked}"
    say(f"{gate.asset}  {told.when}  of pipeline {gate.pipeline}{f', {gate.pending} waiting' if gate.pending else ''}")
    say_fields([
        ("approvers", named),
        ("rules", f"{rules(told, told.quorum)}; known at least by: {told.assurance}"),
        ("time", f"{show_duration(told.timeout_ns)}, {timeout or escalated}"),
        ("void when", f"{', '.join(told.invalidate_on)} changes meanwhile" if told.invalidate_on else ""),
        ("asks", told.message),
    ])  # fmt: skip


def _say_violations(ctx: click.Context, flow: FlowStone, *, as_json: bool) -> None:
    found = flow.approvals.violations()
    if as_json:
        for one in found:
            say_json(plain_of(one))
    elif not found:
        count = counted(len(flow.approvals.policy()), "gate")
        say(f"Nothing breaks the gates in force ({count}): compared were every decision about their assets, and current value.")
        say("Not compared: values that are not current any more (flowstone outputs list --without-approval), and the log itself")
        say("(flowstone audit verify).")
    else:
        say_rows((one.kind, place(one.asset, one.partition), one.approval or one.output, one.message) for one in found)
        say()
        say(f"{counted(len(found), 'violation')} of the gates as they are declared now.")
    if found:
        ctx.exit(1)


for command in (approve, reject, cancel, statement):
    approvals.add_command(command)
