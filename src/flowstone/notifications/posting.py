"""Posts JSON to an address of the operator's, and to no other: each address a name stands for is checked when it is connected to.

Private, loopback, link-local, metadata and reserved addresses are refused unless allowed, however they are written. Nothing is
followed, no proxy of the environment is used, and of what is answered only the status counts.
"""

from __future__ import annotations

import email.utils
import http.client
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from flowstone.notifications.channels import Undelivered

IPAddress: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve: TypeAlias = Callable[..., list[Any]]

DENIED = [ipaddress.ip_network(text) for text in ("168.63.129.16/32", "192.0.0.0/24", "fec0::/10")]
"""What Python does not know, or not in every version: services of clouds, protocol assignments, site-local addresses."""
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_PORTS = {"https": 443, "http": 80}
LONGEST_WAIT = 3600.0


class Poster:
    """Posts to URLs; *resolve* is ``socket.getaddrinfo``, and *context* what TLS trusts (default: what the system does)."""

    def __init__(
        self, *, allow_private: bool = False, resolve: Resolve = socket.getaddrinfo, context: ssl.SSLContext | None = None
    ) -> None:
        self._allow_private, self._resolve, self._context = allow_private, resolve, context

    def post(self, url: str, body: bytes, headers: Mapping[str, str], seconds: float) -> None:
        """Post *body*; returns when the other side has taken it (a status of 200 to 299), within about *seconds*.

        Raises :class:`Undelivered`, whose text does not tell more of *url* than its host.
        """
        parts = urlsplit(url)
        host, port = str(parts.hostname), parts.port or _PORTS[parts.scheme]
        try:
            sock = self._connect(host, port, seconds)
        except (OSError, UnicodeError) as error:
            raise Undelivered(f"{host} cannot be reached: {_reason(error)}") from error
        again = sock.dup()  # TLS takes the first one over
        is_late = threading.Event()
        late = threading.Timer(seconds, _cut_off, [again, is_late])
        late.daemon = True
        late.start()
        try:
            status, wait = self._exchange(sock, parts.scheme, host, port, _target(parts.path, parts.query), body, headers)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise Undelivered(f"{host} did not answer: {_reason(error)}") from error
        finally:
            late.cancel()
            again.close()
            sock.close()
        if is_late.is_set():
            raise Undelivered(f"{host} did not answer within {seconds:g} s")
        if 300 <= status < 400:
            raise Undelivered(f"{host} answered {status}: redirects are not followed; give the address it leads to")
        if not 200 <= status < 300:
            raise Undelivered(f"{host} answered {status}", wait=wait)

    def _connect(self, host: str, port: int, seconds: float) -> socket.socket:
        """Connect to the first of the host's addresses that answers; all of them must be allowed."""
        found = self._resolve(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys((family, address) for family, _, _, _, address in found))
        for _, (text, *_) in addresses:
            address = ipaddress.ip_address(text.partition("%")[0])
            if not self._allow_private and not is_public(address):
                raise Undelivered(f"{host} is {address}, which is not a public address; allow_private = true allows it")
        failure: OSError | None = None
        until = time.monotonic() + seconds
        for family, address in addresses:
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.settimeout(max(0.001, until - time.monotonic()))
                sock.connect(address)
                sock.settimeout(seconds)
            except OSError as error:
                failure = error
                sock.close()
            else:
                return sock
        raise failure or OSError("it has no address")

    def _exchange(
        self, sock: socket.socket, scheme: str, host: str, port: int, target: str, body: bytes, headers: Mapping[str, str]
    ) -> tuple[int, float]:
        """Send the request over *sock*; return the status, and how long the other side asks to wait."""
        connection = http.client.HTTPConnection(host, port)
        secure = scheme == "https"
        connection.sock = (
            (self._context or ssl.create_default_context()).wrap_socket(sock, server_hostname=host) if secure else sock
        )
        try:
            name = f"[{host}]" if ":" in host else host
            where = name if port == _PORTS[scheme] else f"{name}:{port}"
            given = {
                "Content-Type": "application/json",
                "User-Agent": "FlowStone",
                "Connection": "close",
                "Host": where,
                **headers,
            }
            connection.request("POST", target, body, given)
            answer = connection.getresponse()
            return answer.status, _wait(answer.getheader("Retry-After", ""))
        finally:
            connection.close()


def is_public(address: IPAddress) -> bool:
    """Whether *address*, or the IPv4 address inside it, is one of the public internet and none of a cloud's own services."""
    if isinstance(address, ipaddress.IPv6Address):
        inside = address.ipv4_mapped or address.sixtofour
        if inside is None and address in _NAT64:
            inside = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if inside is not None:
            return is_public(inside)
        if int(address) >> 32 == 0 or address.teredo is not None:  # IPv4-compatible, and tunnels
            return False
    return address.is_global and not address.is_multicast and not any(address in network for network in DENIED)


def _target(path: str, query: str) -> str:
    return (path or "/") + (f"?{query}" if query else "")


def _cut_off(sock: socket.socket, is_late: threading.Event) -> None:
    """End whatever waits for *sock*: a peer that sends a byte now and then would keep it for ever."""
    is_late.set()
    with suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _wait(header: str) -> float:
    """Seconds that ``Retry-After`` asks for, as a number or as a date; 0 when it asks for none."""
    if header.isascii() and header.isdecimal() and len(header) < 10:
        return min(float(header), LONGEST_WAIT)
    try:
        moment = email.utils.parsedate_to_datetime(header)
    except ValueError:
        return 0.0
    return min(max(0.0, moment.timestamp() - time.time()), LONGEST_WAIT)


def _reason(error: BaseException) -> str:
    return str(getattr(error, "strerror", None) or type(error).__name__)
