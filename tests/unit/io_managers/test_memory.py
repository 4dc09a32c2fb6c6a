"""What is special about values kept in memory."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest

from flowstone.foundation.errors import CorruptOutputError, FormatError, MissingOutputError
from flowstone.io_managers import FilesIOManager, MemoryIOManager, Target
from flowstone.testing.io_contract import a_target


def test_the_object_itself_comes_back() -> None:
    """Loading returns the very object that was stored, annotated with its class or not."""
    memory = MemoryIOManager()
    for value, annotation in ([1], None), ([1], list), ({"a": 1}, Any), (object(), None), (None, None):
        output = memory.store(value, a_target())
        assert memory.load(output, annotation) is value


def test_opaque_values_never_count_as_equal() -> None:
    """A value no format holds is kept with a digest of its own each time, so that reuse cannot lie."""
    memory, value = MemoryIOManager(), object()
    one, other = memory.store(value, a_target()), memory.store(value, a_target())
    assert (one.format, one.size) == ("object", 0)
    assert one.digest != other.digest
    with pytest.raises(FormatError, match="no format holds"):
        memory.read_bytes(one)


@pytest.mark.parametrize("value", [None, {"b": 1, "a": [1.5]}, "text", b"bytes", [True]], ids=repr)
def test_digests_are_those_of_files(tmp_path: Path, value: Any) -> None:
    """A value has the same digest, size, rows and format in memory and in a file."""
    kept, filed = MemoryIOManager().store(value, a_target()), FilesIOManager(tmp_path).store(value, a_target())
    assert (kept.digest, kept.size, kept.rows, kept.format) == (filed.digest, filed.size, filed.rows, filed.format)


def test_changed_objects_are_found() -> None:
    """An object that was changed after it was stored is ``CorruptOutputError`` for whoever reads its bytes."""
    memory, value = MemoryIOManager(), [1]
    output = memory.store(value, a_target())
    value.append(2)
    with pytest.raises(CorruptOutputError, match="was changed"):
        memory.read_bytes(output)


def test_another_process_has_nothing() -> None:
    """An output of another process is missing here, and the hint says how values outlive their process."""
    output = MemoryIOManager().store(1, a_target())
    with pytest.raises(MissingOutputError) as caught:
        MemoryIOManager().load(output)
    assert "files" in (caught.value.hint or "")


def test_there_is_no_file(tmp_path: Path) -> None:
    """A consumer that wants a ``Path`` is told to use files, and ``path`` is ``None``; a path kept as a value comes back."""
    memory = MemoryIOManager()
    output = memory.store([1], a_target())
    assert memory.path(output) is None
    with pytest.raises(FormatError, match="has no file"):
        memory.load(output, Path)
    users = tmp_path / "model.onnx"
    users.write_bytes(b"weights")
    kept = memory.store(users, a_target())
    assert (memory.load(kept), memory.load(kept, Path), kept.format) == (users, users, "object")


def test_spent_iterators_are_not_kept() -> None:
    """An iterator no format streams is refused rather than kept half read."""
    with pytest.raises(FormatError, match="iterator of int"):
        MemoryIOManager().store(iter([1, 2]), a_target())


def test_small_values_are_cheap() -> None:
    """The stored record of a small value holds no bytes: it is encoded again only when somebody asks."""
    memory = MemoryIOManager()
    output = memory.store({"a": 1}, a_target())
    assert memory._kept[output.location].data is None
    assert memory.read_bytes(output) == b'{"a":1}'


def test_outputs_and_targets_can_cross_processes() -> None:
    """Outputs and targets are pickled to children and come back equal."""
    output = MemoryIOManager().store([1], a_target())
    target: Target = a_target()
    assert pickle.loads(pickle.dumps((output, target))) == (output, target)
