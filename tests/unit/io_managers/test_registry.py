"""IO managers are found by name."""

from __future__ import annotations

import pytest

from flowstone.foundation.errors import NotFoundError, SettingsError
from flowstone.io_managers import IOManagers, MemoryIOManager


def test_default_and_named() -> None:
    """No name means the default; a name means that manager."""
    memory = MemoryIOManager()
    managers = IOManagers({"memory": memory}, default="memory")
    assert managers.get() is memory
    assert managers.get("memory") is memory
    assert list(managers) == ["memory"]
    assert "memory" in managers


def test_unknown_name() -> None:
    """An unknown name is refused with the closest one, or with all."""
    managers = IOManagers({"memory": MemoryIOManager()}, default="memory")
    with pytest.raises(NotFoundError, match="did you mean 'memory'"):
        managers.get("memmory")
    with pytest.raises(NotFoundError, match="known: memory"):
        managers.get("s3")


def test_wrong_registrations() -> None:
    """A default that is not there, or a manager under another name than its own, is a settings error."""
    with pytest.raises(SettingsError, match="default IO manager 'files'"):
        IOManagers({"memory": MemoryIOManager()}, default="files")
    with pytest.raises(SettingsError, match="calls itself 'memory'"):
        IOManagers({"files": MemoryIOManager()}, default="files")
