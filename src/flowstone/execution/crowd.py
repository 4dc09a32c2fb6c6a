"""How many attempts of one asset run at once in a run, and which steps wait for their turn."""

from __future__ import annotations

from collections import Counter

from flowstone.assets.asset import AnyAsset
from flowstone.execution.plan import Place, Step
from flowstone.execution.schedule import Schedule


class Crowd:
    """Keeps to the ``concurrency`` of assets; a step that must wait holds nothing."""

    def __init__(self) -> None:
        self._inside: Counter[str] = Counter()
        self._outside: dict[str, list[Place]] = {}

    def admits(self, asset: AnyAsset, step: Step) -> bool:
        """Whether another attempt of *asset* may begin; if not, *step* waits until one has ended."""
        if asset.concurrency is None or self._inside[asset.name] < asset.concurrency:
            return True
        self._outside.setdefault(asset.name, []).append(step.place)
        return False

    def enter(self, asset: AnyAsset) -> None:
        """Count an attempt that begins."""
        if asset.concurrency is not None:
            self._inside[asset.name] += 1

    def leave(self, asset: AnyAsset, schedule: Schedule) -> None:
        """Count an attempt that ended; those that waited for it are ready again."""
        if asset.concurrency is not None:
            self._inside[asset.name] -= 1
            for place in self._outside.pop(asset.name, ()):
                schedule.ready(place)
