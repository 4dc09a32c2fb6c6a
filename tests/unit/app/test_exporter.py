"""The server of metrics and health, asked over a socket: what it says, to whom, and what it bears."""

from __future__ import annotations

import http.client
import json
import socket
import threading
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from flowstone.app import exporter as exporter_
from flowstone.app.exporter import Exporter, Pages
from flowstone.app.gate import Gate, address
from flowstone.app.health import Check
from flowstone.foundation.errors import UsageError
from flowstone.observability.metrics.families import Family, Sample
from flowstone.observability.prometheus.exposition import OPENMETRICS, TEXT

TOKEN = "0123456789abcdef"
PAGES = ("/metrics", "/healthz", "/readyz")
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW")
ASIDE = (
    "/", "*", "/metrics/", "//metrics", "/metrics//", "/metrics;x", "/metrics%00", "/%6detrics", "/metrics/../healthz",
    "/x/../metrics", "/./metrics", "/metrics/.", "/METRICS", "/metrics%2f", "/%2e/metrics", "/healthz/metrics", "/x/healthz",
    "/metrics\\", "http://localhost/metrics", "metrics", "/metrics#", "/configs", "/health", "/ready", "/favicon.ico",
)  # fmt: skip
FAMILY = Family("acme_total", "counter", "Things.", (), (Sample((), 1),))


@contextmanager
def serving(read=lambda: [FAMILY], check=lambda: [Check("database", True, "here")], token=None):
    at = address("127.0.0.1:0")
    with Exporter(at, Pages(Gate(at, token), read, check)) as made:
        yield urlsplit(made.url).port


def ask(port, target="/metrics", method="GET", **headers):
    """Send one request as it is and return the answer: status, headers, body."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    try:
        connection.putrequest(method, target, skip_host="Host" in headers)
        for name, value in headers.items():
            connection.putheader(name, value)
        connection.endheaders()
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def send(port, data):
    """Send bytes as they are and return what comes until the server closes; what it resets counts as the end."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        try:
            connection.sendall(data)
            while part := connection.recv(4096):
                got += part
        except ConnectionError:
            pass
    return got


def test_each_page_answers():
    """Metrics come in the format that is asked for, health as a line, readiness as JSON that names each check."""
    with serving() as port:
        text, openmetrics = ask(port), ask(port, Accept="application/openmetrics-text;version=1.0.0")
        alive, ready = ask(port, "/healthz"), ask(port, "/readyz?verbose")

    assert (text[0], text[1]["Content-Type"]) == (200, TEXT)
    assert b"acme_total 1.0\n" in text[2]
    assert (openmetrics[0], openmetrics[1]["Content-Type"], openmetrics[2][-6:]) == (200, OPENMETRICS, b"# EOF\n")
    assert (alive[0], alive[2]) == (200, b"alive\n")
    assert (ready[0], json.loads(ready[2])) == (200, {"ready": True, "checks": {"database": {"ok": True, "text": "here"}}})


def test_what_is_not_ready_says_what():
    """One failed check makes readiness 503; the process is alive all the same."""
    with serving(check=lambda: [Check("database", True, "here"), Check("schema", False, "0001")]) as port:
        status, _, body = ask(port, "/readyz")

        assert (status, json.loads(body)["checks"]["schema"]) == (503, {"ok": False, "text": "0001"})
        assert ask(port, "/healthz")[0] == 200


@pytest.mark.parametrize("target", [*PAGES, "/nothing"])
def test_nobody_comes_in_without_the_token(target):
    """With a token every page and every method is 401 without it, before anything is said of what there is."""
    with serving(token=TOKEN) as port:
        answers = {method: ask(port, target, method) for method in METHODS}
        wrong = ask(port, target, Authorization=f"Bearer {TOKEN}x")
        right = ask(port, target, Authorization=f"Bearer {TOKEN}")

    assert {method: answer[0] for method, answer in answers.items()} == dict.fromkeys(METHODS, 401)
    assert {answer[2] for answer in answers.values()} == {b"a token is needed\n", b""}
    assert (wrong[0], wrong[1]["WWW-Authenticate"]) == (401, "Bearer")
    assert right[0] == (404 if target == "/nothing" else 200)


def test_unknown_hosts_are_turned_away():
    """A request that names another host, none or two is 400, with the token too, and learns nothing."""
    with serving(token=TOKEN) as port:
        named = [
            ask(port, "/metrics", Host=host, Authorization=f"Bearer {TOKEN}") for host in ("evil.test", f"evil.test:{port}", "")
        ]
        none = send(port, b"GET /metrics HTTP/1.0\r\n\r\n")
        twice = send(port, b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n")

    assert [answer[0] for answer in named] == [400, 400, 400]
    assert none.startswith(b"HTTP/1.0 400 ")
    assert twice.startswith(b"HTTP/1.0 400 ")


@pytest.mark.parametrize("target", ASIDE)
def test_only_the_exact_path_is_a_page(target):
    """No other spelling of a page, nothing beside it and nothing that only ends like it, is one."""
    with serving() as port:
        answer = send(port, f"GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())

    assert answer.startswith(b"HTTP/1.0 404 ")
    assert b"acme_total" not in answer


@pytest.mark.parametrize("target", PAGES)
def test_pages_are_only_read(target):
    """GET and HEAD are answered alike, HEAD without a body; every other method is 405 and told which are not."""
    with serving() as port:
        answers = {method: ask(port, target, method) for method in METHODS}

    assert {method: answer[0] for method, answer in answers.items()} == {
        method: 200 if method in ("GET", "HEAD") else 405 for method in METHODS
    }
    assert answers["HEAD"][2] == b""
    assert answers["HEAD"][1]["Content-Length"] == answers["GET"][1]["Content-Length"]
    assert {answer[1]["Allow"] for answer in answers.values() if answer[0] == 405} == {"GET, HEAD"}


def test_every_answer_is_harmless_in_a_browser():
    """Whatever the answer, it is kept by nobody, framed by nobody, guessed to be nothing else, and names no version."""
    with serving(token=TOKEN) as port:
        allowed = {"Authorization": f"Bearer {TOKEN}"}
        answers = [ask(port), ask(port, Host="evil.test"), *(ask(port, target, **allowed) for target in (*PAGES, "/x"))]

    for _, headers, _ in answers:
        assert headers["Cache-Control"] == "no-store"
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'; frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert headers["Server"] == "flowstone"


@pytest.mark.parametrize(
    ("sent", "status"),
    [
        (b"garbage\r\n\r\n", b"400"),
        (b"GET /metrics HTTP/9.9\r\n\r\n", b"505"),
        (b"GET /metrics HTTP/1.1 more\r\n\r\n", b"400"),
        (b"GET /metrics\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200 + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nX: " + b"y" * exporter_.REQUEST_BYTES, b"431"),
        (b"GET /" + b"y" * exporter_.REQUEST_BYTES, b"431"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", b"400"),
        (b"\r\n\r\n", b""),
    ],
)  # fmt: skip
def test_what_is_no_request_is_refused(sent, status):
    """Broken, endless or foreign requests get one plain line that repeats nothing of them, or nothing; the next one is served."""
    with serving() as port:
        answer = send(port, sent)

        assert answer == b"" or answer.startswith(b"HTTP/1.0 " + status)
        assert b"garbage" not in answer
        assert b"<" not in answer
        assert ask(port)[0] == 200


def test_who_drips_is_cut_off(monkeypatch):
    """A client has so many seconds for its whole request: one that sends a byte now and then is cut off, others are served."""
    monkeypatch.setattr(exporter_, "REQUEST_SECONDS", 0.3)
    with serving() as port, socket.create_connection(("127.0.0.1", port), timeout=20) as slow:
        slow.sendall(b"GET /metrics HTTP/1.1\r\nX: ")
        slow.settimeout(0.05)
        cut = False
        while not cut:
            try:
                slow.sendall(b"y")
                cut = slow.recv(100) == b""
            except TimeoutError:
                assert ask(port)[0] == 200
            except ConnectionError:
                cut = True


def test_only_so_many_connect_at_once(monkeypatch):
    """Beyond the limit a connection is closed at once; when one has ended there is room again."""
    monkeypatch.setattr(exporter_, "CONNECTIONS", 2)
    with serving() as port:
        held = [socket.create_connection(("127.0.0.1", port), timeout=20) for _ in range(2)]

        assert send(port, b"") == b""  # they are taken in order: both have their places
        for connection in held:
            connection.close()
        while True:  # it notices the end of the two when it next looks
            try:
                assert ask(port)[0] == 200
                break
            except (http.client.HTTPException, ConnectionError):
                continue


def test_a_scrape_that_fails_is_one_line(caplog):
    """What goes wrong while metrics are read is 500 with its kind, never with its text; it is logged once until it is mended."""
    state = {"broken": True}

    def read():
        if state["broken"]:
            raise RuntimeError("password=hunter2 at /srv/secret")
        return [FAMILY]

    with serving(read) as port:
        first, second = ask(port), ask(port)
        state["broken"] = False
        mended = ask(port)
        state["broken"] = True
        ask(port)

    assert (first[0], first[2]) == (second[0], second[2]) == (500, b"the metrics could not be read: RuntimeError\n")
    assert mended[0] == 200
    assert [record.name for record in caplog.records] == ["flowstone.exporter"] * 2


def test_one_scrape_reads_at_a_time(monkeypatch):
    """Two scrapes at once read one after the other; one that waits too long is told to come later, health is not held up."""
    monkeypatch.setattr(exporter_, "WAIT_SECONDS", 0.05)
    begun, go_on, inside = threading.Event(), threading.Event(), []

    def read():
        inside.append(1)
        begun.set()
        assert len(inside) == 1
        go_on.wait(20)
        inside.pop()
        return [FAMILY]

    with serving(read) as port:
        answers = []
        first = threading.Thread(target=lambda: answers.append(ask(port)))
        first.start()
        assert begun.wait(20)
        second = ask(port)
        assert ask(port, "/healthz")[0] == 200
        go_on.set()
        first.join(20)

    assert (second[0], second[1]["Retry-After"]) == (503, "15")
    assert [answer[0] for answer in answers] == [200]


def test_closing_waits_for_what_is_being_read():
    """When the server is left nothing reads any more: what was begun has ended, and what comes later finds nobody."""
    begun, go_on, done = threading.Event(), threading.Event(), []

    def read():
        begun.set()
        go_on.wait(20)
        done.append(True)
        return [FAMILY]

    with serving(read) as port:
        asking = threading.Thread(target=ask, args=(port,))
        asking.start()
        assert begun.wait(20)
        threading.Timer(0.01, go_on.set).start()

    assert done == [True]
    asking.join(20)
    with pytest.raises(ConnectionError):
        ask(port)


def test_a_taken_port_is_told():
    """A port somebody listens on is refused by its address."""
    with serving() as port:
        at = address(f"127.0.0.1:{port}")
        with pytest.raises(UsageError, match=rf"cannot listen on 127\.0\.0\.1:{port}: Address already in use"):
            Exporter(at, Pages(Gate(at, None), list, list))


def test_requests_make_no_lines(capfd, caplog):
    """Whatever is asked, nothing is printed and nothing logged."""
    with serving() as port:
        for target in (*PAGES, "/nothing"):
            ask(port, target)
        send(port, b"garbage\r\n\r\n")

    assert capfd.readouterr() == ("", "")
    assert caplog.records == []
