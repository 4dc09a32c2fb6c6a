"""What a run gives back reads well and says how it ended."""

from __future__ import annotations

from flowstone import RunResult
from flowstone.execution.result import SHOWN, StepResult, result_of


def test_a_result_reads_as_its_steps_by_how_they_ended():
    """The text of a result is its id and status, good steps by name, others with why, at most twenty of a kind."""
    steps = [StepResult(f"a{n}", "", "success") for n in range(SHOWN + 2)]
    steps += [
        StepResult("day", "d:2026-11-23", "reused", message="unchanged"),
        StepResult("odd", "i:7", "failed", "ValueError", "no\nway"),
    ]
    steps += [StepResult("behind", "", "skipped", "upstream_failed", "upstream odd failed")]
    lines = repr(result_of("run_1", "partial", steps)).splitlines()

    assert lines[0] == "RunResult run_1 partial"
    assert lines[1] == f"  materialized  {', '.join(f'a{n}' for n in range(SHOWN))}, ... 2 more"
    assert lines[2:] == [
        "  reused        day 2026-11-23",
        "  failed        odd 7: ValueError: no\\nway",
        "  skipped       behind: upstream_failed: upstream odd failed",
    ]


def test_a_result_without_steps_is_one_line():
    """Nothing is said of kinds that do not occur."""
    assert repr(RunResult("run_1", "success")) == "RunResult run_1 success"
