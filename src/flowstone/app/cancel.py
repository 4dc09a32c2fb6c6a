"""Cancels a run that may be anybody's, and waits for its end when asked to."""

from __future__ import annotations

from flowstone.app.wiring import Deployment
from flowstone.execution import cancel as cancelling
from flowstone.execution.cancel import Asked
from flowstone.foundation.clock import NANOSECONDS
from flowstone.foundation.errors import UsageError
from flowstone.stores import runs
from flowstone.stores.records import RunRecord

LOOK_SECONDS = 0.1
REAP_SECONDS = 2.0
LONGEST_REASON = 500


def cancel(deployment: Deployment, run_id: str, who: Asked, wait: float) -> RunRecord:
    """Cancel the run and return it as it is after at most *wait* seconds; raises :class:`UsageError` when it is too late."""
    if len(who.reason) > LONGEST_REASON or not who.reason.isprintable():
        raise UsageError(f"reason {who.reason[:50]!r} is no line of text", hint=f"at most {LONGEST_REASON} printable characters")
    project, clock = deployment.settings.project, deployment.clock
    with deployment.reading().reading() as connection:
        run = runs.find(connection, project, run_id)
    services = deployment.services()  # a dead holder is found out here: its run waits from then on
    with services.database.reading() as connection:
        run = runs.find(connection, project, run.id)
    cancelling.request(services, run, who)
    began = reaped = clock.monotonic_ns()
    while True:
        with services.database.reading() as connection:
            run = runs.find(connection, project, run.id)
        now = clock.monotonic_ns()
        if run.status != "running" or now - began >= wait * NANOSECONDS:
            break
        if now - reaped >= REAP_SECONDS * NANOSECONDS:
            reaped = now
            services.reap()
        clock.sleep(LOOK_SECONDS)
    if run.status not in ("running", "cancelled"):
        raise UsageError(f"{run.id} ended {run.status} before it could be cancelled", hint=f"flowstone show {run.id}")
    return run
