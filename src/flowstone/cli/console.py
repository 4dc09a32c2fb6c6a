"""What a run says on the terminal: a live display where there is one, quiet lines elsewhere.

Rows are printed from recorded events, after their commit. Words before marks; readable without colour at 100 columns.
"""

from __future__ import annotations

import sys
import textwrap
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.text import Text

from flowstone import FlowStone
from flowstone.assets.keys import decode_key, display_key
from flowstone.assets.pipeline import Pipeline
from flowstone.cli.approval_words import waits
from flowstone.cli.lines import moment, place
from flowstone.cli.runs import recorded
from flowstone.cli.words import bytes_of, counted, seconds
from flowstone.events.catalogue import (
    CheckpointRequested,
    MaterializationDelayed,
    MaterializationException,
    MaterializationProgress,
    MaterializationReused,
    MaterializationSkipped,
    MaterializationStart,
    MaterializationStop,
    RunResumed,
    RunStart,
)
from flowstone.events.event import Event
from flowstone.execution.decision import FORCED, NEW
from flowstone.execution.result import RunResult
from flowstone.observability.logs.shape import one_line
from flowstone.stores.runs import APPROVAL

WIDTH = 100
TEXT = 44  # characters of a row's text before its duration
ASKED, MOST_ASKED = 5, 10_000  # requests that are named, and looked through
MANY = 40  # steps; above, only what is not plainly done gets a row
_COLOURS = {"done": "green", "reused": "cyan", "skipped": "yellow", "failed": "red", "interrupted": "yellow", "waiting": "yellow"}


def terminal() -> Console:
    """The terminal as it is now: what assets print while they run goes elsewhere and must not come back here."""
    return Console(file=sys.stdout, highlight=False, soft_wrap=True)


def _without_hint(message: str) -> str:
    """The message of an error without the line that says what to do; ``show`` and ``errors`` have it."""
    return message.partition("\n  ")[0]


class RunConsole:
    """Follows one run of *flow* and prints it; *quiet* prints only what failed."""

    def __init__(self, flow: FlowStone, pipeline: Pipeline, *, quiet: bool = False, console: Console | None = None) -> None:
        self._flow, self._pipeline, self._quiet = flow, pipeline, quiet
        self.console = console or terminal()
        self._names = max([12, *(min(len(asset.name), 40) for asset in pipeline)])
        self._notes: dict[tuple[str, str], list[str]] = {}
        self._asked: dict[tuple[str, str], CheckpointRequested] = {}
        self._tasks: dict[str, TaskID] = {}
        self._steps = 0
        self.run_id = ""
        self._live: Progress | None = None
        if self.console.is_terminal and not quiet:
            columns = (TextColumn("  {task.description}"), BarColumn(bar_width=30), TextColumn("{task.fields[count]}"))
            self._live = Progress(*columns, console=self.console, transient=True)

    def __enter__(self) -> RunConsole:
        followed = ["flowstone.run.*", "flowstone.materialization.*", CheckpointRequested.name]
        self._flow.attach("flowstone.console", followed, self._handle)
        if self._flow.settings.logs.format == "console" and "flowstone.logs" in {h.id for h in self._flow.list_handlers()}:
            self._flow.detach("flowstone.logs")  # these rows are the same news for the same reader
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            self._live.stop()
        self._flow.detach("flowstone.console")

    def echo(self, text: str) -> None:
        """Show what an asset prints."""
        if not self._quiet and text.strip():
            for line in text.rstrip("\n").split("\n"):
                self._print(f"    | {one_line(line)}")

    def _handle(self, happened: Event) -> None:
        if isinstance(happened, RunStart | RunResumed):
            self._header(happened)
        elif getattr(happened, "run_id", "") == self.run_id:  # else: what a dead process left behind is settled meanwhile
            self._tell(happened)

    def _tell(self, happened: Event) -> None:
        match happened:
            case MaterializationStart() | MaterializationProgress() | MaterializationDelayed():
                self._follow(happened)
            case MaterializationStop(outcome="success"):
                self._row(happened, "done", happened.summary or bytes_of(happened.size_bytes), happened.duration_ns)
            case CheckpointRequested() | MaterializationStop(outcome="waiting"):
                self._asks(happened)
            case MaterializationStop():
                self._row(happened, "skipped", happened.summary, happened.duration_ns)
            case MaterializationException(kind="cancelled", final=True):
                self._row(happened, "cancelled", "its run was cancelled", happened.duration_ns)
            case MaterializationException(final=False):
                self._retry(happened)
            case MaterializationException():
                self._row(happened, "failed", f"{happened.type}: {_without_hint(happened.message)}", happened.duration_ns)
            case MaterializationReused(because=because):
                self._row(happened, "reused", because)
            case MaterializationSkipped(reason=reason, message=message) if reason != "by_code" or self._unattempted(message):
                self._row(happened, "skipped", message)

    def _asks(self, happened: CheckpointRequested | MaterializationStop) -> None:
        """Show that people are asked; about a value once it is stored, which is told right after."""
        where = (happened.asset, happened.partition)
        if isinstance(happened, CheckpointRequested):
            self._asked[where] = happened
            if happened.kind != "after":
                self._row(happened, "waiting", _waits(happened))
        else:
            self._row(happened, "waiting", _waits(self._asked[where]), happened.duration_ns)

    def _follow(self, happened: MaterializationStart | MaterializationProgress | MaterializationDelayed) -> None:
        """Show what has not ended."""
        match happened:
            case MaterializationStart():
                self._start(happened)
            case MaterializationProgress():
                self._progress(happened)
            case MaterializationDelayed(reason=reason, holder=holder) if not self._quiet:
                why = f"{holder} computes it now" if reason == "claimed" else f"for a place at {holder}"
                self._print(f"  {happened.asset:<{self._names}}  waits    {why}")

    @staticmethod
    def _unattempted(message: str) -> bool:
        return " was skipped: " in message

    def _header(self, happened: RunStart | RunResumed) -> None:
        self.run_id = happened.run_id
        if self._quiet:
            return
        home = self._flow.settings.home
        self._print(f"FlowStone keeps this run in {home or 'memory'} (project {self._flow.settings.project})")
        actor = f"{one_line(happened.actor)} ({'OS user' if happened.identity == 'os' else happened.identity})"
        parts = [happened.run_id, f"pipeline {happened.pipeline}"]
        if isinstance(happened, RunStart):
            self._steps = happened.steps
            if happened.partition:
                parts.append(f"partition {display_key(decode_key(happened.partition))}")
            parts += [f"requested by {actor}", counted(happened.steps, "materialization")]
        else:
            parts.append(f"resumed by {actor}")
        self._print("\n" + joined(parts) + "\n")

    def _start(self, happened: MaterializationStart) -> None:
        if happened.because and happened.because not in (NEW, FORCED) and happened.attempt == 1:
            self._notes.setdefault((happened.asset, happened.partition), []).append(f"was outdated: {one_line(happened.because)}")
        if self._live is not None:
            self._tasks[happened.asset] = self._live.add_task(f"{happened.asset:<{self._names}}  running", total=None, count="")

    def _progress(self, happened: MaterializationProgress) -> None:
        task = self._tasks.get(happened.asset)
        if self._live is not None and task is not None:
            count = (
                f"{happened.done:,} of {happened.total:,} {happened.unit}"
                if happened.total
                else f"{happened.done:,} {happened.unit}"
            )
            self._live.update(task, completed=happened.done, total=happened.total or None, count=count)

    def _retry(self, happened: MaterializationException) -> None:
        self._end_task(happened.asset)
        wait = f"retried after {happened.retry_in_ns / 1e9:g} s" if happened.retry_in_ns else "tried again"
        if happened.kind == "cancelled":
            self._row(happened, "interrupted", "will be computed again when the run is resumed", happened.duration_ns)
            return
        text = f"attempt {happened.attempt}: {happened.type} {one_line(_without_hint(happened.message))}, {wait}"
        self._notes.setdefault((happened.asset, happened.partition), []).append(text)

    def _row(self, happened: Any, word: str, text: str, duration: int | None = None) -> None:
        self._end_task(happened.asset)
        notes = self._notes.pop((happened.asset, happened.partition), [])
        if (self._quiet and word != "failed") or (self._steps > MANY and word in ("done", "reused") and not notes):
            return
        took = f"{seconds(duration):>8}" if duration is not None else ""
        attempt = getattr(happened, "attempt", 1)
        most = self._pipeline[happened.asset].retries.attempts
        tries = f"   attempt {attempt}{f' of {most}' if attempt <= most else ''}" if attempt > 1 else ""
        row = Text(f"  {happened.asset:<{self._names}}  ")
        row.append(f"{word:<8}", style=_COLOURS.get(word, ""))
        row.append(f" {one_line(text):<{TEXT}}{took}{tries}".rstrip())
        if word == "waiting":
            asked = self._asked[(happened.asset, happened.partition)].approval
            if row.cell_len + 3 + len(asked) <= WIDTH:
                row.append(f"   {asked}")
            else:
                notes = [asked, *notes]
        self.console.print(row)
        for note in notes:
            indent = " " * (self._names + 13)
            self._print(textwrap.fill(note, WIDTH, initial_indent=indent, subsequent_indent=indent + "  "))

    def _end_task(self, asset: str) -> None:
        task = self._tasks.pop(asset, None)
        if task is not None and self._live is not None:
            self._live.remove_task(task)

    def _print(self, text: str) -> None:
        self.console.print(Text(text))


def _waits(asked: CheckpointRequested) -> str:
    return f"for {asked.approvers}, until {moment(asked.deadline)}"


def joined(parts: list[str]) -> str:
    """The parts on one line, two spaces apart; on as many lines as 100 columns need, the later ones indented."""
    lines = [parts[0]]
    for part in parts[1:]:
        if len(lines[-1]) + len(part) + 2 > WIDTH:
            lines.append(f"  {part}")
        else:
            lines[-1] += f"  {part}"
    return "\n".join(lines)


def footer(flow: FlowStone, result: RunResult, console: Console) -> None:
    """Say how the run ended and what was recorded of it: every number is asked of the store."""
    view = flow.show(result.run_id)
    ended = [f"{counted(len(group), word)}" for group, word in (
        (result.materialized, "done"), (result.reused, "reused"), (result.skipped, "skipped"), (result.failed, "failed"),
        (result.cancelled, "cancelled"), (result.waiting, "waiting"),
    ) if group]  # fmt: skip
    steps = ", ".join(ended) or "nothing to do"
    console.print(Text(f"\n{view.run.id} {result.status}: {steps}"))
    if result.status == "cancelled":
        console.print(Text(one_line(f"Ended: {view.cancel}")))
    for line in recorded(view):
        console.print(Text(line))
    if result.failed:
        first = result.failed[0]
        console.print(
            Text(f"Look      flowstone show {result.run_id}    flowstone explain {first.asset}    flowstone logs {result.run_id}")
        )


def say_asked(flow: FlowStone, result: RunResult, console: Console) -> None:
    """Name what waits for people, and the commands to look, to decide and to go on."""
    places = [(step.asset, step.partition) for step in result.waiting if step.reason == APPROVAL]
    found = [asked for asked in flow.approvals.requests(limit=MOST_ASKED) if asked.place in places]
    console.print()
    for asked in found[:ASKED]:
        console.print(Text(one_line(f"Waits     {place(*asked.place)}, {waits(asked)}")))
        console.print(Text(f"  look    flowstone approvals show {asked.id}"))
        console.print(Text(f'  decide  flowstone approvals approve {asked.id} -m "why"    or reject'))
    if len(places) > ASKED:
        console.print(Text(f"Waits     {len(places) - ASKED:,} more: flowstone approvals"))
    console.print(Text(f"Go on     flowstone run --resume {result.run_id}    when people have decided"))
