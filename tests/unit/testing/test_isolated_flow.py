"""A FlowStone for tests keeps off the settings of the project and the machine."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

import pytest

from flowstone import Approval, FlowStone, Pipeline, Retry, asset
from flowstone.foundation.errors import SettingsError
from flowstone.foundation.settings import load
from flowstone.testing import MovableClock, isolated_flow, isolated_settings


@asset(config={"limit": 1})
def orders(config):
    return config["limit"]


PIPELINE = Pipeline("shop", [orders])


def test_nothing_of_the_project_is_read_or_written(tmp_path, monkeypatch):
    """A settings file, a variable and a database they name are left alone; nothing is written into the working folder."""
    (tmp_path / "flowstone.toml").write_text("project = 'theirs'\ndatabase.url = 'sqlite:///theirs.db'\nconfig.limit = 9\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FLOWSTONE_HOME", str(tmp_path / "kept"))
    assert load().database_url == f"sqlite:///{tmp_path / 'theirs.db'}"

    with isolated_flow(PIPELINE) as flow:
        assert flow.run().ok
        assert (flow.settings.project, flow.get("orders")) == ("test", 1)

    assert [path.name for path in tmp_path.iterdir()] == ["flowstone.toml"]


def test_a_build_server_is_like_any_other_machine(monkeypatch):
    """Whoever runs the tests is a person where ``CI`` is set too, so that they say the same on every machine."""
    monkeypatch.setenv("CI", "true")
    gated = Pipeline("shop", [asset(name="ledger", approval=Approval(four_eyes=False, assurance="os"))(lambda: 1)])
    with FlowStone(gated, settings=isolated_settings()) as flow:
        flow.run()
        (asked,) = flow.approvals.requests()

        assert flow.approvals.approve(asked.id, "fine").approval.status == "approved"


def test_each_one_is_fresh():
    """Two in memory know nothing of each other."""
    with isolated_flow(PIPELINE) as first, isolated_flow(PIPELINE) as second:
        first.run()
        assert (len(first.runs()), len(second.runs())) == (1, 0)
        assert first.runs()[0].id


def test_a_folder_keeps_the_state(tmp_path):
    """With *home* the next one finds what the last one left, database and outputs, and reuses it."""
    with isolated_flow(PIPELINE, home=tmp_path) as first:
        first.run()
    with isolated_flow(PIPELINE, home=tmp_path) as second:
        assert [step.asset for step in second.run().reused] == ["orders"]
    assert (tmp_path / "flowstone.db").is_file()
    assert any(path.is_file() for path in (tmp_path / "outputs").rglob("*"))


def test_config_is_given_and_checked():
    """Config values are those given, and one that no asset declares is refused."""
    with isolated_flow(PIPELINE, config={"limit": 5}) as flow:
        flow.run()
        assert flow.get("orders") == 5
    with pytest.raises(SettingsError, match=r"config\.limt"):
        isolated_flow(PIPELINE, config={"limt": 5})


def test_retries_do_not_wait_with_a_movable_clock():
    """A retry an hour later happens at once on a clock that is moved, and the hour is on it."""
    tries = []

    @asset(retries=Retry(attempts=2, delay=3_600, max_delay=3_600, jitter=0))
    def flaky():
        tries.append(1)
        if len(tries) == 1:
            raise TimeoutError
        return len(tries)

    clock = MovableClock()
    with isolated_flow(Pipeline("shop", [flaky]), clock=clock) as flow:
        assert flow.run().ok
        assert flow.get("flaky") == 2
    assert clock.monotonic_ns() == 3_600_000_000_000


def test_the_defaults_are_the_products(tmp_path, monkeypatch):
    """Isolated settings equal those of an empty project, but for its name and where the keeper of its audit log looks."""
    monkeypatch.delenv("FLOWSTONE_STATE_HOME")
    home = tmp_path / ".flowstone"
    isolated = replace(isolated_settings(home, project=tmp_path.name), sources={})
    usual = load(start=tmp_path, variables={})

    assert isolated == replace(usual, audit=replace(usual.audit, state=home / "state"))
    assert isolated_settings().home is None


TRACES = """
import sys
from flowstone import Pipeline, asset
from flowstone.testing import isolated_flow

@asset
def orders():
    return 1

elsewhere = {"database_url": "sqlite:///" + sys.argv[2]}
for how in ({}, {"home": sys.argv[1]}, elsewhere, elsewhere):
    with isolated_flow(Pipeline("shop", [orders]), **how) as flow:
        assert flow.run().ok
        flow.hold(asset="orders", reason="a question")
        flow.audit.seal()
        if how:
            flow.audit.rotate_key(reason="yearly")
            assert flow.audit.verify().checked.verdict == "INTACT"
            assert [finding.text for finding in flow.doctor() if finding.level == "fail"] == []
"""


def test_nothing_is_left_of_audit_logs(tmp_path):
    """Keys and heads are kept in *home*, else in a folder that is gone when the process is; the user's has none of them."""
    folders = {name: tmp_path / name for name in ("user", "temporary", "home")}
    for folder in folders.values():
        folder.mkdir()
    variables = {name: value for name, value in os.environ.items() if name not in ("FLOWSTONE_STATE_HOME", "XDG_STATE_HOME")}
    variables |= {"HOME": str(folders["user"]), "TMPDIR": str(folders["temporary"])}
    command = [sys.executable, "-c", TRACES, str(folders["home"]), str(tmp_path / "other.db")]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
    assert [list(folders[name].iterdir()) for name in ("user", "temporary")] == [[], []]
    assert len(list((folders["home"] / "state").rglob("key"))) == 1
