"""``flowstone audit verify``: the verdict first, then every finding, then what was not checked."""

from __future__ import annotations

from typing import Any

import click

from flowstone.app.verifying import VerifyReport
from flowstone.cli.audit_options import Verification, signers_option
from flowstone.cli.audit_questions import entries
from flowstone.cli.grammar import json_option
from flowstone.cli.lines import iso, say, say_fields, say_json, when
from flowstone.cli.session import open_for_reading
from flowstone.cli.words import counted

TAINTED = 10
_LAST_RESORT = "What to do: stop writers, keep the file, compare with anchors, restore (docs/audit/answering-an-auditor.md)"
_LOCAL = (
    "only on this machine: a person who owns this machine and the key could rewrite all of it.",
    "One line fixes that: flowstone audit anchors add file:/mnt/other/anchors",
)


@click.command(cls=Verification)
@click.option("--no-reconcile", is_flag=True, help="The log alone: not its records, not the bytes of outputs.")
@click.option("--anchors", multiple=True, metavar="PATH", help="Also compare with this file, or folder, of anchors. Repeatable.")
@click.option("--key", "keys", multiple=True, metavar="KEY", help="Trust this key instead of those that are pinned; repeatable.")
@click.option("--archive", "archives", multiple=True, metavar="FILE", help="An archive of pruned entries. Repeatable, in order.")
@signers_option
@click.option("--no-record", is_flag=True, help="Write nothing: the result is not known to metrics and the doctor.")
@json_option
@click.pass_context
def verify(
    ctx: click.Context,
    no_reconcile: bool,
    anchors: tuple[str, ...],
    keys: tuple[str, ...],
    archives: tuple[str, ...],
    signers: str | None,
    no_record: bool,
    as_json: bool,
) -> None:
    """Verify the log, its anchors, every record it tells of, and the bytes of current outputs.

    Exit codes: 0 intact, 1 tampered, 2 incomplete (something could not be checked), 3 asked wrongly.
    """
    flow = open_for_reading(ctx)
    report = flow.audit.verify(
        reconcile=not no_reconcile, anchors=anchors, keys=keys, archives=archives, signers=signers, record=not no_record
    )
    if as_json:
        say_json(_plain(report))
    else:
        _say(report)
    if report.checked.exit:
        ctx.exit(report.checked.exit)


def _say(report: VerifyReport) -> None:
    checked = report.checked
    head = f"{checked.verdict}  {entries(checked.entries)}, {counted(checked.found, 'finding')}"
    say(f"{head:<60} origin {_short(checked.origin)}   {report.seconds:.2f} s")
    for number, finding in enumerate(checked.findings, 1):
        say(f"  {number}  {finding.message}")
        if finding.todo:
            say(f"       {finding.todo}")
    if checked.found > len(checked.findings):
        say(f"     and {checked.found - len(checked.findings):,} more of the same kinds")
    if checked.found:
        _say_trust(report)
    for lacking in checked.incomplete:
        say(f"  not proven   {lacking}")
    _say_checked(report)
    for notice in checked.notices:
        say(f"  notice       {notice}")
    for what in report.not_checked:
        say(f"  not checked  {what}")


def _say_trust(report: VerifyReport) -> None:
    checked = report.checked
    tainted = list(dict.fromkeys(taint for finding in checked.findings for taint in finding.taints if taint))
    of_log = {finding.kind for finding in checked.findings} - {"record", "phantom", "bytes", "archive", "decision"}
    trusted = "nothing, before it is known what happened" if of_log else f"all {entries(checked.entries)} of the log"
    say(f"Trustworthy: {trusted}.")
    if tainted:
        more = f", and {len(tainted) - TAINTED:,} more" if len(tainted) > TAINTED else ""
        say(f"Not trustworthy: {', '.join(tainted[:TAINTED])}{more}")
    say(_LAST_RESORT)


def _say_checked(report: VerifyReport) -> None:
    checked = report.checked
    key = ", ".join(f"{pin.key.id.hex()}" for pin in report.keys if pin.until is None)
    pinned = "pinned in the user's state folder" if report.pinned else "given"
    signed = f"signed head {checked.signed_size} ({when(checked.signed_at)}, key {key}, {pinned})" if checked.signed_at else ""
    waiting = f", {entries(checked.unsealed)} not sealed yet" if checked.unsealed else ""
    kept = f"{checked.pruned_below}-{checked.entries - 1} re-hashed" if checked.entries else "none"
    matching = "compared with" if checked.found else "match"
    parts = counted(checked.subjects, "subject"), counted(checked.disclosures, "disclosure")
    hashed = f"{report.hashed - report.wrong_bytes:,} of {counted(report.hashed, 'current output')} re-hashed as recorded"
    say_fields([
        ("entries", f"{kept}: {matching} {signed}" if signed else f"{kept}: no head is signed by a key that is trusted"),
        ("order", f"{entries(checked.entries)}, {', '.join(parts)}{waiting}"),
        ("records", ", ".join(f"{name} {count:,}" for name, count in report.records.items() if count)),
        ("bytes", hashed if report.hashed else ""),
        ("decisions", f"{counted(report.decisions, 'signature')} of who decided" if report.decisions else ""),
        ("anchors", ", ".join(name for name in report.anchors if name != "state")),
    ])  # fmt: skip
    if not set(report.anchors) - {"state"}:
        say_fields([("anchors", _LOCAL[0]), ("", _LOCAL[1])])


def _plain(report: VerifyReport) -> dict[str, Any]:
    checked = report.checked
    return {
        "verdict": checked.verdict, "origin": checked.origin, "incarnation": checked.incarnation, "entries": checked.entries,
        "root": checked.root.hex(), "signed_size": checked.signed_size,
        "signed_at": iso(checked.signed_at) if checked.signed_at else None, "unsealed": checked.unsealed,
        "pruned_below": checked.pruned_below, "subjects": checked.subjects, "disclosures": checked.disclosures,
        "findings": [finding._asdict() for finding in checked.findings], "found": checked.found,
        "incomplete": checked.incomplete, "notices": checked.notices, "not_checked": report.not_checked,
        "keys": [str(pin.key) for pin in report.keys], "records": report.records, "bytes_hashed": report.hashed,
        "wrong_bytes": report.wrong_bytes, "signed_decisions": report.decisions, "anchors": report.anchors,
        "seconds": report.seconds,
    }  # fmt: skip


def _short(origin: str) -> str:
    name, slash, rest = origin.partition("/")
    return f"{name}{slash}{rest[:8]}.." if len(rest) > 10 else origin
