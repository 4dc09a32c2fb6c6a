"""What running user code needs, made of settings: in the process that holds the store, and in each of its children."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from flowstone.events.dispatcher import Dispatcher
from flowstone.foundation import secrets
from flowstone.foundation.clock import Clock, SystemClock
from flowstone.foundation.redaction import Redactor
from flowstone.foundation.settings import Settings
from flowstone.io_managers import ExternalIOManager, FilesIOManager, IOManager, IOManagers, MemoryIOManager
from flowstone.observability.logs.capture import Capture


class Runtime:
    """A dispatcher, the IO managers and the capture of one process; *owner* names the files it is writing."""

    def __init__(
        self, settings: Settings, *, owner: str, clock: Clock | None = None, echo: Callable[[str], None] | None = None
    ) -> None:
        self.clock: Clock = clock or SystemClock()
        self.redactor = Redactor(settings.redaction_patterns)
        self.resolve_secret = secrets.resolver(self.redactor.add_value)
        self.dispatcher = Dispatcher(self.clock, self.redactor)
        durability = settings.outputs.durability
        self.files = FilesIOManager(settings.outputs.path, durability=durability, owner=owner)  # type: ignore[arg-type]
        external = ExternalIOManager(settings.home.parent if settings.home is not None else Path())
        managers: dict[str, IOManager] = {"files": self.files, "memory": MemoryIOManager(), "external": external}
        self.io = IOManagers(managers, default=settings.outputs.manager)
        self.capture = Capture(
            self.clock, self.redactor, limit=settings.logs.max_lines, run_limit=settings.logs.max_run_lines, echo=echo,
            losses=self.dispatcher.losses,
        )  # fmt: skip

    def close(self) -> None:
        """Let the handlers go."""
        self.dispatcher.close()
