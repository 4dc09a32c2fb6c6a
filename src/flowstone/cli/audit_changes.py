"""``flowstone audit seal``, ``keys``, ``anchors``, ``prune``, ``redact`` and ``reincarnate``: what may be done to the log."""

from __future__ import annotations

import click
import msgspec

from flowstone.audit.anchoring import Anchoring
from flowstone.cli.audit_options import Instant
from flowstone.cli.audit_questions import entries
from flowstone.cli.grammar import json_option
from flowstone.cli.lines import plain_of, say, say_json, when
from flowstone.cli.session import open_for_reading
from flowstone.foundation.durations import parse_duration
from flowstone.foundation.errors import UsageError

_reason_option = click.option("--reason", metavar="TEXT", required=True, help="Why; the entry discloses it.")


@click.command()
@click.pass_context
def seal(ctx: click.Context) -> None:
    """Give every entry its place, sign the tree head, and hand it to the anchors."""
    sealed, anchored = open_for_reading(ctx).audit.seal()
    if sealed:
        signed = "signed" if "\n\n" in sealed[-1].note else "not signed: no key can be kept here"
        say(f"Sealed {entries(sum(one.added for one in sealed))}: the tree head has {entries(sealed[-1].head.size)}, {signed}")
    else:
        say("Nothing was unsealed.")
    say_anchored(anchored)


def say_anchored(anchored: list[Anchoring]) -> None:
    """Say what became of a tree head at its anchors."""
    for one in anchored:
        say(f"  {one.sink}: {one.error + '; it is tried again' if one.error else f'has {entries(one.size)}'}")


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def keys(ctx: click.Context, as_json: bool) -> None:
    """List the keys this user trusts for the log, or rotate them."""
    if ctx.invoked_subcommand is not None:
        return
    pinned = open_for_reading(ctx).audit.pinned_keys()
    if as_json:
        for pin in pinned:
            say_json({"key": str(pin.key), "since": pin.since, "until": pin.until})
        return
    if not pinned:
        say("No key is pinned: what is sealed here is not signed, or nothing is sealed yet (flowstone audit seal).")
        return
    for pin in pinned:
        say(f"{pin.key}")
        ended = f"up to {entries(pin.until)}" if pin.until is not None else "still in use"
        say(f"  from the tree head of {entries(pin.since)} on, {ended}")
    say()
    say("Give the key that is in use, and the origin, to who verifies: by another way than the files.")


@keys.command()
@_reason_option
@click.pass_context
def rotate(ctx: click.Context, reason: str) -> None:
    """Put a new key in the place of the one there is: an entry says so, and one tree head is signed by both."""
    done = open_for_reading(ctx).audit.rotate_key(reason=reason)
    say(f"The key is now {done.new}")
    say(f"The tree head of {entries(done.size)} is signed by both: who trusts the old key can see that it named the new one.")
    say(f"  flowstone audit head --size {done.size}")


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def anchors(ctx: click.Context, as_json: bool) -> None:
    """List where tree heads are kept as well, and how far each place is."""
    if ctx.invoked_subcommand is not None:
        return
    found = open_for_reading(ctx).audit.head()
    if as_json:
        for anchor in found.anchors:
            say_json({**plain_of(anchor), "behind": found.size - anchor.size})
        return
    for anchor in found.anchors:
        behind = f", {entries(found.size - anchor.size)} behind" if anchor.size < found.size else ""
        seen = f"{entries(anchor.size)}, {when(anchor.at)}{behind}" if anchor.at else "nothing yet"
        say(f"  {anchor.sink}  {seen}")
    if all(anchor.sink in ("state", "log") for anchor in found.anchors):
        say("Only on this machine: who owns it and the key could rewrite all of it. flowstone audit anchors add file:/a/folder")


@anchors.command()
@click.argument("place")
@click.pass_context
def add(ctx: click.Context, place: str) -> None:
    """Say which line of the settings adds PLACE (file:/a/folder of another volume, or log): nothing is written for you."""
    settings = open_for_reading(ctx).settings
    if place != "log" and not place.startswith("file:/"):
        raise UsageError(f"{place!r} is no place for anchors", hint="file:/an/absolute/folder, or log")
    places = msgspec.json.encode(list(dict.fromkeys([*settings.audit.anchors, place]))).decode()
    where = str(settings.file) if settings.file else "flowstone.toml beside the pipeline"
    in_pyproject = settings.file is not None and settings.file.name == "pyproject.toml"
    say(f"Put this into {where}:")
    say("  [tool.flowstone.audit]" if in_pyproject else "  [audit]")
    say(f"  anchors = {places}")
    say("Then: flowstone audit seal    flowstone audit anchors")


@click.command()
@click.argument("archive", metavar="FILE")
@click.option("--older-than", metavar="LENGTH", help="Only entries older than this, for example 365d.")
@click.option("--before", type=Instant(), metavar="TIME", help="Only entries before this instant.")
@json_option
@click.pass_context
def prune(ctx: click.Context, archive: str, older_than: str | None, before: int | None, as_json: bool) -> None:
    """Put old entries into the new archive FILE, verify it, and delete their bytes here. Their proofs stay.

    At most up to the last multiple of 256 that is sealed and anchored; the newest entry of everything that has versions stays.
    """
    flow = open_for_reading(ctx)
    if (older_than is None) == (before is None):
        raise UsageError("how old must an entry be to go?", hint="--older-than 365d, or --before 2026-01-01")
    if older_than is not None:
        try:
            before = flow._deployment.clock.now_ns() - parse_duration(older_than)
        except ValueError as error:
            raise UsageError(f"--older-than {older_than}", hint=str(error)) from error
    done = flow.audit.prune(archive, before=before)
    if as_json:
        say_json(done._asdict())
        return
    say(f"Entries {done.begin}-{done.below - 1} are in {done.archive}, sha256 {done.digest}: keep it, it is the only place.")
    say(f"Deleted here: the bytes of {entries(done.deleted)}. To verify the log from now on: --archive {done.archive}")


@click.command()
@click.argument("entry", type=click.IntRange(0))
@click.option("--field", "fields", multiple=True, metavar="FIELD", help="Only this field; repeatable. Default: all it discloses.")
@_reason_option
@click.pass_context
def redact(ctx: click.Context, entry: int, fields: tuple[str, ...], reason: str) -> None:
    """Delete what ENTRY discloses, for good. The entry stays, and another one says who deleted what."""
    done = open_for_reading(ctx).audit.redact(entry, fields, reason=reason)
    say(f"Redacted: {', '.join(done.fields)} of entry {done.seq}.")
    say("Not reached: backups, exports and archives that were written before. Let them expire, or redact them there.")


@click.command()
@_reason_option
@click.pass_context
def reincarnate(ctx: click.Context, reason: str) -> None:
    """Declare that you restored the database on purpose: the log goes on, signed as a new incarnation, and says why."""
    sealed = open_for_reading(ctx).audit.reincarnate(reason=reason)
    say(f"The log goes on as {sealed.head.origin} with {entries(sealed.head.size)}.")
    say("What was sealed after the backup is not in it. Tell who verifies the new origin, and why there is one.")
