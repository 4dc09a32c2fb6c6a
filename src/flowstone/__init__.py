"""FlowStone: asset-first data orchestration that can prove what it did.

The public names, by what they are for. Heavy parts (the database, the engine) load when :class:`FlowStone` is first used.
"""

import importlib
from typing import TYPE_CHECKING, Any

# what users write
from flowstone.assets import (
    Approval,
    Asset,
    Daily,
    Keys,
    Pipeline,
    Resource,
    Retry,
    Static,
    all_partitions,
    asset,
    last,
    latest_before,
    resource,
    same,
    source,
)

# events of your own
from flowstone.events.event import Attribute, Bytes, Count, Event, Flag, Label, Nanoseconds, Text, event, measurement
from flowstone.events.spans import SpanKind, span

# errors
from flowstone.foundation.errors import ApprovalError, FlowStoneError, GiveUp, RetryLater, RunFailedError, ValidationError

if TYPE_CHECKING:
    from flowstone.app.facade import FlowStone
    from flowstone.execution.context import Context
    from flowstone.execution.result import RunResult, StepResult
    from flowstone.io_managers import Output
    from flowstone.observability.metrics.definitions import Metric
    from flowstone.observability.metrics.rules import On

__version__ = "0.1.0"

_LAZY = {
    "FlowStone": "flowstone.app.facade",
    "Context": "flowstone.execution.context",
    "RunResult": "flowstone.execution.result",
    "StepResult": "flowstone.execution.result",
    "Output": "flowstone.io_managers",
    "Metric": "flowstone.observability.metrics.definitions",
    "On": "flowstone.observability.metrics.rules",
}

__all__ = [  # noqa: RUF022 - grouped by what the names are for
    # what users write
    "Approval", "Asset", "Context", "Daily", "Keys", "Output", "Pipeline", "Resource", "Retry", "Static", "all_partitions",
    "asset", "last", "latest_before", "resource", "same", "source",
    # running it
    "FlowStone", "RunResult", "StepResult",
    # events of your own, and metrics of them
    "Attribute", "Bytes", "Count", "Event", "Flag", "Label", "Metric", "Nanoseconds", "On", "SpanKind", "Text", "event",
    "measurement", "span",
    # errors
    "ApprovalError", "FlowStoneError", "GiveUp", "RetryLater", "RunFailedError", "ValidationError",
    "__version__",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load a heavy public name when it is first used."""
    if name not in _LAZY:
        raise AttributeError(f"module 'flowstone' has no attribute {name!r}")
    value = getattr(importlib.import_module(_LAZY[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
