"""``flowstone doctor``: do records and evidence agree, and is anything left behind?"""

from __future__ import annotations

import click

from flowstone.cli.grammar import json_option
from flowstone.cli.lines import say, say_json
from flowstone.cli.session import open_for_reading


@click.command()
@click.option("--all", "thorough", is_flag=True, help="Every run and output, and the inside of a large database, not the newest.")
@json_option
@click.pass_context
def doctor(ctx: click.Context, thorough: bool, as_json: bool) -> None:
    """Check that records and evidence agree and that nothing is left behind; changes nothing. Exit code 1 when a check fails."""
    flow = open_for_reading(ctx)
    findings = flow.doctor(thorough=thorough)
    if as_json:
        for finding in findings:
            say_json(finding._asdict())
    else:
        settings = flow.settings
        say(f"project {settings.project}   environment {settings.environment or '(none)'}   home {settings.home}")
        width = max(len(finding.subject) for finding in findings)
        margin = max(len(finding.level) for finding in findings)
        for finding in findings:
            say(f"{finding.level:<{margin}}  {finding.subject:<{width}}  {finding.text}".rstrip())
            if finding.fix:
                say(f"{'':<{margin}}  {'':<{width}}  fix: {finding.fix}")
    if any(finding.level == "fail" for finding in findings):
        ctx.exit(1)
