"""The IO managers of a deployment, by name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from flowstone.foundation.errors import NotFoundError, SettingsError, did_you_mean
from flowstone.io_managers.manager import IOManager


class IOManagers:
    """A fixed set of named managers and the one that assets use when they name none."""

    def __init__(self, managers: Mapping[str, IOManager], *, default: str) -> None:
        self._managers = dict(managers)
        self.default = default
        for key, manager in self._managers.items():
            if manager.name != key:
                raise SettingsError(
                    f"the IO manager registered as {key!r} calls itself {manager.name!r}",
                    hint="outputs record the manager's own name: register it under that name",
                )
        if default not in self._managers:
            raise SettingsError(f"the default IO manager {default!r} is not one of them", hint=self._hint(default))

    def get(self, name: str | None = None) -> IOManager:
        """Return the manager called *name*, or the default; raises ``NotFoundError`` with the closest name."""
        wanted = self.default if name is None else name
        try:
            return self._managers[wanted]
        except KeyError:
            raise NotFoundError(f"there is no IO manager {wanted!r}", hint=self._hint(wanted), name=wanted) from None

    def __contains__(self, name: object) -> bool:
        return name in self._managers

    def __iter__(self) -> Iterator[str]:
        return iter(self._managers)

    def _hint(self, name: str) -> str:
        return did_you_mean(name, self._managers) or f"known: {', '.join(sorted(self._managers)) or 'none'}"
