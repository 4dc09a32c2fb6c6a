"""The cases, one function each."""

from __future__ import annotations

import hashlib
import itertools
import os
import sqlite3
import time
from typing import Any

from benchmarks.measure import REPETITIONS, alternating, per_call, process_ms, report, scratch
from flowstone import Count, Event, FlowStone, Label, Pipeline, asset, event, span
from flowstone.events.dispatcher import Dispatcher

STEPS = 1000
CALLS = 50_000


@event("bench.shipped", recorded=False)
class Shipped(Event):
    """An order left."""

    region: Label
    parcels: Count


@span("bench.upload", recorded=False)
class Upload(Event):
    """A file was sent."""

    region: Label


def _nothing(*_: object, **__: object) -> None:
    return None


def dispatch() -> None:
    """Emitting unheard, to one handler, and a whole span; the floor is calling an empty function with the same arguments."""
    unheard, heard = Dispatcher(), Dispatcher()
    heard.attach("one", "bench.*", _nothing)

    def one_span() -> None:
        with heard.span(Upload, region="eu"):
            pass

    floor = lambda: per_call(lambda: _nothing(Shipped, region="eu", parcels=3), CALLS)  # noqa: E731
    for case, budget, function in (
        ("emit unheard", "0.3 us", lambda: unheard.emit(Shipped, region="eu", parcels=3)),
        ("emit to one handler", "1 us", lambda: heard.emit(Shipped, region="eu", parcels=3)),
        ("span to one handler", "3 us", one_span),
    ):
        taken, base = alternating(lambda function=function: per_call(function, CALLS), floor)  # type: ignore[misc]
        report(case, "us", taken, floor=base, budget=budget)


def chain(length: int, io: str) -> Pipeline:
    """A chain of no-op assets: n0 counts its runs, each next one adds 1, so that no run makes the bytes of another."""
    runs = itertools.count(1)

    def first() -> int:
        return next(runs)

    def following(x: int) -> int:
        return x + 1

    assets: list[Any] = [asset(name="n0", io=io)(first)]
    assets += [asset(name=f"n{i}", deps={"x": f"n{i - 1}"}, io=io)(following) for i in range(1, length)]
    return Pipeline("chain", assets)


class Tape:
    """Stands between the engine and the driver's cursor and keeps every statement with its parameters."""

    def __init__(self, flow: FlowStone) -> None:
        self.statements: list[tuple[str, Any, bool]] = []
        backend = flow._deployment.services().database.backend
        self._begin = backend.begin
        backend.begin = self._recording  # type: ignore[method-assign]

    def _recording(self) -> Any:
        cursor = self._begin()
        self.statements.append(("BEGIN IMMEDIATE", (), False))
        return _Cursor(cursor, self.statements)


class _Cursor:
    def __init__(self, cursor: Any, statements: list[tuple[str, Any, bool]]) -> None:
        self._cursor, self._statements = cursor, statements

    def execute(self, sql: str, parameters: Any = ()) -> Any:
        self._statements.append((sql, parameters, False))
        return self._cursor.execute(sql, parameters)

    def executemany(self, sql: str, rows: Any) -> Any:
        self._statements.append((sql, list(rows), True))
        return self._cursor.executemany(sql, rows)

    def close(self) -> None:
        self._cursor.close()


def _engine(pipeline: Pipeline, *, tape: bool = False, warm: bool = False) -> tuple[float, list[tuple[str, Any, bool]], float]:
    """Microseconds a step of one run, its statements, and the bytes of database a step once closed.

    *warm*: every asset has a value already, so that its folder exists.
    """
    with scratch() as folder:
        with FlowStone(pipeline, home=folder / "home") as flow:
            flow.run(["n0"] if not warm else None)
            before = Tape(flow).statements if tape else []
            started = time.perf_counter()
            result = flow.run(force=True)
            elapsed = (time.perf_counter() - started) * 1e6 / len(pipeline)
            assert result.ok
            assert flow.get(f"n{len(pipeline) - 1}") == flow.get("n0") + len(pipeline) - 1
        size = (folder / "home" / "flowstone.db").stat().st_size / len(pipeline)
    return elapsed, before, size


def _by_hand(statements: list[tuple[str, Any, bool]], pipeline: Pipeline) -> float:
    """Microseconds a step of exactly the engine's own statements, issued by hand on a copy of the same database."""
    with scratch() as folder:
        with FlowStone(pipeline, home=folder / "home") as flow:
            flow.run(["n0"])
            process = flow._deployment.services().process
        database = sqlite3.connect(folder / "home" / "flowstone.db", isolation_level=None, cached_statements=256)
        database.executescript("PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;")
        assert process
        cursor = database.cursor()
        started = time.perf_counter()
        for sql, parameters, many in statements:
            if many:
                cursor.executemany(sql, parameters)
            else:
                cursor.execute(sql, parameters)
        elapsed = (time.perf_counter() - started) * 1e6 / len(pipeline)
        database.close()
    return elapsed


def step() -> None:
    """A no-op step, durable: with memory IO against its own statements by hand, and what file IO adds."""
    memory, files = chain(STEPS, "memory"), chain(STEPS, "files")
    _, statements, _ = _engine(memory, tape=True)
    taken, floor = alternating(lambda: _engine(memory)[0], lambda: _by_hand(statements, memory))
    report("no-op step, memory IO", "us", taken, floor=floor, budget="1.6x, 220 us", statements=round(len(statements) / STEPS, 1))
    for case, warm in (("file IO adds, folder exists", True), ("file IO adds, first value of each asset", False)):
        stored, plain = alternating(
            lambda warm=warm: _engine(files, warm=warm)[0], lambda warm=warm: _engine(memory, warm=warm)[0]
        )  # type: ignore[misc]
        added = [a - b for a, b in zip(stored, plain, strict=True)]
        report(case, "us", added, floor=[_files_by_hand(warm=warm) for _ in added], budget="250 us" if warm else "")
    report("database of a materialization", "bytes", [_engine(memory)[2] for _ in range(3)], budget="4000 bytes")


def _files_by_hand(*, warm: bool) -> float:
    """Microseconds of one small file written beside, hashed, renamed, and read back, by hand."""
    with scratch() as folder:
        for number in range(STEPS if warm else 0):
            os.mkdir(folder / str(number))
        started = time.perf_counter()
        for number in range(STEPS):
            place = f"{folder}/{number}"
            if not warm:
                os.mkdir(place)
            data = str(number).encode()
            hashlib.sha256(data).hexdigest()
            descriptor = os.open(f"{place}/.tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            os.write(descriptor, data)
            os.close(descriptor)
            os.replace(f"{place}/.tmp", f"{place}/value.json")
            with open(f"{place}/value.json", "rb") as file:
                hashlib.sha256(file.read()).hexdigest()
        return (time.perf_counter() - started) * 1e6 / STEPS


def imports() -> None:
    """Importing FlowStone, ``--help`` and a reading verb, as whole processes against bare Python."""
    bare = lambda: process_ms("pass")  # noqa: E731
    for case, budget, code in (
        ("import flowstone", "80 ms over bare", "import flowstone"),
        (
            "flowstone --help",
            "150 ms",
            "import sys; sys.argv=['flowstone','--help']; from flowstone.cli.main import main; main()",
        ),
    ):
        taken, floor = alternating(lambda code=code: _quietly(code), bare)  # type: ignore[misc]
        report(
            case,
            "ms",
            taken,
            floor=floor,
            budget=budget,
            over_bare=round(sorted(a - b for a, b in zip(taken, floor, strict=True))[REPETITIONS // 2], 1),
        )
    with scratch() as folder:
        with FlowStone(chain(3, "files"), home=folder / "home") as flow:
            flow.run()
        arguments = ["flowstone", "--home", str(folder / "home"), "--project", flow.settings.project, "runs"]
        code = f"import sys; sys.argv={arguments!r}; from flowstone.cli.main import main; main()"
        taken, floor = alternating(lambda: _quietly(code), bare)
        report("a reading verb (runs)", "ms", taken, floor=floor, budget="500 ms")


def _quietly(code: str) -> float:
    return process_ms(f"try:\n {code}\nexcept SystemExit as e:\n assert not e.code, e.code")


def first_step() -> None:
    """From ``run`` to the first line of the first body in a run of 1,000 assets, warm."""
    reached: list[float] = []

    def first() -> int:
        reached.append(time.perf_counter())
        return 1

    rest = [asset(name=f"n{i}", deps={"x": f"n{i - 1}"}, io="memory")(lambda x: x) for i in range(1, STEPS)]
    pipeline = Pipeline("first", [asset(name="n0", io="memory")(first), *rest])
    taken = []
    with scratch() as folder, FlowStone(pipeline, home=folder / "home") as flow:
        flow.run()
        for _ in range(REPETITIONS):
            started = time.perf_counter()
            flow.run(force=True)
            taken.append((reached[-1] - started) * 1000)
    report("first step of 1,000", "ms", taken, budget="20 ms")


def graphs() -> None:
    """Building and validating, and planning, a layered graph: 100 wide, two dependencies an asset."""

    def body(a: int, b: int) -> int:
        return a + b

    for size in (1_000, 10_000):
        built, planned = [], []
        for _ in range(3):
            started = time.perf_counter()
            assets: list[Any] = [asset(name=f"a{i}", io="memory")(lambda: 1) for i in range(100)]
            for i in range(100, size):
                deps = {"a": f"a{i - 100}", "b": f"a{i - 100 + 1 if i % 100 < 99 else i - 199}"}
                assets.append(asset(name=f"a{i}", deps=deps, io="memory")(body))
            pipeline = Pipeline("layers", assets)
            built.append(time.perf_counter() - started)
            with FlowStone(pipeline, home=":memory:") as flow:
                started = time.perf_counter()
                plan = flow._plan(None, None, deps=True)
                planned.append(time.perf_counter() - started)
                assert len(plan.steps) == size
        report(f"build and validate {size:,}", "s", built, budget="0.25 s at 10,000")
        report(f"plan {size:,}", "s", planned, budget="0.15 s at 10,000")


CASES = {"dispatch": dispatch, "step": step, "import": imports, "first": first_step, "graph": graphs}
