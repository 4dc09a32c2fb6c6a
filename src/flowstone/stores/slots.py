"""Places on limited resources, held by running attempts of all processes of a project."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Delete, Select, bindparam, delete, func, select

from flowstone.stores.database import Transaction
from flowstone.stores.statements import Inserting
from flowstone.stores.tables import attempt, slot

_insert = Inserting(slot)


def _held() -> Select[Any]:
    """Count the places whose attempt still runs: a place that nobody let go of is free once its attempt has ended."""
    key = (slot.c.project == bindparam("p"), slot.c.resource == bindparam("r"), attempt.c.status == "running")
    return select(func.count()).join_from(slot, attempt, attempt.c.id == slot.c.attempt).where(*key)


def _free() -> Delete:
    return delete(slot).where(slot.c.attempt == bindparam("row"))


def held(tx: Transaction, project: str, resource: str) -> int:
    """How many places are held; nobody else takes one before this transaction has ended."""
    tx.lock(f"{project}/{resource}")
    return int(tx.execute(_held, {"p": project, "r": resource}).fetchone()[0])


def take(tx: Transaction, project: str, resource: str, attempt_row: int) -> None:
    """Hold a place for an attempt that begins."""
    tx.execute(_insert, {"project": project, "resource": resource, "attempt": attempt_row})


def free(tx: Transaction, attempt_row: int) -> None:
    """Let go of every place of an attempt that ends."""
    tx.execute(_free, {"row": attempt_row})
