"""The executors: the same evidence wherever bodies run, bounds that hold, and children that may die."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from flowstone import FlowStone, Pipeline, Retry, asset
from flowstone.app.pipelines import load_pipeline, reference_of
from flowstone.foundation import settings
from flowstone.foundation.errors import UsageError

PROJECT = Path(__file__).parents[1] / "projects" / "crowded.py"
EXECUTORS = ("inline", "thread", "process")


@pytest.fixture
def flows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., FlowStone]]:
    """Makes FlowStones over the crowded pipeline that share one store."""
    monkeypatch.setenv("CROWDED_SCRATCH", str(tmp_path))
    made: list[FlowStone] = []

    def make(pipeline: Pipeline | None = None, **options: object) -> FlowStone:
        found = settings.load(start=tmp_path, variables={}, arguments={"home": str(tmp_path / "kept"), "project": "tests"})
        chosen = pipeline or load_pipeline(str(PROJECT), tmp_path)
        flow = FlowStone(chosen, settings=found, echo=lambda text: None, **options)  # type: ignore[arg-type]
        made.append(flow)
        return flow

    yield make
    for flow in made:
        flow.close()


def alive(pid: int) -> bool:
    """Whether the process runs; one that is dead and not yet reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for *condition*, which must become true."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.01)


def evidence(flow: FlowStone, run_id: str) -> list[tuple[str, str, str]]:
    """What the event log says, without times and ids; sorted, because steps may run side by side."""
    return sorted(
        (e.name, str(e.payload.get("asset", "")), str(e.payload.get("outcome") or e.payload.get("words") or ""))
        for e in flow.events(run_id=run_id)
    )


@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_executor_leaves_the_same_evidence(flows: Callable[..., FlowStone], executor: str) -> None:
    """Values, events, captured lines, summaries and lineage are the same inline, in threads and in children."""
    flow = flows()
    result = flow.run(["both"], executor=executor)
    assert result.ok, result
    assert flow.get("both") == "2ab"
    lines = [(line.asset, line.level, line.logger, line.message) for line in flow.logs(result.run_id)]
    assert lines == [
        ("words", "info", "stdout", "printed by words"),
        ("words", "info", "stderr", "to the error stream"),
        ("words", "warning", "flowstone.asset.words", "logged by words"),
    ]
    seen = evidence(flow, result.run_id)
    assert ("crowded.said", "words", "hello") in seen
    counted = [name for name, _, _ in seen]
    assert [counted.count(f"flowstone.io.{kind}.stop") for kind in ("store", "load")] == [4, 4]
    assert counted.count("flowstone.materialization.start") == counted.count("flowstone.materialization.stop") == 4
    assert {made.summary for made in flow.show(result.run_id).outputs if made.asset == "words"} == {"two words"}
    assert len(flow.lineage("both").edges) == 4
    assert [finding for finding in flow.doctor() if finding.level == "fail"] == []


@pytest.mark.parametrize("executor", EXECUTORS)
def test_progress_and_io_are_seen_while_they_happen(flows: Callable[..., FlowStone], executor: str) -> None:
    """Observers get progress and io events of a body between its start and its stop, wherever it runs."""
    flow = flows()
    seen: list[str] = []
    flow.attach("watch", "flowstone.*", lambda happened: seen.append(happened.name))
    flow.run(["words"], executor=executor)
    order = [seen.index(f"flowstone.{name}") for name in ("materialization.start", "materialization.progress", "io.store.stop")]
    assert order == sorted(order)
    assert seen.index("flowstone.io.store.stop") < seen.index("flowstone.materialization.stop")


def test_bodies_run_where_they_are_told(flows: Callable[..., FlowStone]) -> None:
    """Inline is this thread, thread another one of this process, process a child of it; an asset's own choice wins."""
    flow = flows()
    here = [os.getpid(), os.getppid(), threading.get_ident()]
    flow.run(["where"])
    assert flow.get("where") == here
    flow.run(["where", "elsewhere"], executor="thread", force=True)
    pid, _, thread = flow.get("where")
    assert (pid, thread != here[2]) == (here[0], True)
    assert flow.get("elsewhere")[1] == here[0]
    flow.run(["where"], executor="process", force=True)
    assert flow.get("where")[:2] == [flow.get("elsewhere")[0], here[0]], "an idle child takes the next body"


def test_an_attempt_over_its_timeout_is_killed_with_what_it_started(flows: Callable[..., FlowStone], tmp_path: Path) -> None:
    """A timeout ends the child and its own children, is retried as its asset says, and is recorded as a timeout."""
    flow = flows()
    result = flow.run(["endless"])
    assert [(step.status, step.reason) for step in result.failed] == [("failed", "timeout")]
    kinds = [e.payload["kind"] for e in flow.events(run_id=result.run_id, names=["flowstone.materialization.exception"])]
    assert kinds == ["timeout", "timeout"]
    assert {error.type for error in flow.errors(run_id=result.run_id)} == {"timeout"}
    started = [int(pid) for pid in (tmp_path / "started").read_text().split()]
    assert len(started) == 2
    wait_until(lambda: not any(alive(pid) for pid in started))
    assert [finding for finding in flow.doctor() if finding.level == "fail"] == []


@pytest.mark.parametrize(
    ("name", "how"), [("leaves", "exit code 0"), ("crashes", "SIGSEGV"), ("half_written", "SIGKILL")], ids=lambda value: value
)
def test_a_child_that_dies_is_a_lost_worker(flows: Callable[..., FlowStone], tmp_path: Path, name: str, how: str) -> None:
    """However a child dies, the attempt is lost, three losses fail the step, neighbours and files are as if it never was."""
    flow = flows()
    result = flow.run([name, "both"], executor="process", jobs=2)
    assert result.status == "partial"
    assert [(step.asset, step.reason) for step in result.failed] == [(name, "worker_lost")]
    attempts = [a.status for a in flow.show(result.run_id).attempts if a.asset == name]
    assert attempts == ["lost"] * 3
    assert how in flow.errors(run_id=result.run_id, asset=name)[0].message
    assert not [path for path in (tmp_path / "kept" / "outputs").rglob("*") if path.is_file() and name in str(path)]
    assert [finding for finding in flow.doctor() if finding.level == "fail"] == []


def test_a_lost_attempt_is_tried_again(flows: Callable[..., FlowStone]) -> None:
    """A step whose child died once succeeds in the next child, and its error is cured by attempt 2."""
    flow = flows()
    result = flow.run(["falls_once"], executor="process")
    assert result.ok
    assert flow.get("falls_once") == "stands"
    assert [(error.type, error.cured) for error in flow.errors(run_id=result.run_id)] == [("worker_lost", 2)]


def test_an_idle_child_that_died_costs_nothing(flows: Callable[..., FlowStone]) -> None:
    """A child killed between two attempts is replaced, and no attempt is lost."""
    flow = flows()
    flow.run(["elsewhere"])
    pid = flow.get("elsewhere")[0]
    os.kill(pid, 9)
    wait_until(lambda: not alive(pid))
    assert flow.run(["elsewhere"], force=True).ok
    assert flow.get("elsewhere")[0] != pid
    assert flow.errors() == []


def test_a_closed_flowstone_leaves_no_child(flows: Callable[..., FlowStone]) -> None:
    """Closing ends every child."""
    flow = flows()
    flow.run(["elsewhere"])
    pid = flow.get("elsewhere")[0]
    assert alive(pid)
    flow.close()
    assert not alive(pid)


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_a_run_resource_is_opened_and_closed_where_it_is_used(
    flows: Callable[..., FlowStone], tmp_path: Path, executor: str
) -> None:
    """A resource of scope run is torn down when the run ends, in the process that opened it."""
    flow = flows()
    flow.run(["both"], executor=executor)
    opened, used, closed = (tmp_path / "register").read_text().split("\n")[:3]
    assert (used, closed.split()) == ("used", ["close", opened.split()[1]])
    assert (int(opened.split()[1]) == os.getpid()) == (executor == "thread")


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_no_more_bodies_run_than_jobs(flows: Callable[..., FlowStone], executor: str) -> None:
    """At most ``jobs`` attempts of a run are inside at once, and that many are."""
    flow = flows()
    names = [f"crowd_{number}" for number in range(6)]
    assert flow.run(names, executor=executor, jobs=3).ok
    assert max(flow.get(name) for name in names) == 3


def test_a_limited_resource_bounds_every_process(flows: Callable[..., FlowStone]) -> None:
    """Two deployments that share a store hold a resource with ``limit=2`` twice together, never more."""
    first, second = flows(), flows()
    results = []
    threads = [
        threading.Thread(target=lambda f=flow, names=names: results.append(f.run(names, executor="thread", jobs=4)))
        for flow, names in ((first, ["gated_0", "gated_1"]), (second, ["gated_2", "gated_3"]))
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(result.ok for result in results)
    assert max(first.get(f"gated_{number}") for number in range(4)) == 2
    delays = [e.payload["reason"] for e in first.events(names=["flowstone.materialization.delayed"])]
    assert set(delays) == {"resource"}


def test_a_delay_holds_no_slot(flows: Callable[..., FlowStone]) -> None:
    """While a failed attempt waits for its retry, the only job is used by another step."""
    order: list[str] = []

    @asset(retries=Retry(attempts=2, delay=0.3))
    def first() -> int:
        order.append("first")
        if order.count("first") == 1:
            raise ValueError("again")
        return 1

    @asset
    def second() -> int:
        order.append("second")
        return 2

    assert flows(Pipeline("delayed", [first, second])).run(executor="thread", jobs=1).ok
    assert order == ["first", "second", "first"]


def test_two_runs_of_one_asset_compute_it_once(flows: Callable[..., FlowStone]) -> None:
    """One claim wins; the other run waits for it, says so, and reuses what it made."""
    started, go = threading.Event(), threading.Event()
    calls: list[int] = []

    @asset
    def shared() -> int:
        calls.append(1)
        started.set()
        assert go.wait(20)
        return 5

    pipeline = Pipeline("shared", [shared])
    first, second = flows(pipeline), flows(pipeline)
    results = {}
    one = threading.Thread(target=lambda: results.update(one=first.run()))
    one.start()
    assert started.wait(20)
    other = threading.Thread(target=lambda: results.update(other=second.run()))
    other.start()
    wait_until(lambda: bool(first.events(names=["flowstone.materialization.delayed"])))
    go.set()
    one.join()
    other.join()
    assert (len(calls), results["one"].status, results["other"].status) == (1, "success", "success")
    assert [step.asset for step in results["other"].reused] == ["shared"]
    delayed = first.events(names=["flowstone.materialization.delayed"])
    assert [(e.payload["reason"], e.payload["holder"]) for e in delayed] == [("claimed", results["one"].run_id)]


@pytest.mark.parametrize("executor", ["thread", "process"])
@pytest.mark.parametrize("how", ["cancel", "stop"])
def test_running_attempts_end_when_the_run_is_ended(
    flows: Callable[..., FlowStone], tmp_path: Path, executor: str, how: str
) -> None:
    """A cancelled or stopped run settles what runs as cancelled, once; children are killed, threads unheard."""
    flow, other = flows(), flows()
    results = []
    worker = threading.Thread(target=lambda: results.append(flow.run(["patient", "both"], executor=executor, jobs=2)))
    worker.start()
    wait_until((tmp_path / "patient").exists)
    (run,) = other.runs()
    wait_until(lambda: len(other.show(run.id).materializations) == 5)
    wait_until(lambda: [a.asset for a in other.show(run.id).attempts if a.status == "running"] == ["patient"])
    if how == "cancel":
        other.cancel(run.id, wait=20)
    else:
        flow.stop()
    worker.join()
    (tmp_path / "go").touch()
    assert results[0].status == ("cancelled" if how == "cancel" else "waiting")
    (attempt,) = [a for a in other.show(run.id).attempts if a.asset == "patient"]
    assert (attempt.status, attempt.duration_ns > 0) == ("cancelled", True)
    kinds = [e.payload["kind"] for e in other.events(run_id=run.id, names=["flowstone.materialization.exception"])]
    assert kinds == ["cancelled"]
    pid = int((tmp_path / "patient").read_text())
    assert pid == os.getpid() if executor == "thread" else not alive(pid)
    assert [finding for finding in other.doctor() if finding.level == "fail"] == []
    if how == "stop":
        flow.close()
        assert other.resume(run.id).ok
        assert other.get("patient") == "went"


def test_a_retry_takes_what_another_run_made_meanwhile(flows: Callable[..., FlowStone]) -> None:
    """Between a failed attempt and its retry the asset is free: what another run makes of it then is reused, not made again."""
    calls: list[int] = []

    @asset(retries=Retry(attempts=3, delay=0.3))  # with no delay the retry is claimed in the same commit
    def shared() -> int:
        calls.append(1)
        if len(calls) == 1:
            raise TimeoutError
        return 5

    pipeline = Pipeline("shared", [shared])
    first, second = flows(pipeline), flows(pipeline)
    first.attach("meanwhile", "flowstone.materialization.exception", lambda happened: second.run())
    result = first.run()
    assert (len(calls), result.status, [step.asset for step in result.reused]) == (2, "success", ["shared"])
    other = first.runs()[0].id
    assert [(a.number, a.status) for a in first.show(result.run_id).attempts] == [(1, "failed")]
    assert [(a.number, a.status) for a in first.show(other).attempts] == [(1, "success")]
    (row,) = first.show(result.run_id).materializations
    assert (row.status, row.attempts) == ("reused", 1)
    assert [finding for finding in first.doctor() if finding.level == "fail"] == []


def test_memory_values_cannot_reach_a_child(flows: Callable[..., FlowStone]) -> None:
    """A plan whose values are kept in memory is refused by the process executor before anything is recorded."""

    @asset(io="memory")
    def kept() -> int:
        return 1

    @asset(executor="process")
    def user(kept: int) -> int:
        return kept

    flow = flows(Pipeline("memory", [kept, user]))
    with pytest.raises(UsageError, match=r"cannot reach the values of 'kept'") as refused:
        flow.run()
    assert 'io="files"' in str(refused.value)
    assert flow.runs() == []


def test_a_pipeline_no_child_can_find_is_refused(flows: Callable[..., FlowStone]) -> None:
    """A pipeline that is no module's variable is refused by the process executor, with the fix, before anything is recorded."""

    @asset
    def local() -> int:
        return 1

    flow = flows(Pipeline("local", [local]))
    with pytest.raises(UsageError, match="no variable of a module") as refused:
        flow.run(executor="process")
    assert 'executor="thread"' in str(refused.value)
    assert flow.runs() == []


def test_code_that_changed_meanwhile_is_refused(flows: Callable[..., FlowStone], tmp_path: Path) -> None:
    """A child that loads another definition than the run was planned with computes nothing."""
    path = tmp_path / "moving.py"
    text = "from flowstone import Pipeline, asset\n@asset\ndef one():\n    return 1\npipeline = Pipeline('moving', [one])\n"
    path.write_text(text)
    flow = flows(load_pipeline(str(path), tmp_path))
    path.write_text(text.replace("return 1", "return 2"))
    result = flow.run(executor="process")
    assert [(step.asset, step.reason) for step in result.failed] == [("one", "code_mismatch")]
    with pytest.raises(UsageError, match="executor 'fork'"):
        flow.run(executor="fork")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="jobs=0"):
        flow.run(jobs=0)


def test_a_script_that_runs_itself_starts_no_children_without_end(tmp_path: Path) -> None:
    """A pipeline's file that runs the process executor whenever it is imported is refused in the first child, with the fix."""
    path = tmp_path / "unguarded.py"
    path.write_text(
        "from flowstone import FlowStone, Pipeline, asset\n"
        "@asset\ndef one():\n    return 1\n"
        "pipeline = Pipeline('unguarded', [one])\n"
        "with FlowStone(pipeline, home='kept') as flow:\n"
        "    flow.run(executor='process')\n"
        "    print(len(flow.runs()), flow.errors()[0].message)\n"
    )
    done = subprocess.run([sys.executable, path.name], cwd=tmp_path, capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.startswith("1 ")
    assert 'if __name__ == "__main__":' in done.stdout


def test_a_reference_leads_back_to_the_pipeline(tmp_path: Path) -> None:
    """The reference of a pipeline loaded from a file loads an equal one."""
    pipeline = load_pipeline(str(PROJECT), tmp_path)
    found = reference_of(pipeline)
    assert found is not None
    assert load_pipeline(found.text, found.base).digest() == pipeline.digest()
