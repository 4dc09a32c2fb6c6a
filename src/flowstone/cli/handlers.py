"""``flowstone handlers``: who listened to events in each process, how they fared, and what was lost."""

from __future__ import annotations

import click

from flowstone.app.handlers import ProcessHandlers
from flowstone.cli.grammar import json_option
from flowstone.cli.lines import plain_of, say, say_json, say_rows, when
from flowstone.cli.session import open_for_reading
from flowstone.cli.words import counted, seconds
from flowstone.events.handlers import HandlerInfo

_HEADINGS = ("handler", "calls", "failures", "slow", "skipped", "dropped", "waiting", "mean", "max", "")


@click.command()
@click.option("--limit", type=click.IntRange(1, 10_000), default=5, show_default=True, help="At most so many processes.")
@json_option
@click.pass_context
def handlers(ctx: click.Context, limit: int, as_json: bool) -> None:
    """Show the handlers of each process, newest first: calls, failures, latency, what they did not see, quarantine.

    A process tells its figures when a run ends, and every five seconds while they change; handlers it has detached are listed
    too.
    """
    found = open_for_reading(ctx).handlers(limit=limit)
    for process in found:
        if as_json:
            say_json({**plain_of(process), "handlers": [_plain(h) for h in process.handlers], "lost": _lost(process)})
        else:
            _say(process)
    if not found and not as_json:
        say("No process has worked here.")


def _say(process: ProcessHandlers) -> None:
    ended = f"ended {when(process.ended_at)}" if process.ended_at else f"last seen {when(process.heartbeat_at)}"
    say(f"{process.process}  pid {process.pid} on {process.host}  began {when(process.started_at)}  {ended}")
    if not process.handlers:
        say("  has told nothing")
        return
    say_rows([_HEADINGS, *map(_row, process.handlers)])
    for loss in process.lost:
        say(f"  lost: {loss.sink} did not see {counted(loss.lost, 'event')} ({loss.reason})")


def _row(handler: HandlerInfo) -> tuple[str, ...]:
    counts = (handler.calls, handler.failures, handler.slow, handler.skipped, handler.dropped, handler.waiting)
    mean, slowest = (_took(handler.busy_ns // handler.calls), _took(handler.slowest_ns)) if handler.calls else ("", "")
    return handler.id, *map(str, counts), mean, slowest, "in quarantine" if handler.quarantined else ""


def _took(nanoseconds: int) -> str:
    return f"{nanoseconds / 1000:.0f} us" if nanoseconds < 1_000_000 else seconds(nanoseconds)


def _plain(handler: HandlerInfo) -> dict[str, object]:
    return {**handler._asdict(), "mean_ns": handler.busy_ns // handler.calls if handler.calls else 0}


def _lost(process: ProcessHandlers) -> list[dict[str, object]]:
    return [loss._asdict() for loss in process.lost]
