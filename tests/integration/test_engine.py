"""The engine as a whole: random pipelines against a tiny reference, and runs beside each other."""

from __future__ import annotations

import asyncio
import itertools
import json
import sys
from collections import Counter
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from flowstone import Keys, Pipeline, Retry, RetryLater, asset
from flowstone.foundation.errors import UsageError
from flowstone.testing import MovableClock, isolated_flow

FATES = ("ok", "ok", "ok", "fail", "skip", "retried", "postponed")
ENDINGS = {"flowstone.materialization.stop", "flowstone.materialization.exception"}


@dataclass(frozen=True)
class Node:
    """One asset of a random pipeline: what it needs (and whether it must), what it only comes after, and its fate."""

    needs: tuple[tuple[int, bool], ...]
    after: tuple[int, ...]
    fate: str


@st.composite
def graphs(draw):
    """Up to nine nodes, each of which needs any of those before it."""
    nodes = []
    for number in range(draw(st.integers(1, 9))):
        before = list(range(number))
        needs = draw(st.lists(st.sampled_from(before), unique=True, max_size=3)) if before else []
        after = draw(st.lists(st.sampled_from(before), unique=True, max_size=1)) if before else []
        required = [(need, draw(st.booleans())) for need in needs]
        required.sort(key=lambda pair: not pair[1])  # parameters with a default come last
        nodes.append(Node(tuple(required), tuple(after), draw(st.sampled_from(FATES))))
    return nodes


def reference(nodes):
    """What must come of *nodes*: (status, reason, value) of each, by the rules and nothing else."""
    ended = []
    for number, node in enumerate(nodes):
        ended.append(blocked(node, ended) or compute(number, node, ended))
    return ended


def blocked(node, ended):
    for need, must in node.needs:
        status, reason, _ = ended[need]
        if must and status != "success":
            return ("skipped", "upstream_failed" if status == "failed" else reason, None)
    for other in node.after:
        status, reason, _ = ended[other]
        if status == "failed" or (status == "skipped" and reason != "by_code"):
            return ("skipped", "upstream_failed" if status == "failed" else reason, None)
    return None


def compute(number, node, ended):
    if node.fate == "fail":
        return ("failed", "ValueError", None)
    if node.fate == "skip":
        return ("skipped", "by_code", None)
    return ("success", "", [number, [ended[need][2] if ended[need][0] == "success" else "default" for need, _ in node.needs]])


BODY = """
def made({parameters}):
    if ctx.attempt == 1 and fate == "retried":
        raise TimeoutError("once")
    if ctx.attempt <= 2 and fate == "postponed":
        raise RetryLater(5)
    if fate == "fail":
        raise ValueError("for ever")
    if fate == "skip":
        ctx.skip("not today")
    return [number, [{inputs}]]
"""


def assets_of(nodes):
    made = []
    for number, node in enumerate(nodes):
        parameters = ["ctx", *(f"n{need}" if must else f"n{need}='default'" for need, must in node.needs)]
        text = BODY.format(parameters=", ".join(parameters), inputs=", ".join(f"n{need}" for need, _ in node.needs))
        scope = {"fate": node.fate, "number": number, "RetryLater": RetryLater}
        exec(text, scope)
        options = {"after": [f"n{other}" for other in node.after], "retries": Retry(attempts=2, delay=1), "code_version": "1"}
        made.append(asset(name=f"n{number}", **options)(scope["made"]))
    return made


EACH = settings(max_examples=min(settings().max_examples // 2, 300), suppress_health_check=[HealthCheck.function_scoped_fixture])
projects = (f"project_{number}" for number in itertools.count())


@pytest.fixture(params=["sqlite", "postgres"])
def place(request):
    """A function that returns where a pipeline's facts go: into memory, or a project of its own of one PostgreSQL database."""
    if request.param == "sqlite":
        return dict
    url = request.getfixturevalue("postgres_url")
    return lambda: {"database_url": url, "project": next(projects)}


def states(result):
    groups = (result.materialized, result.reused, result.failed, result.skipped, result.waiting)
    return {step.asset: (step.status, step.reason) for group in groups for step in group}


@EACH
@given(nodes=graphs())
def test_random_pipelines_end_as_the_reference_says(nodes, place):
    """Statuses, reasons and values of any graph of failing, skipping, retried and postponed assets are the reference's."""
    expected = reference(nodes)
    with isolated_flow(Pipeline("p", assets_of(nodes)), clock=MovableClock(), **place()) as made:
        result = made.run()
        values = {number: made.get(f"n{number}") for number, (status, _, _) in enumerate(expected) if status == "success"}
        again = made.run()

    assert states(result) == {f"n{number}": ending[:2] for number, ending in enumerate(expected)}
    assert values == {number: value for number, (status, _, value) in enumerate(expected) if status == "success"}
    assert {step.asset for step in again.reused} == {f"n{number}" for number in values}


@EACH
@given(nodes=graphs())
def test_every_start_of_a_random_pipeline_has_one_ending(nodes, place):
    """In the event log each attempt has one start and then one ending, each error its event, each edge its outputs."""
    with isolated_flow(Pipeline("p", assets_of(nodes)), clock=MovableClock(), **place()) as made:
        result = made.run()
        log = made.events(limit=10_000)
        view = made.show(result.run_id)
        faults = [finding for finding in made.doctor() if finding.level == "fail"]
        errors = made.errors(limit=1000)

    starts = [(e.payload["asset"], e.payload["attempt"]) for e in log if e.name == "flowstone.materialization.start"]
    endings = [(e.payload["asset"], e.payload["attempt"]) for e in log if e.name in ENDINGS]
    assert Counter(endings) == Counter(starts) == Counter({(a.asset, a.number): 1 for a in view.attempts})
    assert all(attempt.status != "running" for attempt in view.attempts)
    assert Counter(e.payload["error"] for e in log if e.name == "flowstone.error") == Counter(error.id for error in errors)
    assert len(errors) == sum(attempt.status == "failed" and bool(attempt.error) for attempt in view.attempts)
    made_by = {output.id: output.asset for output in view.outputs}
    expected = reference(nodes)
    assert sorted((made_by[edge.downstream], edge.parameter, made_by[edge.upstream]) for edge in view.edges) == sorted(
        (f"n{number}", f"n{need}", f"n{need}")
        for number, node in enumerate(nodes)
        if expected[number][0] == "success"
        for need, _ in node.needs
        if expected[need][0] == "success"
    )
    assert faults == []


@EACH
@given(nodes=graphs(), data=st.data())
def test_an_interrupted_random_pipeline_ends_as_if_it_had_not_been(nodes, data, place):
    """Ctrl-C at any event, then resume: the endings are the reference's, and no finished step has run twice."""
    stop_at = data.draw(st.integers(1, 40))
    seen = []

    def stop(happened):
        seen.append(happened.name)
        if len(seen) == stop_at:
            raise KeyboardInterrupt

    with isolated_flow(Pipeline("p", assets_of(nodes)), clock=MovableClock(), **place()) as made:
        made.attach("tests.stop", "flowstone.*", stop)
        try:
            result = made.run()
        except KeyboardInterrupt:
            (run,) = made.runs()
            result = made.resume(run.id) if run.status == "waiting" else None
        view = made.show(made.runs()[0].id)
        faults = [finding for finding in made.doctor() if finding.level == "fail"]

    expected = {f"n{number}": ending[:2] for number, ending in enumerate(reference(nodes))}
    if result is not None:
        assert states(result) == expected
    assert {row.asset: (row.status, row.reason) for row in view.materializations} == expected
    assert max(Counter(a.asset for a in view.attempts if a.status == "success").values(), default=0) <= 1
    assert faults == []


# -- beside each other -------------------------------------------------------------------------------------------------------


def test_runs_beside_each_other_in_one_process_do_not_mix(tmp_path):
    """Two runs in two threads of one FlowStone: each has its own lines and endings, and the streams are restored."""

    @asset(partitions=Keys())
    def talks(ctx):
        for number in range(50):
            print(f"{ctx.partition} {number}")
        return ctx.partition

    async def both(made):
        return await asyncio.gather(*(made.arun("talks", partition=key) for key in ("a", "b", "c")))

    streams = (sys.stdout, sys.stderr)
    with isolated_flow(Pipeline("p", [talks]), home=tmp_path, echo=lambda text: None) as made:
        results = asyncio.run(both(made))
        lines = [[line.message for line in made.logs(result.run_id)] for result in results]
        faults = [finding for finding in made.doctor() if finding.level == "fail"]

    assert (sys.stdout, sys.stderr) == streams
    assert [result.status for result in results] == ["success"] * 3
    assert lines == [[f"{key} {number}" for number in range(50)] for key in ("a", "b", "c")]
    assert faults == []


def test_two_pipelines_of_two_projects_share_a_store_without_seeing_each_other(tmp_path):
    """The same asset name in two projects has two values, two histories and two sets of runs."""

    def pipeline_of(project):
        @asset(code_version="1")
        def one():
            return project

        return Pipeline("p", [one])

    with (
        isolated_flow(pipeline_of("north"), home=tmp_path, project="north") as north,
        isolated_flow(pipeline_of("south"), home=tmp_path, project="south") as south,
    ):
        first, second = north.run(), south.run()
        values = (north.get("one"), south.get("one"))
        runs = ([run.id for run in north.runs()], [run.id for run in south.runs()])
        logs = (len(north.events()), len(south.events()))

    assert values == ("north", "south")
    assert runs == ([first.run_id], [second.run_id])
    assert logs[0] == logs[1] > 0


def test_a_value_travels_as_json_between_processes(tmp_path):
    """What one process stored, another one with the same pipeline reads: values, status and explanation."""

    @asset
    def orders():
        return {"a": [1, None, "ü"]}

    pipeline = Pipeline("p", [orders])
    with isolated_flow(pipeline, home=tmp_path) as made:
        made.run()
    with isolated_flow(home=tmp_path) as reader:
        stored, condition = reader.get("orders"), reader.status()[0]
        raw = json.loads(reader.get_bytes("orders"))

    assert stored == raw == {"a": [1, None, "ü"]}
    assert condition.state == "up to date"


def test_a_flowstone_without_a_pipeline_cannot_run(tmp_path):
    """Questions can be asked without a pipeline; running needs one and says so."""
    with isolated_flow(home=tmp_path) as made, pytest.raises(UsageError, match="needs a pipeline"):
        made.run()
