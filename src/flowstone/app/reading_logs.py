"""The captured lines of a run, chosen, with what stands around them; or as they come, until the run ends. Memory stays flat."""

from __future__ import annotations

import logging
import re
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from flowstone.app.wiring import Deployment
from flowstone.assets.keys import decode_key, display_key, encode_key
from flowstone.execution import lost
from flowstone.foundation.errors import UsageError
from flowstone.stores import logs, processes, runs
from flowstone.stores.records import LogRecord, RunRecord

PAGE = 2_000
FOLLOW_SECONDS = 0.5
LEVELS = ("debug", "info", "warning", "error", "critical")


class Chosen(NamedTuple):
    """Which lines are wanted: those of an *asset*, *partition* and *attempt*; of them, by *level* and *grep*, with *context*."""

    asset: str | None = None
    partition: Any = None
    attempt: int | None = None
    level: str | None = None
    grep: str | None = None
    context: int = 0


class Numbered(NamedTuple):
    """A line and its place among those of its asset, partition and attempt: a gap shows that others were left out."""

    number: int
    line: LogRecord


class Lines:
    """The lines of one run that are *chosen*; raises :class:`UsageError` for what cannot be chosen by."""

    def __init__(self, deployment: Deployment, run_id: str, chosen: Chosen) -> None:
        self._deployment, self._chosen = deployment, chosen
        self._least, self._pattern = _least(chosen.level), _pattern(chosen.grep)
        if chosen.context < 0:
            raise UsageError(f"context={chosen.context}: a number of lines is needed")
        partition = chosen.partition
        self._partition = partition if partition is None or isinstance(partition, str) else encode_key(partition)
        self.run = self._ask(run_id)

    def read(self) -> Iterator[Numbered]:
        """What there is now."""
        return self._around(self._page_by_page(None))

    def follow(self, idle: Callable[[], object] = bool) -> Iterator[Numbered]:
        """What there is and what comes, until nobody works on the run any more; *idle* is called while nothing comes."""
        return self._around(self._page_by_page(idle))

    def is_worked_on(self) -> bool:
        """Whether a process that lives works on the run; it is asked anew."""
        self.run = self._ask(self.run.id)
        if self.run.status not in ("requested", "running"):
            return False
        if self.run.process == self._deployment._process:
            return True
        database = self._deployment.reading()
        with database.reading() as connection:
            holder = processes.find(connection, self.run.process)
        return holder is not None and lost.is_alive(holder, self._deployment.locks, database.now())

    def _ask(self, run_id: str) -> RunRecord:
        with self._deployment.reading().reading() as connection:
            return runs.find(connection, self._deployment.settings.project, run_id)

    def _page_by_page(self, idle: Callable[[], object] | None) -> Iterator[LogRecord]:
        after, chosen = 0, self._chosen
        while True:
            goes_on = idle is not None and self.is_worked_on()  # asked first: what was written before the end is on the page
            with self._deployment.reading().reading() as connection:
                page = logs.read(connection, self.run.id, asset=chosen.asset, attempt=chosen.attempt, after=after, limit=PAGE)
            yield from (line for line in page if self._is_of_the_partition(line))
            if page:
                after = page[-1].id
            elif idle is None or not goes_on:
                return
            else:
                idle()
                self._deployment.clock.sleep(FOLLOW_SECONDS)

    def _is_of_the_partition(self, line: LogRecord) -> bool:
        wanted = self._partition
        return wanted is None or line.partition == wanted or display_key(decode_key(line.partition)) == wanted

    def _matches(self, line: LogRecord) -> bool:
        loud = self._least is None or _number(line.level) >= self._least
        return loud and (self._pattern is None or self._pattern.search(line.message) is not None)

    def _around(self, lines: Iterator[LogRecord]) -> Iterator[Numbered]:
        """The lines that match, each with the lines around it, none twice."""
        before: deque[Numbered] = deque(maxlen=self._chosen.context)
        after = 0
        for number, line in enumerate(lines):
            if self._matches(line):
                yield from before
                before.clear()
                yield Numbered(number, line)
                after = self._chosen.context
            elif after:
                yield Numbered(number, line)
                after -= 1
            else:
                before.append(Numbered(number, line))


def _number(level: str) -> int:
    """How loud a level is; one that has no name here counts as information."""
    known = logging.getLevelNamesMapping().get(level.upper())
    if known is None and level.startswith("level ") and level[6:].isdecimal():
        return int(level[6:])
    return logging.INFO if known is None else known


def _least(level: str | None) -> int | None:
    if level is not None and level not in LEVELS:
        raise UsageError(f"level {level!r} is not known", hint=f"one of {', '.join(LEVELS)}")
    return None if level is None else _number(level)


def _pattern(grep: str | None) -> re.Pattern[str] | None:
    try:
        return re.compile(grep) if grep is not None else None
    except re.error as error:
        hint = "escape special characters with \\"
        raise UsageError(f"grep {grep!r} is no regular expression: {error}", hint=hint) from error
