"""NumPy arrays as ``.npy`` files, without pickle."""

from __future__ import annotations

from typing import Any

from flowstone.foundation.errors import FormatError
from flowstone.foundation.serialize import to_json
from flowstone.io_managers.annotations import class_of, library_of, name_of, wanted
from flowstone.io_managers.format import Stored, Written, library
from flowstone.io_managers.sink import Sink


class NumpyFormat:
    """Arrays of any fixed-size type, structured ones included; shape, byte order and memory order are kept."""

    name = "numpy"

    def extension(self, value: Any) -> str:  # noqa: ARG002
        """Return ``.npy``."""
        return ".npy"

    def can_store(self, value: Any) -> bool:
        """Return whether *value* is exactly an ``ndarray``."""
        return _is_ndarray(type(value))

    def write(self, value: Any, sink: Sink, annotation: Any) -> Written:  # noqa: ARG002
        """Write the array; arrays of Python objects are refused."""
        if value.dtype.hasobject:
            raise FormatError(
                f"the array holds Python objects (dtype {value.dtype}), which only pickle could store",
                hint='convert it with .astype(...), return a list, or declare format="pickle"',
            )
        _numpy().save(sink, value, allow_pickle=False)
        schema = to_json({"dtype": str(value.dtype), "shape": list(value.shape)})
        return Written(value.shape[0] if value.shape else None, schema)

    def read(self, stored: Stored, natural: str, annotation: Any) -> Any:  # noqa: ARG002
        """Return the array."""
        asked = class_of(wanted(annotation))
        if asked is not None and not _is_ndarray(asked):
            raise FormatError(f"the output is an array and cannot be loaded as {name_of(asked)}", hint="annotate np.ndarray")
        return _numpy().load(stored.file, allow_pickle=False)


def _is_ndarray(cls: type) -> bool:
    return cls.__name__ == "ndarray" and library_of(cls) == "numpy"


def _numpy() -> Any:
    return library("numpy", "numpy")
