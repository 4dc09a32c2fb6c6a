"""What holds for every test: no network, no settings of the machine, the same examples on every run."""

from __future__ import annotations

import ipaddress
import os
import sys
from typing import Any

from hypothesis import settings

LOOPBACK_NAMES = frozenset({"", "localhost", "ip6-localhost"})


def refuse_the_network(event: str, arguments: tuple[Any, ...]) -> None:
    """Raise where Python code of this process is about to look up or reach another machine."""
    if event == "socket.getaddrinfo":
        host = arguments[0]
    elif event in ("socket.connect", "socket.sendto") and isinstance(arguments[1], tuple):
        host = arguments[1][0]
    else:
        return
    if not is_this_machine(host):
        raise RuntimeError(f"a test reaches for {host!r}: tests run offline; start what they need on this machine")


def is_this_machine(host: Any) -> bool:
    """Whether *host* is a name or an address of the loopback interface."""
    name = host.decode() if isinstance(host, bytes) else host
    if name is None or name in LOOPBACK_NAMES:
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


sys.addaudithook(refuse_the_network)

for variable in [name for name in os.environ if name.startswith("FLOWSTONE_") and name != "FLOWSTONE_WRITE_API"]:
    del os.environ[variable]
os.environ["COLUMNS"] = "100"
os.environ["NO_COLOR"] = "1"

settings.register_profile("test", derandomize=True, deadline=None, max_examples=50)
settings.register_profile("prove", deadline=None, max_examples=2_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))
