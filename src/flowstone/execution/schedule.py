"""Which step of a plan is next: readiness, delays and what a bad ending means for the steps behind it. Pure data."""

from __future__ import annotations

import heapq
from collections.abc import Collection
from typing import NamedTuple

from flowstone.execution.plan import Place, Plan, Step

GOOD = frozenset({"success", "reused"})


class Ending(NamedTuple):
    """How a materialization ended, for the steps behind it; *output* and *digest* are those of its current value."""

    status: str
    output: str = ""
    digest: str = ""
    reason: str = ""
    message: str = ""


class Schedule:
    """The steps of one run that have not ended, in plan order; a delayed step holds nothing."""

    def __init__(self, plan: Plan) -> None:
        self.steps = {step.place: step for step in plan.steps}
        self.endings: dict[Place, Ending] = {}
        self.waiting: set[Place] = set()
        """The steps that wait for people; they hold nothing."""
        self.not_before: dict[Place, int] = {}
        """The steps a resumed run must not begin earlier; wall time."""
        self._order = {step.place: index for index, step in enumerate(plan.steps)}
        self._behind: dict[Place, list[Place]] = {}
        self._missing: dict[Place, int] = {}
        self._ready: list[tuple[int, Place]] = []
        self._delayed: list[tuple[int, int, Place]] = []
        for step in plan.steps:
            needs = {(i.asset, i.partition) for i in step.inputs if i.planned} | set(step.after)
            self._missing[step.place] = len(needs)
            for need in needs:
                self._behind.setdefault(need, []).append(step.place)
            if not needs:
                self._ready.append((self._order[step.place], step.place))
        heapq.heapify(self._ready)

    def end(self, place: Place, ending: Ending) -> None:
        """Note how the step ended; what waited only for it becomes ready."""
        self.endings[place] = ending
        self.waiting.discard(place)
        for behind in self._behind.get(place, ()):
            self._missing[behind] -= 1
            if not self._missing[behind]:
                heapq.heappush(self._ready, (self._order[behind], behind))

    def ready(self, place: Place) -> None:
        """Put back a step that was taken and could not begin."""
        heapq.heappush(self._ready, (self._order[place], place))

    def answered(self, place: Place) -> None:
        """Put back a step that has waited for people; one that was found waiting may not have been taken yet."""
        self.waiting.discard(place)
        if (self._order[place], place) not in self._ready:
            self.ready(place)

    def wait(self, place: Place) -> None:
        """Leave a step that was taken until people have decided."""
        self.waiting.add(place)

    def behind(self, place: Place) -> list[str]:
        """The assets of this plan that depend on the step, directly or through others."""
        return [asset for asset, _ in self._after(place)]

    def _after(self, place: Place) -> dict[Place, None]:
        found: dict[Place, None] = {}
        todo = [place]
        while todo:
            for one in self._behind.get(todo.pop(), ()):
                if one not in found:
                    found[one] = None
                    todo.append(one)
        return found

    def has_ended(self) -> bool:
        """Whether every step has ended."""
        return len(self.endings) == len(self.steps)

    def delay(self, place: Place, until_ns: int) -> None:
        """Put the step back until *until_ns* (wall time)."""
        heapq.heappush(self._delayed, (until_ns, self._order[place], place))

    def next(self, now_ns: int) -> Step | None:
        """Take the next ready step, or ``None``: then either :meth:`wake_at` says when, or everything has ended."""
        while self._delayed and self._delayed[0][0] <= now_ns:
            _, order, place = heapq.heappop(self._delayed)
            heapq.heappush(self._ready, (order, place))
        while self._ready:
            place = heapq.heappop(self._ready)[1]
            until = self.not_before.pop(place, 0)
            if until > now_ns:
                self.delay(place, until)
            elif place not in self.endings and place not in self.waiting:
                return self.steps[place]
        return None

    def has_more(self) -> bool:
        """Whether there is a step that neither has ended nor waits for people, itself or behind one that does."""
        behind = {one for place in self.waiting for one in self._after(place)}
        return any(place not in self.endings and place not in self.waiting and place not in behind for place in self.steps)

    def wake_at(self) -> int | None:
        """When the first delayed step becomes ready, or ``None`` when none is delayed."""
        return self._delayed[0][0] if self._delayed else None

    def blocked(self, step: Step) -> tuple[str, str] | None:
        """Why the step cannot run, as (reason, message), or ``None``; optional inputs never block."""
        for item in step.inputs:
            if not item.optional and item.planned:
                found = _blocking(item.asset, self.endings[(item.asset, item.partition)], loaded=True)
                if found:
                    return found
        for place in step.after:
            found = _blocking(place[0], self.endings[place], loaded=False)
            if found:
                return found
        return None


def _blocking(name: str, ending: Ending, *, loaded: bool) -> tuple[str, str] | None:
    if ending.status in GOOD or (ending.status == "skipped" and ending.reason == "by_code" and not loaded):
        return None
    match ending.status:
        case "rejected":
            return "rejected", f"{name} was rejected: {ending.message}" if ending.message else f"{name} was rejected"
        case "expired":
            return "expired", f"nobody approved {name} in time"
        case "skipped" if ending.reason in ("upstream_failed", "rejected", "expired"):
            return ending.reason, ending.message
        case "skipped":
            return ending.reason, f"{name} was skipped: {ending.message}"
    return "upstream_failed", f"upstream {name} {'was cancelled' if ending.status == 'cancelled' else 'failed'}"


def counts_of(endings: Collection[Ending]) -> dict[str, int]:
    """How many steps of a run that has ended, and was not cancelled itself, have ended how; what was refused counts as failed."""
    found = dict.fromkeys(("success", "reused", "failed", "skipped"), 0)
    for each in endings:
        if each.status != "cancelled":
            found[each.status if each.status in found else "failed"] += 1
    cancelled = sum(each.status == "cancelled" for each in endings)
    return {**found, "cancelled": cancelled} if cancelled else found


def status_of(targets: list[Ending]) -> str:
    """``success`` when every target is there or chose to skip itself, ``failed`` when none is there, else ``partial``."""
    there = [e for e in targets if e.status in GOOD]
    missing = [e for e in targets if e.status not in GOOD and not (e.status == "skipped" and e.reason == "by_code")]
    if not missing:
        return "success"
    return "partial" if there else "failed"
