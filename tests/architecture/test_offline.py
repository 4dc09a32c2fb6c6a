"""Tests run offline: what ``tests/conftest.py`` installs for all of them does what it says."""

from __future__ import annotations

import socket

import pytest


def test_another_machine_cannot_be_looked_up():
    """Asking for the address of another machine raises before anything is sent."""
    with pytest.raises(RuntimeError, match="tests run offline"):
        socket.getaddrinfo("example.org", 443)


@pytest.mark.parametrize("kind", [socket.SOCK_STREAM, socket.SOCK_DGRAM], ids=["tcp", "udp"])
def test_another_machine_cannot_be_reached(kind):
    """Connecting to an address that is not of this machine raises before anything is sent."""
    with socket.socket(socket.AF_INET, kind) as outward, pytest.raises(RuntimeError, match=r"192\.0\.2\.1"):
        outward.connect(("192.0.2.1", 9))


def test_this_machine_can_be_reached():
    """A server that a test starts on the loopback interface answers."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname(), timeout=5) as client:
        served, _ = server.accept()
        with served:
            client.sendall(b"here")

            assert served.recv(4) == b"here"
