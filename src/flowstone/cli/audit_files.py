"""``flowstone audit prove``, ``export``, ``sample``, ``verify-export``, ``verify-proof``: what is handed to others, and taken."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from flowstone.app.audit_views import Printed
from flowstone.audit.export import Range
from flowstone.audit.offline import verify_export as verify_export_
from flowstone.audit.offline import verify_proof as verify_proof_
from flowstone.audit.offline_report import OfflineReport
from flowstone.cli.audit_options import Instant, Verification, filter_options, keys_of, signers_option, trust_options, wanted_of
from flowstone.cli.audit_questions import entries
from flowstone.cli.grammar import json_option
from flowstone.cli.lines import quoted, say, say_fields, say_json, who
from flowstone.cli.session import open_for_reading
from flowstone.cli.words import bytes_of, counted
from flowstone.foundation.errors import NotFoundError, UsageError
from flowstone.foundation.signatures.allowed_signers import Signers
from flowstone.stores.audit_questions import Wanted


@click.command()
@click.argument("entry", type=click.IntRange(0))
@click.option("-o", "--output", metavar="FILE", help="Write it to FILE instead of printing it.")
@click.pass_context
def prove(ctx: click.Context, entry: int, output: str | None) -> None:
    """Prove that ENTRY is in the log: a text in the form of c2sp.org/tlog-proof, with the entry in it."""
    flow = open_for_reading(ctx)
    text = flow.audit.prove(entry)
    if output is None:
        click.echo(text, nl=False)
        return
    if Path(output).exists():
        raise UsageError(f"{output} exists", hint="choose another file")
    Path(output).write_text(text, encoding="utf-8")
    say(f"Written: {output}. To verify it: flowstone audit verify-proof {quoted(output)} --origin ORIGIN --key KEY")


@click.command()
@click.argument("file")
@click.option("--begin", type=click.IntRange(0), metavar="ENTRY", help="From this entry on; default: the first one that is kept.")
@click.option("--end", type=click.IntRange(1), metavar="ENTRY", help="Up to and without this one; default: all that are sealed.")
@filter_options
@click.option("--no-disclosures", "withheld", is_flag=True, help="Leave out what entries disclose: names, reasons, messages.")
@json_option
@click.pass_context
def export(
    ctx: click.Context, /, file: str, begin: int | None, end: int | None, withheld: bool, as_json: bool, **chosen: Any
) -> None:
    """Write entries to FILE, one JSON object a line, with all that is needed to verify them without the database.

    Without a filter every entry of the range; with one those that fit, of every project, each with its own proof.
    """
    flow = open_for_reading(ctx)
    wanted = wanted_of(flow, chosen, every_project=True)
    done = flow.audit.export(file, asked=Range(begin, end), wanted=wanted if wanted != Wanted() else None, withheld=withheld)
    head = flow.audit.head()
    say_written(done, as_json=as_json)
    if not as_json:
        if head.unsealed:
            say(f"Not in it: {entries(head.unsealed)} that are not sealed yet (flowstone audit seal)")
        say(f"To verify it: flowstone audit verify-export {quoted(file)} --origin {quoted(head.origin)} --key KEY")


@click.command()
@click.option("--asset", required=True, metavar="ASSET", help="Whose outputs.")
@click.option("--n", "count", type=click.IntRange(1, 10_000), default=25, help="How many; default: 25.")
@click.option("--seed", required=True, metavar="TEXT", help="Who knows it chooses the same ones.")
@click.option("--from", "since", type=Instant(), metavar="TIME", help="Only from this instant on.")
@click.option("--to", "until", type=Instant(), metavar="TIME", help="Only before this instant.")
@click.option("-o", "--output", "folder", required=True, metavar="DIR", help="The new folder they go to.")
@json_option
@click.pass_context
def sample(
    ctx: click.Context, asset: str, count: int, seed: str, since: int | None, until: int | None, folder: str, as_json: bool
) -> None:
    """Draw a sample of an asset's outputs and write the evidence of each, and the program that verifies it, to DIR."""
    done = open_for_reading(ctx).audit.sample(asset, folder, count=count, seed=seed, wanted=Wanted(since=since, until=until))
    if as_json:
        say_json(done)
        return
    say(f"{len(done.chosen)} of {counted(done.population, 'output')} of {asset}, chosen by the seed {seed!r}, are in {folder}")
    for one in done.chosen:
        say(f"  {one.output}  entry {one.seq}  {one.file}")
    say(f"To verify one: python {quoted(str(Path(folder, 'verify_evidence.py')))} FILE --origin ORIGIN --key KEY")


@click.command("verify-export", cls=Verification)
@click.argument("file")
@trust_options
@signers_option
@click.option("--begin", type=click.IntRange(0), default=0, metavar="ENTRY", help="The first entry that is expected; default: 0.")
@click.option("--end", type=click.IntRange(1), metavar="ENTRY", help="The end that is expected; default: that of its tree head.")
@json_option
@click.pass_context
def verify_export(
    ctx: click.Context,
    file: str,
    origin: str,
    keys: tuple[str, ...],
    signers: str | None,
    begin: int,
    end: int | None,
    as_json: bool,
) -> None:
    """Verify the export FILE: no database, no settings, only the log's origin and key. Exit 0, 1 or 2; 3: asked wrongly."""
    report = verify_export_(file, origin, keys_of(keys), begin=begin, end=end, signers=_signers(signers))
    _report(ctx, report, as_json=as_json, what=f"{entries(report.entries)} of {report.size:,}")


@click.command("verify-proof", cls=Verification)
@click.argument("file")
@click.argument("entry", required=False, metavar="[ENTRY]")
@trust_options
@signers_option
@json_option
@click.pass_context
def verify_proof(
    ctx: click.Context, file: str, entry: str | None, origin: str, keys: tuple[str, ...], signers: str | None, as_json: bool
) -> None:
    """Verify the proof FILE of the bytes in the file ENTRY, else of those that it carries. Exit 0, 1 or 2; 3: asked wrongly."""
    try:
        text = Path(file).read_bytes().decode("utf-8", errors="replace")
        leaf = Path(entry).read_bytes() if entry is not None else None
    except OSError as error:
        raise NotFoundError(f"{error.filename}: {error.strerror}", hint="flowstone audit prove ENTRY -o FILE") from error
    report = verify_proof_(text, origin, keys_of(keys), leaf, signers=_signers(signers))
    _report(ctx, report, as_json=as_json, what=f"entry {report.begin} of {report.size:,}")
    if report.fields is not None and not as_json:
        fields = report.fields
        say_fields([
            ("act", f"{fields['action']}, {fields['outcome']}"), ("subject", f"{fields['subject']}, version {fields['version']}"),
            ("who", who(fields["actor"], fields["identity"])), ("project", fields["project"]),
        ])  # fmt: skip


def _signers(file: str | None) -> Signers | None:
    return Signers.read(Path(file)) if file is not None else None


def say_written(done: Printed, *, as_json: bool) -> None:
    """Say which file was written."""
    if as_json:
        say_json(done)
    else:
        say(f"Written: {done.path}, {bytes_of(done.bytes)}, sha256 {done.digest}")


def _report(ctx: click.Context, report: OfflineReport, *, as_json: bool, what: str) -> None:
    if as_json:
        say_json({
            "verdict": report.verdict, "origin": report.origin, "entries": report.entries, "begin": report.begin,
            "end": report.end, "size": report.size, "signers": report.signers, "disclosures": report.disclosures,
            "findings": [finding._asdict() for finding in report.findings], "found": report.found,
            "incomplete": report.incomplete, "signed_decisions": report.decisions, "not_checked": report.not_checked,
        })  # fmt: skip
    else:
        say(f"{report.verdict}  {what}, {counted(report.found, 'finding')}   origin {report.origin}")
        for number, finding in enumerate(report.findings, 1):
            say(f"  {number}  {finding.message}")
            if finding.todo:
                say(f"       {finding.todo}")
        for lacking in report.incomplete:
            say(f"  not proven: {lacking}")
        if report.signers:
            say(f"  signed by {', '.join(report.signers)}")
        if report.decisions:
            say(f"  {counted(report.decisions, 'decision')} signed by who decided")
        for open_ in report.not_checked:
            say(f"  Not checked: {open_}")
        say("  Not checked: whether the log has grown since, and whether its records agree (flowstone audit verify)")
    if report.exit:
        ctx.exit(report.exit)
