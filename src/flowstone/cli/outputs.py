"""``flowstone outputs``: every version there is or was, and their erasure."""

from __future__ import annotations

import sys
from typing import Any

import click

from flowstone.app.erasing import Erasure
from flowstone.app.versions import Version
from flowstone.cli.audit_options import Instant
from flowstone.cli.grammar import json_option
from flowstone.cli.lines import option_of, place, plain_of, quoted, say, say_json, say_rows, sha, when
from flowstone.cli.session import open_for_reading
from flowstone.cli.words import bytes_of, counted
from flowstone.foundation.errors import UsageError

LISTED = 10
ASKED = {"pending": "waits for approval", "invalidated": "never current: its request was void"}


@click.group()
def outputs() -> None:
    """List outputs, or erase their bytes."""


@outputs.command("list")
@click.argument("asset", required=False, metavar="[ASSET]")
@click.option("--partition", metavar="KEY", help="Only this partition.")
@click.option("--gone", is_flag=True, help="Those whose bytes are gone.")
@click.option("--all", "every", is_flag=True, help="Those whose bytes are kept and those whose bytes are gone.")
@click.option("--asset", "named", metavar="ASSET", help="The same as ASSET.")
@click.option("--from", "since", type=Instant(), metavar="TIME", help="Only those stored from this instant on.")
@click.option("--to", "until", type=Instant(), metavar="TIME", help="Only those stored before this instant.")
@click.option(
    "--without-approval",
    "ungated",
    is_flag=True,
    help="Those, kept or gone, that became current and nobody had approved: of ASSET, or of every asset that has or had a gate.",
)
@click.option("--limit", type=click.IntRange(1, 100_000), default=100, help="At most so many; default: 100.")
@json_option
@click.pass_context
def list_(  # noqa: PLR0913, PLR0917 - click hands over every option
    ctx: click.Context,
    asset: str | None,
    partition: str | None,
    gone: bool,
    every: bool,
    named: str | None,
    since: int | None,
    until: int | None,
    ungated: bool,
    limit: int,
    as_json: bool,
) -> None:
    """List outputs of ASSET, or of every asset, newest version first: how large, which run, whether held or gone."""
    if asset and named and asset != named:
        raise UsageError(f"ASSET is {asset!r}, and --asset {named!r}", hint="name one")
    asset = asset or named
    which = "gone" if gone else "all" if every or ungated else "kept"
    flow = open_for_reading(ctx)
    bounds: dict[str, Any] = {"since": since, "until": until, "without_approval": ungated}
    found = flow.outputs(asset, partition=partition, which=which, limit=limit + 1, **bounds)  # type: ignore[arg-type]
    if as_json:
        for version in found[:limit]:
            hold = version.hold
            say_json(
                {
                    **plain_of(version.output),
                    "current": version.current,
                    "held": hold and hold.id,
                    "approval": version.asked or None,
                }
            )
        return
    if not found and ungated:
        say(f"Nothing{f' of {asset}' if asset else ''} became current without an approval"
            f"{' in that time' if since or until else ''}. The gates: flowstone approvals policy")  # fmt: skip
        return
    if not found:
        say(f"No outputs{f' of {asset}' if asset else ''}{' whose bytes are gone' if gone else ' are kept'}.")
        return
    say_rows(
        (place(v.output.asset, v.output.partition), f"version {v.output.version}", bytes_of(v.output.size), sha(v.output.digest),
         v.output.id, v.output.run_id, when(v.output.created_at), _state(v))
        for v in found[:limit]
    )  # fmt: skip
    if len(found) > limit:
        say(f"There are more: --limit {limit * 10} shows at most {limit * 10:,}.")


def _state(version: Version) -> str:
    output, states = version.output, []
    if version.current:
        states.append("current")
    if version.asked:
        states.append(ASKED.get(version.asked, version.asked))
    if version.hold is not None:
        states.append(f"held ({version.hold.id})")
    if output.gone:
        states.append(f"{output.gone} {when(output.gone_at or 0)}")
    return ", ".join(states)


@outputs.command()
@click.argument("asset")
@click.option("--partition", metavar="KEY", help="The partition; needed where the asset has partitions.")
@click.option("--output", "output", metavar="OUTPUT", help="This output instead of the current one.")
@click.option("--all-versions", is_flag=True, help="Every version of the partition.")
@click.option("--reason", metavar="TEXT", required=True, help="Why; it is recorded with who erased it.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@json_option
@click.pass_context
def erase(
    ctx: click.Context, asset: str, partition: str | None, output: str | None, all_versions: bool, reason: str, yes: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Erase the bytes of ASSET's current output for good; its record, digest and lineage stay. Backups are not changed."""
    flow = open_for_reading(ctx)
    asked = {"partition": partition, "output": output, "all_versions": all_versions, "reason": reason}
    planned = flow.erase(asset, dry_run=True, **asked)  # type: ignore[arg-type]
    if not as_json:
        _say_plan(planned)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError("erasing cannot be undone, and nobody is there to ask", hint="give --yes; nothing was erased")
        if not click.confirm("Erase them?", err=True):
            say("Nothing was erased.")
            return
    done = flow.erase(asset, **asked)  # type: ignore[arg-type]
    if as_json:
        names = ("outputs", "kept", "downstream")
        say_json(
            {name: [plain_of(record) for record in getattr(done, name)] for name in names} | {"current": done.current or None}
        )
        return
    size = sum(record.size for record in done.outputs)
    say(f"Erased: {counted(len(done.outputs), 'output')}, {bytes_of(size)}. Records and digests stay: flowstone outputs list "
        f"{quoted(asset)} --gone")  # fmt: skip
    if done.current:
        gone = done.outputs[0]
        say(f"{place(asset, gone.partition)} has no value now: flowstone run {quoted(asset)}{option_of(gone.partition)}")


def _say_plan(planned: Erasure) -> None:
    say("Their bytes go for good (versions with the same bytes go together):")
    say_rows(_line(record) for record in planned.outputs)
    if planned.kept:
        numbers = ", ".join(str(record.version) for record in planned.kept[:LISTED])
        say(f"Kept: {counted(len(planned.kept), 'other version')} ({numbers}); --all-versions erases them as well.")
    if planned.downstream:
        say("Made from them, and kept; their bytes may tell what was in the erased ones:")
        say_rows(_line(record) for record in planned.downstream[:LISTED])
        if len(planned.downstream) > LISTED:
            say(f"  and {len(planned.downstream) - LISTED:,} more: flowstone lineage {quoted(planned.outputs[0].asset)} --down")


def _line(record: object) -> tuple[str, ...]:
    plain = plain_of(record)  # type: ignore[arg-type]
    state = f"{plain['gone']} {plain['gone_at']}" if plain["gone"] else ""
    return (
        " ".join(filter(None, (plain["asset"], plain["partition"]))), f"version {plain['version']}", bytes_of(plain["size"]),
        sha(plain["digest"]), plain["id"], state,
    )  # fmt: skip
