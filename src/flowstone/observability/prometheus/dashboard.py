"""What the dashboard asks, row by row, built from definitions; ``grafana`` makes the file of it.

Every question is about the deployments and, where it has the label, the pipelines and assets that are chosen on the page. What
has no series yet is 0 while an exporter is up, and missing while none is.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from flowstone.observability.metrics import decisions as d
from flowstone.observability.metrics import defaults as m
from flowstone.observability.prometheus import process_series as p
from flowstone.observability.prometheus.promql import Defined, Like, grown, quantile, series, value

Look = Literal["stat", "bars", "lines", "gauges", "table"]
Color = Literal["green", "yellow", "orange", "red"]

CHOSEN = {"job": Like("$job"), "pipeline": Like("$pipeline"), "asset": Like("$asset")}
_EACH = "$__interval"
_RATE = "$__rate_interval"
_SPAN = "$__range"


class Question(NamedTuple):
    """An expression, and how its series are called: ``{{label}}`` stands for a label's value."""

    expression: str
    legend: str


class Panel(NamedTuple):
    """One picture: *turns* are the colours from which value on; *unit* is Grafana's word for it."""

    title: str
    look: Look
    questions: tuple[Question, ...]
    meaning: str
    unit: str = "short"
    turns: tuple[tuple[float, Color], ...] = ()
    width: int = 6
    height: int = 7


class Row(NamedTuple):
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


def _chosen(metric: Defined) -> dict[str, str | Like]:
    return {label: like for label, like in CHOSEN.items() if label == "job" or label in metric.labels}


def _or_zero(expression: str) -> str:
    return f"({expression}) or on () (0 * group({series(m.BUILD, job=Like('$job'))}))"


def _now(metric: Defined, by: Iterable[str] = (), **matchers: str | Like) -> str:
    """What the metric is, over all deployments, for each of *by*."""
    asked = value(metric, **_chosen(metric), **matchers)
    return _or_zero(f"sum by ({', '.join(by)}) ({asked})")


def _new(metric: Defined, by: Iterable[str] = (), **matchers: str | Like) -> str:
    """How many more there are than a bar's width before."""
    by = tuple(by)
    asked = grown(metric, _EACH, m.BUILD, by, **_chosen(metric), **matchers)
    return _or_zero(f"sum by ({', '.join(by)}) ({asked})")


def _spread(metric: Defined, by: Iterable[str], title: str, meaning: str, width: int = 8) -> Panel:
    by = tuple(by)
    legend = " ".join(f"{{{{{label}}}}}" for label in by)
    asked = [Question(quantile(metric, of, _SPAN, by, **_chosen(metric)), f"{legend} p{of * 100:g}") for of in (0.5, 0.95)]
    return Panel(title, "gauges", tuple(asked), meaning, "s", width=width)


def _ago(metric: Defined, by: Iterable[str] = ()) -> str:
    asked = f"time() - {value(metric, **_chosen(metric))}"
    return f"max by ({', '.join(by)}) ({asked})"


def _one(expression: str, legend: str = "") -> tuple[Question, ...]:
    return (Question(expression, legend),)


_RUNS = Row("Runs", (
    Panel("In flight", "stat", _one(_now(m.RUNS_IN_FLIGHT)), m.RUNS_IN_FLIGHT.description, width=3),
    Panel("Waiting", "stat", _one(_now(m.RUNS_WAITING)), m.RUNS_WAITING.description, turns=((1, "orange"),), width=3),
    Panel("Oldest in flight", "stat", _one(_or_zero(_ago(m.RUN_OLDEST))), "How long the oldest run in flight has taken.", "s",
          width=3),
    Panel("Failed, of all", "stat", _one(_now(m.RUNS, outcome="failed")), m.RUNS.description, turns=((1, "red"),), width=3),
    Panel("Runs that ended", "bars", _one(_new(m.RUNS, ["outcome"]), "{{outcome}}"), m.RUNS.description, width=12),
    Panel("All runs", "table", _one(_now(m.RUNS, ["pipeline", "outcome"])), m.RUNS.description, width=8),
    _spread(m.RUN_DURATION, ["pipeline"], "How long runs took", m.RUN_DURATION.description),
    Panel("Stopped before their end", "bars", _one(_new(m.RUNS_SUSPENDED, ["reason"]), "{{reason}}"),
          m.RUNS_SUSPENDED.description, width=8),
))  # fmt: skip

_MATERIALIZATIONS = Row("Materializations", (
    Panel("Running now", "stat", _one(_now(m.IN_FLIGHT)), m.IN_FLIGHT.description, width=4),
    Panel("Materializations that ended", "bars", _one(_new(m.MATERIALIZATIONS, ["outcome"]), "{{outcome}}"),
          m.MATERIALIZATIONS.description, width=12),
    Panel("Why skipped or failed", "bars",
          _one(_new(m.MATERIALIZATIONS, ["outcome", "reason"], outcome=Like("skipped|failed")), "{{outcome}} {{reason}}"),
          m.MATERIALIZATIONS.description, width=8),
    Panel("All materializations", "table", _one(_now(m.MATERIALIZATIONS, ["asset", "outcome", "reason"])),
          m.MATERIALIZATIONS.description, width=8),
    _spread(m.DURATION, ["asset"], "How long attempts took", m.DURATION.description),
    Panel("Ready, and had to wait", "bars", _one(_new(m.DELAYED, ["reason"]), "{{reason}}"), m.DELAYED.description, width=8),
))  # fmt: skip

_ERRORS = Row("Errors and retries", (
    Panel("Open groups of errors", "stat", _one(_now(m.ERROR_GROUPS_OPEN)), m.ERROR_GROUPS_OPEN.description,
          turns=((1, "orange"),), width=4),
    Panel("Errors by type", "bars", _one(_new(m.ERRORS, ["type"]), "{{type}}"), m.ERRORS.description, width=10),
    Panel("Errors by asset", "bars", _one(_new(m.ERRORS, ["asset"]), "{{asset}}"), m.ERRORS.description, width=10),
    Panel("Attempts that ended", "bars", _one(_new(m.ATTEMPTS, ["outcome"]), "{{outcome}}"), m.ATTEMPTS.description, width=8),
    Panel("Cured by retry", "bars", _one(_new(m.CURED, ["asset"]), "{{asset}}"), m.CURED.description, width=8),
    Panel("Groups that opened, came back, were resolved", "bars", _one(_new(m.ERROR_GROUPS, ["change"]), "{{change}}"),
          m.ERROR_GROUPS.description, width=8),
))  # fmt: skip

_DUE = Row("Due and outdated", (
    Panel("Overdue values", "stat", _one(_now(m.OVERDUE)), m.OVERDUE.description, turns=((1, "red"),), width=4),
    Panel("Overdue since", "gauges", _one(_or_zero(f"{_ago(m.DUE, ['asset'])} > 0"), "{{asset}}"),
          "How long ago the oldest value that is not there was due.", "s", ((0, "green"), (1, "red")), 7),
    Panel("Since the last success", "gauges", _one(_ago(m.LAST_SUCCESS, ["asset"]), "{{asset}}"), m.LAST_SUCCESS.description,
          "s", width=7),
    Panel("Outdated", "gauges", _one(_now(m.OUTDATED, ["asset"]), "{{asset}}"), m.OUTDATED.description, turns=((1, "yellow"),)),
))  # fmt: skip

_APPROVALS = Row("Approvals", (
    Panel("Pending", "stat", _one(_now(d.CHECKPOINT_PENDING)), d.CHECKPOINT_PENDING.description, turns=((1, "yellow"),), width=4),
    Panel("Waiting since", "gauges", _one(_or_zero(_ago(d.CHECKPOINT_OLDEST, ["asset"])), "{{asset}}"),
          "For how long the oldest pending request has waited.", "s", width=7),
    Panel("Since the deadline", "gauges", _one(_or_zero(f"{_ago(d.CHECKPOINT_DEADLINE, ['asset'])} > 0"), "{{asset}}"),
          "How long ago the time of a request was up that nobody has settled.", "s", ((0, "green"), (1, "red")), 7),
    Panel("Controls weakened", "bars", _one(_new(d.CONTROLS_WEAKENED, ["control"]), "{{control}}"),
          d.CONTROLS_WEAKENED.description),
    Panel("Requests that ended", "bars", _one(_new(d.CHECKPOINTS, ["outcome"]), "{{outcome}}"), d.CHECKPOINTS.description,
          width=8),
    _spread(d.CHECKPOINT_WAITING, ["asset"], "How long people took", d.CHECKPOINT_WAITING.description),
    Panel("Refused attempts to decide", "bars", _one(_new(d.CHECKPOINT_REFUSED, ["reason"]), "{{reason}}"),
          d.CHECKPOINT_REFUSED.description, width=8),
))  # fmt: skip

_STORAGE = Row("Storage", (
    _spread(m.IO_DURATION, ["manager", "operation"], "How long loads and stores took", m.IO_DURATION.description),
    Panel("Bytes loaded and stored", "bars", _one(_new(m.IO_BYTES, ["operation"]), "{{operation}}"), m.IO_BYTES.description,
          "bytes", width=8),
    Panel("Failed loads and stores", "bars",
          _one(_new(m.IO_FAILURES, ["manager", "operation", "type"]), "{{manager}} {{operation}} {{type}}"),
          m.IO_FAILURES.description, width=8),
    Panel("Bytes of outputs", "lines", _one(_now(m.OUTPUTS_BYTES, ["manager", "state"]), "{{manager}} {{state}}"),
          m.OUTPUTS_BYTES.description, "bytes", width=8),
    Panel("Bytes of the database", "lines", _one(_now(m.STORE_BYTES, ["table"]), "{{table}}"), m.STORE_BYTES.description, "bytes",
          width=8),
    Panel("Rows of the database", "lines", _one(_now(m.STORE_ROWS, ["table"]), "{{table}}"), m.STORE_ROWS.description, width=8),
))  # fmt: skip

_INSTANCE = {"job": CHOSEN["job"]}
_TELEMETRY = Row("FlowStone itself", (
    Panel("Since the last tick", "stat", _one(_ago(m.TICK_LAST)), m.TICK_LAST.description, "s", ((900, "red"),), 4),
    Panel("Lost work", "stat", _one(_now(m.WORKERS_LOST)), m.WORKERS_LOST.description, turns=((1, "red"),), width=4),
    Panel("Version", "table", _one(_now(m.BUILD, ["version", "schema", "environment"])), m.BUILD.description, width=8),
    Panel("Messages", "bars", _one(_new(m.NOTIFICATIONS, ["channel", "outcome"]), "{{channel}} {{outcome}}"),
          m.NOTIFICATIONS.description, width=8),
    Panel("Telemetry that was lost", "bars", _one(_new(m.TELEMETRY_LOST, ["sink", "reason"]), "{{sink}} {{reason}}"),
          m.TELEMETRY_LOST.description, turns=((1, "red"),), width=8),
    Panel("Counted under __overflow__, or refused", "bars",
          (Question(_new(m.OVERFLOW_TOTAL, ["metric"]), "{{metric}} overflow"),
           Question(_new(m.REFUSED_TOTAL, ["metric"]), "{{metric}} refused")), m.OVERFLOW_TOTAL.description, width=8),
    Panel("Handlers: time taken", "lines",
          _one(f"rate({series(p.BUSY, **_INSTANCE)}[{_RATE}])", "{{instance}} {{handler}}"), "Seconds a second.", "percentunit",
          width=8),
    Panel("Handlers in quarantine", "lines", _one(series(p.QUARANTINED, **_INSTANCE), "{{instance}} {{handler}}"),
          p.QUARANTINED.help, turns=((1, "red"),), width=8),
    Panel("Memory of processes", "lines", _one(series(p.MEMORY, **_INSTANCE), "{{instance}}"), p.MEMORY.help, "bytes", width=8),
    Panel("Cores used by processes", "lines", _one(f"rate({series(p.CPU, **_INSTANCE)}[{_RATE}])", "{{instance}}"), p.CPU.help,
          width=8),
    Panel("Free where processes keep their home", "lines", _one(series(p.HOME_FREE, **_INSTANCE), "{{instance}}"),
          p.HOME_FREE.help, "bytes", width=8),
))  # fmt: skip

_AUDIT = Row("Audit", (
    Panel("Found when it was verified", "stat", _one(_now(m.AUDIT_FINDINGS)), m.AUDIT_FINDINGS.description, turns=((1, "red"),),
          width=4),
    Panel("Since it was verified", "stat", _one(_ago(m.AUDIT_LAST_VERIFY)), m.AUDIT_LAST_VERIFY.description, "s",
          ((26 * 3600, "red"),), 4),
    Panel("Since it was sealed", "stat", _one(_ago(m.AUDIT_LAST_SEAL)), m.AUDIT_LAST_SEAL.description, "s", width=4),
    Panel("Not sealed yet", "lines", _one(_now(m.AUDIT_UNSEALED)), m.AUDIT_UNSEALED.description),
    Panel("Not known to anchors", "lines", _one(_now(m.AUDIT_UNANCHORED, ["sink"]), "{{sink}}"), m.AUDIT_UNANCHORED.description),
    Panel("Entries", "lines", _one(_now(m.AUDIT_ENTRIES)), m.AUDIT_ENTRIES.description),
    Panel("Since an anchor accepted a head", "gauges", _one(_ago(m.AUDIT_LAST_ANCHOR, ["sink"]), "{{sink}}"),
          m.AUDIT_LAST_ANCHOR.description, "s"),
    Panel("Undone, because it could not be audited", "lines", _one(series(p.UNAUDITED, **_INSTANCE), "{{instance}}"),
          p.UNAUDITED.help, turns=((1, "red"),)),
))  # fmt: skip

ROWS: tuple[Row, ...] = (_RUNS, _MATERIALIZATIONS, _ERRORS, _DUE, _APPROVALS, _STORAGE, _AUDIT, _TELEMETRY)
