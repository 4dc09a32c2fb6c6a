"""``flowstone run``: materialize assets and what they need."""

from __future__ import annotations

import click
from rich.text import Text

from flowstone.assets.keys import decode_key, display_key
from flowstone.cli.console import RunConsole, footer, terminal
from flowstone.cli.session import open_for_running
from flowstone.cli.words import counted
from flowstone.execution.preview import Preview
from flowstone.foundation.errors import UsageError


@click.command(short_help="Materialize assets and what they need.")
@click.argument("targets", nargs=-1)
@click.option("--partition", metavar="KEY", help="The partition to materialize; default: the latest.")
@click.option("--force", is_flag=True, help="Compute the targets even when they are up to date.")
@click.option("--no-deps", is_flag=True, help="Take inputs as they are now; compute only the targets.")
@click.option("--dry-run", is_flag=True, help="Say what would be done and why; do nothing.")
@click.option("--resume", metavar="RUN", help="Go on with a run that was interrupted or lost.")
@click.option("--quiet", "-q", is_flag=True, help="Print only what failed and the last lines.")
@click.pass_context
def run(
    ctx: click.Context,
    targets: tuple[str, ...],
    partition: str | None,
    force: bool,
    no_deps: bool,
    dry_run: bool,
    resume: str | None,
    quiet: bool,
) -> None:
    """Materialize TARGETS (default: every asset) and what they need; what is up to date is reused.

    Exit codes: 0 done, 1 a materialization failed, 2 bad usage or input, 130 interrupted.
    """
    if resume and (targets or partition or force or no_deps or dry_run):
        raise UsageError("--resume goes on with what the run was asked for", hint="leave out targets and other options")
    with open_for_running(ctx) as flow:
        if dry_run:
            _say(flow.preview(targets or None, partition=partition, force=force, deps=not no_deps))
            return
        with RunConsole(flow, flow.pipeline, quiet=quiet) as console:  # type: ignore[arg-type]
            flow.on_print(console.echo)
            if resume:
                result = flow.resume(resume)
            else:
                result = flow.run(targets or None, partition=partition, force=force, deps=not no_deps)
        footer(flow, result, console.console)
    if not result.ok:
        ctx.exit(1)


def _say(found: list[Preview]) -> None:
    console = terminal()
    width = max([12, *(min(len(step.asset), 40) for step in found)])
    for step in found:
        partition = f" {display_key(decode_key(step.partition))}" if step.partition else ""
        console.print(Text(f"  {step.asset + partition:<{width + 11}}  {step.action:<8} {step.because}"))
    computed = sum(step.action == "compute" for step in found)
    console.print(Text(f"\nNothing was done. {counted(len(found), 'step')}: {computed} would be computed."))
