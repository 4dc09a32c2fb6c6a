"""``flowstone approvals approve``, ``reject``, ``cancel`` and ``statement``: deciding, and what a decision means."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from flowstone import FlowStone
from flowstone.cli.approval_words import about, ended, refused, state
from flowstone.cli.approvals_show import say_preview, say_view
from flowstone.cli.lines import place, say, sha, who
from flowstone.cli.session import open_for_reading
from flowstone.cli.words import counted
from flowstone.execution.verdicts import Decided
from flowstone.foundation.errors import ApprovalError, CandidateChangedError, UsageError
from flowstone.observability.logs.shape import one_line
from flowstone.stores.runs import DECIDED

REFUSED, LOGS = 2, "flowstone.logs"
UNASKED = "(no reason was asked for)"
"""The comment of an attempt by somebody who may not decide: it is refused, and recorded as that."""


def _deciding(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of both verdicts."""
    for option in (
        click.option(
            "--preview", is_flag=True, help="Show the beginning of the value before; its digest is kept with the decision."
        ),
        click.option("--decision-id", "decision", metavar="ID", help="An id of yours: the same one again is the same decision."),
        click.option(
            "--statement", "statement", metavar="FILE", help="What was signed; default: FILE of --signature without .sig."
        ),
        click.option("--signature", metavar="FILE", help="Signed elsewhere, with ssh-keygen -Y sign -n flowstone-decision."),
        click.option(
            "--sign", metavar="KEY", help="Sign with your SSH key: its file, or the .pub of one in an agent or a token."
        ),
        click.option("-m", "--comment", "comment", metavar="TEXT", help="Why; it is recorded with who says so."),
        click.argument("id"),
    ):
        function = option(function)
    return function


@click.command()
@_deciding
@click.option("--older", is_flag=True, help="Although a newer version than this candidate is current.")
@click.pass_context
def approve(ctx: click.Context, /, id: str, older: bool, **given: Any) -> None:
    """Say yes to the request ID: exactly the bytes that were asked about become current, once enough people have.

    On a terminal, without -m, the request is shown and you are asked. Exit codes: 0 decided, or counted; 2 refused.
    """
    _decide(ctx, id, "approve", given, older=older)


@click.command()
@_deciding
@click.pass_context
def reject(ctx: click.Context, /, id: str, **given: Any) -> None:
    """Say no to the request ID: what was asked about never becomes current, and what depends on it is skipped.

    On a terminal, without -m, the request is shown and you are asked. Exit codes: 0 decided; 2 refused.
    """
    _decide(ctx, id, "reject", given)


@click.command()
@click.argument("id")
@click.option("-m", "--comment", "reason", metavar="TEXT", required=True, help="Why; it is recorded with who says so.")
@click.pass_context
def cancel(ctx: click.Context, id: str, reason: str) -> None:
    """Take the request ID back, as who requested the run or may decide: its step ends as cancelled."""
    flow = _open(ctx)
    try:
        done = flow.approvals.cancel(id, reason)
    except ApprovalError as error:
        _refused(ctx, flow, id, error)
        return
    say(f"Cancelled: nobody is asked about {about(done.approval)} any more ({done.approval.id}).")
    _say_runs(flow, done)


@click.command()
@click.argument("id")
@click.argument("verdict", type=click.Choice(("approve", "reject")))
@click.option("-m", "--comment", "comment", metavar="TEXT", default="", help="Why; it is signed with the rest.")
@click.pass_context
def statement(ctx: click.Context, id: str, verdict: str, comment: str) -> None:
    """Print the exact bytes that you sign to decide with VERDICT about the request ID, and nothing else.

    Put them into a file, on whichever machine has your key: ssh-keygen -Y sign -n flowstone-decision -f KEY FILE writes FILE.sig,
    which decides here: flowstone approvals approve ID --signature FILE.sig
    """
    text = open_for_reading(ctx).approvals.statement(id, verdict, comment)
    sys.stdout.flush()
    sys.stdout.buffer.write(text)
    sys.stdout.buffer.flush()


# -- deciding -----------------------------------------------------------------------------------------------------------


def _open(ctx: click.Context) -> FlowStone:
    """FlowStone without its log lines on a terminal: what this verb says is the same news for the same reader."""
    flow = open_for_reading(ctx)
    if flow.settings.logs.format == "console" and any(handler.id == LOGS for handler in flow.list_handlers()):
        flow.detach(LOGS)
    return flow


def _decide(ctx: click.Context, id: str, verdict: str, given: dict[str, Any], *, older: bool = False) -> None:
    flow = _open(ctx)
    comment, proof = given["comment"], _proof(given)
    if given["preview"] or (comment is None and sys.stdin.isatty() and "signature" not in proof):
        comment = _asked(flow, id, verdict, comment, preview=given["preview"])
        if comment is None:
            say("Nothing was decided.")
            return
    if verdict == "reject" and not comment and "signature" not in proof:
        raise UsageError("a no needs a reason", hint=f"flowstone approvals reject {id} -m 'why'")
    options = {"decision": given["decision"], **proof}
    try:
        if verdict == "approve":
            done = flow.approvals.approve(id, comment or "", older=older, **options)
        else:
            done = flow.approvals.reject(id, comment or "", **options)
    except CandidateChangedError:
        raise
    except ApprovalError as error:
        _refused(ctx, flow, id, error)
        return
    _say_done(flow, done)


def _proof(given: dict[str, Any]) -> dict[str, Any]:
    """How the decision is signed, if it is."""
    key, signature, statement = given["sign"], given["signature"], given["statement"]
    if signature is None:
        if statement is not None:
            raise UsageError("--statement is what --signature is of", hint="give both, or --sign KEY")
        return {"sign": key} if key is not None else {}
    if key is not None:
        raise UsageError("--sign signs here, --signature is made elsewhere", hint="leave one of them out")
    signed = statement or signature.removesuffix(".sig")
    if signed == signature:
        raise UsageError(f"what {signature} is a signature of is not known", hint="--statement FILE")
    return {"signature": _read(signature).decode("ascii", "replace"), "statement": _read(signed)}


def _read(file: str) -> bytes:
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}", hint="choose another file") from error


def _asked(flow: FlowStone, id: str, verdict: str, comment: str | None, *, preview: bool) -> str | None:
    """Show the request and, where somebody is there to ask and has given no comment, ask for it and for being sure.

    Returns the comment, ``None`` from somebody who is not sure. Who may not decide is not asked: trying tells them why.
    """
    view = flow.approvals.show(id, preview=preview)
    say_view(view)
    if view.preview is not None:
        say_preview(view.preview)
    say()
    you = view.now.you if view.now is not None else None
    if comment is not None or not sys.stdin.isatty():
        return comment or ""
    if you is None or not you.may:
        return UNASKED
    default = None if verdict == "reject" else ""
    given = str(click.prompt(f"Why do you {verdict} it", default=default, show_default=False, err=True)).strip()
    name = who(you.name, you.identity)
    what = "exactly these bytes" if view.candidate is not None else "exactly this"
    sure = f"{verdict.capitalize()} {what}, as {name}? It cannot be taken back"
    return given if click.confirm(one_line(sure), err=True) else None


def _refused(ctx: click.Context, flow: FlowStone, id: str, error: ApprovalError) -> None:
    """Say to whoever may not decide why, and what they can do."""
    reason, actor = error.context.get("reason", ""), flow.approvals.actor
    asked = flow.approvals.find(id)
    if reason == "already_decided" and asked.status != "pending":
        told = f"Already decided: {_late(flow, asked.id) or ended(asked)}. Nothing changed."
    elif reason in ("already_decided", "late", "older", "signature"):
        told = f"{error.message}. Nothing changed.\n  {error.hint}"
    else:
        told = refused(actor.id, actor.source, reason, error.message, error.hint)
    click.echo("\n".join(map(one_line, told.split("\n"))), err=True)
    ctx.exit(REFUSED)


def _late(flow: FlowStone, id: str) -> str:
    """``reviewer-1 rejected it 23 Nov 10:41 CET``, where a person decided."""
    asked, votes = flow.approvals.find(id), flow.approvals.votes(id)
    if asked.status not in ("approved", "rejected") or not votes:
        return ""
    return f"{asked.decided_by} {asked.status} it {ended(asked).rpartition(', ')[2]}"


# -- what it means ------------------------------------------------------------------------------------------------------


def _say_done(flow: FlowStone, done: Decided) -> None:
    asked, vote = done.approval, done.vote
    if done.again:
        say(f"The same decision was there already, and nothing changed: {state(asked)} ({asked.id})")
        _say_runs(flow, done)
        return
    if asked.status == "pending":
        view = flow.approvals.show(asked.id)
        yes = sum(one.verdict == "approve" for one in view.votes)
        say(f"Counted: {yes} of {counted(view.needed, 'vote')} for {about(asked)} ({asked.id}). It waits {state(asked)[8:]}")
        return
    told = ended(asked, [vote] if vote is not None else ())
    say(f"{told[0].upper()}{told[1:]}: {about(asked)} ({asked.id})")
    _say_meaning(flow, done)
    _say_runs(flow, done)


def _say_meaning(flow: FlowStone, done: Decided) -> None:
    asked, name = done.approval, place(done.approval.asset, done.approval.partition)
    if asked.kind == "after" and asked.status == "approved":
        view = flow.approvals.show(asked.id)
        assert view.candidate is not None
        made = view.candidate
        say(f"Current: {name} is {made.id}, version {made.version}, {sha(made.digest)}, {counted(made.size, 'byte')}")
    elif asked.kind == "after":
        say(f"{asked.output} never becomes current; what is current stays as it is.")
    elif asked.kind == "before":
        say(f"{name} {'may be computed, from exactly what was shown' if asked.status == 'approved' else 'is not computed'}.")
    else:
        say(f"The gate of {name} {'may be' if asked.status == 'approved' else 'is not'} weakened.")


def _say_runs(flow: FlowStone, done: Decided) -> None:
    """Say of each run that waited for the answer how it goes on, or that it has ended."""
    for run_id in done.runs or (done.approval.run_id,):
        run = flow.show(run_id).run
        waiting = flow.approvals.requests(run=run_id)
        if run.status == "waiting" and run.outcome.get("reason") == DECIDED:
            say(f"Go on: flowstone run --resume {run_id}")
        elif waiting:
            say(f"{run_id} still waits: flowstone approvals show {waiting[0].id}")
        elif run.status == "running":
            say(f"{run_id} goes on by itself, in the process that works on it.")
        elif run.status == "waiting":
            say(f"Go on: flowstone run --resume {run_id}")
        else:
            say(f"{run_id} has ended {run.status}: flowstone show {run_id}")
