"""Who may ask: addresses, the rule of where to listen, hosts, the token."""

from __future__ import annotations

import socket

import pytest

from flowstone.app.gate import SHORTEST_TOKEN, Address, Gate, address, token_in
from flowstone.foundation.errors import UsageError

HERE = Address("127.0.0.1", "127.0.0.1", 9464, socket.AF_INET)
EVERYWHERE = Address("0.0.0.0", "0.0.0.0", 9464, socket.AF_INET)
TOKEN = "0123456789abcdef"


@pytest.mark.parametrize(
    ("text", "host", "port", "loopback"),
    [
        ("127.0.0.1:9464", "127.0.0.1", 9464, True),
        ("127.9.9.9:0", "127.9.9.9", 0, True),
        ("localhost:80", "localhost", 80, True),
        ("[::1]:9464", "::1", 9464, True),
        ("0.0.0.0:65535", "0.0.0.0", 65535, False),
        ("[::]:1", "::", 1, False),
        ("192.0.2.7:1", "192.0.2.7", 1, False),
    ],
)
def test_an_address_is_a_host_and_a_port(text, host, port, loopback):
    """HOST:PORT is understood for names and both kinds of address, and whether only this machine can reach it."""
    found = address(text)

    assert (found.host, found.port, found.is_loopback) == (host, port, loopback)


@pytest.mark.parametrize(
    "text",
    [
        "",
        ":9464",
        "9464",
        "localhost",
        "localhost:",
        "localhost:http",
        "127.0.0.1:65536",
        "127.0.0.1:-1",
        "::1:9464",
        "127.0.0.1:²",
    ],
)
def test_anything_else_is_refused(text):
    """What is no HOST:PORT is refused with an example; a bare port would not say who can reach it."""
    with pytest.raises(UsageError, match="is no address to listen on") as refused:
        address(text)

    assert "127.0.0.1:9464" in refused.value.hint


def test_other_machines_need_a_token():
    """An address that other machines can reach is refused without a token, unless somebody says that it shall be open."""
    with pytest.raises(UsageError, match=r"0\.0\.0\.0:9464 can be reached from other machines"):
        Gate(EVERYWHERE, None)

    assert Gate(EVERYWHERE, TOKEN).admits(f"Bearer {TOKEN}")
    assert Gate(EVERYWHERE, None, insecure=True).admits("")
    assert Gate(HERE, None).admits("")


@pytest.mark.parametrize("token", ["", "short", "x" * (SHORTEST_TOKEN - 1), "0123456789abcdef\n", "0123456789abcdeé"])
def test_a_weak_token_is_refused(token):
    """A token that is empty, short, or nothing a header can carry is refused and not repeated."""
    with pytest.raises(UsageError, match="at least 16 printable ASCII characters") as refused:
        Gate(HERE, token)

    assert not token or token not in str(refused.value)


@pytest.mark.parametrize(
    ("authorization", "admitted"),
    [
        (f"Bearer {TOKEN}", True),
        (f"bearer {TOKEN}", True),
        ("", False),
        ("Bearer", False),
        ("Bearer ", False),
        (TOKEN, False),
        (f"Basic {TOKEN}", False),
        (f"Bearer {TOKEN}x", False),
        (f"Bearer {TOKEN[:-1]}", False),
        (f"Bearer  {TOKEN}", False),
        ("Bearer \udcff", False),
    ],
)
def test_only_the_token_admits(authorization, admitted):
    """With a token, a request is admitted by exactly that, as a bearer."""
    assert Gate(HERE, TOKEN).admits(authorization) == admitted


@pytest.mark.parametrize(
    ("hosts", "here", "everywhere"),
    [
        (["127.0.0.1:9464"], True, True),
        (["127.0.0.1"], True, True),
        (["LOCALHOST:9464"], True, True),
        (["[::1]:9464"], True, True),
        (["[::1]"], True, True),
        (["metrics.test:9464"], True, True),
        (["192.0.2.7:9464"], False, True),
        (["0.0.0.0:9464"], False, True),
        (["evil.test"], False, False),
        (["evil.test:9464"], False, False),
        (["localhost.evil.test"], False, False),
        (["127.0.0.1.evil.test"], False, False),
        (["localhost:9464@evil.test"], False, False),
        (["localhost:evil"], False, False),
        (["2130706433"], False, False),
        ([""], False, False),
        ([":"], False, False),
        (["[::1"], False, False),
        ([], False, False),
        (["localhost", "localhost"], False, False),
    ],
)
def test_hosts_are_known_by_name(hosts, here, everywhere):
    """A name that was made to point here by DNS is not known; names that were allowed are, and addresses, which no DNS makes."""
    assert Gate(HERE, None, hosts=["metrics.test"]).knows(hosts) == here
    assert Gate(EVERYWHERE, TOKEN, hosts=["metrics.test"]).knows(hosts) == everywhere


def test_the_machines_own_name_is_known_where_others_ask():
    """A server for other machines answers to this machine's name, one on loopback does not."""
    own = [f"{socket.gethostname()}:9464"]

    assert Gate(EVERYWHERE, TOKEN).knows(own)
    assert not Gate(HERE, None).knows(own)


def test_a_token_is_read_from_a_file(tmp_path):
    """The token is the file's text without the line's end; a file that is not there, or no text, is told by its path."""
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "bytes").write_bytes(b"\xff\xfe")

    assert token_in(tmp_path / "token") == TOKEN
    for name in ("gone", "bytes"):
        with pytest.raises(UsageError, match=f"{name} cannot be read"):
            token_in(tmp_path / name)
