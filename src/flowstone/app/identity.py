"""Who acts, and where this run happens."""

from __future__ import annotations

import getpass
import os
import platform
import socket
import sys
from pathlib import Path
from typing import Any

from flowstone.execution.run import Actor
from flowstone.foundation.errors import UsageError

VERSION = "0.1.0"


def actor(asserted: str | None = None) -> Actor:
    """Who acts: *asserted* or ``FLOWSTONE_ACTOR`` (source ``asserted``), else the operating system's user (source ``os``)."""
    name = asserted or os.environ.get("FLOWSTONE_ACTOR")
    if name:
        if len(name) > 200 or not name.isprintable():
            raise UsageError(f"actor {name[:50]!r} is not a name", hint="use at most 200 printable characters")
        return Actor(name, "asserted")
    try:
        return Actor(getpass.getuser(), "os")
    except (KeyError, OSError):  # a container may run as a number that has no name
        return Actor(f"uid-{os.getuid()}", "os")


def host() -> str:
    """The name of this machine."""
    return socket.gethostname()


def provenance() -> dict[str, Any]:
    """What is recorded of the place a run happens in."""
    return {
        "flowstone": VERSION, "python": platform.python_version(), "executable": sys.executable, "platform": platform.platform(),
        "host": host(), "pid": os.getpid(), "command": Path(sys.argv[0]).name if sys.argv else "",
    }  # fmt: skip
