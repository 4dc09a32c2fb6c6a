"""What users' code wrote itself is recorded where it is: read back unchanged or not at all, and never deleted."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import polars as pl
import pytest

from flowstone.foundation.errors import CorruptOutputError, FormatError, MissingOutputError, StorageError
from flowstone.io_managers import External, ExternalIOManager, Output
from flowstone.testing.io_contract import a_target


@pytest.fixture
def manager(tmp_path: Path) -> ExternalIOManager:
    return ExternalIOManager(tmp_path / "project")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "project" / "data" / "big.bin"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"12345")
    return path


def test_a_file_is_recorded_and_read_back(manager: ExternalIOManager, file: Path) -> None:
    """A file inside the project is known by its relative path, with the digest and size of its bytes as they are now."""
    output = manager.store(External(file, rows=5, schema={"n": "int"}), a_target())

    assert (output.location, output.format, output.size, output.rows) == ("data/big.bin", "file", 5, 5)
    assert output.digest == hashlib.sha256(b"12345").hexdigest()
    assert json.loads(output.schema or "") == {"n": "int"}
    assert manager.load(output) == manager.load(output, Path | None) == manager.path(output) == file
    assert (manager.load(output, str), manager.load(output, bytes), manager.load(output, Output)) == (str(file), b"12345", output)
    assert manager.exists(output)


def test_the_project_can_be_moved(manager: ExternalIOManager, file: Path, tmp_path: Path) -> None:
    """Paths inside the project survive moving it; others are kept whole."""
    output = manager.store(External(str(file)), a_target())
    (tmp_path / "elsewhere.bin").write_bytes(b"x")
    outside = manager.store(External(tmp_path / "elsewhere.bin"), a_target())
    (tmp_path / "project").rename(tmp_path / "moved")
    moved = ExternalIOManager(tmp_path / "moved")

    assert moved.load(output, bytes) == b"12345"
    assert (outside.location, moved.load(outside, bytes)) == (str(tmp_path / "elsewhere.bin"), b"x")


def test_what_was_written_over_is_told(manager: ExternalIOManager, file: Path) -> None:
    """An older record of a file that was written over, or is gone, gives no value that is not its own."""
    output = manager.store(External(file), a_target())
    file.write_bytes(b"54321")
    for annotation in (None, Path, bytes):
        with pytest.raises(CorruptOutputError, match="written over or changed since"):
            manager.load(output, annotation)
    file.write_bytes(b"longer than before")
    assert not manager.exists(output)
    file.unlink()
    assert not manager.exists(output)
    with pytest.raises(MissingOutputError, match="is gone"):
        manager.load(output)


def test_a_digest_of_ones_own_is_taken_as_it_is(manager: ExternalIOManager, file: Path) -> None:
    """A given digest is recorded, not compared with the bytes; the size still is."""
    output = manager.store(External(file, digest="v7"), a_target())
    assert (output.digest, output.format, output.size) == ("v7", "file+given", 5)
    file.write_bytes(b"54321")
    assert manager.load(output, bytes) == b"54321"
    file.write_bytes(b"1")
    with pytest.raises(CorruptOutputError):
        manager.load(output)


def test_folders_and_other_places_need_a_digest(manager: ExternalIOManager, file: Path) -> None:
    """A folder, and a location that is no path, are recorded with the digest that users' code gives."""
    folder = manager.store(External(file.parent, digest="2 files"[:1]), a_target())
    table = manager.store(External("postgres://db/orders", rows=9, digest="9"), a_target())

    assert (folder.format, manager.load(folder), manager.exists(folder)) == ("folder", file.parent, True)
    assert (table.format, table.location, manager.exists(table), manager.path(table)) == (
        "location", "postgres://db/orders", True, None,
    )  # fmt: skip
    assert manager.load(table) == manager.load(table, str) == "postgres://db/orders"
    for location in (file.parent, "s3://bucket/key"):
        with pytest.raises(FormatError, match="cannot tell when it changes"):
            manager.store(External(location), a_target())
    file.unlink()
    file.parent.rmdir()
    with pytest.raises(MissingOutputError):
        manager.load(folder)
    assert not manager.exists(folder)


def test_what_cannot_be_recorded_is_refused(manager: ExternalIOManager, tmp_path: Path) -> None:
    """A missing file, a digest that is none, a value, and a declared format are refused with the asset's name."""
    for value, options in (
        (External(tmp_path / "not there"), {}),
        (External("s3://a/b", digest="two words"), {}),
        ({"a": 1}, {}),
        (External("s3://a/b", digest="1"), {"format": "json"}),
    ):
        with pytest.raises(FormatError, match="asset 'orders': ") as caught:
            manager.store(value, a_target(), **options)
        assert caught.value.hint


def test_other_types_are_refused(manager: ExternalIOManager, file: Path) -> None:
    """What users' code wrote is handed out as a place or as bytes, and is not interpreted."""
    stored = manager.store(External(file), a_target())
    table = manager.store(External("postgres://db/orders", digest="9"), a_target())
    for output, annotation in ((stored, pl.DataFrame), (stored, dict[str, int]), (table, Path), (table, bytes)):
        with pytest.raises(FormatError, match="cannot be loaded as") as caught:
            manager.load(output, annotation)
        assert "annotate" in (caught.value.hint or "")
    with pytest.raises(FormatError):
        manager.read_bytes(table)


def test_nothing_is_deleted(manager: ExternalIOManager, file: Path) -> None:
    """FlowStone does not delete what it did not write."""
    output = manager.store(External(file), a_target())
    with pytest.raises(StorageError, match="does not delete it"):
        manager.delete(output)
    assert file.exists()
