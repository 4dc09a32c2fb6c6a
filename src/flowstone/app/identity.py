"""Who acts, and where this run happens."""

from __future__ import annotations

import getpass
import os
import platform
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec

from flowstone.app.distributions import installed
from flowstone.app.repository import Commit, commit_of
from flowstone.assets.pipeline import Pipeline
from flowstone.execution.run import Actor
from flowstone.foundation.errors import UsageError

VERSION = "0.1.0"
NOT_ASKED = Commit(None, None, "not asked, because this run's records are kept in memory only")
_INSTALLED = frozenset({"site-packages", "dist-packages"})


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


def provenance(pipeline: Pipeline | None = None) -> dict[str, Any]:
    """What is recorded of the place a run happens in; with a *pipeline*, also which commit its code is from.

    What cannot be known is ``None`` and has its reason beside it; nothing here raises or waits long.
    """
    return {
        "flowstone": VERSION, "python": platform.python_version(), "executable": sys.executable, "platform": platform.platform(),
        "host": host(), "pid": os.getpid(), "command": Path(sys.argv[0]).name if sys.argv else "",
        "git": (commit_of(_file_of(pipeline), pipeline.digest()) if pipeline else NOT_ASKED)._asdict(),
        "distributions": msgspec.structs.asdict(installed()),
    }  # fmt: skip


def _file_of(pipeline: Pipeline) -> str:
    """The file of the first asset that is not installed, else of the first asset."""
    files = [asset.file for asset in pipeline]
    return next((file for file in files if _INSTALLED.isdisjoint(Path(file).parts)), files[0] if files else "")
