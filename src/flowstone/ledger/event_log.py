"""The recorder that appends every recorded event to the event log."""

from __future__ import annotations

import msgspec

from flowstone.events.event import Event
from flowstone.foundation.serialize import to_json
from flowstone.foundation.texts import storable_in
from flowstone.stores import events
from flowstone.stores.database import Transaction

_encode = msgspec.json.Encoder().encode


class EventLog:
    """Appends events of one project; the payload is the event's fields as JSON, the log's own columns left out."""

    def __init__(self, project: str) -> None:
        self._project = project

    def record(self, happened: Event, tx: Transaction) -> None:
        """Append the event to the log, in the transaction of the change."""
        if happened.recorded:
            events.add(tx, self._project, happened.at, happened.name, happened.run_id or None, _payload(happened))


def _payload(happened: Event) -> str:
    try:
        return _encode(happened).decode()
    except UnicodeEncodeError:  # a strange text must not undo a record
        return to_json(storable_in(msgspec.to_builtins(happened)))
