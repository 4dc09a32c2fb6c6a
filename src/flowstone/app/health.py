"""Whether this deployment can do its work now: is the database there, is its schema this version's, can it be written to?"""

from __future__ import annotations

from typing import NamedTuple

from flowstone.app.wiring import Deployment
from flowstone.foundation.errors import FlowStoneError, SchemaError, message_of
from flowstone.stores import processes
from flowstone.stores.tables import SCHEMA_VERSION


class Check(NamedTuple):
    """One thing that was looked at, whether it is as it must be, and what was seen."""

    name: str
    ok: bool
    text: str


def checks(deployment: Deployment) -> list[Check]:
    """Look at the database, up to the first thing that is not as it must be; changes nothing."""
    found: list[Check] = []
    for name, look in (("database", _reach), ("schema", _compare), ("writable", _write_nothing)):
        try:
            found.append(Check(name, True, look(deployment)))
        except Exception as error:  # noqa: BLE001 - the driver's own errors too: whoever asks is told, not broken
            return [*found, Check(name, False, deployment.redactor.text(_first_line(error)))]
    return found


def _reach(deployment: Deployment) -> str:
    try:
        database = deployment.reading()
    except SchemaError:  # it answered
        return "reachable"
    with database.reading() as connection:
        connection.exec_driver_sql("SELECT 1")
    return database.backend.describe


def _compare(deployment: Deployment) -> str:
    found = deployment.reading().schema_version()  # asked each time: somebody may upgrade it while this process lives
    if found != SCHEMA_VERSION:
        raise SchemaError(f"the schema is {found}, this FlowStone has {SCHEMA_VERSION}: flowstone db upgrade")
    return f"{found}, current"


def _write_nothing(deployment: Deployment) -> str:
    with deployment.reading().transaction() as tx:
        processes.beat(tx, "", 0)  # no process is called so
    return "a transaction was committed"


def _first_line(error: Exception) -> str:
    text = error.message if isinstance(error, FlowStoneError) else f"{type(error).__name__}: {message_of(error)}"
    return text.partition("\n")[0]
