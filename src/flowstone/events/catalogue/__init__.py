"""Every event FlowStone emits, declared once, one module a subject. Docs, schemas, log texts and metrics are derived from here.

Spans have ``start`` and exactly one of ``stop`` and ``exception``. Durations are integer nanoseconds of the monotonic clock.
Declarations live here and nothing that emits, records or renders them.
"""

from __future__ import annotations

from types import ModuleType

from flowstone.events.catalogue import attention, auditing, decisions, keeping, materializations, runs, storage, telemetry
from flowstone.events.catalogue.attention import *  # noqa: F403 - rooms above name events from here, wherever they are declared
from flowstone.events.catalogue.auditing import *  # noqa: F403
from flowstone.events.catalogue.decisions import *  # noqa: F403
from flowstone.events.catalogue.keeping import *  # noqa: F403
from flowstone.events.catalogue.materializations import *  # noqa: F403
from flowstone.events.catalogue.runs import *  # noqa: F403
from flowstone.events.catalogue.storage import *  # noqa: F403
from flowstone.events.catalogue.telemetry import *  # noqa: F403
from flowstone.events.event import Event


def _declared(subjects: tuple[ModuleType, ...]) -> dict[str, type[Event]]:
    found = [
        value
        for subject in subjects
        for value in vars(subject).values()
        if isinstance(value, type) and issubclass(value, Event) and value.name
    ]
    return {cls.name: cls for cls in found}


CATALOGUE: dict[str, type[Event]] = _declared(
    (runs, materializations, storage, decisions, keeping, auditing, attention, telemetry)
)
"""Every declared event class by name, in order of declaration."""
