"""Posting: who may be posted to, however it is written, and what every answer means."""

from __future__ import annotations

import contextlib
import datetime as dt
import email.utils
import ipaddress
import socket
import ssl
import threading
import time

import pytest

from flowstone.notifications import posting
from flowstone.notifications.channels import Undelivered
from flowstone.notifications.posting import Poster, is_public

PRIVATE = [
    "127.0.0.1", "127.1.2.3", "0.0.0.0", "10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "169.254.169.254",
    "100.64.0.1", "100.100.100.200", "192.0.0.192", "198.18.0.1", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255",
    "168.63.129.16", "::", "::1", "fe80::1", "fec0::1", "fc00::1", "fd00:ec2::254", "ff02::1", "::ffff:127.0.0.1",
    "::ffff:169.254.169.254", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::",
    "2002:a9fe:a9fe::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1", "100::1",
]  # fmt: skip
PUBLIC = [
    "1.1.1.1",
    "8.8.8.8",
    "172.32.0.1",
    "192.169.0.1",
    "2606:4700::1111",
    "::ffff:8.8.8.8",
    "64:ff9b::808:808",
    "2002:808:808::",
]


def answering(*addresses):
    """A resolver that gives these addresses for every name."""

    def resolve(host, port, **_):
        family = {4: socket.AF_INET, 6: socket.AF_INET6}
        kinds = [family[ipaddress.ip_address(address.partition("%")[0]).version] for address in addresses]
        return [(kind, socket.SOCK_STREAM, 6, "", (address, port)) for kind, address in zip(kinds, addresses, strict=True)]

    return resolve


def like_the_library(host, port, **_):
    """What the C library makes of the many ways to write an IPv4 address."""
    return answering(socket.inet_ntoa(socket.inet_aton(host)))(host, port)


@pytest.mark.parametrize("text", PRIVATE)
def test_addresses_that_are_not_public(text):
    """Loopback, private, link-local, metadata, multicast and reserved addresses are not public, nor what holds one of them."""
    assert not is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", PUBLIC)
def test_addresses_that_are_public(text):
    """Everything else is."""
    assert is_public(ipaddress.ip_address(text))


@pytest.mark.parametrize("host", ["2130706433", "0x7f000001", "0x7f.1", "127.1", "0177.0.0.1", "017700000001", "0", "0xa9fea9fe"])
def test_an_address_is_refused_however_it_is_written(host):
    """Decimal, octal, hexadecimal and shortened addresses are what the resolver makes of them."""
    with pytest.raises(Undelivered, match="not a public address"):
        Poster(resolve=like_the_library).post(f"http://{host}/", b"{}", {}, 1)


def test_one_private_address_among_public_ones_is_enough(monkeypatch):
    """All addresses of a name are checked before the first is connected to."""
    monkeypatch.setattr(socket, "socket", lambda *_: pytest.fail("it was connected to"))
    with pytest.raises(Undelivered, match=r"hooks.example is ::1, which is not a public address"):
        Poster(resolve=answering("8.8.8.8", "::1")).post("https://hooks.example/x", b"{}", {}, 1)


def test_the_address_that_was_checked_is_the_one_connected_to(receiver):
    """A name is looked up once for each message: what it stands for afterwards does not matter."""
    asked = []

    def rebinding(host, port, **_):
        asked.append(host)
        return answering("127.0.0.1" if len(asked) == 1 else "192.0.2.1")(host, port)

    Poster(allow_private=True, resolve=rebinding).post(f"http://hooks.example:{receiver.port}/x", b"{}", {}, 5)

    assert asked == ["hooks.example"]
    assert receiver.got[0].headers["host"] == f"hooks.example:{receiver.port}"


def test_what_is_posted(receiver):
    """Path, query, body and headers arrive as given; no proxy of the environment comes between."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY"):
            patch.setenv(name, "http://192.0.2.1:1")
        Poster(allow_private=True).post(f"{receiver.url}/a%20b?token=1", b'{"a":1}', {"Idempotency-Key": "k"}, 5)
    (got,) = receiver.got

    assert (got.path, got.raw) == ("/hook/a%20b?token=1", b'{"a":1}')
    assert (got.headers["idempotency-key"], got.headers["content-type"]) == ("k", "application/json")
    assert got.headers["user-agent"] == "FlowStone"


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (301, "answered 301: redirects are not followed"), (302, "redirects are not followed"),
        (307, "redirects are not followed"),
        (308, "redirects are not followed"), (400, "127.0.0.1 answered 400"), (404, "answered 404"), (500, "answered 500"),
    ],
)  # fmt: skip
def test_whatever_is_not_a_yes_is_a_no(receiver, status, said):
    """Only 200 to 299 counts as taken; nothing is followed, and nothing of the answer, nor of the path, is told."""
    receiver.answers = [(status, {"Location": receiver.url})]
    with pytest.raises(Undelivered) as refused:
        Poster(allow_private=True).post(receiver.url, b"{}", {}, 5)

    assert said in refused.value.text
    assert not {word for word in ("secret", "nobody reads", "hook") if word in refused.value.text}
    assert len(receiver.got) == 1


@pytest.mark.parametrize("status", [200, 201, 202, 204])
def test_every_kind_of_yes(receiver, status):
    """200 to 299 is taken."""
    receiver.answers = [(status, {})]
    Poster(allow_private=True).post(receiver.url, b"{}", {}, 5)

    assert len(receiver.got) == 1


def test_how_long_to_wait(receiver):
    """``Retry-After`` is told in seconds, whether it is a number or a date, and an hour at most; nonsense is none."""
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(seconds=100)
    answers = ["17", "999999", email.utils.format_datetime(soon, usegmt=True), "soon", "-5", "9" * 5000, ""]
    receiver.answers = [(429, {"Retry-After": answer}) for answer in answers]
    waits = []
    for _ in answers:
        with pytest.raises(Undelivered) as refused:
            Poster(allow_private=True).post(receiver.url, b"{}", {}, 5)
        waits.append(refused.value.wait)

    assert (waits[:2], waits[3:]) == ([17, 3600], [0, 0, 0, 0])
    assert 60 < waits[2] <= 100


@contextlib.contextmanager
def speaking(say):
    """A server that hands each connection to *say*; gives its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ended = threading.Event()

        def serve():
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    say(connection, ended)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            ended.set()
            thread.join()


def dripping(connection, ended):
    """One byte of a header now and then, for ever."""
    with contextlib.suppress(OSError):
        connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
        while not ended.wait(0.02):
            connection.sendall(b"x")


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest.mark.parametrize(
    "say", [lambda connection, ended: ended.wait(), dripping, lambda connection, ended: connection.sendall(b"\x00\xff" * 99)],
    ids=["silent", "dripping", "nonsense"],
)  # fmt: skip
def test_a_peer_that_does_not_answer_is_left(say, scheme):
    """Silence, a byte now and then, and nonsense end within the time that was given, with or without TLS."""
    began = time.monotonic()
    with speaking(say) as port, pytest.raises(Undelivered, match=r"127.0.0.1 did not answer"):
        Poster(allow_private=True).post(f"{scheme}://127.0.0.1:{port}/x", b"{}", {}, 0.3)

    assert time.monotonic() - began < 10  # far less than for ever, far more than it takes


def test_nobody_there():
    """A closed port is told by its reason."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(Undelivered, match=r"127.0.0.1 cannot be reached: Connection refused"):
        Poster(allow_private=True).post(f"http://127.0.0.1:{port}/", b"{}", {}, 5)


def test_a_name_nobody_knows():
    """What the resolver says is told."""

    def unknown(host, port, **_):
        raise socket.gaierror(-2, "Name or service not known")

    with pytest.raises(Undelivered, match=r"hooks.example cannot be reached: Name or service not known"):
        Poster(resolve=unknown).post("https://hooks.example/secret", b"{}", {}, 1)


def test_every_address_is_tried(receiver):
    """When the first address does not answer the next one is asked."""
    Poster(allow_private=True, resolve=answering("::1", "127.0.0.1")).post(f"http://hooks.example:{receiver.port}/", b"{}", {}, 5)

    assert len(receiver.got) == 1


def test_a_certificate_must_be_trusted_and_of_that_host(monkeypatch, receiver):
    """TLS checks the certificate against the host of the URL by the system's own rules."""
    context = ssl.create_default_context()
    asked = []
    monkeypatch.setattr(
        posting.ssl.SSLContext, "wrap_socket", lambda self, sock, server_hostname: asked.append((self, server_hostname)) or sock
    )
    poster = Poster(allow_private=True, resolve=answering("127.0.0.1"), context=context)
    poster.post(f"https://hooks.example:{receiver.port}/", b"{}", {}, 5)

    assert asked == [(context, "hooks.example")]
    assert (context.verify_mode, context.check_hostname) == (ssl.CERT_REQUIRED, True)
