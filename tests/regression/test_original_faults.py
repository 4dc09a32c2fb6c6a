"""The faults of the system this one follows stay mended: the engine, from the request to the last record.

Each test is named after the weakness (W-01 to W-40) it keeps out; ``test_data_faults`` and ``test_definition_faults`` have the
others. Those whose subject does not exist yet wait for it:

| weakness | subject | waits for |
|---|---|---|
| W-04 | waiting for an approval is no failure, and a decision resumes the run | issue 6, approvals |
| W-05 | scatter: reachable, counted by rows, closed once | the issue on scatter |
| W-06 | signal gates: a secret, one winner, deadlines | the issue on signals |
| W-20 | a job queue that is asked (health tells what is broken: `/readyz`) | the issue on workers |
| W-21 | schedules and sensors that fire once and survive a restart | the issue on automation |
| W-28 | approvals decide once, and expire | issue 6, approvals |
| W-32 | readers end at the end, not at an empty page | the issue on scatter |
| W-33 | parallel branches of more than one step | the issue on shapes |
| W-34 | a rate limit that holds for all processes | the issue on workers |
| W-35 | one retry layer in the HTTP client | the issue on the HTTP client |
"""

from __future__ import annotations

import asyncio
import gc
import logging
import py_compile
import re
import subprocess
import sys
import weakref
from datetime import timedelta

import pytest

from flowstone import (
    FlowStoneError,
    GiveUp,
    Pipeline,
    Retry,
    RetryLater,
    RunResult,
    asset,
    source,
)
from flowstone.events.catalogue import ErrorRecorded, MaterializationException, MaterializationStart
from flowstone.testing import isolated_flow


@asset
def orders():
    return [1, 2]


@asset
def total(orders):
    return sum(orders)


@asset
def broken(orders):
    raise ValueError("no")


SHOP = Pipeline("shop", [orders, total, broken])


def evidence(made, run_id):
    """What a run left behind: the names of its events, its rows, its edges and its errors."""
    view = made.show(run_id)
    return {
        "events": sorted(event.name for event in made.events(run_id=run_id)),
        "rows": sorted((row.asset, row.status, row.attempts) for row in view.materializations),
        "attempts": sorted((attempt.asset, attempt.status) for attempt in view.attempts),
        "edges": len(view.edges),
        "errors": sorted((error.asset, error.type) for error in view.errors),
    }


def statuses(result):
    groups = (result.materialized, result.reused, result.failed, result.waiting, result.skipped)
    return {step.asset: (step.status, step.reason) for group in groups for step in group}


# -- W-01, W-02: definitions and entry points ---------------------------------------------------------------------------


def test_w_01_a_compiled_pipeline_has_its_assets_in_a_second_process(tmp_path):
    """Definitions live on the pipeline object: a process that loads only byte code compiled by another one has every asset."""
    text = 'from flowstone import Pipeline, asset\n\n@asset\ndef a():\n    return 1\n\npipeline = Pipeline("p", [a])\n'
    (tmp_path / "flow_w01.py").write_text(text)
    py_compile.compile(str(tmp_path / "flow_w01.py"), cfile=str(tmp_path / "flow_w01.pyc"), doraise=True)
    (tmp_path / "flow_w01.py").unlink()
    for _ in range(2):
        said = subprocess.run(
            [sys.executable, "-m", "flowstone", "-p", "flow_w01", "assets", "--json"],
            cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert (said.returncode, said.stderr) == (0, "")
        assert '"name":"a"' in said.stdout


def test_w_02_every_entry_point_leaves_the_same_evidence(flow, tmp_path, monkeypatch):
    """``run``, ``arun``, ``run`` in an event loop and the command line leave equal events, rows, lineage and errors."""

    async def inside():
        return other.run()

    made, awaited, other = flow(SHOP), flow(SHOP), flow(SHOP)
    expected = evidence(made, made.run().run_id)
    (tmp_path / "pipeline.py").write_text(
        "from flowstone import Pipeline, asset\n"
        "@asset\ndef orders(): return [1, 2]\n"
        "@asset\ndef total(orders): return sum(orders)\n"
        "@asset\ndef broken(orders): raise ValueError('no')\n"
        "pipeline = Pipeline('shop', [orders, total, broken])\n"
    )
    said = subprocess.run(
        [sys.executable, "-m", "flowstone", "run"], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False
    )
    asked = flow(home=tmp_path / ".flowstone", project=tmp_path.name)

    assert said.returncode == 1
    # values in memory are loaded and stored through the same calls as files: the events do not differ
    assert evidence(asked, asked.runs()[0].id) == expected
    assert evidence(awaited, asyncio.run(awaited.arun()).run_id) == expected
    assert evidence(other, asyncio.run(inside()).run_id) == expected
    assert [row for row in expected["rows"] if row[0] == "broken"] == [("broken", "failed", 1)]
    assert expected["events"].count("flowstone.materialization.start") == 3
    assert expected["events"].count("flowstone.materialization.exception") == 1


# -- W-03: storage is inside the error boundary ---------------------------------------------------------------------------


def test_w_03_a_storage_error_closes_everything_it_opened(flow, tmp_path):
    """Storage that refuses fails the step as ``io_failed``: the attempt, both spans and the run end, the error is recorded."""

    @asset(retries=Retry(attempts=2, delay=0))
    def a():
        return 1

    made = flow(Pipeline("p", [a]), home=tmp_path / "home")
    (tmp_path / "home").mkdir()
    (tmp_path / "home/outputs").write_text("in the way of the folder")
    result = made.run()
    view = made.show(result.run_id)
    names = [event.name for event in made.events(run_id=result.run_id)]

    assert statuses(result) == {"a": ("failed", "io_failed")}
    assert (view.run.status, [attempt.status for attempt in view.attempts]) == ("failed", ["failed"])
    assert names.count("flowstone.io.store.start") == names.count("flowstone.io.store.exception") == 1
    assert names.count("flowstone.materialization.exception") == names.count("flowstone.error") == 1
    assert [error.type for error in view.errors] == ["io_failed"]
    assert [finding for finding in made.doctor() if finding.level == "fail"] == []
    (tmp_path / "home/outputs").unlink()
    assert made.run().ok


# -- W-09, W-10: what the interface promises ------------------------------------------------------------------------------


def test_w_09_every_ending_has_a_word_and_no_option_is_ignored(flow):
    """Skipped steps do not break a run; ``status`` and ``graph`` know every form they name; unknown options are refused."""

    @asset
    def quiet(ctx):
        ctx.skip("nothing to do")

    @asset
    def behind(quiet):
        return 1

    made = flow(Pipeline("p", [orders, broken, quiet, behind]))
    result = made.run()

    assert statuses(result) == {
        "orders": ("success", ""), "broken": ("failed", "ValueError"), "quiet": ("skipped", "by_code"),
        "behind": ("skipped", "by_code"),
    }  # fmt: skip
    states = {condition.asset: condition.state for condition in made.status()}
    assert states == {"orders": "up to date", "broken": "missing", "quiet": "missing", "behind": "missing"}
    assert made.graph("dot").startswith("digraph")
    for unknown in ("timeout", "async_", "storage", "cascade", "on_error"):
        with pytest.raises(TypeError, match=unknown):
            made.run(**{unknown: 1})
    with pytest.raises(FlowStoneError, match="graph form 'svg' is not known"):
        made.graph("svg")


def test_w_09_force_and_deps_do_what_they_say(flow):
    """``force`` computes what is up to date; ``deps=False`` computes the target alone and refuses when an input is missing."""
    made = flow(SHOP)
    with pytest.raises(FlowStoneError, match="required inputs have no value: orders"):
        made.run("total", deps=False)
    made.run("total")

    assert statuses(made.run("total")) == {"orders": ("reused", ""), "total": ("reused", "")}
    assert statuses(made.run("total", force=True)) == {"orders": ("reused", ""), "total": ("success", "")}
    assert statuses(made.run("total", force=True, deps=False)) == {"total": ("success", "")}


@pytest.mark.parametrize("how", ["success", "reused", "failed", "skipped", "retried", "gave up"])
def test_w_10_run_returns_one_type_whatever_happens(flow, flowstone_clock, how):
    """However a step ends, ``run`` returns a ``RunResult`` that holds it."""

    @asset(retries=Retry(attempts=2, delay=1, later_limit=1))
    def a(ctx):
        if how == "failed":
            raise GiveUp("no")
        if how == "skipped":
            ctx.skip("no")
        if how == "gave up" or (how == "retried" and ctx.attempt == 1):
            raise RetryLater(5)
        return 1

    made = flow(Pipeline("p", [a]), clock=flowstone_clock)
    if how == "reused":
        made.run()
    result = made.run()

    assert type(result) is RunResult
    assert list(statuses(result)) == ["a"]
    expected = {"retried": "success", "gave up": "failed"}.get(how, how)
    assert statuses(result)["a"][0] == expected


# -- W-11: retries ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "tries"),
    [
        (TimeoutError("slow"), 4),
        (ConnectionResetError("gone"), 4),
        (KeyError("not on the list"), 1),
        (GiveUp("for good"), 1),
        (SystemExit(3), 1),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, BaseException) else None,
)
def test_w_11_a_retryable_failure_is_retried_as_its_policy_says(flow, flowstone_clock, error, tries):
    """What the policy names is tried to its last attempt, after its delays; what it does not name is tried once."""
    began = []

    @asset(retries=Retry(attempts=4, delay=10, factor=2, on=(TimeoutError, ConnectionError)))
    def flaky():
        began.append(flowstone_clock.now)
        raise error

    made = flow(Pipeline("p", [flaky]), clock=flowstone_clock)
    result = made.run()

    assert statuses(result)["flaky"][0] == "failed"
    assert [later - began[0] for later in began] == [timedelta(seconds=s) for s in (0, 10, 30, 70)[:tries]]
    assert [attempt.status for attempt in made.show(result.run_id).attempts] == ["failed"] * tries


# -- W-13, W-14: failures ---------------------------------------------------------------------------------------------------


def test_w_13_a_failed_upstream_ends_its_dependants(flow, flowstone_clock):
    """A dependant of a failed step is skipped in the same run, although an older value of the upstream exists; nothing waits."""
    works = [True]

    @asset(source=True)
    def feed():
        if not works[0]:
            raise ValueError("down")
        return 1

    @asset
    def reader(feed):
        return feed

    @asset
    def last(reader):
        return reader

    made = flow(Pipeline("p", [feed, reader, last]), clock=flowstone_clock)
    assert made.run().ok
    works[0] = False
    before = flowstone_clock.now
    result = made.run()

    assert statuses(result) == {
        "feed": ("failed", "ValueError"), "reader": ("skipped", "upstream_failed"), "last": ("skipped", "upstream_failed"),
    }  # fmt: skip
    assert made.show(result.run_id).run.status == "failed"
    assert flowstone_clock.now == before


def down():
    raise ConnectionError("no answer")


def _failing_source():
    return [source("early", version=down)], "early"


def _failing_body():
    @asset
    def early():
        raise ValueError("no")

    return [early], "early"


def _failing_store():
    @asset
    def early():
        return object()

    return [early], "early"


def _failing_config():
    @asset(config={"key": "secret:FLOWSTONE_NOT_SET_W14"})
    def early(config):
        return 1

    return [early], "early"


def _failing_annotation():
    @asset
    def base():
        return [1]

    @asset
    def early(base: dict):
        return 1

    return [base, early], "early"


@pytest.mark.parametrize("kind", [_failing_source, _failing_body, _failing_store, _failing_config, _failing_annotation])
def test_w_14_every_failure_leaves_through_one_place(flow, kind, tmp_path):
    """A version, secret, input, body or store that fails has a start, an exception with a duration, one error, and a row."""
    assets, name = kind()
    made = flow(Pipeline("p", assets), home=tmp_path)
    result = made.run()
    mine = [event for event in made.events(run_id=result.run_id, asset=name) if ".io." not in event.name]
    (row,) = [row for row in made.show(result.run_id).materializations if row.asset == name]

    assert [event.name.removeprefix("flowstone.") for event in mine] == [
        "materialization.start", "materialization.exception", "error", "error_group.opened",
    ]  # fmt: skip
    assert mine[1].payload["duration_ns"] > 0
    assert mine[1].payload["error"] == mine[2].payload["error"] == made.errors()[0].id
    assert (row.status, bool(row.message)) == ("failed", True)


def test_w_14_a_request_that_cannot_be_planned_is_refused_before_anything_is_recorded(flow):
    """An unknown asset or partition is an error of the request: no run begins, nothing is written."""
    made = flow(SHOP)
    for request in ({"targets": "totl"}, {"targets": "total", "partition": "2026-11-23"}):
        with pytest.raises(FlowStoneError):
            made.run(**request)

    assert made.runs() == []
    assert made.events() == []


# -- W-15, W-16: errors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["memory", "files"])
def test_w_15_a_failure_is_recorded_once(flow, where, tmp_path):
    """Wherever facts are kept, a failed attempt has one row, one event and one log record of its error."""
    told = []
    made = flow(SHOP, **({"home": tmp_path} if where == "files" else {}))
    made.attach("tests.errors", ErrorRecorded, told.append)
    run_id = made.run().run_id

    assert len(made.errors()) == len(told) == 1
    assert [event.name for event in made.events(run_id=run_id)].count("flowstone.error") == 1
    assert len(made.show(run_id).errors) == 1


def test_w_16_an_error_says_what_where_and_in_which_trace(flow, caplog):
    """The record has the traceback; event and log line have type, message, asset, run and trace, in the text as well."""
    told = []
    made = flow(SHOP)
    made.attach("tests.errors", ErrorRecorded, told.append)
    with caplog.at_level(logging.INFO, "flowstone.events"):
        run_id = made.run().run_id
    (error,) = made.errors()
    (event,) = told
    (line,) = [record for record in caplog.records if record.flowstone_event.name == "flowstone.error"]
    trace = made.runs()[0].trace_id

    assert re.search(r'test_original_faults\.py", line \d+, in broken\n.*\nValueError: no', error.traceback)
    assert (event.run_id, event.asset, event.partition, event.attempt) == (run_id, "broken", "", 1)
    assert len(trace) == 32
    assert event.trace_id == line.flowstone_event.fields["trace_id"] == trace
    assert {"run_id", "asset", "type", "message", "error"} <= line.flowstone_event.fields.keys()
    assert all(word in line.getMessage() for word in (run_id, "broken", "ValueError", "message=no"))


# -- W-18: the audit log ------------------------------------------------------------------------------------------------------


def test_w_18_every_decision_and_failure_is_in_the_audit_log(flow, tmp_path):
    """What succeeded, what failed, and whatever somebody decided has its entry: who, on what, why; nothing is only said."""
    made = flow(SHOP, home=tmp_path)
    run_id = made.run().run_id
    (group,) = made.error_groups()
    made.resolve_errors(group.fingerprint, reason="mended")
    made.reopen_errors(group.fingerprint, reason="not mended")
    hold = made.hold(asset="total", reason="a question")
    made.release(hold.id, reason="answered")
    made.invalidate("total")
    made.erase("orders", reason="asked to")
    entries = list(reversed(made.audit.entries()))
    done = [(entry.action, entry.asset or entry.data.get("status", ""), entry.outcome) for entry in entries if entry.run_id]
    decided = [
        (entry.action, entry.disclosed.get("reason") or entry.disclosed.get("why", "")) for entry in entries if not entry.run_id
    ]
    failed = next(entry for entry in entries if entry.action == "materialization.failed")

    assert {entry.run_id for entry in entries} == {run_id, ""}
    assert done[-1] == ("run.finished", "partial", "partial")
    assert [row for row in done if row[0].startswith("materialization")] == [
        ("materialization.succeeded", "orders", "success"), ("materialization.succeeded", "total", "success"),
        ("materialization.failed", "broken", "failed"),
    ]  # fmt: skip
    assert (failed.disclosed["message"], failed.actor) == ("no", made.runs()[0].actor)
    assert [row for row in decided if row[1]] == [
        ("error_group.resolved", "mended"), ("error_group.reopened", "not mended"), ("hold.added", "a question"),
        ("hold.released", "answered"), ("output.erased", "asked to"),
    ]  # fmt: skip
    assert ("output.invalidated", "") in decided
    assert {(entry.actor, entry.identity) for entry in entries} == {(failed.actor, failed.identity)}


# -- W-27: planning -----------------------------------------------------------------------------------------------------------


def test_w_27_a_ladder_of_diamonds_is_planned_and_run_once_each(flow):
    """Sixty diamonds on top of each other have 2 to the 60 paths: every step is in the plan once and runs once."""
    ran = []
    names = ["start"]

    def layer(name, *needs):
        bodies = (lambda: ran.append(name), lambda left: ran.append(name), lambda left, right: ran.append(name))
        deps = dict(zip(("left", "right"), needs, strict=False))
        return asset(name=name, deps=deps, code_version="1")(bodies[len(needs)])

    assets = [layer("start")]
    for level in range(60):
        sides = (layer(f"left{level}", names[-1]), layer(f"right{level}", names[-1]))
        names.append(f"top{level}")
        assets += [*sides, layer(names[-1], *(side.name for side in sides))]
    result = flow(Pipeline("ladder", assets)).run(names[-1])

    assert result.ok
    assert len(ran) == len(set(ran)) == len(assets) == 181


def test_w_27_independent_steps_go_on_and_the_report_is_whole(flow):
    """After a failure the steps that do not need it run; the result has every step, not the last one."""

    @asset
    def alone():
        return 1

    @asset
    def needs_broken(broken):
        return 1

    @asset
    def may_need_broken(broken=None):
        return broken

    made = flow(Pipeline("p", [orders, broken, needs_broken, may_need_broken, alone]))
    result = made.run()

    assert statuses(result) == {
        "orders": ("success", ""), "broken": ("failed", "ValueError"), "needs_broken": ("skipped", "upstream_failed"),
        "may_need_broken": ("success", ""), "alone": ("success", ""),
    }  # fmt: skip
    assert result.status == "partial"
    assert made.get("may_need_broken") is None
    assert made.run("may_need_broken", deps=False, force=True).ok


# -- W-36, W-37: the shape of the engine ----------------------------------------------------------------------------------


class Refusing:
    """A recorder that has no room for one kind of event."""

    def __init__(self, cls):
        self.cls = cls

    def record(self, happened, tx):
        if isinstance(happened, self.cls):
            raise OSError("no room for evidence")


def test_w_37_evidence_and_change_are_one_and_watchers_are_apart(flow, flowstone_clock):
    """A recorder that raises undoes the change it belongs to and stops the run; an observer that raises changes nothing."""
    made = flow(SHOP, clock=flowstone_clock)
    database = made._deployment.services().database
    kept = database.recorders
    database.recorders = (*kept, Refusing(MaterializationStart))
    with pytest.raises(OSError, match="no room for evidence"):
        made.run()
    (stopped,) = made.runs()
    assert made.show(stopped.id).attempts == []
    assert stopped.status == "waiting"
    assert "flowstone.materialization.start" not in [event.name for event in made.events()]

    database.recorders = kept
    seen = []

    def careless(happened):
        seen.append(happened.name)
        raise RuntimeError("observer")

    made.attach("tests.careless", MaterializationException, careless)
    assert statuses(made.resume(stopped.id)) == {
        "orders": ("success", ""), "total": ("success", ""), "broken": ("failed", "ValueError"),
    }  # fmt: skip
    assert seen == ["flowstone.materialization.exception"]
    assert [(h.id, h.failures) for h in made.list_handlers() if h.failures] == [("tests.careless", 1)]


# -- W-38: plans ------------------------------------------------------------------------------------------------------------


def test_w_38_a_changed_pipeline_is_not_resumed_with_old_assets(flow, tmp_path):
    """A run belongs to the definition it was requested with: another one is refused, and a new run uses the new code."""
    interrupts = [True]

    def define(value):
        @asset
        def a():
            if interrupts[0]:
                raise KeyboardInterrupt
            return value

        return Pipeline("p", [a])

    first = flow(define(1), home=tmp_path)
    with pytest.raises(KeyboardInterrupt):
        first.run()
    interrupts[0] = False
    (waiting,) = first.runs()
    first.close()

    second = flow(Pipeline("p", [asset(name="a")(lambda: 2)]), home=tmp_path)
    with pytest.raises(FlowStoneError, match="another definition"):
        second.resume(waiting.id)
    assert second.run().ok
    assert second.get("a") == 2


def test_w_38_nothing_is_kept_of_a_pipeline_that_is_done():
    """A pipeline that was run and dropped is freed: nothing in the process remembers it."""

    def work():
        @asset
        def a():
            return 1

        pipeline = Pipeline("p", [a])
        with isolated_flow(pipeline, echo=lambda _: None) as made:
            assert made.run().ok
        return weakref.ref(pipeline)

    dropped = work()
    gc.collect()

    assert dropped() is None
