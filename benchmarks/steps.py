"""What FlowStone adds to a step: against its own statements by hand, per executor and IO manager, and with files."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.graphs import chain, following
from benchmarks.measure import Bench, Budget, Took, beyond, stopwatch
from flowstone import FlowStone, Pipeline, asset
from flowstone.app.pipelines import load_pipeline
from flowstone.assets.options import EXECUTORS
from flowstone.foundation.settings import Settings, load

Statement = tuple[str, Any, bool]


class Tape:
    """Stands between the engine and the driver's cursor and keeps every statement with its parameters."""

    def __init__(self, flow: FlowStone) -> None:
        self.statements: list[Statement] = []
        backend = flow._deployment.services().database.backend
        self._begin = backend.begin
        backend.begin = self._recording  # type: ignore[method-assign]

    def _recording(self, *, power: bool = False) -> Any:
        cursor = self._begin(power=power)
        self.statements.append(("BEGIN IMMEDIATE", (), False))
        return _Cursor(cursor, self.statements)


class _Cursor:
    """A cursor that is written down."""

    def __init__(self, cursor: Any, statements: list[Statement]) -> None:
        self._cursor, self._statements = cursor, statements

    def execute(self, sql: str, parameters: Any = ()) -> Any:
        self._statements.append((sql, parameters, False))
        return self._cursor.execute(sql, parameters)

    def executemany(self, sql: str, rows: Any) -> Any:
        self._statements.append((sql, list(rows), True))
        return self._cursor.executemany(sql, rows)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._cursor, name)


def new_store(bench: Bench, *, audited: bool) -> Settings:
    """Settings of a store that is not there yet."""
    return load(arguments={"home": str(bench.scratch()), "project": "bench", "audit.enabled": audited})


def once(bench: Bench, pipeline: Pipeline, *, warm: bool = False, audited: bool = True, **how: Any) -> Took:
    """Microseconds a step of one run in a new store; *warm*: every asset has a value already, so that its folder exists."""
    with FlowStone(pipeline, settings=new_store(bench, audited=audited)) as flow:
        flow.run(None if warm else next(iter(pipeline)).name, **how).raise_if_failed()
        stop = stopwatch(1e6 / len(pipeline))
        flow.run(force=True, **how).raise_if_failed()
        return stop()


def _taped(bench: Bench, pipeline: Pipeline, *, audited: bool) -> list[Statement]:
    with FlowStone(pipeline, settings=new_store(bench, audited=audited)) as flow:
        flow.run(["n0"])
        tape = Tape(flow)
        flow.run(force=True).raise_if_failed()
    return tape.statements


def _by_hand(bench: Bench, statements: list[Statement], pipeline: Pipeline, *, audited: bool) -> Took:
    """Microseconds a step of exactly the engine's own statements, issued by hand on a copy of the same database."""
    found = new_store(bench, audited=audited)
    with FlowStone(pipeline, settings=found) as flow:
        flow.run(["n0"])
    assert found.home is not None
    database = sqlite3.connect(found.home / "flowstone.db", isolation_level=None, cached_statements=256)
    database.executescript("PRAGMA synchronous = NORMAL; PRAGMA foreign_keys = ON;")
    cursor = database.cursor()
    stop = stopwatch(1e6 / len(pipeline))
    for sql, parameters, many in statements:
        if many:
            cursor.executemany(sql, parameters)
        else:
            cursor.execute(sql, parameters)
    took = stop()
    database.close()
    return took


def measure(bench: Bench) -> None:
    """A no-op step, durable: with memory IO against its own statements by hand, and what file IO adds."""
    size = bench.sizes.steps
    memory, files = chain(size, "memory"), chain(size, "files")
    tapes = {audited: _taped(bench, memory, audited=audited) for audited in (False, True)}
    plain, plain_floor, audited, audited_floor = bench.alternating(
        partial(once, bench, memory, audited=False), partial(_by_hand, bench, tapes[False], memory, audited=False),
        partial(once, bench, memory, audited=True), partial(_by_hand, bench, tapes[True], memory, audited=True),
    )  # fmt: skip
    for case, taken, floor, most, tape in (
        ("no-op step, memory IO", plain, plain_floor, 220, tapes[False]),
        ("no-op step, memory IO, audited", audited, audited_floor, 290, tapes[True]),
    ):
        bench.report(
            case, "us", taken, floor=floor, floor_is="its own statements by hand", budget=Budget(most, 1.6),
            statements=round(len(tape) / size, 1),
        )  # fmt: skip
    for case, warm in (("file IO adds, folder exists", True), ("file IO adds, first value of each asset", False)):
        stored, plain, floor = bench.alternating(
            lambda warm=warm: once(bench, files, warm=warm),
            lambda warm=warm: once(bench, memory, warm=warm),
            lambda warm=warm: _files_by_hand(bench, size, warm=warm),
        )
        added = beyond(stored, plain)
        bench.report(case, "us", added, floor=floor, floor_is="write, hash, rename, read", budget=Budget(250) if warm else None)
    for case, is_audited in (("database of a materialization, audited", True), ("database of a materialization", False)):
        bench.report(case, "bytes", [_bytes(bench, memory, audited=is_audited)], budget=Budget(4000))
    _first(bench)


def _bytes(bench: Bench, pipeline: Pipeline, *, audited: bool) -> float:
    """What one more materialization of each asset adds: tables and definition are there."""
    sizes, found = [], new_store(bench, audited=audited)
    assert found.home is not None
    for _ in range(2):
        with FlowStone(pipeline, settings=found) as flow:
            flow.run(force=True).raise_if_failed()
        sizes.append((found.home / "flowstone.db").stat().st_size)
    return (sizes[1] - sizes[0]) / len(pipeline)


def _files_by_hand(bench: Bench, number: int, *, warm: bool) -> Took:
    """Microseconds of one small file written beside, hashed, renamed, and read back, by hand."""
    folder: Path = bench.scratch()
    for i in range(number if warm else 0):
        os.mkdir(folder / str(i))
    stop = stopwatch(1e6 / number)
    for i in range(number):
        place = f"{folder}/{i}"
        if not warm:
            os.mkdir(place)
        data = str(i).encode()
        hashlib.sha256(data).hexdigest()
        descriptor = os.open(f"{place}/.tmp", os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(descriptor, data)
        os.close(descriptor)
        os.replace(f"{place}/.tmp", f"{place}/value.json")
        with open(f"{place}/value.json", "rb") as file:
            hashlib.sha256(file.read()).hexdigest()
    return stop()


def _first(bench: Bench) -> None:
    """From ``run`` to the first line of the first body in a run of many assets, warm."""
    reached: list[float] = []

    def reach() -> int:
        reached.append(time.perf_counter())
        return len(reached)

    rest = [asset(name=f"n{i}", deps={"x": f"n{i - 1}"}, io="memory")(following) for i in range(1, bench.sizes.steps)]
    pipeline = Pipeline("first", [asset(name="n0", io="memory")(reach), *rest])
    taken = []
    with FlowStone(pipeline, home=bench.scratch()) as flow:
        flow.run().raise_if_failed()
        for _ in range(bench.sizes.repetitions):
            started = time.perf_counter()
            flow.run(force=True)
            taken.append((reached[-1] - started) * 1000)
    bench.report(f"first step of {bench.sizes.steps:,}", "ms", taken, budget=Budget(20))


def executors(bench: Bench) -> None:
    """A whole run, by executor and IO manager, in microseconds a step; values in memory do not reach other processes."""
    for shape, size in (("chain", bench.sizes.chain), ("fan", bench.sizes.fan)):
        for io in ("memory", "files"):
            pipeline = _in_a_file(bench, f"{shape}({size}, {io!r})", shape)
            running = [name for name in EXECUTORS if (name, io) != ("process", "memory")]
            measures = [partial(once, bench, pipeline, warm=True, executor=name) for name in running]
            figures = bench.alternating(*measures)
            for name, taken in zip(running, figures, strict=True):
                bench.report(f"{shape} of {size:,}, {io}, {name}", "us/step", taken, floor=figures[0], floor_is="inline")


def _in_a_file(bench: Bench, made: str, shape: str) -> Pipeline:
    """The pipeline, in a file where child processes find it."""
    folder = bench.scratch()
    file = folder / f"{shape}_{folder.name}.py"
    file.write_text(f"from benchmarks.graphs import {shape}\n\npipeline = {made}\n", encoding="utf-8")
    return load_pipeline(str(file), folder)
