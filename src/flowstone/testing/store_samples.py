"""What the contract of the store is proved with: events, rows, and threads that start at the same moment."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from typing import Any

from flowstone.events.catalogue import AssetInvalidated
from flowstone.stores import errors, events, outputs, runs
from flowstone.stores.database import Database, Transaction

ODD_TEXTS = [
    "a\0b",
    "half \ud800",
    "\udcff",
    "k" * 10_000,
    "'\"`;--",
    "100%_done",
    "\n\r\t",
    "..",
    "",
    "😀ü\u202e",
    "\\x00",
    "%(name)s",
]
PATIENCE = 30.0  # seconds
_numbers = itertools.count(1)


RUN: dict[str, Any] = {
    "project": "test", "pipeline": "p", "definition": "", "status": "running", "request": "{}", "plan": "[]", "actor": "",
    "identity": "", "trace_id": "", "provenance": "{}", "process": "proc_1", "requested_at": 1,
}  # fmt: skip
LINE: dict[str, Any] = {"asset": "orders", "partition": "", "attempt": 1, "at": 1, "level": "info", "fields": ""}


def at_once(work: Callable[[Any], object], items: Any) -> None:
    """Call *work* with each of *items*, each in a thread, all starting at the same moment; raises what the first one raised."""
    failed: list[BaseException] = []
    start = threading.Barrier(len(items))

    def run(item: Any) -> None:
        start.wait()
        try:
            work(item)
        except BaseException as error:  # noqa: BLE001 - raised again below
            failed.append(error)

    threads = [threading.Thread(target=run, args=(item,)) for item in items]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]


def say(tx: Transaction, what: str, asset: str = "") -> None:
    """Record an event that says *what*, as it is."""
    tx.emit(AssetInvalidated, asset=asset, partition="", output=what, actor="", identity="os")


def note(database: Database, what: str) -> None:
    """Record an event in a transaction of its own."""
    with database.transaction() as tx:
        say(tx, what)


def noted(database: Database, **options: Any) -> list[str]:
    """What the recorded events say."""
    with database.reading() as connection:
        return [record.payload["output"] for record in events.read(connection, "test", **options)]


def paged(database: Database, size: int) -> list[str]:
    """What the recorded events say, read in pages by cursor until all are there."""
    found: list[str] = []
    cursor, until = "0", time.monotonic() + PATIENCE
    while True:
        with database.reading() as connection:
            page = events.read(connection, "test", after=cursor, limit=size)
        found += [record.payload["output"] for record in page]
        cursor = page[-1].cursor if page else cursor
        if not page and (len(found) >= len(noted(database)) or time.monotonic() > until):
            return found
        if not page:  # somebody else's transaction, which began before them, is open on the same server
            time.sleep(0.01)


def events_end(database: Database) -> str:
    """The cursor before what is recorded from now on."""
    with database.reading() as connection:
        return events.read_on(connection, "test", after=None)[1]


def a_run_in(tx: Transaction, project: str) -> str:
    """Add a running run."""
    run_id = f"run_{next(_numbers)}"
    runs.insert(tx, {**RUN, "project": project, "id": run_id})
    return run_id


def a_run(database: Database) -> str:
    """Add a running run in a transaction of its own."""
    with database.transaction() as tx:
        return a_run_in(tx, "test")


def an_output(tx: Transaction, asset: str, partition: str) -> str:
    """Add an output."""
    id = f"out_{next(_numbers)}"
    values: dict[str, Any] = {
        "id": id, "project": "test", "asset": asset, "partition": partition, "run_id": "run_1", "attempt": 1, "manager": "files",
        "location": "", "format": "json", "digest": "", "size": 0, "rows": None, "schema": None, "definition": "", "config": "",
        "inputs": "", "source_version": "", "summary": "", "created_at": 1,
    }  # fmt: skip
    outputs.add(tx, values)
    return id


def an_error(tx: Transaction, id: str, run_id: str, *, asset: str = "orders", message: str = "") -> None:
    """Add an error."""
    errors.add(tx, {
        "id": id, "project": "test", "run_id": run_id, "asset": asset, "partition": "", "attempt": 1, "type": "ValueError",
        "message": message, "fingerprint": "", "retryable": 0, "context": "{}", "traceback": "", "at": 1,
        "definition": "",
    })  # fmt: skip
