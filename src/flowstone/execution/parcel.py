"""What crosses the pipe between a step's half that holds the store and the child process that runs its body.

Values never cross: the child loads and stores them itself. Events cross as their name and fields, because the child may know
the user's module by another name.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from flowstone.assets.keys import PartitionKey
from flowstone.assets.pipeline import Pipeline
from flowstone.events.event import Event, class_of
from flowstone.events.losses import Loss
from flowstone.events.trace import Trace
from flowstone.execution.body import Loading, Work
from flowstone.execution.outcome import Outcome, Report
from flowstone.foundation.settings import Settings
from flowstone.io_managers import Output, Target
from flowstone.observability.logs.capture import Line


@dataclass(frozen=True)
class Hello:
    """What a child must know before its first body."""

    reference: str
    base: Path
    pipeline: str
    digest: str
    settings: Settings
    search_path: list[str]
    owner: str
    """Names the files it is writing, so that they can be swept when it dies."""
    traced: bool
    """Whether spans are wanted of what it does."""


class Ready(NamedTuple):
    """The child has the same pipeline."""


class Refused(NamedTuple):
    """The child cannot work: the error's type, its message and its hint."""

    error: Exception


class Packed(NamedTuple):
    """An event on its way."""

    name: str
    fields: dict[str, Any]

    @classmethod
    def of(cls, happened: Event) -> Packed:
        """Return *happened* as it travels."""
        return cls(happened.name, msgspec.to_builtins(happened))

    def unpack(self) -> Event:
        """Return the event; raises :class:`EventError` when its class is not declared here."""
        return msgspec.convert(self.fields, class_of(self.name))


class Taken(NamedTuple):
    """The child begins the body."""


class Shown(NamedTuple):
    """An event for observers, at once."""

    event: Packed


class Printed(NamedTuple):
    """A text an asset printed, at once."""

    text: str


class Captured(NamedTuple):
    """Lines to keep with their attempt."""

    lines: list[Line]


class Recorded(NamedTuple):
    """Spans of users' own that have ended, as they travel."""

    spans: list[Any]


class Missed(NamedTuple):
    """What observers of the child did not see."""

    losses: list[Loss]


class Answer(NamedTuple):
    """The attempt's report."""

    outcome: Outcome
    duration_ns: int
    shown: list[Packed]
    told: list[Packed]

    @classmethod
    def of(cls, report: Report) -> Answer:
        """Return *report* as it travels."""
        return cls(report.outcome, report.duration_ns, [*map(Packed.of, report.shown)], [*map(Packed.of, report.told)])

    def unpack(self) -> Report:
        """Return the report."""
        shown = [packed.unpack() for packed in self.shown]
        return Report(self.outcome, self.duration_ns, shown, [packed.unpack() for packed in self.told])


class RunEnded(NamedTuple):
    """A run has ended: what is open for it is to be closed."""

    run_id: str


class Goodbye(NamedTuple):
    """Nothing more will be asked for: everything is to be closed."""


class Closed(NamedTuple):
    """What was to be closed is closed."""


class Task(NamedTuple):
    """A body to run: its :class:`Work` with assets by name, and without the configuration, which the child resolves itself."""

    asset: str
    key: PartitionKey
    target: Target
    manager: str
    inputs: tuple[tuple[str, str, Output, str], ...]
    trace: Trace
    previous: Output | None

    @classmethod
    def of(cls, work: Work) -> Task:
        """Return *work* as it travels."""
        inputs = tuple((item.parameter, item.asset.name, item.output, item.partition) for item in work.inputs)
        return cls(work.asset.name, work.key, work.target, work.manager, inputs, work.trace, work.previous)

    def unpack(self, pipeline: Pipeline, config: dict[str, Any], refused: Exception | None) -> Work:
        """Return the work, with the assets of *pipeline* and what the child resolved itself."""
        inputs = tuple(Loading(parameter, pipeline[name], output, key) for parameter, name, output, key in self.inputs)
        asset = pipeline[self.asset]
        return Work(asset, self.key, self.target, self.manager, inputs, config, self.trace, self.previous, refused)
