"""What stops a run and is no attempt's error: it is recorded with the run, with attempt 0."""

from __future__ import annotations

from flowstone.execution.services import Services
from flowstone.foundation.errors import PlanError
from flowstone.ledger import failures
from flowstone.stores.database import Transaction


def record(tx: Transaction, services: Services, run_id: str, trace_id: str, error: Exception) -> str:
    """Record *error* as what stopped the run; return its id. A plan's error says whose asset and partition it is."""
    known = error.context if isinstance(error, PlanError) else {}
    asset, partition = str(known.get("asset", "")), str(known.get("partition", ""))
    where = {"run_id": run_id, "asset": asset, "partition": partition, "attempt": 0, "trace_id": trace_id}
    redactor, retryable = services.dispatcher.redactor, bool(getattr(error, "retryable", False))
    failure = failures.describe(error, redactor, retryable=retryable, asset=asset)
    id = services.ids.new("err")
    failures.record(tx, redactor, failure, id, services.project, services.database.now(), where)
    return id
