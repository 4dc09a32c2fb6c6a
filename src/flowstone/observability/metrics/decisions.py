"""The metrics of approvals: how requests ended, how long they waited, who was refused, and what waits now.

They belong to the metrics every deployment has; definitions live here and nothing that reads, folds or shows them.
"""

from __future__ import annotations

from flowstone.events.catalogue import (
    CheckpointApproved,
    CheckpointCancelled,
    CheckpointInvalidated,
    CheckpointRefused,
    CheckpointRejected,
    CheckpointTimeout,
    ControlWeakened,
)
from flowstone.observability.metrics.definitions import Metric
from flowstone.observability.metrics.rules import On

_ASSET = ["asset"]
_HOUR, _DAY = 3_600.0, 86_400.0
_BY_PEOPLE, _BY_TIMEOUT = {"by_timeout": False}, {"by_timeout": True}


def _decisions(measurement: str | None = None) -> list[On]:
    """Every end of a request for approval, by how it ended."""
    return [
        On(CheckpointApproved, measurement, _ASSET, {"outcome": "approved"}, _BY_PEOPLE),
        On(CheckpointApproved, measurement, _ASSET, {"outcome": "approved_by_timeout"}, _BY_TIMEOUT),
        On(CheckpointRejected, measurement, _ASSET, {"outcome": "rejected"}),
        On(CheckpointTimeout, measurement, _ASSET, {"outcome": "expired"}),
        On(CheckpointInvalidated, measurement, _ASSET, {"outcome": "invalidated"}),
        On(CheckpointCancelled, measurement, _ASSET, {"outcome": "cancelled"}),
    ]


CHECKPOINTS = Metric.counter(
    "flowstone_checkpoint_total",
    *_decisions(),
    description="Requests for approval that ended: approved, approved_by_timeout (nobody decided, and the gate takes that for a "
    "yes), rejected, expired, invalidated by what changed meanwhile, or cancelled.",
)
CHECKPOINT_WAITING = Metric.distribution(
    "flowstone_checkpoint_waiting_seconds",
    *_decisions("waited_ns"),
    buckets=(60, 300, 900, _HOUR, 4 * _HOUR, 8 * _HOUR, _DAY, 2 * _DAY, 4 * _DAY, 7 * _DAY, 14 * _DAY, 28 * _DAY),
    description="From a request for approval to its end.",
)
CHECKPOINT_REFUSED = Metric.counter(
    "flowstone_checkpoint_refused_total",
    CheckpointRefused,
    labels=["reason"],
    description="Attempts to decide that were refused: by somebody who is not asked (not_approver), requested the run "
    "(four_eyes), is no person (machine), is not known well enough (asserted, assurance), comes too late (already_decided, "
    "late), and so on.",
)
CHECKPOINT_PENDING = Metric.gauge(
    "flowstone_checkpoint_pending", "Requests for approval that nobody has decided yet.", labels=_ASSET
)
CHECKPOINT_OLDEST = Metric.gauge(
    "flowstone_checkpoint_oldest_timestamp_seconds",
    "When the oldest pending request for approval was made; nothing while none is pending.",
    labels=_ASSET,
)
CHECKPOINT_DEADLINE = Metric.gauge(
    "flowstone_checkpoint_deadline_timestamp_seconds",
    "The next deadline of a pending request for approval; nothing while none is pending.",
    labels=_ASSET,
)
CONTROLS_WEAKENED = Metric.counter(
    "flowstone_control_weakened_total",
    ControlWeakened,
    labels=["control"],
    description="Times something that protects data, its history or its release was made to do so less: audit, retention, "
    "sensitive, approval.",
)

DECISIONS = (
    CHECKPOINTS, CHECKPOINT_WAITING, CHECKPOINT_REFUSED, CHECKPOINT_PENDING, CHECKPOINT_OLDEST, CHECKPOINT_DEADLINE,
    CONTROLS_WEAKENED,
)  # fmt: skip
