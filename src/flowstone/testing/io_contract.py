"""The obligations of every IO manager, as tests to inherit.

Write ``class TestMine(IOManagerContract)`` with a fixture ``manager``; managers that keep bytes in files of their own inherit
``FileContract`` as well. What is proved here is what execution, lineage and reuse rely on.
"""

from __future__ import annotations

import hashlib
import itertools
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowstone.foundation.errors import CorruptOutputError, FormatError, MissingOutputError, StorageError
from flowstone.io_managers import IOManager, Output, Target

_numbers = itertools.count(1)

PLAIN_VALUES: list[Any] = [
    None,
    True,
    0,
    -(2**70),
    1.0,
    -0.0,
    5e-324,
    "",
    "line\r\nend\0 ä \U0001f40d",
    b"",
    b"\x00\xff\r\n",
    bytearray(b"ab"),
    [],
    {},
    [None, True, 1, 1.0, "1", [], {}],
    {"z": 1, "a": {"": [1.5, "\u2028"]}},
]
UNSTORABLE: dict[str, Any] = {
    "tuple": {"a": [1, (2, 3)]},
    "nan": [float("nan")],
    "key": {1: "x"},
    "object": [object()],
    "surrogate": "text \ud800",
}
ODD_NAMES = ["a'b\"c", "a/b", "a\\b", "a\0b", "a\nb", "..", ".", "", " ", "-rf", "~", "CON.", "\U0001f40d", "d:2026-11-23", "%2e"]
ODD_NAMES.append("k" * 10_000)


def a_target(**changes: Any) -> Target:
    """Return a target that no other call has returned, but for *changes*."""
    number = next(_numbers)
    fields: dict[str, Any] = {"project": "shop", "asset": "orders", "partition": "", "run_id": f"run_{number}", "attempt": 1}
    return Target(**{**fields, "output_id": f"out_{number:012d}", **changes})


class IOManagerContract:
    """What holds for every manager; override ``manager``."""

    @pytest.fixture
    def manager(self, tmp_path: Path) -> IOManager:
        """Return the manager under test, empty."""
        raise NotImplementedError("a subclass of IOManagerContract needs a fixture `manager`")

    @pytest.mark.parametrize("value", PLAIN_VALUES, ids=lambda value: repr(value)[:30])
    def test_round_trip(self, manager: IOManager, value: Any) -> None:
        """A plain value comes back equal and of the same types, ``None`` and empty values included."""
        loaded = manager.load(manager.store(value, a_target()))
        assert repr(loaded) == repr(value)

    def test_large_value(self, manager: IOManager) -> None:
        """A value of 5 MB comes back whole, with its size and digest recorded."""
        value = bytes(range(256)) * 20_000
        output = manager.store(value, a_target())
        assert manager.load(output) == value
        assert (output.size, output.digest) == (len(value), hashlib.sha256(value).hexdigest())

    def test_record_matches_bytes(self, manager: IOManager) -> None:
        """Size and digest are those of the bytes that are read back, and the output names its manager."""
        output = manager.store({"rows": [1, 2]}, a_target())
        data = manager.read_bytes(output)
        assert (output.size, output.digest) == (len(data), hashlib.sha256(data).hexdigest())
        assert output.manager == manager.name

    def test_equal_values_have_equal_digests(self, manager: IOManager) -> None:
        """Equal values have one digest in any run; different values, partly of equal text, have different ones."""
        digests = [manager.store(value, a_target()).digest for value in ([1, "a"], [1, "a"], [1, "b"], ["1", "a"], [1.0, "a"])]
        assert digests[0] == digests[1]
        assert len(set(digests)) == 4

    def test_versions_stand_side_by_side(self, manager: IOManager) -> None:
        """A later attempt, run or partition leaves every earlier version as it was."""
        targets = [a_target(), a_target(attempt=2), a_target(partition="eu"), a_target(asset="refunds")]
        outputs = [manager.store(f"value {number}", target) for number, target in enumerate(targets)]
        if manager.versioned:
            assert [manager.load(output) for output in outputs] == [f"value {number}" for number in range(4)]
            assert len({output.location for output in outputs}) == 4

    def test_only_own_bytes_are_deleted(self, manager: IOManager) -> None:
        """Deleting an output leaves one with equal, shared bytes readable, and deleting twice is no error."""
        first = manager.store("same", a_target())
        second = manager.store("same", a_target(), previous=first)
        manager.delete(first)
        manager.delete(first)
        assert not manager.exists(first)
        assert manager.exists(second)
        assert manager.load(second) == "same"

    def test_missing_is_an_error(self, manager: IOManager) -> None:
        """An absent output is ``MissingOutputError`` with its location, for loading and for reading bytes, never ``None``."""
        output = manager.store(None, a_target())
        manager.delete(output)
        for read in (manager.load, manager.read_bytes):
            with pytest.raises(MissingOutputError) as caught:
                read(output)
            assert caught.value.context["location"] == output.location
            assert not caught.value.retryable

    @pytest.mark.parametrize("kind", UNSTORABLE)
    def test_unstorable_value_is_refused(self, manager: IOManager, kind: str) -> None:
        """What the declared format cannot hold exactly is a ``FormatError`` that names the asset and has a hint."""
        with pytest.raises(FormatError, match="orders") as caught:
            manager.store(UNSTORABLE[kind], a_target(), format="text" if kind == "surrogate" else "json")
        assert caught.value.hint

    def test_unknown_format_is_refused(self, manager: IOManager) -> None:
        """A misspelt format is refused with the closest name."""
        with pytest.raises(FormatError, match="parquet"):
            manager.store([1], a_target(), format="parkett")

    def test_user_errors_pass_while_streaming(self, manager: IOManager) -> None:
        """What a generator raises reaches the caller unchanged, an ``OSError`` or an interrupt too, and nothing is stored."""
        for raised in (ValueError("mine"), TimeoutError("theirs"), KeyboardInterrupt()):
            target = a_target()
            with pytest.raises(type(raised)) as caught:
                manager.store(failing_stream(raised), target)
            assert caught.value is raised

    def test_streams_can_be_loaded_twice(self, manager: IOManager) -> None:
        """An iterator of bytes or text is stored as one value, which can be loaded again and again."""
        for pieces in ([b"ab", b"", b"c"], ["ä", "b"], [b"x" * 700_000, b"y" * 700_000, b"z"]):
            output = manager.store(iter(pieces), a_target())
            whole = type(pieces[0])().join(pieces)  # type: ignore[arg-type]
            assert [manager.load(output), manager.load(output)] == [whole, whole]

    def test_streams_of_nothing_known_are_refused(self, manager: IOManager) -> None:
        """An iterator that is empty and not annotated, or that gives no bytes, text or frames, is a ``FormatError``."""
        for pieces in ([], [{"a": 1}]):
            with pytest.raises(FormatError, match="iterator"):
                manager.store(iter(pieces), a_target())
        output = manager.store(iter(()), a_target(), annotation=Iterator[bytes])
        assert manager.load(output) == b""

    def test_annotation_decides(self, manager: IOManager) -> None:
        """The consumer's annotation converts typed containers, gives raw bytes or the output, and refuses what is not so."""
        output = manager.store([1, 2], a_target())
        assert manager.load(output, set[int]) == {1, 2}
        assert manager.load(output, list[int] | None) == [1, 2]
        assert manager.load(output, Any) == [1, 2]
        assert manager.load(output, bytes) == b"[1,2]"
        assert manager.load(output, Output) is output
        raw = manager.store(b"abc", a_target())
        assert (manager.load(raw, str), manager.load(raw, bytearray)) == ("abc", bytearray(b"abc"))
        for wrong in (list[str], dict):
            with pytest.raises(FormatError) as caught:
                manager.load(output, wrong)
            assert caught.value.hint

    @pytest.mark.parametrize("field", ["asset", "partition", "run_id", "output_id"])
    def test_odd_names(self, manager: IOManager, field: str) -> None:
        """Any text can name an asset, a partition, a run or an output: quotes, slashes, NUL, dots, emoji, nothing, 10 KB."""
        outputs = [(name, manager.store(name, a_target(**{field: name}))) for name in ODD_NAMES]
        assert [manager.load(output) for _, output in outputs] == ODD_NAMES
        for _, output in outputs[::2]:
            manager.delete(output)
        assert [manager.exists(output) for _, output in outputs] == [False, True] * (len(ODD_NAMES) // 2)

    def test_concurrent_stores(self, manager: IOManager) -> None:
        """Eight threads storing and loading versions of one asset at the same moment disturb nobody."""
        barrier, wrong = threading.Barrier(8), list[object]()

        def work(number: int) -> None:
            try:
                barrier.wait(10)
                for step in range(10):
                    value = {"thread": number, "step": step, "bulk": "x" * 1000 * number}
                    if manager.load(manager.store(value, a_target(run_id="run_1"))) != value:
                        wrong.append(value)
            except Exception as error:  # noqa: BLE001 - told by the assertion below
                wrong.append(error)

        threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert wrong == []
        assert not any(thread.is_alive() for thread in threads)


class FileContract(IOManagerContract):
    """What holds as well for managers that keep each output in a file; override ``folder`` if it is not ``tmp_path``."""

    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """Return the folder that holds everything the manager writes."""
        return tmp_path

    def test_damage_is_found(self, manager: IOManager) -> None:
        """A changed byte, a cut end, an added end and an emptied file are each ``CorruptOutputError``, however it is loaded."""
        for damage in (lambda data: b"9" + data[1:], lambda data: data[:-1], lambda data: data + b" ", lambda _: b""):
            output = manager.store([1, 2, 3], a_target())
            path = file_of(manager, output)
            data = path.read_bytes()
            path.unlink()
            path.write_bytes(damage(data))
            for read in (manager.load, manager.read_bytes, lambda output: manager.load(output, Path)):
                with pytest.raises(CorruptOutputError) as caught:
                    read(output)
                assert caught.value.context["location"] == output.location

    def test_damage_of_a_large_file_is_found(self, manager: IOManager) -> None:
        """One changed byte in the middle of 5 MB is found."""
        output = manager.store(bytes(5_000_000), a_target())
        path = file_of(manager, output)
        data = bytearray(path.read_bytes())
        data[2_500_000] = 1
        path.unlink()
        path.write_bytes(data)
        with pytest.raises(CorruptOutputError):
            manager.load(output)

    def test_failures_leave_nothing(self, manager: IOManager, folder: Path) -> None:
        """A refused value, a failing generator and an interrupt leave no file behind, not even a temporary one."""
        for raised in (ValueError("mine"), KeyboardInterrupt()):
            with pytest.raises(type(raised)):
                manager.store(failing_stream(raised), a_target())
        with pytest.raises(FormatError):
            manager.store([float("inf")], a_target())
        assert files_in(folder) == []

    def test_stores_leave_one_file_each(self, manager: IOManager, folder: Path) -> None:
        """After storing, the folder holds one file for each output and nothing else, shared or not."""
        first = manager.store("same", a_target())
        outputs = [first, manager.store("same", a_target(), previous=first), manager.store([1], a_target())]
        assert files_in(folder) == sorted(file_of(manager, output) for output in outputs)

    def test_consumer_gets_the_file(self, manager: IOManager, folder: Path) -> None:
        """A consumer annotated ``Path`` gets a file inside the folder with the stored bytes, whatever the format."""
        for value in ("text", [1], b"x", None):
            output = manager.store(value, a_target())
            path = manager.load(output, Path)
            assert path.is_relative_to(folder)
            assert path.read_bytes() == manager.read_bytes(output)

    def test_returned_file_is_copied(self, manager: IOManager, tmp_path_factory: pytest.TempPathFactory) -> None:
        """A returned ``Path`` is copied in: what the user does to the original later changes nothing."""
        original = tmp_path_factory.mktemp("users") / "model.onnx"
        original.write_bytes(b"weights")
        output = manager.store(original, a_target())
        original.write_bytes(b"other")
        assert manager.load(output).read_bytes() == b"weights"
        assert manager.load(output).suffix == ".onnx"

    def test_returned_path_must_be_a_file(self, manager: IOManager, folder: Path) -> None:
        """A returned ``Path`` to nothing or to a folder is a ``FormatError`` that says which."""
        for path, reason in ((folder / "absent", "cannot be read"), (folder, "is a folder")):
            with pytest.raises(FormatError, match=reason):
                manager.store(path, a_target())

    @pytest.mark.parametrize("location", ["../outside", "/etc/hostname", "a/../../b", "", ".", "a//b", "a\0b", "a\\..\\b"])
    def test_locations_stay_inside(self, manager: IOManager, location: str) -> None:
        """A recorded location that leaves the folder is refused by every verb."""
        real = manager.store("x", a_target())
        output = Output(location, "text", real.digest, real.size, real.manager)
        for verb in (manager.load, manager.exists, manager.delete, manager.path, manager.read_bytes):
            with pytest.raises(StorageError, match="leaves the folder"):
                verb(output)


def failing_stream(error: BaseException) -> Iterator[bytes]:
    """Give more than two megabytes, so that some of it is on its way, then raise *error*."""
    yield b"x" * 1_500_000
    yield b"y" * 1_500_000
    raise error


def file_of(manager: IOManager, output: Output) -> Path:
    """Return the output's file, which this manager must have."""
    path = manager.path(output)
    assert path is not None
    return path


def files_in(folder: Path) -> list[Path]:
    """Return every file under *folder*, hidden ones included."""
    return sorted(path for path in folder.rglob("*") if not path.is_dir())
