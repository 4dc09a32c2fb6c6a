"""``flowstone evidence``: everything about one run in one signed file."""

from __future__ import annotations

import shutil
from pathlib import Path

import click

from flowstone.audit.bundles import VERIFIER
from flowstone.cli.audit_files import say_written
from flowstone.cli.grammar import json_option
from flowstone.cli.lines import quoted, say
from flowstone.cli.session import open_for_reading
from flowstone.foundation.errors import UsageError


@click.command()
@click.argument("run", required=False, metavar="[RUN]")
@click.option("-o", "--output", required=True, metavar="FILE", help="The new file it is written to.")
@click.option("--verifier", is_flag=True, help="Write the program that verifies such files instead: it needs no FlowStone.")
@json_option
@click.pass_context
def evidence(ctx: click.Context, run: str | None, output: str, verifier: bool, as_json: bool) -> None:
    """Write RUN with its attempts, lineage, lines, errors, definition, and the entries that prove it, into FILE, signed."""
    if verifier == (run is not None):
        raise UsageError("give a run, or --verifier", hint="flowstone runs lists them")
    if verifier:
        if Path(output).exists():
            raise UsageError(f"{output} exists", hint="choose another file")
        shutil.copyfile(VERIFIER, output)
        say(f"Written: {output}. To use it: python {quoted(output)} FILE --origin ORIGIN --key KEY")
        return
    flow = open_for_reading(ctx)
    say_written(flow.audit.evidence(str(run), output), as_json=as_json)
    if not as_json:
        say("It holds lines, messages and names: give it to who may read them.")
        say("To verify it without FlowStone: flowstone evidence --verifier -o verify_evidence.py")
        say(f"  with --origin {quoted(flow.audit.head().origin)} and the --key of: flowstone audit keys")
