"""A receiver of messages on this machine, which answers as it is told and keeps what it was given."""

from __future__ import annotations

import dataclasses
import itertools
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import pytest

from flowstone import FlowStone
from flowstone.foundation.channels import ChannelSettings
from flowstone.notifications.message import Message
from flowstone.testing import isolated_settings


class Request(NamedTuple):
    """What was posted."""

    path: str
    headers: dict[str, str]
    raw: bytes

    @property
    def body(self) -> Any:
        """The body as JSON."""
        return json.loads(self.raw)


class Receiver:
    """An HTTP server; *answers* are the status and the headers of its next answers, the last of them again and again."""

    def __init__(self) -> None:
        self.got: list[Request] = []
        self.answers: list[tuple[int, dict[str, str]]] = [(200, {})]
        self.before: Any = lambda request: None
        self._numbers = itertools.count()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                raw = self.rfile.read(int(self.headers["Content-Length"]))
                number = next(outer._numbers)
                outer.got.append(Request(self.path, {name.lower(): value for name, value in self.headers.items()}, raw))
                outer.before(outer.got[-1])
                status, headers = outer.answers[min(number, len(outer.answers) - 1)]
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(b"an answer nobody reads: secret")

            def log_message(self, *args: Any) -> None:
                """Say nothing."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self._thread.start()

    def channel(self, name: str = "ops", type: str = "slack", **more: Any) -> ChannelSettings:
        """The settings of a channel that posts here."""
        return ChannelSettings(name, type, url=self.url, **{"allow_private": True, "allow_http": True, **more})

    def close(self) -> None:
        """End it."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def receiver():
    """A receiver; ended with the test."""
    made = Receiver()
    yield made
    made.close()


@pytest.fixture
def message():
    """A message whose texts try to be markup."""
    return Message(
        cause="run.failed", project="shop", environment="prod", title="nightly_sales ended <failed> & *bold*",
        facts={"pipeline": "nightly_sales", "failed": "orders <!channel> `x` _y_ ~z~ @here"},
        command="flowstone show run_1", at=1_764_000_000_123_000_000,
    )  # fmt: skip


def opened(pipeline, url, *channels, **options):
    """A FlowStone over the database at *url* with these channels."""
    settings = isolated_settings(options.pop("home"), database_url=url)
    kept = dataclasses.replace(settings, channels={channel.name: channel for channel in channels}, **options.pop("settings", {}))
    return FlowStone(pipeline, settings=kept, actor="test", echo=lambda text: None, **options)


@pytest.fixture
def at(database_url, tmp_path):
    """A function that opens a FlowStone over this test's database: a pipeline, channels, options; all are closed at the end."""
    made = []

    def make(pipeline=None, *channels, **options):
        made.append(opened(pipeline, database_url, *channels, home=tmp_path / "home", **options))
        return made[-1]

    yield make
    for flow in reversed(made):
        flow.close()
