"""Whatever user code and the outside do, the step fails or succeeds with its record, and nothing else happens."""

from __future__ import annotations

import sys

import pytest

from flowstone import (
    Attribute,
    Count,
    Daily,
    Event,
    FlowStoneError,
    Pipeline,
    Retry,
    RetryLater,
    asset,
    event,
    latest_before,
    source,
)

PASSWORD = "password=correct-horse"


@event("tests.outcomes.counted")
class Counted(Event, frozen=True, kw_only=True):
    """Something was counted."""

    rows: Count
    place: Attribute = ""


class MuteError(Exception):
    """An exception that cannot be shown."""

    def __str__(self):
        raise RuntimeError("no text")

    __repr__ = __str__


class CarelessError(FlowStoneError):
    """A subclass that does not call its parent."""

    def __init__(self, code):
        self.code = code


def raising(error):
    @asset(retries=1)
    def broken():
        raise error

    return broken


def endings(result):
    groups = (result.materialized, result.reused, result.failed, result.waiting, result.skipped)
    return {step.asset: (step.status, step.reason) for group in groups for step in group}


def attempts(made, result):
    return [(attempt.number, attempt.status) for attempt in made.show(result.run_id).attempts]


# -- what user code may do ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "reason", "says"),
    [
        (SystemExit(4), "execution_failed", "SystemExit(4)"),
        (GeneratorExit(), "execution_failed", "GeneratorExit"),
        (MuteError(), "MuteError", "its __str__ raised RuntimeError"),
        (CarelessError(7), "flowstone_error", "its __str__ raised AttributeError"),
        (ExceptionGroup("two", [ValueError("a"), KeyError("b")]), "ExceptionGroup", "two (2 sub-exceptions)"),
        (MemoryError("full"), "MemoryError", "full"),
        (ValueError("half a pair: \udcff"), "ValueError", "half a pair: \\udcff"),
        (ValueError(PASSWORD), "ValueError", "password=[redacted]"),
        (ValueError("x" * 100_000), "ValueError", "more characters]"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_whatever_is_raised_fails_the_step_and_nothing_else(flow, error, reason, says):
    """Exits, errors that cannot be shown, groups, texts no database holds: the step fails with its record, the run goes on."""

    @asset
    def fine():
        return 1

    made = flow(Pipeline("p", [raising(error), fine]))
    result = made.run()
    (recorded,) = made.errors()

    assert endings(result) == {"broken": ("failed", reason), "fine": ("success", "")}
    assert says in result.failed[0].message
    assert says in recorded.message
    assert "correct-horse" not in repr(recorded)
    assert len(recorded.traceback) < 40_000


def test_a_deep_traceback_is_cut_to_its_end(flow):
    """An error 5,000 frames deep is recorded with its innermost frames."""

    def fall(depth):
        if depth:
            fall(depth - 1)
        raise ValueError("the bottom")

    @asset
    def well():
        limit = sys.getrecursionlimit()
        sys.setrecursionlimit(9_000)
        try:
            fall(5_000)
        finally:
            sys.setrecursionlimit(limit)

    made = flow(Pipeline("p", [well]))
    made.run()
    (recorded,) = made.errors()

    assert recorded.message == "the bottom"
    assert recorded.traceback.rstrip().endswith("ValueError: the bottom")
    assert len(recorded.traceback) < 40_000


def test_a_long_chain_of_causes_is_recorded(flow):
    """An error that was raised from 3,000 others is recorded, cut in the middle."""

    @asset
    def chained():
        error = None
        for number in range(3_000):
            following = ValueError(number)
            following.__cause__ = error
            error = following
        raise error

    made = flow(Pipeline("p", [chained]))
    made.run()

    assert "[...]" in made.errors()[0].traceback


def test_a_value_no_format_holds_fails_the_step_and_leaves_no_file(flow, tmp_path):
    """What cannot be stored is an io failure of that step; the outputs folder stays as it was."""

    @asset
    def odd():
        return [1, object()]

    made = flow(Pipeline("p", [odd]), home=tmp_path)
    result = made.run()

    assert endings(result)["odd"] == ("failed", "format_unsupported")
    assert [path for path in (tmp_path / "outputs").rglob("*") if path.is_file()] == []
    assert [e.name for e in made.events(names=["flowstone.io.*"])] == ["flowstone.io.store.start", "flowstone.io.store.exception"]
    assert not made.exists("odd")


def test_none_is_a_value(flow, tmp_path):
    """An asset may return nothing: it is stored, loaded and reused like any other value."""

    @asset
    def empty():
        return None

    @asset
    def seen(empty):
        return [empty]

    made = flow(Pipeline("p", [empty, seen]), home=tmp_path)
    made.run()

    assert made.exists("empty")
    assert (made.get("empty"), made.get("seen")) == (None, [None])
    assert len(made.run().reused) == 2


def test_a_corrupt_input_fails_the_reader_and_names_the_output(flow, tmp_path):
    """Bytes that are not those recorded are never handed to user code."""

    @asset
    def one():
        return 1

    @asset
    def two(one):
        return one

    made = flow(Pipeline("p", [one, two]), home=tmp_path)
    made.run("one")
    (stored,) = (tmp_path / "outputs" / "one").rglob("*.json")
    stored.chmod(0o644)
    stored.write_bytes(b"9")

    assert endings(made.run("two"))["two"] == ("failed", "output_corrupt")


def test_a_telemetry_field_of_the_wrong_kind_fails_where_it_is_given(flow):
    """An event that cannot be recorded is refused at ``ctx.emit``, inside user code, and not when the step is settled."""

    @asset
    def counts(ctx):
        ctx.emit(Counted, rows=object())

    @asset
    def pairs(ctx):
        ctx.emit(Counted, rows=1, place="\udcff")

    made = flow(Pipeline("p", [counts, pairs]))
    result = made.run()

    assert {reason for _, reason in endings(result).values()} == {"event_invalid"}
    assert "int(rows)" in result.failed[0].message


def test_what_code_says_may_be_anything(flow):
    """A summary that is a number and a print of half a surrogate pair are stored as text."""

    @asset
    def talks(ctx):
        print("file \udcff")
        ctx.summary(3)
        return 1

    made = flow(Pipeline("p", [talks]))
    result = made.run()

    assert made.explain("talks").output.summary == "3"
    assert [line.message for line in made.logs(result.run_id)] == ["file \\udcff"]


# -- sources, config, missing inputs --------------------------------------------------------------------------------------


def leave():
    raise SystemExit(3)


def refuse():
    raise ConnectionError("no answer")


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        (refuse, "ConnectionError"),
        (leave, "execution_failed"),
        (lambda: 7, "usage_error"),
        (lambda: "", "usage_error"),
        (lambda: "x" * 201, "usage_error"),
    ],
    ids=["raises", "exits", "number", "empty", "long"],
)
def test_a_version_that_cannot_be_had_fails_the_source(flow, version, reason):
    """A version function that raises, exits or returns anything but a short text fails its source, with the error recorded."""
    ran = []

    @asset(source=True, version=version)
    def feed():
        ran.append(1)

    watched = source("watched", version=version)

    @asset
    def reader(watched):
        return watched

    @asset
    def fine():
        return 1

    made = flow(Pipeline("p", [feed, watched, reader, fine]))
    result = made.run()

    assert endings(result) == {
        "feed": ("failed", reason),
        "watched": ("failed", reason),
        "reader": ("skipped", "upstream_failed"),
        "fine": ("success", ""),
    }
    assert ran == []
    assert len(made.errors()) == 2


def test_a_retry_asks_the_source_again(flow, clock):
    """A version function that failed is asked anew by each retry."""
    asked = []

    def version():
        asked.append(1)
        if len(asked) < 3:
            raise ConnectionError
        return "v3"

    @asset(source=True, version=version, retries=Retry(attempts=3, delay=1))
    def feed():
        return 1

    made = flow(Pipeline("p", [feed]), clock=clock)

    assert made.run().ok
    assert made.explain("feed").output.source_version == "v3"


def test_an_observed_source_may_ask_for_later(flow, clock):
    """A version that is there at the second asking ends the materialization that had begun."""
    asked = []

    def version():
        asked.append(1)
        if len(asked) == 1:
            raise RetryLater(30)
        return "v2"

    made = flow(Pipeline("p", [source("watched", version=version)]), clock=clock)
    result = made.run()

    assert endings(result) == {"watched": ("success", "")}
    assert [row.status for row in made.show(result.run_id).materializations] == ["success"]


def test_a_secret_that_is_not_there_fails_the_step_that_needs_it(flow):
    """A missing secret is that step's failure, named; other steps run."""

    @asset(config={"login": "secret:FLOWSTONE_TEST_LOGIN"})
    def private(config):
        return 1

    @asset
    def public():
        return 1

    result = flow(Pipeline("p", [private, public])).run()

    assert endings(result) == {"private": ("failed", "settings_error"), "public": ("success", "")}


def test_a_required_input_that_nothing_makes_fails_the_step(flow, clock):
    """A required ``latest_before`` without an earlier value fails as ``dependency_not_ready`` and is not tried again."""
    days = Daily("2026-11-01")

    @asset(partitions=days)
    def sales():
        return 1

    @asset(partitions=days, deps={"previous": "sales"}, mapping={"previous": latest_before()}, retries=Retry(attempts=3))
    def change(previous):
        return previous

    made = flow(Pipeline("p", [sales, change]), clock=clock)
    result = made.run("change")

    assert endings(result) == {"change": ("failed", "dependency_not_ready")}
    assert "sales" in result.failed[0].message
    assert len(attempts(made, result)) == 1
