"""Who may import whom. The floors themselves are written in ``pyproject.toml``; here it is proved that they hold."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys

import pytest

LIBRARIES = {
    "alembic": {"flowstone.stores"},
    "click": {"flowstone.cli"},
    "prometheus_client": {"flowstone.observability"},
    "rich": {"flowstone.cli"},
    "sqlalchemy": {"flowstone.stores", "flowstone.ledger"},
    "pytest": {"flowstone.testing"},
}
"""Who may import a library that shapes what surrounds it; every other library may be used where it is needed."""


def lint(root, sources):
    """Run the contracts over the packages in *sources*; return the exit code and the report."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"]
    environment = os.environ | {"PYTHONPATH": str(sources), "COLUMNS": "200"}
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_the_floors_hold(root):
    """Every contract of ``pyproject.toml`` is kept by the code as it is."""
    code, report = lint(root, root / "src")

    assert code == 0, report
    assert "KEPT" in report


@pytest.mark.parametrize(
    ("path", "line", "complaint"),
    [
        ("foundation/planted.py", "import flowstone.events.event", "foundation is not allowed to import flowstone.events"),
        ("events/planted.py", "import flowstone.assets.planted", "events is not allowed to import flowstone.assets"),
        ("cellar/__init__.py", "", "cellar"),
        ("events/planted.py", "import flowstone_demo", "flowstone is not allowed to import flowstone_demo"),
        ("foundation/errors.py", "import flowstone.foundation.ids", "No cycles between siblings, at any depth BROKEN"),
    ],
    ids=["upwards", "sideways", "a folder on no floor", "the demo", "a cycle"],
)
def test_a_wrong_import_fails_the_build(root, tmp_path, path, line, complaint):
    """Each kind of wrong import, planted in a copy, is reported by name."""
    copy = tmp_path / "src"
    shutil.copytree(root / "src", copy, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(root / "pyproject.toml", tmp_path)
    (copy / "flowstone/assets").mkdir(exist_ok=True)
    (copy / "flowstone/assets/__init__.py").touch()
    (copy / "flowstone/assets/planted.py").touch()
    (copy / "flowstone/foundation/ids.py").write_text("import flowstone.foundation.errors\n")
    planted = copy / "flowstone" / path
    planted.parent.mkdir(exist_ok=True)
    planted.write_text(line + "\n")

    code, report = lint(tmp_path, copy)

    assert code == 1, report
    assert complaint in " ".join(report.split())


def test_libraries_stay_where_they_belong(house):
    """The database, the terminal and the test library are imported only by the rooms that are about them."""
    astray = []
    for module in house:
        for node in module.walk():
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            for name in names:
                rooms = LIBRARIES.get(name.split(".")[0])
                if rooms is not None and module.room not in rooms:
                    astray.append(f"{module.at(node)}: {name}, which belongs to {', '.join(sorted(rooms))}")

    assert astray == []
