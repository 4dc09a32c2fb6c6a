"""The metrics every deployment has: folded from the record of events, or read from the store's state when they are asked for.

Definitions live here and nothing that reads, folds or shows them.
"""

from __future__ import annotations

from flowstone.events.catalogue import (
    AssetObserved,
    AuditVerified,
    ErrorGroupOpened,
    ErrorGroupRegressed,
    ErrorGroupReopened,
    ErrorGroupResolved,
    ErrorRecorded,
    IoLoadException,
    IoLoadStop,
    IoStoreException,
    IoStoreStop,
    MaterializationCancelled,
    MaterializationDecided,
    MaterializationDelayed,
    MaterializationException,
    MaterializationReused,
    MaterializationSkipped,
    MaterializationStop,
    NotificationDelivered,
    NotificationFailed,
    RunStop,
    RunSuspended,
    TelemetryLost,
)
from flowstone.observability.metrics.decisions import DECISIONS
from flowstone.observability.metrics.definitions import Metric
from flowstone.observability.metrics.rules import AT, On

# -- runs ------------------------------------------------------------------------------------------------------------------

RUNS = Metric.counter(
    "flowstone_run_total", RunStop, labels=["pipeline", "outcome"], description="Runs that ended, by how they ended."
)
RUN_DURATION = Metric.distribution(
    "flowstone_run_duration_seconds",
    RunStop,
    measurement="duration_ns",
    labels=["pipeline", "outcome"],
    description="From the request of a run to its end, what it waited included.",
)
RUNS_SUSPENDED = Metric.counter(
    "flowstone_run_suspended_total",
    RunSuspended,
    labels=["pipeline", "reason"],
    description="Times a run stopped before its end: it was stopped, interrupted, lost with its process, or an error stopped it; "
    "or it was put aside until people approve (approval).",
)
RUNS_IN_FLIGHT = Metric.gauge("flowstone_run_in_flight", "Runs somebody works on now.", labels=["pipeline"])
RUNS_WAITING = Metric.gauge(
    "flowstone_run_waiting", "Runs that wait to be resumed; not those that wait for people to approve.", labels=["pipeline"]
)
RUN_OLDEST = Metric.gauge(
    "flowstone_run_oldest_start_timestamp_seconds", "When the oldest run in flight was requested.", labels=["pipeline"]
)

# -- materializations: one ending each -------------------------------------------------------------------------------------

_ASSET = ["asset"]
MATERIALIZATIONS = Metric.counter(
    "flowstone_materialization_total",
    On(MaterializationStop, labels=_ASSET, keep={"outcome": "success"}, fixed={"outcome": "success", "reason": ""}),
    On(AssetObserved, labels=_ASSET, fixed={"outcome": "success", "reason": ""}),
    On(MaterializationDecided, labels=["asset", "outcome"], fixed={"reason": ""}),
    On(MaterializationReused, labels=_ASSET, fixed={"outcome": "reused", "reason": ""}),
    On(MaterializationSkipped, labels=["asset", "reason"], fixed={"outcome": "skipped"}),
    On(
        MaterializationException,
        labels={"asset": "asset", "reason": "kind"},
        keep={"final": True, "kind": ("error", "timeout", "worker_lost")},
        fixed={"outcome": "failed"},
    ),
    On(MaterializationException, labels=_ASSET, keep={"final": True, "kind": "cancelled"},
       fixed={"outcome": "cancelled", "reason": ""}),
    On(MaterializationCancelled, labels=_ASSET, fixed={"outcome": "cancelled", "reason": ""}),
    description="Materializations that ended. The reason says why one was skipped, or whether it failed by error, timeout or "
    "worker_lost. One that waits for people has not ended: it ends as success, rejected or expired.",
)  # fmt: skip

_FAILED = On(
    MaterializationException, labels=_ASSET, keep={"kind": ("error", "timeout", "postponed")}, fixed={"outcome": "failed"}
)
_LOST = On(MaterializationException, labels=_ASSET, keep={"kind": "worker_lost"}, fixed={"outcome": "lost"})
_CANCELLED = On(MaterializationException, labels=_ASSET, keep={"kind": "cancelled"}, fixed={"outcome": "cancelled"})


def _timed(on: On) -> On:
    return On(on.event, "duration_ns", on.labels, on.fixed, on.keep)


ATTEMPTS = Metric.counter(
    "flowstone_materialization_attempts_total",
    On(MaterializationStop, labels=["asset", "outcome"]),
    _FAILED,
    _LOST,
    _CANCELLED,
    description="Attempts that ended: success, waiting for people to approve, skipped, failed, lost with their process, or "
    "cancelled.",
)
DURATION = Metric.distribution(
    "flowstone_materialization_duration_seconds",
    On(MaterializationStop, "duration_ns", labels=["asset", "outcome"]),
    *(_timed(on) for on in (_FAILED, _LOST, _CANCELLED)),
    description="How long attempts took, loading and storing included.",
)
CURED = Metric.sum(
    "flowstone_materialization_cured_by_retry_total",
    MaterializationStop,
    measurement="cured",
    labels=_ASSET,
    description="Errors of earlier attempts that a later attempt made good.",
)
DELAYED = Metric.counter(
    "flowstone_materialization_delayed_total",
    MaterializationDelayed,
    labels=["asset", "reason"],
    description="Ready steps that had to wait for another run (claimed) or for a limited resource (resource).",
)
IN_FLIGHT = Metric.gauge("flowstone_materialization_in_flight", "Attempts that run now.", labels=_ASSET)

# -- assets ----------------------------------------------------------------------------------------------------------------

LAST_SUCCESS = Metric.last_value(
    "flowstone_asset_last_success_timestamp_seconds",
    On(MaterializationStop, AT, labels=_ASSET, keep={"outcome": "success"}),
    On(MaterializationDecided, AT, labels=_ASSET, keep={"outcome": "success"}),
    On(MaterializationReused, AT, labels=_ASSET),
    On(AssetObserved, AT, labels=_ASSET),
    description="When the asset was last computed (and approved, where people must), or found up to date, in any partition.",
)
DUE = Metric.gauge(
    "flowstone_asset_due_timestamp_seconds",
    "When the next value is due that is not there; in the past for one that is late. Looked at once a minute.",
    labels=_ASSET,
)
OVERDUE = Metric.gauge(
    "flowstone_asset_overdue", "Partitions whose value was not there by its due time, and is not there yet.", labels=_ASSET
)
OUTDATED = Metric.gauge(
    "flowstone_asset_outdated", "1 when the newest partition's value is outdated, else 0. Looked at once a minute.", labels=_ASSET
)

# -- storage ---------------------------------------------------------------------------------------------------------------

_LOAD, _STORE = {"operation": "load"}, {"operation": "store"}
_MANAGER, _SUCCESS, _FAILURE = ["manager"], {"outcome": "success"}, {"outcome": "failed"}

IO_DURATION = Metric.distribution(
    "flowstone_io_duration_seconds",
    On(IoLoadStop, "duration_ns", _MANAGER, _LOAD | _SUCCESS),
    On(IoLoadException, "duration_ns", _MANAGER, _LOAD | _FAILURE),
    On(IoStoreStop, "duration_ns", _MANAGER, _STORE | _SUCCESS),
    On(IoStoreException, "duration_ns", _MANAGER, _STORE | _FAILURE),
    description="How long loading and storing values took.",
)
IO_BYTES = Metric.sum(
    "flowstone_io_bytes_total",
    On(IoLoadStop, "size_bytes", _MANAGER, _LOAD),
    On(IoStoreStop, "size_bytes", _MANAGER, _STORE),
    description="Bytes of the values that were loaded and stored.",
)
IO_FAILURES = Metric.counter(
    "flowstone_io_failures_total",
    On(IoLoadException, labels=["manager", "type"], fixed=_LOAD),
    On(IoStoreException, labels=["manager", "type"], fixed=_STORE),
    description="Loads and stores that failed, by the type of their error.",
)

# -- errors ----------------------------------------------------------------------------------------------------------------

ERRORS = Metric.counter(
    "flowstone_error_total",
    ErrorRecorded,
    labels=["asset", "type", "retryable"],
    description="Errors that were recorded, those of attempts that were retried included.",
)
ERROR_GROUPS = Metric.counter(
    "flowstone_error_group_changes_total",
    On(ErrorGroupOpened, labels=_ASSET, fixed={"change": "opened"}),
    On(ErrorGroupRegressed, labels=_ASSET, fixed={"change": "regressed"}),
    On(ErrorGroupReopened, labels=_ASSET, fixed={"change": "reopened"}),
    On(ErrorGroupResolved, labels=_ASSET, fixed={"change": "resolved"}),
    description="Groups of errors that opened, came back after they were resolved, or were resolved and reopened by somebody.",
)
ERROR_GROUPS_OPEN = Metric.gauge("flowstone_error_groups_open", "Groups of errors that are open now.")

# -- the audit log ---------------------------------------------------------------------------------------------------------

AUDIT_ENTRIES = Metric(
    "flowstone_audit_entries_total",
    "counter",
    "Entries of the audit log, those of every project of the database; none is ever taken back.",
)
AUDIT_UNSEALED = Metric.gauge("flowstone_audit_unsealed_entries", "Entries of the audit log that no signed tree head covers yet.")
AUDIT_LAST_SEAL = Metric.gauge("flowstone_audit_last_seal_timestamp_seconds", "When the newest tree head of the log was made.")
AUDIT_LAST_ANCHOR = Metric.gauge(
    "flowstone_audit_last_anchor_timestamp_seconds",
    "When an anchor last accepted a tree head. Looked at once a minute.",
    labels=["sink"],
)
AUDIT_UNANCHORED = Metric.gauge(
    "flowstone_audit_unanchored_entries",
    "Sealed entries that an anchor of the settings does not know of yet. Looked at once a minute.",
    labels=["sink"],
)
AUDIT_LAST_VERIFY = Metric.last_value(
    "flowstone_audit_last_verify_timestamp_seconds",
    AuditVerified,
    measurement=AT,
    description="When flowstone audit verify was last done from this project.",
)
AUDIT_FINDINGS = Metric.last_value(
    "flowstone_audit_verify_findings",
    AuditVerified,
    measurement="findings",
    description="What differed when the audit log was last verified: not 0 means that somebody has tampered with it.",
)

# -- messages and telemetry ------------------------------------------------------------------------------------------------

NOTIFICATIONS = Metric.counter(
    "flowstone_notification_total",
    On(NotificationDelivered, labels=["channel"], fixed={"outcome": "delivered"}),
    On(NotificationFailed, labels=["channel"], keep={"final": False}, fixed={"outcome": "retried"}),
    On(NotificationFailed, labels=["channel"], keep={"final": True}, fixed={"outcome": "failed"}),
    description="Deliveries of messages: taken by their channel, to be tried again, or given up.",
)
TELEMETRY_LOST = Metric.sum(
    "flowstone_telemetry_lost_total",
    TelemetryLost,
    measurement="lost",
    labels=["sink", "reason"],
    description="Events that observers did not see, as processes reported it; nothing is missing from the record.",
)
OVERFLOW_TOTAL = Metric(
    "flowstone_cardinality_overflow_total",
    "counter",
    "Measurements that are counted under __overflow__, because their metric has as many label sets as metrics.max_series allows.",
    ("metric",),
)
REFUSED_TOTAL = Metric(
    "flowstone_metric_refused_total",
    "counter",
    "Measurements that a metric left out: no number, or below zero where the metric only grows.",
    ("metric",),
)

# -- the deployment --------------------------------------------------------------------------------------------------------

WORKERS_LOST = Metric.gauge(
    "flowstone_workers_lost", "Processes that died and left work behind that nobody has settled yet: flowstone tick does."
)
STORE_BYTES = Metric.gauge(
    "flowstone_store_bytes", "Bytes of the database, for each table where the database says so.", labels=["table"]
)
STORE_ROWS = Metric.gauge(
    "flowstone_store_rows",
    "Rows of the database, estimated where counting would take long. Looked at once a minute.",
    labels=["table"],
)
OUTPUTS_BYTES = Metric.gauge(
    "flowstone_outputs_bytes",
    "Bytes of the outputs that are kept, by their records: current or superseded. Looked at once a minute.",
    labels=["manager", "state"],
)
TICK_LAST = Metric.gauge("flowstone_tick_last_timestamp_seconds", "When flowstone tick last did its duties.")
BUILD = Metric.gauge(
    "flowstone_build_info", "Always 1; the version that shows these metrics.", labels=["version", "schema", "environment"]
)

METRICS: tuple[Metric, ...] = (
    RUNS, RUN_DURATION, RUNS_SUSPENDED, RUNS_IN_FLIGHT, RUNS_WAITING, RUN_OLDEST,
    MATERIALIZATIONS, DURATION, ATTEMPTS, CURED, DELAYED, IN_FLIGHT,
    LAST_SUCCESS, DUE, OVERDUE, OUTDATED,
    *DECISIONS,
    IO_DURATION, IO_BYTES, IO_FAILURES,
    ERRORS, ERROR_GROUPS, ERROR_GROUPS_OPEN,
    AUDIT_ENTRIES, AUDIT_UNSEALED, AUDIT_LAST_SEAL, AUDIT_LAST_ANCHOR, AUDIT_UNANCHORED, AUDIT_LAST_VERIFY, AUDIT_FINDINGS,
    NOTIFICATIONS, TELEMETRY_LOST, OVERFLOW_TOTAL, REFUSED_TOTAL,
    WORKERS_LOST, STORE_BYTES, STORE_ROWS, OUTPUTS_BYTES, TICK_LAST, BUILD,
)  # fmt: skip
"""Every metric of a deployment, in the order in which they are shown."""
