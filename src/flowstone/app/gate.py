"""Who may ask an HTTP server of ours: where it may listen, which hosts it answers to, and the token it wants to see."""

from __future__ import annotations

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

from flowstone.foundation.errors import UsageError

SHORTEST_TOKEN = 16
_EXAMPLE = "for example 127.0.0.1:9464; port 0 takes a free one"


class Address(NamedTuple):
    """Where to listen: as it was given, and as the machine understands it."""

    host: str
    ip: str
    port: int
    family: socket.AddressFamily

    @property
    def is_loopback(self) -> bool:
        """Whether only this machine can reach it."""
        return ipaddress.ip_address(self.ip.partition("%")[0]).is_loopback


def address(text: str) -> Address:
    """Return the address that ``HOST:PORT`` or ``[IPV6]:PORT`` means; raises :class:`UsageError` for anything else."""
    host, separator, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") if host.startswith("[") else host
    bare = ":" in host and not text.startswith("[")
    if not separator or not host or bare or not (port.isascii() and port.isdigit() and int(port) < 65_536):
        raise UsageError(f"{text!r} is no address to listen on: HOST:PORT is needed", hint=_EXAMPLE)
    try:
        version = ipaddress.ip_address(host.partition("%")[0]).version
        return Address(host, host, int(port), socket.AF_INET6 if version == 6 else socket.AF_INET)
    except ValueError:
        pass
    try:
        family, _, _, _, found = socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise UsageError(f"cannot listen on {text}: {error.strerror or error}", hint=_EXAMPLE) from error
    return Address(host, str(found[0]), int(port), family)


def token_in(path: Path) -> str:
    """The token in the file at *path*; raises :class:`UsageError` when there is none."""
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is no text"
        raise UsageError(f"the token file {path} cannot be read: {reason}") from error


class Gate:
    """Lets a request in when it names a host we are known by and, where there is a *token*, brings it.

    Names protect a server without a token from pages in a browser on this machine: one whose name was made to point here still
    names itself. Raises :class:`UsageError` for an address other machines can reach without a token, unless *insecure*.
    """

    def __init__(self, at: Address, token: str | None, *, insecure: bool = False, hosts: Iterable[str] = ()) -> None:
        if token is None and not at.is_loopback and not insecure:
            raise UsageError(
                f"{at.host}:{at.port} can be reached from other machines, and there is no token",
                hint='set metrics.token = "secret:NAME", or listen on 127.0.0.1; flowstone metrics also takes '
                "--token-file FILE, or --insecure-no-auth",
            )
        if token is not None and not (len(token) >= SHORTEST_TOKEN and token.isascii() and token.isprintable()):
            raise UsageError(
                f"the token must have at least {SHORTEST_TOKEN} printable ASCII characters", hint="make one: openssl rand -hex 32"
            )
        self._digest = None if token is None else _digest(token)
        own = () if at.is_loopback else (socket.gethostname(),)
        self._names = {name.lower() for name in ("localhost", at.host, *own, *hosts)}
        self._any_address = not at.is_loopback

    def knows(self, hosts: list[str]) -> bool:
        """Whether *hosts*, the values of the Host headers, is one name or address of ours, with or without a port."""
        if len(hosts) != 1:
            return False
        name, _, port = hosts[0].lower().rpartition(":")
        if not name or port.endswith("]"):
            name, port = hosts[0].lower(), ""
        if port and not (port.isascii() and port.isdigit()):
            return False
        return name in self._names or self._is_address(name)

    def admits(self, authorization: str) -> bool:
        """Whether *authorization*, the header, brings the token; compared in constant time."""
        scheme, _, token = authorization.partition(" ")
        return self._digest is None or (scheme.lower() == "bearer" and hmac.compare_digest(_digest(token), self._digest))

    def _is_address(self, name: str) -> bool:
        """Whether *name* is an address, which no DNS can make point here: any, or where we listen on loopback a loopback one."""
        try:
            found = ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
        except ValueError:
            return False
        return self._any_address or found.is_loopback


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).digest()
