"""A project with a gate, and people who decide: each of them has a FlowStone of their own over the same store."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from flowstone import Approval, FlowStone, Pipeline, asset
from flowstone.testing import MovableClock, isolated_settings

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


class Office:
    """One project, its pipeline, and the people who work on it."""

    def __init__(self, home: Path, url: str | None, clock: MovableClock | None) -> None:
        self.home, self.url, self.clock = home, url, clock
        self.calls: list[str] = []
        self.value: Any = {"a": 1}
        self._people: list[FlowStone] = []

    def pipeline(self, gate: Approval | None = None, **options: Any) -> Pipeline:
        """``raw`` -> ``bom``, which waits for people -> ``note``; ``side`` needs only ``raw``."""

        @asset(code_version="1")
        def raw() -> list[int]:
            self.calls.append("raw")
            return [1, 2]

        @asset(approval=gate or Approval("Publish?"), **{"code_version": "1", **options})
        def bom(raw: list[int]) -> Any:
            self.calls.append("bom")
            return self.value

        @asset(code_version="1")
        def note(bom: Any) -> str:
            self.calls.append("note")
            return f"note of {bom}"

        @asset(code_version="1")
        def side(raw: list[int]) -> int:
            self.calls.append("side")
            return len(raw)

        return Pipeline("release", [raw, bom, note, side])

    def person(self, name: str, pipeline: Pipeline | None = None, **options: Any) -> FlowStone:
        """The FlowStone of somebody who says what they are called."""
        given = {"home": self.home, "database_url": self.url, "clock": self.clock, "actor": name, "echo": lambda text: None}
        given |= {"approvals": {"allow_asserted": True, **options.pop("approvals", {})}, **options}
        actor, echo, clock = given.pop("actor"), given.pop("echo"), given.pop("clock")
        replaced = given.pop("replaced", {})
        settings = isolated_settings(given.pop("home"), **given)
        settings = dataclasses.replace(settings, audit=dataclasses.replace(settings.audit, seal="tick"), **replaced)
        self._people.append(FlowStone(pipeline, settings=settings, actor=actor, echo=echo, clock=clock))
        return self._people[-1]

    def close(self) -> None:
        for flow in self._people:
            flow.close()


def statuses(flow: FlowStone, run_id: str) -> dict[str, tuple[str, str]]:
    """Status and reason of each step of a run that has one."""
    return {one.asset: (one.status, one.reason) for one in flow.show(run_id).materializations}


def hold(flow: FlowStone) -> None:
    """Hold the records and the evidence against one another: nothing fails."""
    assert [str(finding) for finding in flow.doctor() if finding.level == "fail"] == []


def entries(flow: FlowStone, action: str) -> int:
    """How many entries of the audit log say this."""
    with flow._deployment.reading().reading() as connection:
        return int(connection.exec_driver_sql(f"SELECT count(*) FROM audit_entry WHERE action = '{action}'").scalar_one())


@pytest.fixture(autouse=True)
def not_building(monkeypatch):
    """Who runs the tests is a person, also on a build server."""
    monkeypatch.delenv("CI", raising=False)


@pytest.fixture
def clock() -> MovableClock:
    """A clock that stands at noon until it is moved."""
    return MovableClock(NOON)


@pytest.fixture
def office(tmp_path, database_url, clock):
    """A project on each database, whose time the test moves."""
    made = Office(tmp_path / "home", database_url, clock)
    yield made
    made.close()


@pytest.fixture
def told():
    """Status and reason of the steps of a run: a function of a FlowStone and a run."""
    return statuses


@pytest.fixture
def holds():
    """A function that fails unless a FlowStone's records agree."""
    return hold


@pytest.fixture
def audited():
    """How many entries of a FlowStone's log have an action: a function of both."""
    return entries
