"""``flowstone run``: materialize assets and what they need."""

from __future__ import annotations

import math
from contextlib import AbstractContextManager, nullcontext
from importlib import import_module
from typing import cast, get_args

import click
from rich.text import Text

from flowstone import FlowStone
from flowstone.app.facade import Executor
from flowstone.assets.keys import decode_key, display_key
from flowstone.assets.options import EXECUTORS
from flowstone.cli.console import RunConsole, footer, say_asked, terminal
from flowstone.cli.main import Terminated
from flowstone.cli.session import open_for_running
from flowstone.cli.signals import Graceful
from flowstone.cli.words import counted
from flowstone.execution.preview import Preview
from flowstone.execution.run import IfRunning
from flowstone.foundation.clock import NANOSECONDS
from flowstone.foundation.durations import parse_duration
from flowstone.foundation.errors import UsageError

WAITING = 3
"""The exit code of a run that waits for people."""


def waiting_time(ctx: click.Context, parameter: click.Parameter, value: str | None) -> float:  # noqa: ARG001 - click's signature
    """The seconds to wait for people."""
    if value is None:
        return 0.0
    try:
        return math.inf if value == "forever" else parse_duration(value) / NANOSECONDS
    except ValueError as error:
        raise UsageError(f"--wait: {error}", hint="--wait, or --wait=8h") from error


@click.command(short_help="Materialize assets and what they need.")
@click.argument("targets", nargs=-1)
@click.option("--partition", metavar="KEY", help="The partition to materialize; default: the latest.")
@click.option("--force", is_flag=True, help="Compute the targets even when they are up to date.")
@click.option("--no-deps", is_flag=True, help="Take inputs as they are now; compute only the targets.")
@click.option("--dry-run", is_flag=True, help="Say what would be done and why; do nothing.")
@click.option("--executor", type=click.Choice(EXECUTORS), help="Where assets are computed that do not say so themselves.")
@click.option("--jobs", "-j", type=click.IntRange(1), metavar="N", help="How many attempts run at once.")
@click.option(
    "--if-running",
    type=click.Choice(get_args(IfRunning)),
    default="wait",
    help="When another run works on a target: wait for it (default), skip this run, or fail.",
)
@click.option(
    "--wait",
    is_flag=False,
    flag_value="forever",
    metavar="TIME",
    callback=waiting_time,
    help="Wait for people to approve, for ever or for a time such as 8h, instead of ending with exit code 3.",
)
@click.option(
    "--waiting-exit-code",
    type=click.IntRange(0, 255),
    default=WAITING,
    metavar="N",
    help="The exit code when the run waits for people; default 3.",
)
@click.option(
    "--grace", metavar="SECONDS", type=click.FloatRange(0), help="What may still finish after SIGTERM; default: settings."
)
@click.option("--resume", metavar="RUN", help="Go on with a run that was interrupted or lost.")
@click.option("--traceparent", metavar="HEADER", help="The W3C trace context of who asks; default: $TRACEPARENT.")
@click.option("--metrics", "listen", metavar="HOST:PORT", help="Serve the metrics of this process while it works.")
@click.option("--quiet", "-q", is_flag=True, help="Print only what failed and the last lines.")
@click.pass_context
def run(  # noqa: PLR0913, PLR0917 - click hands over every option
    ctx: click.Context,
    targets: tuple[str, ...],
    partition: str | None,
    force: bool,
    no_deps: bool,
    dry_run: bool,
    executor: Executor | None,
    jobs: int | None,
    if_running: IfRunning,
    wait: float,
    waiting_exit_code: int,
    grace: float | None,
    resume: str | None,
    traceparent: str | None,
    listen: str | None,
    quiet: bool,
) -> None:
    """Materialize TARGETS (default: every asset) and what they need; what is up to date is reused.

    Exit codes: 0 done, 1 a materialization failed or the run was cancelled, 2 bad usage or input, 3 people must approve first,
    130 and 143 interrupted.
    """
    if resume and (targets or partition or force or no_deps or dry_run or traceparent or if_running != "wait"):
        raise UsageError("--resume goes on with what the run was asked for", hint="leave out targets and other options")
    with open_for_running(ctx) as flow:
        if dry_run:
            _say(flow.preview(targets or None, partition=partition, force=force, deps=not no_deps))
            return
        flow.export_telemetry()
        shown = RunConsole(flow, flow.pipeline, quiet=quiet)  # type: ignore[arg-type]
        with _exporting(flow, listen), Graceful(flow, grace), shown as console:
            flow.on_print(console.echo)
            if resume:
                result = flow.resume(resume, executor=executor, jobs=jobs, wait=wait)
            else:
                result = flow.run(
                    targets or None, partition=partition, force=force, deps=not no_deps, executor=executor, jobs=jobs,
                    if_running=if_running, wait=wait, traceparent=traceparent,
                )  # fmt: skip
        if result.status == "skipped":
            console.console.print(Text(f"Nothing was begun: {result.run_id} works on it. flowstone show {result.run_id}"))
            return
        footer(flow, result, console.console)
        if result.asks:
            say_asked(flow, result, console.console)
    if result.asks:
        ctx.exit(waiting_exit_code)
    if result.status == "waiting":
        raise Terminated(result.run_id)
    if not result.ok:
        ctx.exit(1)


def _exporting(flow: FlowStone, listen: str | None) -> AbstractContextManager[object]:
    """The server of this process's metrics, if it was asked for: a run without one does not load it."""
    if listen is None:
        return nullcontext()
    return cast(AbstractContextManager[object], import_module("flowstone.cli.exporting").exporter(flow, listen, deployment=False))


def _say(found: list[Preview]) -> None:
    console = terminal()
    width = max([12, *(min(len(step.asset), 40) for step in found)])
    for step in found:
        partition = f" {display_key(decode_key(step.partition))}" if step.partition else ""
        console.print(Text(f"  {step.asset + partition:<{width + 11}}  {step.action:<8} {step.because}"))
    computed = sum(step.action == "compute" for step in found)
    console.print(Text(f"\nNothing was done. {counted(len(found), 'step')}: {computed} would be computed."))
