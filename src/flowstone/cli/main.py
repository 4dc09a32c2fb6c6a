"""``flowstone``: the verbs, and the only place where errors become exit codes.

0 done, 1 a materialization failed or ``doctor`` found a failure, 2 bad usage or input, 3 people must decide first, 130 and 143
interrupted, 141 nobody reads.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import traceback
from collections.abc import Sequence
from types import FrameType
from typing import NoReturn

import click

from flowstone import __version__
from flowstone.cli.grammar import LazyGroup, Verb, shared_options
from flowstone.foundation.errors import FlowStoneError, RunFailedError, message_of
from flowstone.observability.logs.shape import one_line

FAILED, MISUSED, INTERRUPTED, UNREAD, TERMINATED = 1, 2, 130, 141, 143
DEBUG = "FLOWSTONE_DEBUG"

_WORK, _VALUES, _RECORDS = "Work", "Assets and their values", "What happened"
_KEEPING, _PLACE = "What is kept", "This installation"

VERBS = {
    "run": Verb("flowstone.cli.run:run", "Materialize assets and what they need.", _WORK),
    "cancel": Verb("flowstone.cli.cancel:cancel", "End a run for good.", _WORK),
    "approvals": Verb("flowstone.cli.approvals:approvals", "List what waits for people; look at it, and decide.", _WORK),
    "tick": Verb("flowstone.cli.tick:tick", "Do what is due: dead work, due times, messages, metrics.", _WORK),
    "invalidate": Verb("flowstone.cli.invalidate:invalidate", "Withdraw an asset's current value.", _WORK),
    "init": Verb("flowstone.cli.init:init", "Start an empty project.", _WORK),
    "demo": Verb("flowstone.cli.demo:demo", "Write and run a project that reviews a Python environment.", _WORK),
    "status": Verb("flowstone.cli.status:status", "Say which assets are up to date, outdated or missing.", _VALUES),
    "get": Verb("flowstone.cli.get:get", "Print or save a value.", _VALUES),
    "explain": Verb("flowstone.cli.explain:explain", "Say why a value is what it is.", _VALUES),
    "lineage": Verb("flowstone.cli.lineage:lineage", "Show what a value was made from, or what was made from it.", _VALUES),
    "assets": Verb("flowstone.cli.assets:assets", "List the pipeline's assets, or describe one.", _VALUES),
    "graph": Verb("flowstone.cli.graph:graph", "Draw the graph of assets.", _VALUES),
    "runs": Verb("flowstone.cli.runs:runs", "List runs, newest first.", _RECORDS),
    "show": Verb("flowstone.cli.show:show", "Show a run, an error or an output.", _RECORDS),
    "errors": Verb("flowstone.cli.errors:errors", "List what fails, by what fails alike; decide about it.", _RECORDS),
    "logs": Verb("flowstone.cli.logs:logs", "Print what a run's assets logged and printed.", _RECORDS),
    "notifications": Verb("flowstone.cli.notifications:notifications", "List messages to people; try a channel.", _RECORDS),
    "events": Verb("flowstone.cli.events:events", "Read the event log.", _RECORDS),
    "audit": Verb("flowstone.cli.audit:audit", "Who did what, and the proof of it.", _RECORDS),
    "evidence": Verb("flowstone.cli.evidence:evidence", "Write everything about a run, with proofs, into one file.", _RECORDS),
    "metrics": Verb("flowstone.cli.metrics:metrics", "Print, write or serve the deployment's metrics.", _RECORDS),
    "outputs": Verb("flowstone.cli.outputs:outputs", "List outputs, or erase their bytes.", _KEEPING),
    "hold": Verb("flowstone.cli.hold:hold", "Hold what must not be collected, erased or pruned.", _KEEPING),
    "db": Verb("flowstone.cli.db:db", "Look at the database; prune, back up, restore, upgrade it.", _KEEPING),
    "catalogue": Verb("flowstone.cli.catalogue:catalogue", "Print what FlowStone can tell: events, schemas, metrics.", _PLACE),
    "handlers": Verb("flowstone.cli.handlers:handlers", "Show who listens to events, and how they fare.", _PLACE),
    "doctor": Verb("flowstone.cli.doctor:doctor", "Check that records and evidence agree.", _PLACE),
    "config": Verb("flowstone.cli.config:config", "Show the settings and where they come from.", _PLACE),
}


class Terminated(KeyboardInterrupt):
    """SIGTERM arrived: it is obeyed as Ctrl-C is. *run_id*: the run that waits to be resumed."""

    def __init__(self, run_id: str = "") -> None:
        super().__init__()
        self.run_id = run_id


flowstone = LazyGroup(
    VERBS, name="flowstone", params=shared_options(hidden=False), subcommand_metavar="VERB [TARGETS]",
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    help="Materialize assets, keep evidence of it, and answer questions about both.",
    epilog="flowstone VERB --help tells more. Every verb that reads takes --json.",
    callback=lambda: None,
)  # fmt: skip
flowstone = click.version_option(__version__, prog_name="flowstone", message="%(prog)s %(version)s")(flowstone)


def main() -> NoReturn:
    """Run the command line of this process and exit."""
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(execute(sys.argv[1:]))


def execute(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code; everything that goes wrong is said on standard error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _invoke(list(arguments) or ["--help"])
        sys.stdout.flush()
    except BrokenPipeError:
        _stop_writing()
        return UNREAD
    except (KeyboardInterrupt, click.Abort) as error:
        _say_interrupted(error)
        return TERMINATED if isinstance(error, Terminated) or _was_terminated() else INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last one to hear of it
        if _has_lost_output(error):
            _stop_writing()
            return UNREAD
        return _say_error(error)
    return code


def _has_lost_output(error: Exception) -> bool:
    """Whether what went wrong is that an asset has closed standard output."""
    if isinstance(error, ValueError):
        return sys.stdout.closed
    if isinstance(error, OSError) and error.errno == errno.EBADF:
        try:
            os.write(sys.stdout.fileno(), b"")
        except (OSError, ValueError):
            return True
    return False


def _invoke(arguments: list[str]) -> int:
    streams = sys.stdout, sys.stderr
    try:
        with flowstone.make_context("flowstone", arguments) as ctx:
            flowstone.invoke(ctx)
    except click.exceptions.Exit as asked:
        return asked.exit_code
    finally:
        sys.stdout, sys.stderr = streams  # an asset may have put others in their place
    return 0


def _terminate(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - the signature of a signal handler
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # it is being obeyed; a second one must not break off the settling
    raise Terminated


def _was_terminated() -> bool:
    """Whether SIGTERM was obeyed: what stopped a run is told as data, so the class of the interrupt may be lost on the way."""
    return signal.getsignal(signal.SIGTERM) is signal.SIG_IGN


def _stop_writing() -> None:
    """Point standard output at nothing, so that Python's own flush at exit has no reader to miss."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)


def _say_interrupted(error: BaseException) -> None:
    run_id = getattr(error, "run_id", None)
    if run_id:
        _say(f"interrupted: {run_id} waits to be resumed", f"flowstone run --resume {run_id}")
    else:
        _say("interrupted", None)


def _say_error(error: Exception) -> int:
    if os.environ.get(DEBUG) == "1":
        traceback.print_exc()
    run_id = getattr(error, "run_id", None)
    waiting = f"{run_id} waits to be resumed: flowstone run --resume {run_id}" if run_id else None
    match error:
        case FlowStoneError(message=str() as message, hint=hint):
            _say(f"error: {message}", hint, waiting)
        case click.UsageError():
            command = error.ctx.command_path if error.ctx else "flowstone"
            _say(f"error: {error.format_message()}", f"{command} --help")
        case click.ClickException():
            _say(f"error: {error.format_message()}", None)
        case OSError(strerror=str() as reason):
            _say(f"error: {error.filename}: {reason}" if error.filename else f"error: {reason}", waiting)
        case _:
            bug = "this is a bug, please report it" + (
                "" if os.environ.get(DEBUG) == "1" else f"; {DEBUG}=1 shows where it happened"
            )
            _say(f"error: {type(error).__name__}: {message_of(error)}", bug, waiting)
    return FAILED if isinstance(error, RunFailedError) else int(getattr(error, "exit_with", MISUSED))


def _say(first: str, *more: str | None) -> None:
    lines = [*first.split("\n"), *(f"  {line}" for text in more if text for line in text.split("\n"))]
    click.echo("\n".join(map(one_line, lines)), err=True)
