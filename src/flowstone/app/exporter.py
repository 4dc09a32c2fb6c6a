"""The HTTP server of metrics and health: three pages, nothing that changes anything, and nobody in whom the gate does not let.

Why it is not ``prometheus_client``'s own: ``docs/adr/0022-exposition-and-health.md``.
"""

from __future__ import annotations

import io
import logging
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from email.message import Message
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from typing import Any, NamedTuple, Self

from flowstone.app.gate import Address, Gate
from flowstone.app.health import Check
from flowstone.app.wiring import Deployment
from flowstone.foundation.errors import UsageError, message_of
from flowstone.foundation.serialize import to_json
from flowstone.observability.metrics.families import Family
from flowstone.observability.prometheus.exposition import render
from flowstone.observability.prometheus.process_figures import process_families

REQUEST_SECONDS = 5.0
"""How long a client may take to send its request, and again to take the answer."""
REQUEST_BYTES = 16_384
CONNECTIONS = 32
WAIT_SECONDS = 10.0
"""How long a scrape waits for one that has begun before it, which is as long as Prometheus waits by default."""
_STOP_SECONDS = 0.05
_PLAIN = "text/plain; charset=utf-8"
_HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

_logger = logging.getLogger("flowstone.exporter")


class Answer(NamedTuple):
    """What a page says."""

    status: HTTPStatus
    body: bytes
    kind: str = _PLAIN
    more: tuple[tuple[str, str], ...] = ()


def said(status: HTTPStatus, text: str = "", *more: tuple[str, str]) -> Answer:
    """An answer of one line."""
    return Answer(status, f"{text or status.phrase}\n".encode(), more=more)


class Pages:
    """What is served: *read* gives the families, *check* looks at the deployment; each is asked by one request at a time."""

    def __init__(self, gate: Gate, read: Callable[[], Iterable[Family]], check: Callable[[], list[Check]]) -> None:
        self._gate, self._read, self._check = gate, read, check
        self._pages = {"/metrics": self._metrics, "/healthz": self._alive, "/readyz": self._ready}
        self._scraping, self._checking = threading.Lock(), threading.Lock()
        self._failing = self._closed = False

    def answer(self, method: str, target: str, headers: Message) -> Answer:
        """The answer to one request; who may ask is decided before anything else is looked at."""
        if not self._gate.knows(headers.get_all("Host", [])):
            return said(HTTPStatus.BAD_REQUEST, "this is no host I am known by; --allow-host NAME adds one")
        if not self._gate.admits(headers.get("Authorization", "")):
            return said(HTTPStatus.UNAUTHORIZED, "a token is needed", ("WWW-Authenticate", "Bearer"))
        page = self._pages.get(target.partition("?")[0])
        if page is None:
            return said(HTTPStatus.NOT_FOUND, f"pages: {', '.join(self._pages)}")
        if method not in ("GET", "HEAD"):
            return said(HTTPStatus.METHOD_NOT_ALLOWED, "", ("Allow", "GET, HEAD"))
        return page(headers)

    def close(self) -> None:
        """Answer nothing more from the deployment, once what is being read of it is read, or hangs."""
        self._closed = True
        for reading in (self._scraping, self._checking):
            if reading.acquire(timeout=WAIT_SECONDS):
                reading.release()

    def _metrics(self, headers: Message) -> Answer:
        if not self._scraping.acquire(timeout=WAIT_SECONDS):
            return _later("another scrape has not ended")
        try:
            if self._closed:
                return _later("it is closing")
            body, kind = render(self._read(), headers.get("Accept", ""))
        except Exception as error:  # noqa: BLE001 - whoever scrapes is told that it failed, and the next scrape tries again
            return self._failed(error)
        finally:
            self._scraping.release()
        self._failing = False
        return Answer(HTTPStatus.OK, body, kind)

    def _failed(self, error: Exception) -> Answer:
        text = f"the metrics could not be read: {type(error).__name__}"
        if not self._failing:  # once, until it works again: a scrape comes every few seconds
            self._failing = True
            _logger.error("%s: %s", text, message_of(error))
        return said(HTTPStatus.INTERNAL_SERVER_ERROR, text)

    def _alive(self, headers: Message) -> Answer:  # noqa: ARG002 - a page is given the headers
        return said(HTTPStatus.OK, "alive")

    def _ready(self, headers: Message) -> Answer:  # noqa: ARG002 - a page is given the headers
        if not self._checking.acquire(timeout=WAIT_SECONDS):
            return _later("another check has not ended")
        try:
            if self._closed:
                return _later("it is closing")
            found = self._check()
        finally:
            self._checking.release()
        ready = all(check.ok for check in found)
        body = {"ready": ready, "checks": {check.name: {"ok": check.ok, "text": check.text} for check in found}}
        status = HTTPStatus.OK if ready else HTTPStatus.SERVICE_UNAVAILABLE
        return Answer(status, f"{to_json(body)}\n".encode(), "application/json")


def of_process(deployment: Deployment) -> list[Family]:
    """The series of this process, with what works for *deployment* in it."""
    dispatcher, held, home = deployment.dispatcher, deployment.stopping.held(), deployment.settings.home
    return process_families(dispatcher.list_handlers(), dispatcher.losses.totals(), len(held), home, deployment.unaudited())


def _later(text: str) -> Answer:
    return said(HTTPStatus.SERVICE_UNAVAILABLE, text, ("Retry-After", "15"))


class Exporter:
    """Serves *pages* at an address in threads of its own while it is entered."""

    def __init__(self, at: Address, pages: Pages) -> None:
        self._pages = pages
        try:
            self._server = _Server(at, pages)
        except OSError as error:
            raise UsageError(f"cannot listen on {at.host}:{at.port}: {error.strerror}", hint="choose another port") from error
        port = self._server.server_address[1]
        self.url = f"http://[{at.host}]:{port}" if ":" in at.host else f"http://{at.host}:{port}"
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_STOP_SECONDS,), name="flowstone-exporter", daemon=True
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, cls: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._pages.close()


class _Server(socketserver.ThreadingTCPServer):
    """One thread a connection, and at most :data:`CONNECTIONS` of them; what comes on top of that is closed."""

    allow_reuse_address = daemon_threads = True
    request_queue_size = CONNECTIONS

    def __init__(self, at: Address, pages: Pages) -> None:
        self.pages, self.address_family = pages, at.family
        self._places = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__((at.ip, at.port), _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        if not self._places.acquire(blocking=False):
            self.shutdown_request(request)
            return
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._places.release()
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._places.release()

    def handle_error(self, request: Any, client_address: Any) -> None:  # noqa: ARG002 - the signature of socketserver
        _logger.error("a request could not be answered: this is a bug, please report it", exc_info=sys.exception())


class _TooLarge(Exception):  # noqa: N818 - not raised to anybody outside
    pass


class _Request(io.RawIOBase):
    """What a client sends: at most so many bytes, in so many seconds altogether, however slowly they drip."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._until, self._left = time.monotonic() + REQUEST_SECONDS, REQUEST_BYTES

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if self._left <= 0:
            raise _TooLarge
        self._connection.settimeout(max(0.001, self._until - time.monotonic()))
        read = self._connection.recv_into(memoryview(buffer)[: self._left])
        self._left -= read
        return read


class _Handler(BaseHTTPRequestHandler):
    """One request a connection; what it says is one answer, without a line in any log."""

    server: _Server

    def setup(self) -> None:
        super().setup()
        self.command = ""
        self.rfile.close()
        self.rfile = io.BufferedReader(_Request(self.connection))

    def handle_one_request(self) -> None:
        self.close_connection = True
        with suppress(OSError):  # too slow, or gone
            try:
                self.raw_requestline = self.rfile.readline()
                if self.raw_requestline.endswith(b"\n") and self.parse_request():
                    target = self.requestline.split()[1]  # as it was sent: parse_request makes //metrics /metrics
                    self._send(self.server.pages.answer(self.command, target, self.headers))
            except _TooLarge:
                self._send(said(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002 - it may quote the request
        self._send(said(HTTPStatus(code)))

    def _send(self, answer: Answer) -> None:
        self.request_version = "HTTP/1.0"
        self.connection.settimeout(REQUEST_SECONDS)
        self.send_response(answer.status)
        for name, value in {
            **_HEADERS,
            "Content-Type": answer.kind,
            "Content-Length": str(len(answer.body)),
            **dict(answer.more),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)

    def version_string(self) -> str:
        return "flowstone"

    def log_message(self, format: str, *arguments: Any) -> None:
        pass
