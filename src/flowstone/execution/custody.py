"""Whether the stored bytes of an output are those that were recorded, where this machine can see them at all."""

from __future__ import annotations

import socket
from typing import Literal

from flowstone.execution.session import as_output
from flowstone.foundation.errors import CorruptOutputError, MissingOutputError
from flowstone.io_managers import IOManagers
from flowstone.stores.records import OutputRecord

State = Literal["match", "changed", "gone", "unreachable"]
"""``unreachable``: in the memory of another process, or in a folder that this machine has not."""
FAULTS = {
    "changed": "the stored bytes are not those that people were asked about",
    "gone": "the stored bytes are gone",
}  # fmt: skip
"""The states that make a request about the bytes void, in words."""


def is_reachable(io: IOManagers, record: OutputRecord, host: str = "") -> bool:
    """Whether this machine has the place of the bytes, which were stored on *host*; nothing is read.

    Another machine has it where it has the folder of the file: there it sees what was stored beside.
    """
    output, manager = as_output(record), io.get(record.manager)
    if manager.one_process and not manager.exists(output):
        return False
    path = manager.path(output)
    return path is None or host == socket.gethostname() or path.parent.is_dir()


def check(io: IOManagers, record: OutputRecord, host: str = "") -> State:
    """Hash the bytes, which were stored on *host*, again; raises :class:`StorageError` where they cannot be read."""
    if not is_reachable(io, record, host):
        return "unreachable"
    try:
        io.get(record.manager).read_bytes(as_output(record))
    except CorruptOutputError:
        return "changed"
    except MissingOutputError:
        return "gone"
    return "match"
