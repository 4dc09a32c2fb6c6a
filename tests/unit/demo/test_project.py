"""The project that the demo copies: short, honest about itself and in step with the library."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import flowstone_demo

PROJECT = Path(flowstone_demo.__file__).parent / "project"


@pytest.fixture(scope="module")
def tree():
    return ast.parse((PROJECT / "pipeline.py").read_text())


def asset_names(tree):
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    return [function.name for function in functions if any("asset" in ast.unparse(each) for each in function.decorator_list)]


def test_the_pipeline_is_short():
    """pipeline.py has less than 120 lines."""
    assert len((PROJECT / "pipeline.py").read_text().splitlines()) < 120


def test_every_library_function_the_pipeline_calls_exists(tree):
    """Each review.module.function in pipeline.py is a function of the library."""
    used = {ast.unparse(node) for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    called = {name for name in used if name.startswith("review.") and name.count(".") == 2}

    assert len(called) > 15
    for name in called:
        _, module, function = name.split(".")
        assert callable(getattr(getattr(flowstone_demo, module), function)), name


def test_the_readme_names_every_asset(tree):
    """README.md's table has one line for each asset of pipeline.py, and each asset is in the pipeline."""
    names = asset_names(tree)
    readme = (PROJECT / "README.md").read_text()

    assert [line.split("`")[1] for line in readme.splitlines() if line.startswith("| `")] == names
    assert all(name in ast.unparse(tree.body[-1]) for name in names)


def test_the_library_loads_nothing_heavy_until_it_is_used():
    """Importing the library loads neither matplotlib nor the CycloneDX library nor FlowStone."""
    code = "import sys, flowstone_demo; print({'matplotlib', 'cyclonedx', 'jinja2', 'flowstone'} & set(sys.modules))"

    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert answer.stdout.strip() == "set()"


def test_an_unknown_module_of_the_library_is_an_attribute_error():
    """A misspelt module name fails like any missing attribute."""
    with pytest.raises(AttributeError, match="no attribute 'distribution'"):
        flowstone_demo.distribution  # noqa: B018
