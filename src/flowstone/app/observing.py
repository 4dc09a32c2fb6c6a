"""What can be observed: metrics, groups of errors, lines, messages. Every method is a thin call of its room."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cached_property
from itertools import islice
from typing import Any

from flowstone.app.attention import Attention
from flowstone.app.handlers import ProcessHandlers, handlers
from flowstone.app.health import Check, checks
from flowstone.app.metrics import Metrics
from flowstone.app.reading_logs import Chosen, Lines
from flowstone.app.ticking import tick, try_channel
from flowstone.automation.tick import Ticked
from flowstone.observability.metrics.families import Family
from flowstone.stores import notifications, overdue
from flowstone.stores.records import LogRecord, NotificationRecord, OverdueRecord


class Observing(Attention):
    """The questions of :class:`FlowStone`, and what observability adds to them."""

    def export_telemetry(self) -> bool:
        """Set up OpenTelemetry for this process as its environment variables (``OTEL_…``) say; for applications, before a run.

        It sets global providers, except those that are set already, and what waits is sent when this object is closed, for at
        most 5 seconds. Returns whether anything asks for it: one of the variables, or the setting ``telemetry.otel = "on"``.
        """
        return self._deployment.telemetry.export()

    # -- lines ----------------------------------------------------------------------------------------------------------

    def logs(
        self,
        run_id: str,
        *,
        asset: str | None = None,
        partition: Any = None,
        attempt: int | None = None,
        level: str | None = None,
        grep: str | None = None,
        context: int = 0,
        limit: int | None = 10_000,
    ) -> list[LogRecord]:
        """The first *limit* captured lines of a run, in order: of an *asset*, a *partition* (a key or its text), an *attempt*.

        Of them, those of *level* and above whose message the regular expression *grep* is found in, each with *context* lines
        before and after it.
        """
        chosen = Chosen(asset, partition, attempt, level, grep, context)
        return [found.line for found in islice(Lines(self._deployment, run_id, chosen).read(), limit)]

    def follow_logs(
        self,
        run_id: str,
        *,
        asset: str | None = None,
        partition: Any = None,
        attempt: int | None = None,
        level: str | None = None,
        grep: str | None = None,
        idle: Callable[[], object] = bool,
    ) -> Iterator[LogRecord]:
        """Yield what :meth:`logs` gives, and what comes, until the run ends, waits to be resumed, or its process is dead.

        The lines of every process are there about a second after they were written. *idle* is called while nothing comes.
        """
        chosen = Chosen(asset, partition, attempt, level, grep)
        return (found.line for found in Lines(self._deployment, run_id, chosen).follow(idle))

    # -- handlers -------------------------------------------------------------------------------------------------------

    def handlers(self, *, limit: int = 20) -> list[ProcessHandlers]:
        """How the handlers of the newest processes fare and what they lost, as each process told it last: newest first."""
        return handlers(self._deployment, limit)

    # -- metrics --------------------------------------------------------------------------------------------------------

    def health(self) -> list[Check]:
        """Whether the deployment can do its work now: the database reached, its schema this version's, and written to.

        Ends with the first check that fails; changes nothing.
        """
        return checks(self._deployment)

    def metrics(self) -> list[Family]:
        """Every metric of the deployment as it is now, in a fixed order: what the record was folded into, and its state.

        What was recorded since the last time is folded first, and kept; where nothing can be written that is done in memory.
        """
        return self._metrics.families()

    @cached_property
    def _metrics(self) -> Metrics:
        return Metrics(self._deployment, self.pipeline)

    # -- ticks and messages ---------------------------------------------------------------------------------------------

    def tick(self) -> Ticked:
        """Do what is due: settle dead work, mark what is overdue, deliver messages, fold metrics, and once a day prune.

        Any number of processes may ask: while one does it, the others are told so. A duty that fails does not keep others from
        being done.
        """
        return tick(self._deployment, self._actor)

    def overdue(self) -> list[OverdueRecord]:
        """The values that are late now, as the last tick has found: longest first."""
        with self._deployment.reading().reading() as connection:
            return overdue.unmet(connection, self.settings.project)

    def notifications(self, *, status: str | None = None, limit: int = 50) -> list[NotificationRecord]:
        """The newest messages to people first; *status* is ``pending``, ``delivered`` or ``failed``."""
        with self._deployment.reading().reading() as connection:
            return notifications.read(connection, self.settings.project, status=status, limit=limit)

    def try_channel(self, channel: str) -> str:
        """Send a trial message through a channel of the settings; return why it was not taken, nothing when it was."""
        return try_channel(self._deployment, channel)
