"""Where bodies run: here, in a thread, or in a child process. What comes back goes to one queue, whichever it was."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue
from typing import NamedTuple, Protocol

from flowstone.assets.asset import AnyAsset
from flowstone.execution.body import Body, Work
from flowstone.execution.outcome import Report
from flowstone.execution.settlement import Claim
from flowstone.execution.stopping import Stopping


class Finished(NamedTuple):
    """An attempt whose body has ended."""

    claim: Claim
    report: Report


Done = SimpleQueue[Finished | None]
"""What bodies report to the loop; ``None`` only wakes it."""


class Lane(Protocol):
    """Runs bodies."""

    def start(self, claim: Claim, work: Work, done: Done) -> None:
        """Run the body; exactly one :class:`Finished` goes to *done*, unless it is ended first."""
        ...

    def end(self, claim: Claim) -> None:
        """End the attempt now if code can be ended here; what it would report is not looked at any more."""
        ...


class Inline:
    """Runs a body here: when ``start`` returns it has ended."""

    def __init__(self, body: Body, stopping: Stopping) -> None:
        self._body, self._stopping = body, stopping

    def start(self, claim: Claim, work: Work, done: Done) -> None:
        with self._stopping.interruptible(work.target.run_id):
            report = self._body.run(work)
        done.put(Finished(claim, report))

    def end(self, claim: Claim) -> None:
        pass


class Threads:
    """Runs each body in a thread of its own. A thread cannot be ended: an abandoned one goes on unheard, and blocks no exit."""

    def __init__(self, body: Body) -> None:
        self._body = body

    def start(self, claim: Claim, work: Work, done: Done) -> None:
        def serve() -> None:
            done.put(Finished(claim, self._body.run(work)))

        threading.Thread(target=serve, name=f"flowstone-{claim.step.asset}", daemon=True).start()

    def end(self, claim: Claim) -> None:
        pass


class Lanes:
    """The lanes of one run, and which step goes where."""

    def __init__(self, body: Body, stopping: Stopping, processes: Callable[[], Lane], default: str) -> None:
        self._here, self._threads, self._processes = Inline(body, stopping), Threads(body), processes
        self._default = default
        self.done: Done = SimpleQueue()

    def of(self, asset: AnyAsset, refused: BaseException | None) -> Lane:
        """The lane for an attempt; one that is *refused* already fails here, without a child."""
        match executor_of(asset, self._default) if refused is None else "inline":
            case "thread":
                return self._threads
            case "process":
                return self._processes()
        return self._here

    def stays_here(self, asset: AnyAsset, refused: BaseException | None) -> bool:
        """Whether starting the body keeps the loop busy until it ends."""
        return refused is not None or executor_of(asset, self._default) == "inline"


def executor_of(asset: AnyAsset, default: str) -> str:
    """Where the asset's body runs: a timeout can only be kept by a child process."""
    return "process" if asset.timeout is not None else asset.executor or default
