"""The groups of settings that belong together, as values; lengths are in nanoseconds."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from flowstone.foundation.clock import DAY, NANOSECONDS


@dataclass(frozen=True)
class OutputSettings:
    """Where values go."""

    path: Path
    manager: str
    durability: str


@dataclass(frozen=True)
class RunSettings:
    """How runs are worked on; ``jobs`` is ``None`` where the executor decides, ``grace`` is in nanoseconds."""

    executor: str = "inline"
    jobs: int | None = None
    grace: int = 10 * NANOSECONDS


@dataclass(frozen=True)
class LogSettings:
    """Log lines: FlowStone's own and the captured ones."""

    level: str
    format: str
    max_lines: int
    max_run_lines: int = 100_000


@dataclass(frozen=True)
class MetricSettings:
    """Figures told of events."""

    max_series: int = 1_000
    token: str | None = None


@dataclass(frozen=True)
class TelemetrySettings:
    """What others are told: ``otel`` is ``auto``, ``on`` or ``off``."""

    otel: str = "auto"


@dataclass(frozen=True)
class RetentionSettings:
    """What is kept: versions of outputs, and nanoseconds after a run's end; ``None`` is all."""

    outputs: int | None = 3
    events: int | None = 90 * DAY
    logs: int | None = 30 * DAY
    errors: int | None = None


@dataclass(frozen=True)
class AuditSettings:
    """The audit log: ``anchors`` are places outside this machine's reach, ``seal`` is ``auto`` or ``tick``.

    ``state`` is a folder in the place of the user's folder of logs, for tests. No file and no variable sets it: who can change
    the project must not be able to say where its keeper looks.
    """

    anchors: tuple[str, ...] = ()
    enabled: bool = True
    name: str | None = None
    seal: str = "auto"
    strict: bool = False
    require_approval_for_weakening: bool = False
    state: Path | None = None
