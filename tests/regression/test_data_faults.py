"""The faults of the system this one follows stay mended: stores, values, partitions, lineage, events of storage."""

from __future__ import annotations

import contextlib
import gc
import sqlite3
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta, timezone
from pathlib import Path

import polars as pl
import pytest

from flowstone import (
    FlowStone,
    FlowStoneError,
    Keys,
    Pipeline,
    Retry,
    asset,
)
from flowstone.assets.keys import decode_key, encode_key
from flowstone.events.event import attributes_of
from flowstone.execution.session import as_output
from flowstone.foundation.errors import MissingOutputError, SettingsError, StorageError
from flowstone.io_managers import FilesIOManager, MemoryIOManager, Target


@asset
def orders():
    return [1, 2]


@asset
def total(orders):
    return sum(orders)


SHOP = Pipeline("shop", [orders, total])
HASH = 64  # hexadecimal digits of a SHA-256


def output_of(made, name, partition=None):
    return as_output(made.explain(name, partition=partition).output)


def files_in(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}


# -- W-08, W-12: configuration is connected ---------------------------------------------------------------------------------


def test_w_08_settings_decide_where_things_go(tmp_path, monkeypatch):
    """Project, database and outputs are where the settings file says; nothing else is written."""
    (tmp_path / "flowstone.toml").write_text(
        'project = "acme"\ndatabase.url = "sqlite:///facts/acme.db"\noutputs.path = "data"\nhome = "kept"\n'
    )
    monkeypatch.chdir(tmp_path)
    with FlowStone(SHOP, echo=lambda _: None) as made:
        assert made.run().ok
        assert made.settings.project == "acme"
    with sqlite3.connect(tmp_path / "facts/acme.db") as database:
        assert database.execute("SELECT DISTINCT project FROM run").fetchall() == [("acme",)]
    database.close()

    assert {name.split("/")[0] for name in files_in(tmp_path)} == {"flowstone.toml", "facts", "data", "kept"}
    assert len(files_in(tmp_path / "data")) == 2


def test_w_08_nothing_configured_works_in_memory(tmp_path, monkeypatch):
    """Everything works with ``home=":memory:"`` and no settings, every question included, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    with FlowStone(SHOP, home=":memory:", echo=lambda _: None) as made:
        result = made.run()
        assert made.get("total") == 3
        assert [condition.state for condition in made.status()] == ["up to date", "up to date"]
        assert made.explain("total").versions == 1
        assert len(made.lineage("total").edges) == 1
        assert len(made.events(run_id=result.run_id)) > 0

    assert list(tmp_path.iterdir()) == []


def test_w_08_a_setting_nobody_reads_is_refused(tmp_path, monkeypatch):
    """A misspelled setting is an error with the right name, not a default."""
    (tmp_path / "flowstone.toml").write_text('projet = "acme"\n')
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError, match="did you mean 'project'") as refused:
        FlowStone(SHOP)
    assert "projet" in str(refused.value)


def test_w_12_an_unknown_io_manager_is_never_replaced_by_the_default(flow, tmp_path):
    """An asset that names a manager nobody has fails with its name; nothing is stored elsewhere in its place."""

    @asset(io="s3_archive")
    def a():
        return 1

    made = flow(Pipeline("p", [a]), home=tmp_path)
    try:
        said = made.run().failed[0].message
    except FlowStoneError as refused:
        said = str(refused)

    assert "s3_archive" in said
    assert not (tmp_path / "outputs").exists() or files_in(tmp_path / "outputs") == set()


def test_w_12_an_output_is_read_with_the_manager_that_stored_it(flow, tmp_path):
    """The manager is recorded with the output: after the default changed, the value is still found."""
    made = flow(SHOP, home=tmp_path)
    made.run()
    made.close()
    code = (
        "from flowstone import FlowStone\n"
        "from flowstone.testing import isolated_settings\n"
        "import msgspec, dataclasses\n"
        f"settings = isolated_settings({str(tmp_path)!r})\n"
        "settings = dataclasses.replace(settings, outputs=dataclasses.replace(settings.outputs, manager='memory'))\n"
        "with FlowStone(settings=settings) as made: print(made.get('total'))\n"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)

    assert (said.stdout, said.stderr) == ("3\n", "")


# -- W-17: events of storage ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["memory", "files"])
def test_w_17_storage_events_have_one_shape(flow, tmp_path, where):
    """A load or store has a start and one ending, with its duration in nanoseconds and, on both sides, the size stored."""
    keys = Keys(int)

    @asset(partitions=keys)
    def made_of_bytes():
        return b"12345"

    @asset(partitions=keys)
    def reader(made_of_bytes):
        return len(made_of_bytes)

    seen = []
    made = flow(Pipeline("p", [made_of_bytes, reader]), **({"home": tmp_path} if where == "files" else {}))
    made.attach("tests.io", "flowstone.io.*", seen.append)
    made.run(partition=7)
    shapes = [(event.name.removeprefix("flowstone.io."), event.asset, event.subject, event.partition) for event in seen]

    assert shapes == [
        ("store.start", "made_of_bytes", "made_of_bytes", "i:7"), ("store.stop", "made_of_bytes", "made_of_bytes", "i:7"),
        ("load.start", "reader", "made_of_bytes", "i:7"), ("load.stop", "reader", "made_of_bytes", "i:7"),
        ("store.start", "reader", "reader", "i:7"), ("store.stop", "reader", "reader", "i:7"),
    ]  # fmt: skip
    assert [event.size_bytes for event in seen if event.name.endswith("stop")] == [5, 5, 1]
    assert all(event.at > 10**18 for event in seen)
    assert all(0 < event.duration_ns < 60 * 10**9 for event in seen if event.name.endswith("stop"))
    assert all(type(value) in (str, int) for event in seen for value in attributes_of(event).values())


def test_w_17_skipped_is_not_success(flow):
    """A step that skipped itself stops with its own outcome and says why in an event of its own."""

    @asset
    def quiet(ctx):
        ctx.skip("nothing to do")

    made = flow(Pipeline("p", [quiet]))
    run_id = made.run().run_id
    stop, skipped = made.events(run_id=run_id, names=["flowstone.materialization.stop", "flowstone.materialization.skipped"])

    assert (stop.payload["outcome"], stop.payload["reason"]) == ("skipped", "by_code")
    assert (skipped.payload["reason"], skipped.payload["message"]) == ("by_code", "nothing to do")


# -- W-22: lineage ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["memory", "files"])
def test_w_22_lineage_is_the_same_however_often_things_ran(flow, tmp_path, where):
    """After five runs by force the walk has each edge once, is transitive, and counts what is there, whatever keeps the facts."""

    @asset
    def report(total, orders):
        return [total, orders]

    made = flow(Pipeline("p", [orders, total, report]), **({"home": tmp_path} if where == "files" else {}))
    for _ in range(5):
        made.run(force=True)
    walk = made.lineage("report")
    edges = [(walk.outputs[e.downstream].asset, e.parameter, walk.outputs[e.upstream].asset) for e in walk.edges]

    assert sorted(edges) == [("report", "orders", "orders"), ("report", "total", "total"), ("total", "orders", "orders")]
    assert {output.partition for output in walk.outputs.values()} == {""}
    assert all(len(output.digest) == HASH for output in walk.outputs.values())
    assert {o.asset for o in made.lineage("orders", direction="downstream").outputs.values()} == {"orders", "total", "report"}


def test_w_22_a_walk_through_many_paths_visits_each_output_once(flow):
    """Forty diamonds on top of each other are 2 to the 40 paths and 160 edges."""
    below = "start"
    assets = [asset(name="start", code_version="1")(lambda: 0)]
    for level in range(40):
        sides = [asset(name=f"{side}{level}", deps={"x": below}, code_version="1")(lambda x: x) for side in ("l", "r")]
        below = f"top{level}"
        deps = {"x": sides[0].name, "y": sides[1].name}
        assets += [*sides, asset(name=below, deps=deps, code_version="1")(lambda x, y: x + y)]
    made = flow(Pipeline("ladder", assets))
    made.run(below)

    assert len(made.lineage(below).edges) == 160


def test_w_22_lineage_that_cannot_be_recorded_undoes_the_step(flow, monkeypatch):
    """There is no output without its lineage: when an edge cannot be written, neither is the output."""

    def refuse(*_):
        raise OSError("no room for lineage")

    made = flow(SHOP)
    made.run("orders")
    monkeypatch.setattr("flowstone.execution.step.record_inputs", lambda tx, id, inputs: refuse() if list(inputs) else None)
    with pytest.raises(FlowStoneError, match="no room for lineage"):
        made.run("total")

    assert not made.exists("total")
    assert [row.status for row in made.show(made.runs()[0].id).materializations if row.asset == "total"] == ["running"]


# -- W-23, W-24, W-25: stores and values --------------------------------------------------------------------------------------


def test_w_23_a_retry_keeps_the_history_and_no_partition_is_null(flow, tmp_path):
    """Each attempt is a row of its own, and what has no partition has an empty text, so that unique keys hold."""

    @asset(retries=Retry(attempts=3, delay=0))
    def flaky(ctx):
        if ctx.attempt < 3:
            raise TimeoutError
        return 1

    made = flow(Pipeline("p", [flaky]), home=tmp_path)
    run_id = made.run().run_id
    attempts = made.show(run_id).attempts
    with sqlite3.connect(tmp_path / "flowstone.db") as database:
        columns = [
            (table, name, required)
            for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            for _, name, _, required, *_ in database.execute(f"PRAGMA table_info('{table}')")
            if name == "partition"
        ]
    database.close()

    assert [(a.number, a.status) for a in attempts] == [(1, "failed"), (2, "failed"), (3, "success")]
    assert [a.started_at for a in attempts] == sorted({a.started_at for a in attempts})
    assert {table for table, _, _ in columns} >= {"materialization", "output", "error", "log"}
    assert [column for column in columns if not column[2]] == []


def test_w_23_reads_and_writes_go_to_the_one_store_that_was_chosen(flow, tmp_path):
    """Two stores side by side know nothing of each other, in memory and in files."""
    one, two, three = flow(SHOP, home=tmp_path / "1"), flow(SHOP, home=tmp_path / "2"), flow(SHOP)
    one.run()

    assert (one.exists("total"), two.exists("total"), three.exists("total")) == (True, False, False)
    with pytest.raises(MissingOutputError, match="total has no value"):
        two.get("total")


@pytest.mark.parametrize("where", ["memory", "files"])
def test_w_24_none_is_a_value_and_absence_is_not(flow, tmp_path, where):
    """A stored ``None`` is loaded by dependants and later runs; a value that is not there is an error, not ``None``."""

    @asset
    def nothing():
        return None

    @asset
    def seen(nothing):
        return [nothing]

    made = flow(Pipeline("p", [nothing, seen]), **({"home": tmp_path} if where == "files" else {}))
    with pytest.raises(FlowStoneError):
        made.get("nothing")
    assert made.run().ok

    assert (made.get("nothing"), made.get("seen")) == (None, [None])
    assert [step.asset for step in made.run().reused] == ["nothing", "seen"]
    output = made.explain("nothing").output
    assert (output.size, len(output.digest)) == (4, HASH)
    assert abs(output.created_at - made.runs()[0].requested_at) < 600 * 10**9


def test_w_25_a_frame_is_stored_as_it_is(flow, tmp_path):
    """The Parquet file has the data, and reads back as the same frame."""
    frame = pl.DataFrame({"day": [date(2026, 11, 23), None], "sum": [1.5, 2.5]})

    @asset
    def table() -> pl.DataFrame:
        return frame

    made = flow(Pipeline("p", [table]), home=tmp_path)
    made.run()
    (stored,) = (tmp_path / "outputs/table").rglob("*.parquet")

    assert pl.read_parquet(stored).equals(frame)
    assert made.get("table").equals(frame)


@pytest.mark.parametrize("kind", ["memory", "files"])
def test_w_25_what_is_deleted_is_gone_and_what_cannot_be_is_said(tmp_path, kind):
    """After ``delete`` the bytes are not there; a deletion that fails raises."""
    manager = FilesIOManager(tmp_path / "outputs") if kind == "files" else MemoryIOManager()
    output = manager.store([1], Target("p", "a", "", "run_1", 1, "out_1"))
    manager.delete(output)

    assert not manager.exists(output)
    with pytest.raises(MissingOutputError):
        manager.load(output)
    if kind == "files":
        (tmp_path / "outputs" / output.location).mkdir()
        with pytest.raises(StorageError):
            manager.delete(output)


def test_w_25_invalidate_tells_the_truth(flow, tmp_path):
    """``invalidate`` says whether there was a value; after it there is none, its bytes stay, and dependants are outdated."""
    made = flow(SHOP, home=tmp_path)
    made.run()
    before = files_in(tmp_path / "outputs")

    assert made.invalidate("orders") is True
    assert made.invalidate("orders") is False
    assert not made.exists("orders")
    assert files_in(tmp_path / "outputs") == before
    assert {c.asset: c.state for c in made.status()} == {"orders": "missing", "total": "outdated"}


def test_w_25_asking_whether_a_value_exists_reads_none_of_it(flow, tmp_path):
    """``exists`` looks at the file's entry: it is answered although the bytes could not be read as the value any more."""
    made = flow(SHOP, home=tmp_path)
    made.run()
    (stored,) = (tmp_path / "outputs/total").rglob("*.json")
    stored.chmod(0o644)
    stored.write_bytes(b"?")

    assert made.exists("total")
    with pytest.raises(StorageError, match="not what was stored"):
        made.get("total")


# -- W-26: partition keys ---------------------------------------------------------------------------------------------------

KEYS = [
    None, "", "1", 1, True, "true", "True", 0, False, "None", "-", " ", "\0", "ä", "a\u0308", "a|b", "d:2024-01-01", "i:1",
    "s:YXxi", "2024-01-01", date(2024, 1, 1), datetime(2024, 1, 1), datetime(2024, 1, 1, tzinfo=UTC), "t:WyJhIl0",
    datetime(2024, 1, 1, tzinfo=timezone(timedelta(hours=1))), ("a", "b"), ("a", ("b",)), (("a",), "b"), (1, "1"), ("1", 1),
    ("a|b",), (), ("",), (None,),
]  # fmt: skip


def test_w_26_partition_keys_are_injective_and_keep_their_type():
    """Keys that differ in value or type have different texts, and each text gives its key back with its type."""
    texts = [encode_key(key) for key in KEYS]
    back = [decode_key(text) for text in texts]

    assert len(set(texts)) == len(KEYS)
    assert [(type(key), key) for key in back] == [(type(key), key) for key in KEYS]


def test_w_26_equal_instants_are_one_key():
    """The same instant in two zones is one key."""
    utc, zurich = datetime(2024, 1, 1, 11, tzinfo=UTC), datetime(2024, 1, 1, 12, tzinfo=timezone(timedelta(hours=1)))

    assert encode_key(utc) == encode_key(zurich)


def test_w_26_code_sees_the_type_it_declared(flow):
    """A key given as text on a command line arrives with the declared type, as one given in Python does."""
    seen = []

    @asset(partitions=Keys(int))
    def a(ctx):
        seen.append(ctx.partition)
        return 1

    made = flow(Pipeline("p", [a]))
    made.run(partition="7")
    made.run(partition=7, force=True)

    assert [(type(key), key) for key in seen] == [(int, 7), (int, 7)]
    assert made.explain("a", partition="7").versions == 2


# -- W-30: nothing is global --------------------------------------------------------------------------------------------------


def test_w_30_runtimes_of_one_pipeline_share_nothing(flow):
    """Two runtimes of one pipeline have their own values, handlers and clocks; closing one leaves the other at work."""
    seen = []
    one, two = flow(SHOP), flow(SHOP)
    one.attach("tests.one", "*", seen.append)
    two.run()

    assert seen == []
    assert (one.exists("total"), two.exists("total")) == (False, True)
    two.close()
    assert one.run().ok
    assert seen != []


def test_w_30_a_changed_definition_is_picked_up(flow, tmp_path):
    """A pipeline that is defined again runs its new code on the old store, at once."""

    def define(value):
        return Pipeline("p", [asset(name="a")(lambda: value)])

    assert flow(define(1), home=tmp_path).run().ok
    second = flow(define(2), home=tmp_path)

    assert [step.asset for step in second.run().materialized] == ["a"]
    assert second.get("a") == 2


def test_w_30_a_closed_runtime_leaves_no_file_open(flow, tmp_path):
    """After ``close`` the process has no descriptor on the store's folder."""
    made = flow(SHOP, home=tmp_path)
    made.run()
    opened = [path for path in descriptors() if path.startswith(str(tmp_path))]
    made.close()
    gc.collect()

    assert opened != []
    assert [path for path in descriptors() if path.startswith(str(tmp_path))] == []


def descriptors() -> list[str]:
    """What this process has open."""
    found = []
    for entry in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # the descriptor that lists the folder
            found.append(str(entry.readlink()))
    return found
