"""``flowstone errors``: what fails, grouped by what fails alike, and what was decided about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import click

from flowstone import FlowStone
from flowstone.cli.grammar import json_option
from flowstone.cli.lines import place, plain_of, quoted, say, say_fields, say_json, say_rows, shown, when, who
from flowstone.cli.session import open_for_reading, reading
from flowstone.cli.words import ago, counted
from flowstone.execution.decision import short
from flowstone.foundation.texts import cut
from flowstone.ledger.error_groups import ErrorGroupView, with_tries
from flowstone.stores import errors as stored
from flowstone.stores.error_groups import Member
from flowstone.stores.records import ErrorGroupRecord, ErrorRecord

LISTED = 5  # of assets and partitions of a group
HEADLINE = 160  # characters of a line in the list


def _listing(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options of the list, which ``flowstone errors`` alone prints as well."""
    options = (
        click.option("--all", "every", is_flag=True, help="Resolved and muted groups too."),
        click.option("--asset", metavar="ASSET", help="Only what ASSET has to do with."),
        click.option("--each", is_flag=True, help="Single errors: one line for each attempt that failed."),
        click.option("--run", "run_id", metavar="RUN", help="Only this run's; single errors."),
        click.option("--limit", type=click.IntRange(1, 100_000), default=50, help="At most so many; default: 50."),
        json_option,
    )
    for option in reversed(options):
        function = option(function)
    return function


@click.group(invoke_without_command=True)
@_listing
@click.pass_context
def errors(ctx: click.Context, /, **options: Any) -> None:
    """List groups of errors that fail alike, those with the newest errors first; show one, or decide about it."""
    if ctx.invoked_subcommand is None:
        _list(open_for_reading(ctx), **options)


@errors.command("list")
@_listing
@click.pass_context
def list_(ctx: click.Context, /, **options: Any) -> None:
    """List open groups of errors, those with the newest errors first; or single errors."""
    _list(open_for_reading(ctx), **options)


def _list(flow: FlowStone, *, every: bool, asset: str | None, each: bool, run_id: str | None, limit: int, as_json: bool) -> None:
    if each or run_id is not None:
        _list_each(flow.errors(run_id=run_id, asset=asset, limit=limit), asset, as_json=as_json)
        return
    found = flow.error_groups(status=None if every else "open", asset=asset, limit=limit)
    if as_json:
        for group in found:
            say_json(plain_of(group))
        return
    if not found:
        what = f"No errors{f' of {asset}' if asset else ''} are"
        say(f"{what} recorded." if every else f"{what} open. Those that are resolved or muted: flowstone errors --all")
        return
    now = _now(flow)
    for group in found:
        say(cut(f"{group.id}  {headline(group)}".partition("\n")[0], HEADLINE))
        say(f"    {_summary(group, now)}")
    say()
    say(f"One of them, with its newest traceback: flowstone errors show {found[0].id}")


def _summary(group: ErrorGroupRecord, now: int) -> str:
    """``open   orders, total   5 times, 3 of them cured by a retry   last 3 min ago, first 2 d ago``."""
    more = [f"and {len(group.assets) - LISTED} more"] if len(group.assets) > LISTED else []
    first = f", first {ago(now - group.first_at)}" if group.errors > 1 else ""
    parts = [state(group), ", ".join([*group.assets[:LISTED], *more]), f"{counted(group.errors, 'time')}, {cures(group)}"]
    return "   ".join(part for part in [*parts, f"last {ago(now - group.last_at)}{first}"] if part)


def _list_each(found: list[ErrorRecord], asset: str | None, *, as_json: bool) -> None:
    if as_json:
        for error in found:
            say_json(plain_of(error))
        return
    if not found:
        say(f"No errors{f' of {asset}' if asset else ''} are recorded.")
        return
    say_rows((*_row(error), headline(error)) for error in found)
    say()
    say(f"One of them, with its traceback: flowstone errors show {found[0].id}")


def _row(error: ErrorRecord) -> tuple[str, ...]:
    return error.id, place(error.asset, error.partition) or "the run", _attempt(error), cure(error)


# -- one of them --------------------------------------------------------------------------------------------------------


@errors.command()
@click.argument("id")
@json_option
@click.pass_context
def show(ctx: click.Context, id: str, as_json: bool) -> None:
    """Show the error (err_...) or group (grp_...) with this ID; its beginning is enough."""
    flow = open_for_reading(ctx)
    if id.startswith("err_"):
        show_error(flow, id, as_json=as_json)
    else:
        show_group(flow, id, as_json=as_json)


def show_group(flow: FlowStone, id: str, *, as_json: bool) -> None:
    """Print one group of errors, with its newest traceback."""
    view = flow.error_group(id)
    if as_json:
        members = [plain_of(member._asdict()) for member in view.members]
        newest = [plain_of(error) for error in view.newest]
        say_json({"group": plain_of(view.group), "members": members, "examined": view.examined, "newest": newest})
    else:
        _say_group(view, _now(flow))


def show_error(flow: FlowStone, id: str, *, as_json: bool) -> None:
    """Print one error, with its traceback."""
    with reading(flow) as connection:
        (error,) = with_tries(connection, [stored.find(connection, flow.settings.project, id)])
    say_json(plain_of(error)) if as_json else _say_error(error)


def _say_group(view: ErrorGroupView, now: int) -> None:
    group = view.group
    say(f"{group.id}  {headline(group)}")
    pruned = "" if view.newest else "; the errors themselves were pruned"
    some = f", of the newest {view.examined:,}" if view.examined < group.errors and view.newest else ""
    say_fields([
        ("now", f"{state(group)}{_decision(group)}"),
        ("seen", f"{counted(group.errors, 'time')}, {cures(group)}{pruned}"),
        ("first", f"{when(group.first_at)}, {ago(now - group.first_at)}  {group.first_error}"),
        ("last", f"{when(group.last_at)}, {ago(now - group.last_at)}  {group.last_error}"),
        ("assets", _counts(view.members, lambda member: member.asset or "no asset") + some),
        ("partitions", _counts([m for m in view.members if m.partition], lambda member: shown(member.partition))),
        ("definitions", _counts([m for m in view.members if m.definition], lambda member: short(member.definition))),
    ])  # fmt: skip
    for error in view.newest[:1]:
        say()
        _say_traceback(error)
    say()
    if view.newest:
        say_rows((*_row(error), error.run_id, when(error.at)) for error in view.newest)
        say()
    decisions = {"open": ("resolve", "mute"), "resolved": ("reopen",), "muted": ("reopen", "resolve")}[group.status]
    for verb in decisions:
        say(f"{_MEANS[verb]}: flowstone errors {verb} {group.id} -m 'why'")


_MEANS = {"resolve": "It is mended", "mute": "Hear no more of it", "reopen": "Look at it again"}


def _decision(group: ErrorGroupRecord) -> str:
    if group.decided_at is None:
        return ""
    came_back = "; it came back after it was resolved" if group.status == "open" else ""
    return f"{came_back}, by {who(group.decided_by, group.identity)} {when(group.decided_at)}: {group.reason}"


def _counts(members: list[Member], name: Callable[[Member], str]) -> str:
    """``orders 3, total 1, and 4 more``: the names, and how many errors each has; the newest first."""
    found: dict[str, int] = {}
    for member in members:
        found[name(member)] = found.get(name(member), 0) + member.errors
    named = [f"{text} {count:,}" for text, count in found.items()]
    return ", ".join([*named[:LISTED], *([f"and {len(named) - LISTED:,} more"] if len(named) > LISTED else [])])


def _say_error(error: ErrorRecord) -> None:
    say(f"{error.id}  {headline(error)}")
    where = [place(error.asset, error.partition), f"{_attempt(error)} of {error.run_id}", when(error.at)]
    say_fields([
        ("where", ", ".join(part for part in where if part)),
        ("now", cure(error)),
        ("retryable", "yes" if error.retryable else "no"),
        ("definition", short(error.definition)),
        ("alike", f"flowstone errors show grp_{error.fingerprint}"),
        ("context", ", ".join(f"{name}={value}" for name, value in error.context.items())),
    ])  # fmt: skip
    say()
    _say_traceback(error)
    say()
    lines = f"    Its lines: flowstone logs {error.run_id} --asset {quoted(error.asset)}" if error.attempt else ""
    say(f"The run: flowstone show {error.run_id}{lines}")


def _say_traceback(error: ErrorRecord) -> None:
    for line in error.traceback.rstrip("\n").split("\n"):
        say(line)


# -- decisions ----------------------------------------------------------------------------------------------------------


def _deciding(function: Callable[..., Any]) -> Callable[..., Any]:
    reason = click.option("-m", "--reason", metavar="TEXT", required=True, help="Why; it is recorded with who says so.")
    return click.argument("group")(reason(click.pass_context(function)))


@errors.command()
@_deciding
def resolve(ctx: click.Context, group: str, reason: str) -> None:
    """Say that what made the errors of GROUP is mended; it opens again by itself when one comes back."""
    found = open_for_reading(ctx).resolve_errors(group, reason=reason)
    say(f"Resolved: {found.id}  {headline(found)}")
    say("When such an error comes again, the group opens by itself.")


@errors.command()
@_deciding
def mute(ctx: click.Context, group: str, reason: str) -> None:
    """Hear no more of GROUP: its errors are recorded and counted all the same."""
    found = open_for_reading(ctx).mute_errors(group, reason=reason)
    say(f"Muted: {found.id}  {headline(found)}")
    say(f"Hear of it again: flowstone errors reopen {found.id} -m 'why'")


@errors.command()
@_deciding
def reopen(ctx: click.Context, group: str, reason: str) -> None:
    """Open GROUP again, which was resolved or muted."""
    found = open_for_reading(ctx).reopen_errors(group, reason=reason)
    say(f"Open again: {found.id}  {headline(found)}")


# -- words --------------------------------------------------------------------------------------------------------------


def cure(error: ErrorRecord) -> str:
    """Whether a later attempt succeeded: ``cured by attempt 3 of 5``."""
    of = f" of {error.tries}" if error.cured <= error.tries else ""  # interrupted and lost tries spend none
    return f"cured by attempt {error.cured}{of}" if error.cured else "not cured"


def cures(group: ErrorGroupRecord) -> str:
    """How many of a group's errors a retry cured."""
    if not group.cured:
        return "not cured"
    return "cured by a retry" if group.cured == group.errors else f"{group.cured:,} of them cured by a retry"


def state(group: ErrorGroupRecord) -> str:
    """The group's status, and whether it had been resolved."""
    return "open again" if group.status == "open" and group.decided_at is not None else group.status


def headline(error: ErrorRecord | ErrorGroupRecord) -> str:
    """The error's type and message."""
    return f"{error.type}: {error.message}" if error.message else error.type


def _now(flow: FlowStone) -> int:
    return flow._deployment.clock.now_ns()


def _attempt(error: ErrorRecord) -> str:
    return f"attempt {error.attempt}" if error.attempt else "before any attempt"
