"""Whether OpenTelemetry is wanted, and by whom it is set up. Nothing of it is loaded where it is not.

A program that uses FlowStone sets up OpenTelemetry itself, before its first run, and FlowStone uses that. FlowStone's own command
line sets it up as OpenTelemetry's environment variables say.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.metadata import version
from typing import Any

from flowstone.app.runtime import Runtime
from flowstone.events.catalogue import RunResumed, RunSuspended
from flowstone.events.trace import RunFacts, Trace, Tracing, parent_of, parse_traceparent
from flowstone.foundation.errors import NotFoundError, SettingsError
from flowstone.foundation.settings import Settings
from flowstone.observability.metrics.definitions import Metric
from flowstone.observability.otel.providers import is_set_up
from flowstone.stores import events, runs
from flowstone.stores.database import Database

ASKING = (
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    *(f"OTEL_EXPORTER_OTLP_{signal}_ENDPOINT" for signal in ("TRACES", "METRICS", "LOGS")),
    *(f"OTEL_{signal}_EXPORTER" for signal in ("TRACES", "METRICS", "LOGS")),
)
"""The environment variables that ask for an export."""
_NOISY = ("opentelemetry.exporter", "opentelemetry.sdk")

log = logging.getLogger("flowstone.telemetry")


class Telemetry:
    """What one deployment tells OpenTelemetry."""

    def __init__(self, settings: Settings, runtime: Runtime, process: str) -> None:
        self._settings, self._runtime, self._process = settings, runtime, process
        self._wanted = settings.telemetry.otel
        if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
            self._wanted = "off"
        self._export: Any = None
        self._observers: Any = None

    @property
    def tracing(self) -> Tracing | None:
        """Records spans; ``None`` where nobody wants them."""
        found: Tracing | None = self._observers.tracing if self._observers is not None else None
        return found

    def export(self, variables: Mapping[str, str] = os.environ) -> bool:
        """Set up OpenTelemetry for this process, as its environment variables say, where one of them or a setting asks for it."""
        if self._wanted == "off" or (self._wanted == "auto" and not any(variables.get(name) for name in ASKING)):
            return False
        about = {
            "service.name": "flowstone",
            "service.namespace": self._settings.project,
            "service.version": version("flowstone"),
            "service.instance.id": self._process,
        }
        make = _load("flowstone.observability.otel.export").Export
        self._export = make(about, self._runtime.dispatcher.losses, always=self._wanted == "on")
        if self._settings.logs.level != "debug":  # what is lost is counted and said; how, is for those who look for it
            for name in _NOISY:
                logging.getLogger(name).setLevel(logging.CRITICAL)
        return True

    def attach(self, database: Database, metrics: Sequence[Metric]) -> None:
        """Attach observers for whatever is set up now."""
        if self._wanted == "off":
            return
        if not is_set_up():
            if self._wanted == "on":
                _load("opentelemetry.sdk.trace")
                log.warning("telemetry.otel is on, and this program has set up no OpenTelemetry: it is told nothing")
            return
        runtime, limit = self._runtime, self._settings.metrics.max_series
        facts = _facts(database, self._settings.project)
        make = _load("flowstone.observability.otel.signals").Observers
        self._observers = make(
            runtime.dispatcher, runtime.capture, facts=facts, metrics=metrics, max_series=limit, version=version("flowstone"),
            everything=self._export is not None,
        )  # fmt: skip

    def accept(self, spans: Sequence[Any]) -> None:
        """Take in spans of users' own that a child process has recorded."""
        if self._observers is not None:
            self._observers.accept(spans)

    def close(self) -> None:
        """Send what waits, as far as it is ours, for at most 5 seconds."""
        if self._observers is not None:
            self._observers.close()
            self._observers = None
        if self._export is not None:
            self._export.close()
            self._export = None


def requested_parent(traceparent: str | None, tracestate: str | None, variables: Mapping[str, str] = os.environ) -> Trace | None:
    """The span that asks for a run: as given, else the one around this code, else what the environment says.

    What is not valid is ignored, as https://www.w3.org/TR/trace-context/ wants it.
    """
    given = parse_traceparent(traceparent, tracestate)
    if given is not None:
        return given
    api = sys.modules.get("opentelemetry.trace")
    if api is not None:
        around = api.get_current_span().get_span_context()
        if around.is_valid:
            state = around.trace_state.to_header()
            return Trace(f"{around.trace_id:032x}", f"{around.span_id:016x}", int(around.trace_flags), state)
    return parse_traceparent(variables.get("TRACEPARENT"), variables.get("TRACESTATE"))


def _load(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        if (error.name or "").partition(".")[0] != "opentelemetry":
            raise
        raise SettingsError(
            f"OpenTelemetry is asked for, and {error.name} is not installed",
            hint="pip install 'flowstone[otel]', or set telemetry.otel to off",
        ) from error


def _facts(database: Database, project: str) -> Callable[[str], RunFacts | None]:
    def facts(run_id: str) -> RunFacts | None:
        with database.reading() as connection:
            try:
                run = runs.find(connection, project, run_id)
            except NotFoundError:
                return None
            told = events.read(connection, project, run_id=run_id, names=(RunResumed.name, RunSuspended.name))
        resumed = [one.at for one in told if one.name == RunResumed.name]
        suspended = bool(told) and told[-1].name == RunSuspended.name
        began = resumed[-1] if resumed else run.requested_at
        return RunFacts(run.pipeline, run.trace_id, parent_of(run.request), began, resumed[-1] if resumed else 0, suspended)

    return facts
