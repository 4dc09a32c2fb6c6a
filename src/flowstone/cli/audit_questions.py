"""``flowstone audit list``, ``show`` and ``head``: what is in the log."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from flowstone import FlowStone
from flowstone.app.audit_views import EntryView, HeadView
from flowstone.audit.tlog_proof import encoded
from flowstone.cli.audit_options import filter_options, wanted_of
from flowstone.cli.grammar import json_option
from flowstone.cli.lines import iso, plain_of, say, say_fields, say_json, say_rows, when, who
from flowstone.cli.reader import require_reader
from flowstone.cli.session import open_for_reading
from flowstone.stores.audit_questions import Wanted

_APART = frozenset({"asset"})


@click.command("list")
@filter_options
@click.option("--before", type=click.IntRange(0), metavar="ENTRY", help="Only entries before this one: the next page.")
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, help="At most so many; default: 50.")
@click.option("--follow", "-f", is_flag=True, help="Print entries as they are sealed, until Ctrl-C.")
@click.option("--every-project", is_flag=True, help="Of every project in the database.")
@json_option
@click.pass_context
def list_(
    ctx: click.Context, /, before: int | None, limit: int, follow: bool, every_project: bool, as_json: bool, **chosen: Any
) -> None:
    """List entries, newest first: number, when, what, about what, who, and how it ended."""
    flow = open_for_reading(ctx)
    wanted = wanted_of(flow, chosen, every_project=every_project)
    if follow:
        _follow(flow, wanted, as_json=as_json)
        return
    found = flow.audit.entries(wanted, before=before, limit=limit)
    if as_json:
        for entry in found:
            say_json(plain_entry(entry))
        return
    if not found:
        say("No entries" + (f" before {before}." if before is not None else " are as asked for."))
        return
    say_rows(_row(entry) for entry in found)
    if len(found) == limit and found[-1].seq:
        say()
        say(f"There may be more: flowstone audit list --before {found[-1].seq}")


def _follow(flow: FlowStone, wanted: Wanted, *, as_json: bool) -> None:
    for entry in flow.audit.follow(wanted, idle=require_reader):
        if as_json:
            say_json(plain_entry(entry))
        else:
            say_rows([_row(entry)])


@click.command()
@click.argument("entry", type=click.IntRange(0))
@json_option
@click.pass_context
def show(ctx: click.Context, entry: int, as_json: bool) -> None:
    """Show ENTRY by its number: what is signed, and what it discloses."""
    found = open_for_reading(ctx).audit.show(entry)
    if as_json:
        say_json(plain_entry(found))
        return
    say(f"entry {found.seq}  {found.action or 'pruned'}  {found.outcome}")
    if found.fault:
        say(f"  its bytes are no entry: {found.fault}   flowstone audit verify")
    disclosed = [(name, found.disclosed[name]) for name in sorted(found.disclosed)]
    say_fields([
        ("when", when(found.at) if found.at else ""), ("who", who(found.actor, found.identity) if found.actor else ""),
        ("subject", f"{found.subject}, version {found.version}" if found.subject else ""), ("project", found.project),
        ("run", found.run_id), ("trace", found.trace_id), *((name, _said(value)) for name, value in sorted(found.data.items())),
        *disclosed, ("redacted", ", ".join(found.redacted)), ("leaf hash", found.leaf_hash),
    ])  # fmt: skip
    say()
    if found.pruned:
        say("Its bytes are in an archive; its hash is here, and proves them: flowstone audit prove")
    say(f"Prove it to somebody else: flowstone audit prove {found.seq}")


@click.command()
@click.option("--size", type=click.IntRange(1), metavar="ENTRIES", help="The smallest tree head with so many entries.")
@click.option("--since", type=click.IntRange(1), metavar="ENTRIES", help="Also prove that it goes on from its first ENTRIES.")
@json_option
@click.pass_context
def head(ctx: click.Context, size: int | None, since: int | None, as_json: bool) -> None:
    """Show the newest tree head: what is signed of the log, what is not yet, and which anchors have it."""
    flow = open_for_reading(ctx)
    found = flow.audit.head(size)
    consistency = [encoded(one) for one in flow.audit.prove_consistency(since)] if since is not None else None
    if as_json:
        plain = {**msgspec.structs.asdict(found), "at": iso(found.at), "anchors": [plain_of(anchor) for anchor in found.anchors]}
        say_json(plain if consistency is None else {**plain, "since": since, "consistency": consistency})
        return
    _say_head(found)
    if consistency is not None:
        say()
        say(f"The first {entries(since or 0)} are its beginning; the hashes that prove it (RFC 9162, 2.1.4):")
        for one in consistency:
            say(f"  {one}")


def _say_head(found: HeadView) -> None:
    say(f"{entries(found.size)}, sealed {when(found.at)}")
    say_fields([
        ("origin", found.origin), ("root", found.root),
        ("signed by", ", ".join(found.signers) or "nobody: there is no key here (flowstone audit keys)"),
        ("unsealed", f"{entries(found.unsealed)} more: flowstone audit seal" if found.unsealed else ""),
        ("pruned", f"entries below {found.pruned_below} are in archives" if found.pruned_below else ""),
    ])  # fmt: skip
    for anchor in found.anchors:
        behind = f", {entries(found.size - anchor.size)} behind" if anchor.size < found.size else ""
        seen = f"{entries(anchor.size)} {when(anchor.at)}{behind}" if anchor.at else "nothing yet"
        say(f"  anchor       {anchor.sink}: {seen}")
    say()
    for line in found.note.rstrip("\n").split("\n"):
        say(line)


def entries(count: int) -> str:
    """``1 entry``, ``2,000 entries``."""
    return f"{count:,} {'entry' if count == 1 else 'entries'}"


def plain_entry(entry: EntryView) -> dict[str, Any]:
    """An entry as plain values."""
    return {**plain_of(entry), "at": iso(entry.at) if entry.at is not None else None}


def _row(entry: EntryView) -> tuple[str, ...]:
    number = str(entry.seq) if entry.seq is not None else "unsealed"
    words = [f"{name}={_said(value)}" for name, value in entry.data.items() if name not in _APART]
    words += [f"{name}={value}" for name, value in sorted(entry.disclosed.items())]
    at = iso(entry.at) if entry.at is not None else ""
    actor = who(entry.actor, entry.identity)
    return number, at, entry.action, entry.asset or entry.subject, actor, entry.outcome, " ".join(words)


def _said(value: object) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()
