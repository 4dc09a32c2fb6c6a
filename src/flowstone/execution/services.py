"""What execution needs of the outside, handed in by the wiring."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flowstone.approvals.eligibility import Rules
from flowstone.audit.recorder import Recorder
from flowstone.events.dispatcher import Dispatcher
from flowstone.events.trace import Tracing
from flowstone.execution.lanes import Lane
from flowstone.execution.resources import OpenResources
from flowstone.execution.stopping import Stopping
from flowstone.foundation.clock import Clock
from flowstone.foundation.ids import Ids
from flowstone.io_managers import IOManagers
from flowstone.observability.logs.capture import Capture
from flowstone.stores.database import Database


@dataclass(frozen=True)
class Services:
    """The real things one deployment is made of."""

    project: str
    database: Database
    dispatcher: Dispatcher
    io: IOManagers
    ids: Ids
    clock: Clock
    capture: Capture
    process: str
    random: Callable[[], float]
    stopping: Stopping
    reap: Callable[[], object]
    """Settles what dead processes left behind; for whoever waits for somebody else's claim."""
    children: Callable[[], Lane]
    """The process executor, made when it is first needed."""
    resources: OpenResources
    end_run: Callable[[str], None]
    """Closes the resources that were opened for a run, wherever its bodies ran."""
    config: Mapping[str, Any] = field(default_factory=dict)
    resolve_secret: Callable[[str], str] = str
    tracing: Tracing | None = None
    """Records spans; ``None`` where nobody wants them."""
    audit: Recorder = field(default_factory=Recorder)
    """Tells the audit log of what is done."""
    people: Rules = field(default_factory=Rules)
    """Who may decide about what waits for approval."""
