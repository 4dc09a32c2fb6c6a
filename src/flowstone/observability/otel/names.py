"""Every name FlowStone gives OpenTelemetry, in one table.

Where conventions exist they are followed: CI/CD spans, errors and exceptions of https://opentelemetry.io/docs/specs/semconv/
(v1.44). For data pipelines nothing is agreed yet, so the rest is called ``flowstone.…``; when it is, this table changes.
"""

from __future__ import annotations

from typing import NamedTuple

SCOPE = "flowstone"
"""The instrumentation scope of everything FlowStone records."""

RUN_SPAN, IO_LOAD_SPAN, IO_STORE_SPAN = "RUN", "load", "store"

PIPELINE, RUN_ID, ACTION, RESULT = (
    "cicd.pipeline.name",
    "cicd.pipeline.run.id",
    "cicd.pipeline.action.name",
    "cicd.pipeline.result",
)
TASK, TASK_RUN_ID, TASK_RESULT = "cicd.pipeline.task.name", "cicd.pipeline.task.run.id", "cicd.pipeline.task.run.result"
ERROR_TYPE = "error.type"
EXCEPTION_TYPE, EXCEPTION_MESSAGE, EXCEPTION_STACKTRACE = "exception.type", "exception.message", "exception.stacktrace"

PARTITION, ACTOR, DEFINITION = "flowstone.partition", "flowstone.actor", "flowstone.definition"
OUTCOME, REASON, STEPS, RESUMED = "flowstone.outcome", "flowstone.reason", "flowstone.steps", "flowstone.resumed"
COUNTS = {count: f"flowstone.steps.{count}" for count in ("success", "reused", "failed", "skipped", "cancelled")}
ASSET, ATTEMPT, BECAUSE, INPUTS = "flowstone.asset", "flowstone.attempt", "flowstone.because", "flowstone.inputs"
OUTPUT, DIGEST, SIZE, ROWS = "flowstone.output", "flowstone.digest", "flowstone.size", "flowstone.rows"
FINAL, RETRY_IN, ERROR = "flowstone.final", "flowstone.retry_in", "flowstone.error"
MANAGER, SUBJECT = "flowstone.io.manager", "flowstone.io.subject"
LOGGER = "flowstone.logger"

PIPELINE_RESULT = {"success": "success", "partial": "failure", "failed": "failure", "cancelled": "cancellation"}
"""``cicd.pipeline.result`` of a run's outcome; a suspended run has none, its process died: ``error``."""
TASK_RESULTS = {
    "success": "success", "skipped": "skip", "error": "failure", "timeout": "timeout", "worker_lost": "error",
    "cancelled": "cancellation",
}  # fmt: skip
"""``cicd.pipeline.task.run.result`` of an attempt's outcome, or the kind of its exception; a postponed one has none."""


UNITS = {"seconds": "s", "bytes": "By", "": "1"}
"""The unit of an instrument by that of its metric."""


def instrument_name(metric: str, unit: str) -> str:
    """A metric's name as OpenTelemetry writes it: what Prometheus makes of it is the metric's name again."""
    return metric.removesuffix("_total").removesuffix(f"_{unit}" if unit else "").replace("_", ".")


class Attribute(NamedTuple):
    """An attribute: where it stands and what it means."""

    name: str
    on: str
    meaning: str


_RUN, _ATTEMPT, _IO, _LOG = "run", "attempt", "io", "log record"

ATTRIBUTES = (
    Attribute(PIPELINE, _RUN, "the pipeline"),
    Attribute(RUN_ID, f"{_RUN}, {_ATTEMPT}, {_LOG}", "the run, as in `flowstone show`"),
    Attribute(ACTION, _RUN, "`RUN`"),
    Attribute(RESULT, _RUN, "`success`, `failure` (some or all targets failed), `cancellation`, `error` (its process died)"),
    Attribute(TASK, _ATTEMPT, "the asset"),
    Attribute(TASK_RUN_ID, _ATTEMPT, "asset, partition and attempt, unique in the run"),
    Attribute(TASK_RESULT, _ATTEMPT, "`success`, `skip`, `failure`, `timeout`, `error` (its process died), `cancellation`"),
    Attribute(ERROR_TYPE, f"{_RUN}, {_ATTEMPT}, {_IO}", "the class of the error; absent on success"),
    Attribute(EXCEPTION_TYPE, _LOG, "the class of the error"),
    Attribute(EXCEPTION_MESSAGE, _LOG, "its message, redacted"),
    Attribute(EXCEPTION_STACKTRACE, _LOG, "the traceback of a captured line that has one, redacted"),
    Attribute(PARTITION, f"{_RUN}, {_ATTEMPT}, {_IO}, {_LOG}", "the partition's encoded key; of a run when all targets share it"),
    Attribute(ACTOR, _RUN, "who asked for the run"),
    Attribute(DEFINITION, _RUN, "digest of the pipeline's definition"),
    Attribute(STEPS, _RUN, "how many steps the plan has"),
    *(Attribute(name, _RUN, f"how many steps ended `{count}`") for count, name in COUNTS.items()),
    Attribute(OUTCOME, f"{_RUN}, {_ATTEMPT}", "how it ended, in FlowStone's own word"),
    Attribute(REASON, f"{_RUN}, {_ATTEMPT}", "why it was suspended or skipped"),
    Attribute(RESUMED, _RUN, "true on the span of a run that goes on; its link leads to the first"),
    Attribute(ASSET, f"{_ATTEMPT}, {_IO}, {_LOG}", "the asset"),
    Attribute(ATTEMPT, f"{_ATTEMPT}, {_IO}, {_LOG}", "which attempt at it"),
    Attribute(BECAUSE, _ATTEMPT, "why the current output was not reused"),
    Attribute(INPUTS, _ATTEMPT, "how many attempts made its inputs; the first 128 are linked"),
    Attribute(OUTPUT, _ATTEMPT, "the id of the output"),
    Attribute(DIGEST, _ATTEMPT, "its digest"),
    Attribute(SIZE, f"{_ATTEMPT}, {_IO}", "its size in bytes"),
    Attribute(ROWS, _ATTEMPT, "its rows"),
    Attribute(FINAL, _ATTEMPT, "false when a retry follows"),
    Attribute(RETRY_IN, _ATTEMPT, "seconds until the retry"),
    Attribute(ERROR, _ATTEMPT, "the id of the error, as in `flowstone show`"),
    Attribute(MANAGER, _IO, "the IO manager"),
    Attribute(SUBJECT, _IO, "the asset whose value is moved"),
    Attribute(LOGGER, _LOG, "the Python logger of a captured line; `stdout` and `stderr` for prints"),
)

SPANS = (
    (f"{RUN_SPAN} PIPELINE", "SERVER", "a run, from its request to its end, or to where it stopped to be resumed"),
    ("ASSET", "INTERNAL", "an attempt, from its claim to its settlement"),
    (f"{IO_LOAD_SPAN} ASSET", "INTERNAL", "an input is loaded"),
    (f"{IO_STORE_SPAN} ASSET", "INTERNAL", "a value is stored"),
    ("the name of your span", "INTERNAL", "`ctx.span`; its fields are attributes `NAME.FIELD`"),
)
"""Every span: its name, its kind, and what it stands for."""
