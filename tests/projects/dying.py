"""Kills this process just before or just after one of its changes: of statements, files and folders."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from typing import Any

FILES = ("replace", "rename", "link", "unlink", "mkdir", "write")
Around = Callable[[Callable[..., Any]], Callable[..., Any]]


def counting(at: int, victims: Callable[[], list[int]]) -> Around:
    """Wraps functions so that the *at*-th moment, before a call or after one, kills *victims* and this process."""
    left, lock = [at], threading.Lock()

    def step() -> None:
        with lock:
            left[0] -= 1
            if not left[0]:
                for victim in [*victims(), os.getpid()]:
                    os.kill(victim, signal.SIGKILL)

    def around(function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **options: Any) -> Any:
            step()
            given = function(*arguments, **options)
            step()
            return given

        return call

    return around


def over_files(around: Around) -> None:
    """Count what changes files and folders."""
    for name in FILES:
        setattr(os, name, around(getattr(os, name)))


def over_statements(around: Around, *backends: Any) -> None:
    """Count the statements of transactions, begin and commit among them, and those that change a schema."""
    for backend in backends:
        backend.begin = _begin(backend.begin, around)
        backend.changing = _changing(backend.changing, around)


class _Cursor:
    """A driver's cursor that counts the statements it runs."""

    def __init__(self, cursor: Any, around: Around) -> None:
        self._cursor = cursor
        self.execute, self.executemany = around(cursor.execute), around(cursor.executemany)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


def _begin(begin: Callable[..., Any], around: Around) -> Callable[..., Any]:
    return lambda self, **options: _Cursor(around(begin)(self, **options), around)


def _changing(changing: Callable[..., Any], around: Around) -> Callable[..., Any]:
    @contextlib.contextmanager
    def counted(self: Any) -> Iterator[Any]:
        with changing(self) as connection:
            connection.exec_driver_sql = around(connection.exec_driver_sql)
            yield connection

    return counted
