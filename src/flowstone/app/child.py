"""The entry of a child process of the process executor: builds what bodies need, then runs one after another.

It has no database. Whatever ends the process that started it ends it as well, even while it is busy in code that never
lets Python look around: the kernel is told to kill it when the other end of a pipe closes.
"""

from __future__ import annotations

import fcntl
import importlib
import os
import pickle
import signal
import sys
import threading
from importlib.metadata import version
from multiprocessing.connection import Connection
from typing import Any

from flowstone.app.pipelines import load_pipeline
from flowstone.app.runtime import Runtime
from flowstone.events.event import Event
from flowstone.events.trace import Tracing
from flowstone.execution.body import Body
from flowstone.execution.decision import resolved_config
from flowstone.execution.parcel import (
    Answer,
    Captured,
    Closed,
    Goodbye,
    Hello,
    Missed,
    Packed,
    Printed,
    Ready,
    Recorded,
    Refused,
    RunEnded,
    Shown,
    Taken,
    Task,
)
from flowstone.execution.resources import OpenResources
from flowstone.foundation.errors import CodeMismatchError, FlowStoneError, SettingsError

EVERY_SECONDS = 0.5


class Bench:
    """Everything a body needs, in this process."""

    def __init__(self, hello: Hello, channel: Connection) -> None:
        self._channel, self._sending = channel, threading.Lock()
        self.runtime = Runtime(hello.settings, owner=hello.owner, echo=lambda text: self.send(Printed(text)))
        self.pipeline = load_pipeline(hello.reference, hello.base)
        if self.pipeline.name != hello.pipeline or self.pipeline.digest() != hello.digest:
            raise CodeMismatchError(
                f"{hello.reference} is not what the run was planned with: pipeline {self.pipeline.name!r} has another definition",
                hint="it changed while the run was on its way: run again",
            )
        self._config = hello.settings.config
        self._secrets = self.runtime.resolve_secret
        self.runtime.dispatcher.attach("flowstone.child", "*", self._show, patient=True)
        self._resources = OpenResources(self.pipeline.resources, self.runtime.dispatcher, self._config, self._secrets)
        self._shipper: Any = None
        tracing = self._trace() if hello.traced else None
        self._body = Body(self.runtime.dispatcher, self.runtime.io, self.runtime.capture, self._resources, tracing=tracing)

    def _trace(self) -> Tracing:
        otel = importlib.import_module("flowstone.observability.otel.signals")
        tracing: Tracing
        tracing, self._shipper = otel.in_child(
            self.runtime.redactor, lambda spans: self.send(Recorded(spans)), version("flowstone")
        )
        return tracing

    def send(self, message: object) -> None:
        """Send one message; any thread may."""
        data = pickle.dumps(message)
        with self._sending:
            self._channel.send_bytes(data)

    def work(self, task: Task) -> None:
        """Run a body and send its report."""
        self.send(Taken())
        asset = self.pipeline[task.asset]
        refused: Exception | None = None
        config: dict[str, Any] = {}
        try:
            config = resolved_config(asset, self._config, self._secrets)
        except SettingsError as error:  # a secret that is not there fails the step that needs it
            refused = error
        stop = threading.Event()
        flusher = threading.Thread(target=self._flush_often, args=(stop,), daemon=True)
        flusher.start()
        with self.runtime.capture:
            report = self._body.run(task.unpack(self.pipeline, config, refused))
        stop.set()
        flusher.join()
        self._flush()
        self.send(Answer.of(report))

    def close(self) -> None:
        """Tear down what was opened here."""
        self._resources.close()
        self.runtime.close()

    def serve(self, message: Task | RunEnded | Goodbye) -> bool:
        """Do what the process at the other end asks for; return whether it may ask for more."""
        match message:
            case Task():
                self.work(message)
            case RunEnded(run_id):
                self._resources.end_run(run_id)
                self.send(Closed())
            case Goodbye():
                self._resources.close()
                self._flush()
                self.send(Closed())
        return not isinstance(message, Goodbye)

    def _show(self, happened: Event) -> None:
        self.send(Shown(Packed.of(happened)))

    def _flush_often(self, stop: threading.Event) -> None:
        while not stop.wait(EVERY_SECONDS):
            self._flush()

    def _flush(self) -> None:
        if self._shipper is not None:
            self._shipper.flush()
        lines = self.runtime.capture.take()
        if lines:
            self.send(Captured(lines))
        if missed := self.runtime.dispatcher.losses.take():
            self.send(Missed(missed))


def main(channel_descriptor: int, lifeline: int) -> None:
    """Serve the process at the other end until it says no more."""
    _die_when_it_closes(lifeline)
    with Connection(channel_descriptor) as channel:
        hello: Hello = pickle.loads(channel.recv_bytes())
        sys.path[:] = hello.search_path
        try:
            bench = Bench(hello, channel)
        except FlowStoneError as error:
            channel.send_bytes(pickle.dumps(Refused(error)))
            return
        bench.send(Ready())
        try:
            while bench.serve(pickle.loads(channel.recv_bytes())):
                pass
        except (EOFError, ConnectionError):
            pass  # it was ended: nobody listens any more
        finally:
            bench.close()


def _die_when_it_closes(lifeline: int) -> None:
    """Have this process and what it starts killed when the other end of the pipe closes: by the kernel where it can."""
    if hasattr(fcntl, "F_SETSIG"):
        fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
        fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    threading.Thread(target=_watch, args=(lifeline,), daemon=True).start()  # it may have closed before


def _watch(lifeline: int) -> None:
    os.read(lifeline, 1)
    os.killpg(0, signal.SIGKILL)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
