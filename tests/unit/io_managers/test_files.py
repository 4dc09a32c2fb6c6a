"""What is special about values kept in files: atomic, shared, durable, honest about the disk."""

from __future__ import annotations

import errno
import os
import pickle
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from flowstone.foundation.errors import (
    CorruptOutputError,
    FlowStoneError,
    FormatError,
    MissingOutputError,
    SettingsError,
    StorageError,
    TransientStorageError,
)
from flowstone.io_managers import FilesIOManager
from flowstone.testing.io_contract import a_target, file_of, files_in


@pytest.fixture
def files(tmp_path: Path) -> FilesIOManager:
    return FilesIOManager(tmp_path / "outputs")


def failing(number: int, *, only: str = "") -> Any:
    """Return a stand-in for an ``os`` function that fails with errno *number*."""

    def fail(*arguments: Any, **_: Any) -> Any:
        raise OSError(number, os.strerror(number), only or None)

    return fail


def test_location_can_be_read_by_people(files: FilesIOManager) -> None:
    """The location says asset, partition, run, attempt and output, relative to the folder."""
    output = files.store([1], a_target(partition="d:2026-11-23", run_id="run_3k9x", attempt=2, output_id="out_abc"))
    assert output.location == "orders/d~2026-11-23/run_3k9x-2-abc.json"
    assert file_of(files, output) == files.root / output.location


def test_folder_can_be_moved(files: FilesIOManager, tmp_path: Path) -> None:
    """Outputs are still read after the whole folder moved."""
    output = files.store("x", a_target())
    files.root.rename(tmp_path / "elsewhere")
    assert FilesIOManager(tmp_path / "elsewhere").load(output) == "x"


def test_relative_root_survives_chdir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A relative folder is the one it was when the manager was made, also after user code changed directory."""
    monkeypatch.chdir(tmp_path)
    files = FilesIOManager(Path("outputs"))
    (tmp_path / "deeper").mkdir()
    monkeypatch.chdir(tmp_path / "deeper")
    output = files.store("x", a_target())
    assert (tmp_path / "outputs" / output.location).read_text() == "x"


def test_outputs_are_read_only(files: FilesIOManager) -> None:
    """A stored file carries no write permission, because other outputs may share it."""
    assert stat.S_IMODE(file_of(files, files.store("x", a_target())).stat().st_mode) & 0o222 == 0


def test_equal_bytes_are_shared(files: FilesIOManager) -> None:
    """An output with the bytes of the previous one is another name of the same file; other bytes get their own."""
    first = files.store("same", a_target())
    second = files.store("same", a_target(), previous=first)
    third = files.store("other", a_target(), previous=second)
    assert file_of(files, first).samefile(file_of(files, second))
    assert not file_of(files, third).samefile(file_of(files, second))


def test_damaged_bytes_are_not_shared(files: FilesIOManager) -> None:
    """A previous file that was damaged or is gone since is not shared: the new output keeps its own good bytes."""
    for harm in (lambda path: path.write_text("evil"), lambda path: None):
        first = files.store("same", a_target())
        path = file_of(files, first)
        path.unlink()
        harm(path)
        assert files.load(files.store("same", a_target(), previous=first)) == "same"


def test_file_systems_without_links(files: FilesIOManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where linking fails the output keeps a file of its own, and nothing is left over."""
    first = files.store("same", a_target())
    monkeypatch.setattr(os, "link", failing(errno.EMLINK))
    second = files.store("same", a_target(), previous=first)
    assert files.load(second) == "same"
    assert len(files_in(files.root)) == 2


def test_link_that_cannot_be_renamed(files: FilesIOManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the shared name cannot take the new file's place, the output keeps its own bytes and the spare name goes."""
    first = files.store("same", a_target())
    replace = os.replace
    monkeypatch.setattr(
        os, "replace", lambda source, target: (failing(errno.EPERM) if "-link" in source else replace)(source, target)
    )
    second = files.store("same", a_target(), previous=first)
    assert files.load(second) == "same"
    assert files_in(files.root) == sorted([file_of(files, first), file_of(files, second)])


def test_storing_the_same_target_again(files: FilesIOManager) -> None:
    """Storing to one target twice, even with itself as the previous output, leaves one file with the last value."""
    target = a_target()
    first = files.store("one", target)
    second = files.store("one", target, previous=first)
    assert len(files_in(files.root)) == 1
    assert files.load(second) == "one"
    assert files.load(files.store("two", target, previous=second)) == "two"
    with pytest.raises(CorruptOutputError):
        files.load(first)


@pytest.mark.parametrize("function", ["open", "write", "replace", "makedirs"])
@pytest.mark.parametrize(
    ("number", "retryable"), [(errno.ENOSPC, False), (errno.EACCES, False), (errno.ETIMEDOUT, True), (errno.EAGAIN, True)]
)
def test_disk_failures(
    files: FilesIOManager, monkeypatch: pytest.MonkeyPatch, function: str, number: int, retryable: bool
) -> None:
    """A failing disk is a storage error that names asset, errno and whether waiting helps, and leaves no file."""
    with monkeypatch.context() as patch:
        patch.setattr(os, function, failing(number))
        if function == "open":
            (files.root / "orders" / "@none").mkdir(parents=True)
        with pytest.raises(StorageError, match="asset 'orders': could not store") as caught:
            files.store([1], a_target())
    assert caught.value.retryable is retryable
    assert caught.value.context["errno"] == errno.errorcode[number]
    assert isinstance(caught.value.__cause__, OSError)
    assert files_in(files.root) == []


def test_retryable_crosses_processes() -> None:
    """A transient error is still retryable after it was pickled to the parent process."""
    error = pickle.loads(pickle.dumps(TransientStorageError("busy", hint="wait", location="a")))
    assert isinstance(error, FlowStoneError)
    assert (error.retryable, error.hint, error.context) == (True, "wait", {"location": "a"})


@pytest.mark.parametrize("verb", ["load", "exists", "delete"])
def test_unreadable_is_not_missing(files: FilesIOManager, monkeypatch: pytest.MonkeyPatch, verb: str) -> None:
    """A file that cannot be reached is an error of its own, never taken for absent or deleted."""
    output = files.store([1], a_target())
    for name in ("stat", "unlink"):
        monkeypatch.setattr(os, name, failing(errno.EACCES))
    monkeypatch.setattr("builtins.open", failing(errno.EACCES))
    with pytest.raises(StorageError, match=verb if verb != "exists" else "look for") as caught:
        getattr(files, verb)(output)
    monkeypatch.undo()
    assert not isinstance(caught.value, MissingOutputError)
    assert files.load(output) == [1]


def test_short_writes_are_completed(files: FilesIOManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that writes only part of what it was given is asked again until all is written."""
    write = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: write(descriptor, bytes(data[:3])))
    assert files.load(files.store("a longer text", a_target())) == "a longer text"


def test_truncated_does_not_exist(files: FilesIOManager) -> None:
    """A file of another size than recorded does not count as the output."""
    output = files.store("four", a_target())
    path = file_of(files, output)
    path.unlink()
    path.write_text("fo")
    assert not files.exists(output)


def test_power_syncs_file_and_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With durability ``power`` the bytes are synced before the rename and each new folder's name after it; else nothing is."""
    steps: list[str] = []
    fsync, replace = os.fsync, os.replace

    def syncing(descriptor: int) -> None:
        steps.append("folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "file")
        fsync(descriptor)

    def renaming(source: str, target: str) -> None:
        steps.append("rename")
        replace(source, target)

    monkeypatch.setattr(os, "fsync", syncing)
    monkeypatch.setattr(os, "replace", renaming)
    files = FilesIOManager(tmp_path)
    files.store([1], a_target())
    assert steps == ["rename"]
    steps.clear()
    files.store([1], a_target(), durability="power")
    assert steps == ["file", "rename", "folder", "folder", "folder"]
    steps.clear()
    FilesIOManager(tmp_path, durability="power").store([1], a_target(), durability="process")
    assert steps == ["rename"]


def test_power_holds_for_shared_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes first stored without power are synced when an output that asks for power shares them."""
    files = FilesIOManager(tmp_path)
    first = files.store("same", a_target())
    synced: list[int] = []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda descriptor: (synced.append(os.fstat(descriptor).st_ino), fsync(descriptor)))
    second = files.store("same", a_target(), previous=first, durability="power")
    assert file_of(files, first).stat().st_ino == file_of(files, second).stat().st_ino == synced[0]


def test_unknown_durability(tmp_path: Path) -> None:
    """A durability that does not exist is a settings error."""
    with pytest.raises(SettingsError, match="'forever'"):
        FilesIOManager(tmp_path, durability="forever")  # type: ignore[arg-type]


def test_sweep_removes_only_old_leftovers(files: FilesIOManager) -> None:
    """Only temporary files nobody has written to for long enough are removed; outputs and writes in progress stay."""
    output = files.store("x", a_target())
    folder = file_of(files, output).parent
    old, new = folder / ".tmp-old", folder / ".tmp-new"
    for path in (old, new):
        path.write_text("half")
    hours_ago = time.time() - 7200
    os.utime(old, (hours_ago, hours_ago))
    os.utime(file_of(files, output), (hours_ago, hours_ago))
    assert files.sweep(3600) == 1
    assert files_in(files.root) == sorted([new, file_of(files, output)])
    assert FilesIOManager(files.root / "nowhere").sweep(0) == 0


def test_pickle_only_when_both_sides_say_so(files: FilesIOManager) -> None:
    """Pickle is written only where it is declared and read only where it is allowed; a changed record cannot turn it on."""
    with pytest.raises(FormatError):
        files.store({1, 2}, a_target())
    output = files.store({1, 2}, a_target(), format="pickle")
    assert files.load(output, allow_pickle=True) == {1, 2}
    assert files.load(output, bytes)[:1] == b"\x80"
    with pytest.raises(FormatError, match="runs code"):
        files.load(output)
    with pytest.raises(FormatError, match="cannot be pickled"):
        files.store(lambda: None, a_target(), format="pickle")


def test_unknown_recorded_format(files: FilesIOManager) -> None:
    """An output whose format this version does not know is a ``FormatError`` that names the location."""
    output = files.store("x", a_target())
    newer = type(output)(output.location, "avro", output.digest, output.size, output.manager)
    with pytest.raises(FormatError, match="avro") as caught:
        files.load(newer)
    assert caught.value.context["location"] == output.location


def test_only_the_named_process_loses_its_temporary_files(tmp_path):
    """Sweeping after one dead process leaves what a living one is writing."""
    manager = FilesIOManager(tmp_path, owner="proc_dead")
    (tmp_path / "a").mkdir()
    for name in (".tmp-proc_dead-new_1", ".tmp-proc_living-new_2", "value.json"):
        (tmp_path / "a" / name).write_text("")

    assert manager.sweep(0, owner="proc_dead") == 1
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [".tmp-proc_living-new_2", "value.json"]
