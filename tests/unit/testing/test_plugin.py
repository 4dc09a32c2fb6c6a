"""The pytest plugin is found by pytest, gives its fixtures, and costs a session nothing that does not use them."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
ENTRY = "flowstone.testing.plugin"

USES = """
from datetime import timedelta
from flowstone import Pipeline, asset
from flowstone.events.catalogue import RunStop

flows = []

@asset
def orders(ctx):
    print("from the asset")
    return [1, 2]

PIPELINE = Pipeline("shop", [orders])

def test_flow(flow, flowstone_events, capsys):
    made = flow(PIPELINE)
    flows.append(made)
    assert made.run().ok and made.get("orders") == [1, 2]
    flowstone_events.assert_emitted(RunStop, outcome="success", success=1)
    assert capsys.readouterr().out == "from the asset\\n"

def test_fresh(flow, flowstone_events):
    assert flows[0]._deployment._database is None  # the last test's was closed with it
    first, second = flow(PIPELINE), flow(PIPELINE, project="other")
    assert first.runs() == [] and second.settings.project == "other"
    first.run()
    second.run()
    assert len(flowstone_events.of(RunStop)) == 2

def test_clock(flow, flowstone_clock):
    made = flow(PIPELINE, clock=flowstone_clock)
    flowstone_clock.advance(timedelta(days=1))
    made.run()
    assert made.runs()[0].requested_at == flowstone_clock.now_ns()

def test_fails(flow):
    flow(PIPELINE).run()
    raise RuntimeError("still closed")
"""
LIGHT = """
import sys

def test_light():
    heavy = {"sqlalchemy", "rich", "click", "polars", "pandas", "pyarrow", "numpy"}
    assert "flowstone.testing.plugin" in sys.modules
    assert sorted(heavy & {name.partition(".")[0] for name in sys.modules}) == []
    assert "flowstone.execution" not in sys.modules and "flowstone.app" not in sys.modules
"""


@pytest.fixture
def session(tmp_path):
    """Run pytest in a process of its own on the text of one test file."""

    def run(text, *options, **variables):
        (tmp_path / "test_theirs.py").write_text(text, encoding="utf-8")
        command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-W", "error", *options]
        done = subprocess.run(
            command, cwd=tmp_path, env=os.environ | variables, capture_output=True, text=True, check=False, timeout=120
        )
        return done.stdout + done.stderr

    return run


def test_the_fixtures_do_what_they_say(session):
    """A flow is in memory, fresh for each test and closed after it, after a failure too; events and prints are the test's."""
    report = session(USES, "-p", ENTRY, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")

    assert "1 failed, 3 passed" in report, report
    assert "still closed" in report
    assert "ResourceWarning" not in report


def test_a_session_that_does_not_use_it_loads_no_engine(session):
    """The plugin in itself loads neither the database nor a frame library nor the engine."""
    report = session(LIGHT, "-p", ENTRY, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")

    assert "1 passed" in report, report


def test_pytest_finds_it_by_itself(session, tmp_path):
    """Installed as the project declares it, the plugin is loaded without being named, and without a warning."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]["pytest11"]
    assert declared == {"flowstone": ENTRY}
    installed = tmp_path / "site" / "declared-1.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: declared\nVersion: 1\n", encoding="utf-8")
    (installed / "RECORD").write_text("flowstone/__init__.py,,\nflowstone/testing/plugin.py,,\n", encoding="utf-8")
    (installed / "entry_points.txt").write_text(f"[pytest11]\nflowstone = {ENTRY}\n", encoding="utf-8")
    report = session("def test_theirs(flowstone_clock): pass", PYTHONPATH=str(installed.parent))

    assert "1 passed" in report, report


def test_a_fixture_of_the_users_own_wins(session):
    """A project that has a fixture called ``flow`` keeps its own."""
    own = "import pytest\n@pytest.fixture\ndef flow(): return 7\ndef test_own(flow): assert flow == 7\n"

    assert "1 passed" in session(own, "-p", ENTRY, PYTEST_DISABLE_PLUGIN_AUTOLOAD="1")


def test_every_public_name_can_be_reached():
    """Each name of ``flowstone.testing`` loads, is documented and is listed; another is an error."""
    from flowstone import testing

    assert dir(testing) == sorted(testing.__all__)
    assert all(getattr(testing, name).__doc__ for name in testing.__all__)
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = testing.nothing
