"""DOORS: what users test their pipelines and plug-ins with: contract suites, a pytest plugin, events captured, a clock you move.

May not live here: anything FlowStone needs to run. Nothing here is imported by another part of FlowStone. Each name loads its
module when it is first used, because the plugin is part of every test session.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flowstone.testing.capture import CapturedEvents, capture_events
    from flowstone.testing.clock import MovableClock
    from flowstone.testing.flows import isolated_flow, isolated_settings
    from flowstone.testing.io_contract import FileContract, IOManagerContract
    from flowstone.testing.matchers import expect_events
    from flowstone.testing.run import AssetRun, run_asset
    from flowstone.testing.store_contract import StoreContract

_LAZY = {
    "AssetRun": "run",
    "CapturedEvents": "capture",
    "FileContract": "io_contract",
    "IOManagerContract": "io_contract",
    "MovableClock": "clock",
    "StoreContract": "store_contract",
    "capture_events": "capture",
    "expect_events": "matchers",
    "isolated_flow": "flows",
    "isolated_settings": "flows",
    "run_asset": "run",
}

__all__ = [
    "AssetRun", "CapturedEvents", "FileContract", "IOManagerContract", "MovableClock", "StoreContract", "capture_events",
    "expect_events", "isolated_flow", "isolated_settings", "run_asset",
]  # fmt: skip


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used."""
    if name not in _LAZY:
        raise AttributeError(f"module 'flowstone.testing' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"flowstone.testing.{_LAZY[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
