"""The verbs about what is kept: outputs, hold, and db prune, backup, restore, verify."""

from __future__ import annotations

import io

import pytest


@pytest.fixture
def versions(own, materialize):
    """A project whose source has four versions: the first one's bytes were collected."""
    code = own.folder / "pipeline.py"
    code.write_text(code.read_text().replace("return [1, 2, 3]", "return [1, 2, 10 + int(version()[1:])]"))
    for version in ("v2", "v3", "v4"):
        (own.folder / "orders.txt").write_text(version)
        materialize(own.folder, {"targets": ["total", "orders"]})
    return own


def test_outputs_are_listed_with_what_matters(versions, cli):
    """Each version has size, digest, output, run and time; which is current, held or gone is said."""
    cli("hold", "add", "orders", "--reason", "audit")
    listed = cli("outputs", "list", "orders")
    every = cli("outputs", "list", "orders", "--all", "--json").rows
    gone = cli("outputs", "list", "orders", "--gone")

    assert listed.code == 0
    assert [line.split()[:3] for line in listed.out.splitlines()] == [["orders", "version", str(n)] for n in (4, 3, 2)]
    assert "current, held (hold_" in listed.out.splitlines()[0]
    assert [(row["version"], row["current"], row["gone"]) for row in every] == [
        (4, True, ""), (3, False, ""), (2, False, ""), (1, False, "collected"),
    ]  # fmt: skip
    assert all(row["held"].startswith("hold_") for row in every)
    assert [every[3]["gone_at"][-1], every[0]["gone_at"]] == ["Z", None]
    assert "collected 20" in gone.out
    assert "There are more" in cli("outputs", "list", "--limit", "2").out
    assert cli("outputs", "list", "skipper").out == "No outputs of skipper are kept.\n"


def test_what_is_gone_is_said_where_it_is_asked_for(versions, cli):
    """``get --run`` of a collected value, and ``show`` of its output, say that the bytes are gone and the record stays."""
    first = cli("outputs", "list", "orders", "--gone", "--json").rows[0]
    refused = cli("get", "orders", "--run", first["run_id"])
    shown = cli("show", first["id"])

    assert (refused.code, "were collected on" in refused.err, f"flowstone show {first['id']}" in refused.err) == (2, True, True)
    assert "record and digest stay" in shown.out
    assert "Its value:" not in shown.out


def test_erasing_asks_first(versions, cli, monkeypatch):
    """Without a terminal --yes is needed; at a terminal it asks, and *no* changes nothing; what is behind it is listed."""
    erase = ("outputs", "erase", "orders", "--reason", "asked for")
    alone = cli(*erase)
    terminal = io.StringIO("n\n")
    terminal.isatty = lambda: True
    monkeypatch.setattr("sys.stdin", terminal)
    declined = cli(*erase)
    before = cli("outputs", "list", "orders").out
    done = cli(*erase, "--yes")
    explained = cli("explain", "orders")

    assert (alone.code, "give --yes; nothing was erased" in alone.err) == (2, True)
    assert (declined.code, "Nothing was erased." in declined.out) == (0, True)
    assert "orders  version 4" in before
    assert done.code == 0
    assert "Made from them, and kept" in done.out
    assert "total" in done.out
    assert "Kept: 2 other versions (3, 2)" in done.out
    assert "flowstone run orders" in done.out
    assert "was erased by" in explained.out
    assert "asked for" in explained.out
    assert "its bytes were erased" in cli("status").out


def test_erasing_prints_json(versions, cli):
    """With --json one object tells what went, what stays and what is behind it."""
    told = cli("outputs", "erase", "orders", "--all-versions", "--reason", "x", "--yes", "--json").json

    assert [row["version"] for row in told["outputs"]] == [4, 3, 2]
    assert told["kept"] == []
    assert {row["asset"] for row in told["downstream"]} >= {"total"}
    assert told["current"] == told["outputs"][0]["id"]


def test_a_hold_is_added_listed_and_released(versions, cli):
    """What is held, since when, by whom and why is listed until it is released; erasing it is refused with the way out."""
    output = cli("outputs", "list", "orders", "--json").rows[1]["id"]
    added = cli("hold", "add", "--output", output, "--reason", "court case 7")
    listed = cli("hold", "list", "--json").rows
    refused = cli("outputs", "erase", "orders", "--output", output, "--reason", "x", "--yes")
    released = cli("hold", "release", listed[0]["id"], "--reason", "closed")

    assert f"Held: {output} of orders" in added.out
    assert [(row["output"], row["reason"], row["released_at"]) for row in listed] == [(output, "court case 7", None)]
    assert refused.code == 2
    assert "court case 7" in refused.err
    assert f"flowstone hold release {listed[0]['id']} --reason TEXT" in refused.err
    assert "Released" in released.out
    assert cli("hold", "list").out == "Nothing is held.\n"
    assert "released 20" in cli("hold", "list", "--released").out


def test_a_prune_says_what_went(versions, cli, monkeypatch):
    """A dry run and a prune print counts and bytes for each kind, with the setting that decides."""
    monkeypatch.setenv("FLOWSTONE_RETENTION_OUTPUTS", "1")
    monkeypatch.setenv("FLOWSTONE_RETENTION_LOGS", "0s")
    planned = cli("db", "prune", "--dry-run")
    told = cli("db", "prune", "--dry-run", "--json").json
    done = cli("db", "prune", "--json").json

    assert planned.code == 0
    assert "Would go (nothing was changed):" in planned.out
    assert "retention.outputs is 1" in planned.out
    assert "Do it: flowstone db prune" in planned.out
    assert (told["dry_run"], told["outputs"]["removed"], told["logs"]["removed"] > 0) == (True, 4, True)
    assert told["outputs"]["bytes"] > 0
    assert done == {**told, "dry_run": False}
    assert cli("doctor").code == 0


def test_a_database_is_backed_up_and_restored(versions, cli):
    """Backup, verify, restore elsewhere and compare; an existing file or database is not overwritten unasked."""
    made = cli("db", "backup", "b.db", "--outputs", "bytes", "--verify")
    again = cli("db", "backup", "b.db")
    verified = cli("db", "verify", "b.db", "--outputs", "bytes", "--json")
    restored = cli("--home", "other", "db", "restore", "b.db", "--outputs", "bytes", "--verify")
    value = cli("--home", "other", "get", "orders", "--json")
    full = cli("--home", "other", "db", "restore", "b.db")
    elsewhere = cli("db", "restore", "b.db", "--into", "sqlite:///other/second.db")

    assert (made.code, "Verified: the database is whole" in made.out) == (0, True)
    assert (again.code, "b.db exists" in again.err, "--force" in again.err) == (2, True, True)
    assert (verified.code, verified.json["faults"], verified.json["wrong_bytes"]) == (0, [], [])
    assert (restored.code, "Restored into sqlite:///" in restored.out) == (0, True), restored.err
    assert value.json == [1, 2, 14]
    assert (full.code, "is not empty" in full.err, "--replace" in full.err) == (2, True, True)
    assert (elsewhere.code, "set database.url" in elsewhere.out) == (0, True), elsewhere.err


def test_a_bad_backup_is_a_failure(versions, cli):
    """Verifying exits 1 when bytes are missing, and names them."""
    cli("db", "backup", "b.db", "--outputs", "bytes")
    for path in (versions.folder / "bytes" / "orders").rglob("*.json"):
        path.unlink()
    said = cli("db", "verify", "b.db", "--outputs", "bytes")

    assert said.code == 1
    assert "wrong bytes: orders (out_" in said.out


@pytest.mark.parametrize(
    "arguments",
    [("outputs", "list"), ("hold", "list"), ("db", "prune"), ("db", "prune", "--dry-run"), ("db", "backup", "b.db"),
     ("hold", "release", "hold_1", "--reason", "x"), ("hold", "add", "orders", "--reason", "x"),
     ("outputs", "erase", "orders", "--reason", "x", "--yes")],
)  # fmt: skip
def test_without_a_database_there_is_one_clear_error(cli, tmp_path, monkeypatch, arguments):
    """No database: exit code 2, the way to one, and none is made."""
    monkeypatch.chdir(tmp_path)
    said = cli(*arguments)

    assert (said.code, said.out) == (2, "")
    assert "there is no database yet" in said.err
    assert list(tmp_path.iterdir()) == []
