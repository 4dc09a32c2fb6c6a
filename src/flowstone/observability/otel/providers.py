"""Whether anybody has set up OpenTelemetry in this process, found out without loading any of it."""

from __future__ import annotations

import sys

_GETTERS = {
    "opentelemetry.trace": "get_tracer_provider",
    "opentelemetry.metrics": "get_meter_provider",
    "opentelemetry._logs": "get_logger_provider",
}


def is_real(provider: object) -> bool:
    """Whether somebody has set the provider up: the API's own stand-ins do nothing."""
    name = type(provider).__name__
    return "Proxy" not in name and "NoOp" not in name and "Default" not in name


def is_set_up() -> bool:
    """Whether a signal of OpenTelemetry has a provider that was set up."""
    loaded = [(sys.modules[name], getter) for name, getter in _GETTERS.items() if name in sys.modules]
    return any(is_real(getattr(module, getter)()) for module, getter in loaded)
