"""How the handlers of processes fare, as each process has told it."""

from __future__ import annotations

import msgspec

from flowstone.app.wiring import Deployment
from flowstone.events.handlers import HandlerInfo
from flowstone.events.losses import Loss
from flowstone.foundation.serialize import from_json
from flowstone.stores import processes
from flowstone.stores.liveness import hostname_of


class ProcessHandlers(msgspec.Struct, frozen=True, kw_only=True):
    """A process, the figures of its handlers and everything its observers lost, as it told them last."""

    process: str
    host: str
    pid: int
    started_at: int
    heartbeat_at: int
    ended_at: int | None
    handlers: list[HandlerInfo]
    lost: list[Loss]


def handlers(deployment: Deployment, limit: int) -> list[ProcessHandlers]:
    """The newest *limit* processes, newest first."""
    with deployment.reading().reading() as connection:
        found = processes.recent(connection, limit)
    made = []
    for process in found:
        told = from_json(process.handlers) if process.handlers else {"handlers": [], "lost": []}
        made.append(
            ProcessHandlers(
                process=process.id,
                host=hostname_of(process.host),
                pid=process.pid,
                started_at=process.started_at,
                heartbeat_at=process.heartbeat_at,
                ended_at=process.ended_at,
                handlers=[HandlerInfo(**{**figures, "events": tuple(figures["events"])}) for figures in told["handlers"]],
                lost=[Loss(**loss) for loss in told["lost"]],
            )
        )
    return made
