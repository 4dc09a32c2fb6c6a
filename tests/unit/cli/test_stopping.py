"""The verbs that stop work: cancel, and what run, show, status, runs and explain say afterwards."""

from __future__ import annotations

import json

import pytest

from flowstone.stores import runs
from flowstone.testing import isolated_flow

PIPELINE = """
from flowstone import Pipeline, asset


@asset
def first():
    return 1


@asset
def second(first):
    raise KeyboardInterrupt


@asset
def third(second):
    return 3


pipeline = Pipeline("p", [first, second, third])
"""


@pytest.fixture
def waiting(cli, tmp_path, monkeypatch):
    """The id of a run that waits in the project of the working directory."""
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    monkeypatch.chdir(tmp_path)
    said = cli("run")
    assert said.code == 130
    return json.loads(cli("runs", "--json").out)["id"]


def test_a_waiting_run_is_cancelled_and_everything_says_so(cli, waiting):
    """The verb names the run and what is kept; runs, show, status and explain say that it was cancelled, by whom and why."""
    said = cli("cancel", waiting[:8], "--reason", "wrong day", "--as", "ann")
    shown = cli("show", waiting).out

    assert (said.code, said.out) == (
        0, f"Cancelled: {waiting}. What it has finished is kept: flowstone show {waiting}\n",
    )  # fmt: skip
    assert f"{waiting}  cancelled" in cli("runs").out
    assert "1 done, 2 cancelled" in cli("runs").out
    assert "  cancelled    by ann: wrong day\n" in shown
    assert "  second  cancelled  cancelled by ann: wrong day" in shown
    assert "  third   not begun" in shown
    assert json.loads(cli("show", waiting, "--json").out)["cancel"] == "cancelled by ann: wrong day"
    assert "the last run was cancelled by ann: wrong day" in cli("status").out
    assert cli("explain", "second").out.startswith(f"second has no value: {waiting} was cancelled by ann: wrong day\n")


def test_cancelling_twice_is_refused(cli, waiting):
    """What has ended cannot be cancelled: exit 2 with how it ended."""
    cli("cancel", waiting)
    said = cli("cancel", waiting)

    assert said.code == 2
    assert f"error: {waiting} ended cancelled: there is nothing to cancel\n  flowstone show {waiting}\n" in said.err


def test_programs_get_the_run(cli, waiting):
    """``--json`` prints the run as it is now."""
    run = json.loads(cli("cancel", waiting, "--json").out)

    assert (run["id"], run["status"]) == (waiting, "cancelled")


def test_a_running_run_is_only_asked(cli, tmp_path, waiting):
    """Without ``--wait`` the verb asks and returns; with it, a run that does not end in time is exit 1."""
    with isolated_flow(home=tmp_path / ".flowstone", project=tmp_path.name) as flow:
        services = flow._deployment.services()
        flow._deployment._heartbeat.stop()
        with services.database.transaction() as tx:
            runs.move(tx, waiting, "waiting", "running", process=services.process)
        asked = cli("cancel", waiting)
        waited = cli("cancel", waiting, "--wait", "0.01")

        assert (asked.code, asked.out.startswith(f"Asked to end: {waiting};")) == (0, True)
        assert (waited.code, waited.out.startswith(f"Not ended after 0.01 s: {waiting} was asked")) == (1, True)
        assert "  asked to end by " in cli("show", waiting).out


def test_resuming_takes_no_words_about_other_runs(cli, waiting):
    """``--if-running`` is about a new run."""
    said = cli("run", "--resume", waiting, "--if-running", "skip")

    assert (said.code, "--resume goes on with what the run was asked for" in said.err) == (2, True)
