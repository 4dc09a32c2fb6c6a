"""A long history made quickly: one run by the engine itself, copied as often as it takes.

Every row is one the product wrote, with its ids, times and partition replaced, so that records and evidence agree as they do in a
store that grew slowly: ``doctor`` finds nothing in it.
"""

from __future__ import annotations

import os
import sqlite3
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any, NamedTuple

from flowstone import Daily, FlowStone, Pipeline, Retry, asset
from flowstone.foundation import settings
from flowstone.foundation.clock import NANOSECONDS
from flowstone.foundation.ids import ALPHABET
from flowstone.foundation.serialize import from_json, to_json

PROJECT = "history"
FIRST_DAY = date(2020, 1, 1)
WIDTH = 20  # assets of one layer
BETWEEN = 1800  # seconds from one run to the next
_NUMBERED = ("materialization", "attempt", "event", "log")  # their rows get the next number
_LOCATIONS = "SELECT output.asset, output.location FROM output"
GROUP_OPENED = "flowstone.error_group.opened"
_COUNTED = """
UPDATE error_group SET (errors, cured, last_error, last_at) = (
    SELECT count(*), sum(cured > 0), (SELECT id FROM error AS newest ORDER BY at DESC, id DESC LIMIT 1), max(at) FROM error)
"""  # all the errors are of one group
_TABLES = ("run", "materialization", "attempt", "output", "lineage", "event", "error", "log")


class Shape(NamedTuple):
    """How much happened: each of *assets* was made for each of *partitions* in each of *rounds*."""

    assets: int = 200
    partitions: int = 50
    rounds: int = 100

    @property
    def runs(self) -> int:
        """How many runs there were: one for each partition and round."""
        return self.partitions * self.rounds

    @property
    def materializations(self) -> int:
        """How many materializations there are."""
        return self.runs * self.assets


def build(home: Path, shape: Shape) -> None:
    """Fill the new folder *home* with a history of that *shape*, project :data:`PROJECT`."""
    found = settings.load(arguments={"home": str(home), "project": PROJECT})
    unaudited = replace(found, audit=replace(found.audit, enabled=False))  # entries cannot be copied: that is what they are for
    with FlowStone(_layers(shape.assets), settings=unaudited, echo=lambda _: None) as flow:
        assert flow.run(partition=FIRST_DAY.isoformat()).ok
    database = sqlite3.connect(home / "flowstone.db", isolation_level=None)
    database.executescript("PRAGMA synchronous = OFF; PRAGMA cache_size = -2000000")
    database.execute("BEGIN")
    _multiply(database, shape)
    database.execute("COMMIT")
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    _store_bytes(database, home / "outputs")
    database.close()


def _store_bytes(database: sqlite3.Connection, root: Path) -> None:
    """Give each current output the bytes of the run that was copied."""
    of_first_run = f"{_LOCATIONS} WHERE output.run_id = (SELECT id FROM run ORDER BY requested_at LIMIT 1)"
    made = {name: (root / location).read_bytes() for name, location in database.execute(of_first_run)}
    for name, location in database.execute(f"{_LOCATIONS} JOIN current_output ON output.id = current_output.output"):
        os.makedirs(root / os.path.dirname(location), exist_ok=True)
        with open(root / location, "wb") as file:
            file.write(made[name])


def _layers(count: int) -> Pipeline:
    """Layers of assets, each made from two of the layer above; the last prints, fails and is tried again."""
    tries: list[int] = []

    def first() -> int:
        return 1

    def following(a: int, b: int) -> int:
        return a + b

    def flaky(a: int, b: int) -> int:
        for line in range(5):
            print(f"line {line} of attempt {len(tries)}")
        tries.append(1)
        if len(tries) == 1:
            raise ConnectionError("the service did not answer")
        return a + b

    made: list[Any] = []
    for i in range(count):
        beside = i - WIDTH + 1 if i % WIDTH < WIDTH - 1 else i - 2 * WIDTH + 1
        deps = {"a": f"a{i - WIDTH}", "b": f"a{beside}"} if i >= WIDTH else {}
        declared = asset(
            name=f"a{i}", deps=deps, partitions=Daily(FIRST_DAY.isoformat()), retries=Retry(attempts=2, delay=0.0), io="files"
        )
        made.append(declared(first if i < WIDTH else following if i < count - 1 else flaky))
    return Pipeline("layers", made)


def _multiply(database: sqlite3.Connection, shape: Shape) -> None:
    """Copy the run that is there into every other partition and round; the last round's outputs are the current ones."""
    template = {table: database.execute(f"SELECT * FROM {table} ORDER BY {_order(table)}").fetchall() for table in _TABLES}
    columns = {table: [row[1] for row in database.execute(f"PRAGMA table_info({table})")] for table in _TABLES}
    text = to_json(template)
    seconds = sorted({row[columns["event"].index("at")] // NANOSECONDS for row in template["event"]})
    (run,) = (dict(zip(columns["run"], row, strict=True)) for row in template["run"])
    errors = [row[0] for row in template["error"]]
    steps, newest = len(template["materialization"]), shape.runs - shape.partitions
    for number in range(1, shape.runs):
        label = _digits(number)
        new = {run["id"]: f"run_{_digits(number * 40503 % 2**20)}{label}{label}", run["trace_id"]: f"{number:032x}"}
        new[FIRST_DAY.isoformat()] = (FIRST_DAY + timedelta(days=number % shape.partitions)).isoformat()
        new |= {f"{before}0000": f"{before}{label}" for before in ("out_", "-1-", "-2-")}
        new |= {str(second): str(second + number * BETWEEN) for second in reversed(seconds)}
        new |= {error: f"err_{error[4:12]}{label}" for error in errors}
        rows = _copied(text, new)
        for row in rows["attempt"]:
            row[columns["attempt"].index("materialization")] += number * steps
        name = columns["event"].index("name")
        rows["event"] = [row for row in rows["event"] if row[name] != GROUP_OPENED]  # the group is open
        _age(rows["output"], columns["output"], number // shape.partitions + 1, gone=number < newest)
        for table, names in columns.items():
            skip = 1 if table in _NUMBERED else 0
            marks = ", ".join("?" * (len(names) - skip))
            insert = f"INSERT INTO {table} ({', '.join(names[skip:])}) VALUES ({marks})"
            database.executemany(insert, [row[skip:] for row in rows[table]])
        if number >= newest:
            pointers = [[PROJECT, *row[2:4], row[0]] for row in rows["output"]]
            database.executemany("INSERT OR REPLACE INTO current_output VALUES (?, ?, ?, ?)", pointers)
    database.execute(_COUNTED)


def _copied(text: str, new: dict[str, str]) -> dict[str, list[list[Any]]]:
    for before, after in new.items():
        text = text.replace(before, after)
    copied: dict[str, list[list[Any]]] = from_json(text)
    return copied


def _age(outputs: list[list[Any]], names: list[str], version: int, *, gone: bool) -> None:
    """Give outputs their version, and say of older ones that their bytes were collected."""
    for row in outputs:
        row[names.index("version")], row[names.index("gone")] = version, "collected" if gone else ""
        row[names.index("gone_at")] = row[names.index("created_at")] if gone else None


def _order(table: str) -> str:
    return "id" if table in _NUMBERED else "1"


def _digits(number: int) -> str:
    """Four digits that sort as *number* does."""
    return "".join([ALPHABET[(number >> shift) & 31] for shift in (15, 10, 5, 0)])
