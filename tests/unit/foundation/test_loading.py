"""Users' code is loaded from a file or a module, and what goes wrong is told with its place."""

from __future__ import annotations

import sys

import pytest

from flowstone.foundation.errors import LoadError, ValidationError
from flowstone.foundation.loading import find_default, load_module, split


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder for code; what loading it leaves in the interpreter is taken back."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("reference", "parts"),
    [
        ("pipeline.py", ("pipeline.py", None)),
        ("a/pipeline.py:shop", ("a/pipeline.py", "shop")),
        ("acme.pipelines:shop", ("acme.pipelines", "shop")),
        ("acme.pipelines", ("acme.pipelines", None)),
        ("c:/x/pipeline.py", ("c:/x/pipeline.py", None)),
        ("pipeline.py:", ("pipeline.py:", None)),
    ],
)
def test_a_reference_is_a_place_and_maybe_a_name(reference, parts):
    """What stands after the last colon is a name when it can be one."""
    assert split(reference) == parts


def test_the_nearest_pipeline_file_is_the_default(tmp_path):
    """``pipeline.py`` is looked for here and above; a folder of that name is none."""
    below = tmp_path / "a" / "b"
    (below / "pipeline.py").mkdir(parents=True)
    assert find_default(below) is None

    (tmp_path / "pipeline.py").touch()
    assert find_default(below) == tmp_path / "pipeline.py"


def test_a_file_can_import_its_neighbours(folder):
    """A file is loaded relative to the base and sees the modules beside it."""
    (folder / "sub").mkdir()
    (folder / "sub" / "fs_neighbour.py").write_text("VALUE = 7\n")
    (folder / "sub" / "fs_flow.py").write_text("from fs_neighbour import VALUE\n")

    module = load_module("sub/fs_flow.py", folder)
    assert (module.VALUE, module.__name__, sys.modules["fs_flow"]) == (7, "fs_flow", module)


def test_a_module_is_imported_from_the_base(folder):
    """A dotted name is imported with the base folder on the path."""
    (folder / "fs_package").mkdir()
    (folder / "fs_package" / "flow.py").write_text("VALUE = 8\n")

    assert load_module("fs_package.flow", folder).VALUE == 8


@pytest.mark.parametrize("reference", ["fs_missing.py", "sub/fs_missing", "fs_missing"])
def test_what_is_not_there_is_told(folder, reference):
    """A missing file and a missing module are each an error that names them and says what can be given."""
    with pytest.raises(LoadError, match="fs_missing") as caught:
        load_module(reference, folder)
    assert "FILE_OR_MODULE" in caught.value.hint


@pytest.mark.parametrize(
    ("line", "kind"),
    [
        ("1 / 0", "ZeroDivisionError"),
        ("import fs_gone", "ModuleNotFoundError"),
        ("raise SystemExit(3)", "SystemExit"),
        ("def", "SyntaxError"),
    ],
)
def test_code_that_fails_is_told_with_its_line(folder, line, kind):
    """What users' code raises while it is loaded is told with its type and place, and the half-loaded module is gone."""
    (folder / "fs_broken.py").write_text(f"x = 1\n{line}\n")

    for reference in ("fs_broken.py", "fs_broken"):
        with pytest.raises(LoadError, match=f"importing {reference} raised {kind}") as caught:
            load_module(reference, folder)
        assert kind == "SyntaxError" or f"{folder / 'fs_broken.py'}:2" in str(caught.value)
        assert "fs_broken" not in sys.modules


def test_a_failed_load_keeps_the_module_that_was_there(folder, monkeypatch):
    """A file that fails leaves an older module of its name in place."""
    older = type(sys)("fs_broken")
    monkeypatch.setitem(sys.modules, "fs_broken", older)
    (folder / "fs_broken.py").write_text("1 / 0\n")

    with pytest.raises(LoadError):
        load_module("fs_broken.py", folder)
    assert sys.modules["fs_broken"] is older


def test_errors_of_ours_and_interrupts_pass(folder):
    """A pipeline that is not valid says so itself, and Ctrl-C stops loading."""
    (folder / "fs_invalid.py").write_text(
        "from flowstone.foundation.errors import ValidationError\nraise ValidationError(problems=['a fault'])\n"
    )
    (folder / "fs_stopped.py").write_text("raise KeyboardInterrupt\n")

    with pytest.raises(ValidationError, match="a fault"):
        load_module("fs_invalid.py", folder)
    with pytest.raises(KeyboardInterrupt):
        load_module("fs_stopped.py", folder)
