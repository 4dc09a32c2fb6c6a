"""Bodies that are asynchronous, that yield, and that use resources: what an attempt makes of them."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pytest

from flowstone import GiveUp, Pipeline, Retry, asset, resource
from flowstone.foundation.errors import UsageError
from flowstone.testing.io_contract import files_in


def reason_of(result):
    """Why the only failed step failed."""
    (failed,) = result.failed
    return failed.reason, failed.message


# -- async def ---------------------------------------------------------------------------------------------------------


def test_an_async_body_is_an_attempt_like_any_other(flow):
    """An ``async def`` gets its inputs and ``ctx``; what it prints, logs, returns and sums up belongs to its attempt."""

    @asset
    def words():
        return ["a", "b"]

    @asset
    async def joined(ctx, words):
        print("printed")
        ctx.log.warning("logged")
        ctx.summary("two words")
        return "".join(await asyncio.gather(*(asyncio.sleep(0, word) for word in ctx.track(words))))

    made = flow(Pipeline("p", [words, joined]))
    result = made.run()
    assert made.get("joined") == "ab"
    assert [line.message for line in made.logs(result.run_id, asset="joined")] == ["printed", "logged"]
    assert made.explain("joined").output.summary == "two words"


def test_an_async_body_fails_and_is_tried_again(flow):
    """What an ``async def`` raises is its attempt's failure, under the same policy."""

    @asset(retries=Retry(attempts=2, delay=0))
    async def flaky(ctx):
        await asyncio.sleep(0)
        if ctx.attempt == 1:
            raise TimeoutError("slow")
        return ctx.attempt

    made = flow(Pipeline("p", [flaky]))
    assert made.run().ok
    assert made.get("flaky") == 2


def test_an_async_body_can_skip(flow):
    """``ctx.skip`` works inside ``async def``."""

    @asset
    async def nothing(ctx):
        ctx.skip("nobody asked")

    (skipped,) = flow(Pipeline("p", [nothing])).run().skipped
    assert (skipped.reason, skipped.message) == ("by_code", "nobody asked")


def test_a_cancellation_that_escapes_is_a_failure(flow):
    """``asyncio.CancelledError`` that a body lets out fails its step, and the next one runs."""

    @asset
    async def cancelled():
        raise asyncio.CancelledError

    @asset
    def after():
        return 1

    result = flow(Pipeline("p", [cancelled, after])).run()
    assert reason_of(result)[0] == "execution_failed"
    assert "raised CancelledError" in reason_of(result)[1]
    assert [step.asset for step in result.materialized] == ["after"]


def test_ctrl_c_cancels_an_async_body(flow):
    """Ctrl-C while an ``async def`` runs cancels it; the attempt is settled as cancelled and the run waits."""
    ended = []

    @asset
    async def waits():
        try:
            main = threading.main_thread().ident
            asyncio.get_running_loop().call_soon(signal.pthread_kill, main, signal.SIGINT)
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            ended.append("cleaned up")
            raise

    made = flow(Pipeline("p", [waits]))
    with pytest.raises(KeyboardInterrupt):
        made.run()
    (run,) = made.runs()
    assert (run.status, ended) == ("waiting", ["cleaned up"])
    assert [attempt.status for attempt in made.show(run.id).attempts] == ["cancelled"]


def test_an_async_generator_that_no_pipeline_saw_fails_its_attempt(flow):
    """A plain function that returns an asynchronous generator fails with what to do instead."""

    async def pieces():
        yield b"a"

    @asset
    def wrapped():
        return pieces()

    assert "an async generator cannot be stored" in reason_of(flow(Pipeline("p", [wrapped])).run())[1]


# -- inside an event loop ----------------------------------------------------------------------------------------------


def test_a_run_inside_a_loop_lets_bodies_have_their_own(flow):
    """``run``, ``preview`` and ``resume`` can be called in a running loop, and users' code may call ``asyncio.run`` there."""

    async def fetched():
        return "1"

    @asset(source=True, version=lambda: asyncio.run(fetched()))
    def loops():
        return asyncio.run(fetched())

    made = flow(Pipeline("p", [loops]))

    async def main():
        (seen,) = made.preview()
        return seen.action, made.run().ok

    assert asyncio.run(main()) == ("compute", True)


def test_a_cancelled_arun_leaves_the_run_waiting(flow, tmp_path):
    """Cancelling the task of ``arun`` starts nothing more; what ran is kept, and the run is resumed to its end."""
    begin = []

    @asset
    def first(ctx):
        begin.pop()()
        made._deployment.stopping.wait(ctx.run_id, 10)
        return 1

    @asset
    def second(first):
        return first + 1

    made = flow(Pipeline("p", [first, second]), home=tmp_path)

    async def main():
        loop, begun = asyncio.get_running_loop(), asyncio.Event()
        begin.append(lambda: loop.call_soon_threadsafe(begun.set))
        task = asyncio.ensure_future(made.arun())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    (run,) = made.runs()
    assert run.status == "waiting"
    assert made.resume(run.id).ok
    assert made.get("second") == 2


def test_arun_refuses_options_that_run_does_not_have(flow):
    """A misspelt option of ``arun`` is an error and begins no run."""
    made = flow(Pipeline("p", []))
    with pytest.raises(TypeError, match="forced"):
        asyncio.run(made.arun(forced=True))


# -- streams -----------------------------------------------------------------------------------------------------------


def test_a_generator_streams_through_the_pipeline(flow, tmp_path):
    """Pieces that a body yields are one frame; a consumer that asks for an iterator gets pieces, and may yield on."""

    @asset
    def readings(ctx) -> Iterator[pl.DataFrame]:
        for number in ctx.track(range(3)):
            print("piece", number)
            yield pl.DataFrame({"n": [number, number]})
        ctx.summary("3 pieces")

    @asset
    def doubled(readings: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in readings:
            yield pa.record_batch({"n": [2 * n for n in batch["n"].to_pylist()]})

    @asset
    def rows(doubled: pa.RecordBatchReader):
        return sum(batch.num_rows for batch in doubled)

    made = flow(Pipeline("p", [readings, doubled, rows]), home=tmp_path)
    result = made.run()
    assert made.get("readings")["n"].to_list() == [0, 0, 1, 1, 2, 2]
    assert (made.get("doubled", as_=pl.DataFrame)["n"].to_list(), made.get("rows")) == ([0, 0, 2, 2, 4, 4], 6)
    assert [line.message for line in made.logs(result.run_id)] == ["piece 0", "piece 1", "piece 2"]
    assert made.explain("readings").output.summary == "3 pieces"


@pytest.mark.parametrize("pieces", [[1, 2], [{"a": 1}], [pl.DataFrame({"a": [1]}), 3], []], ids=str)
def test_a_generator_of_anything_else_fails_and_leaves_nothing(flow, tmp_path, pieces):
    """What cannot be stored piece by piece is told at that piece; the attempt fails, and there is no file and no output."""
    ended = []

    @asset
    def odd():
        try:
            yield from pieces
        finally:
            ended.append(True)

    made = flow(Pipeline("p", [odd]), home=tmp_path)
    assert reason_of(made.run())[0] == "format_unsupported"
    assert not made.exists("odd")
    assert (files_in(tmp_path / "outputs"), ended) == ([], [True])


def test_an_error_in_the_middle_of_a_stream_leaves_nothing(flow, tmp_path):
    """A generator that raises after its first pieces fails its attempt with its own error, and no file is left."""

    @asset
    def broken() -> Iterator[pl.DataFrame]:
        yield pl.DataFrame({"a": range(100_000)})
        raise GiveUp("the feed broke off")

    made = flow(Pipeline("p", [broken]), home=tmp_path)
    assert reason_of(made.run()) == ("GiveUp", "the feed broke off")
    assert files_in(tmp_path / "outputs") == []


def test_a_generator_that_cannot_be_closed_does_not_hide_why_it_was(flow):
    """The first error is the attempt's, also when cleaning up raises another, which is noted."""

    @asset
    def stubborn():
        try:
            yield 1
        finally:
            raise ValueError("and this too")

    made = flow(Pipeline("p", [stubborn]))
    assert reason_of(made.run())[0] == "format_unsupported"
    assert "closing the generator raised ValueError: and this too" in made.errors()[0].traceback


# -- resources ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def shop():
    """A pipeline with a warehouse and a session, and what happened to them."""
    happened = []

    @resource(config={"dsn": "local", "password": "secret:PW"})
    def warehouse(config):
        print("opening", config["password"])
        happened.append("open")
        yield {"dsn": config["dsn"]}
        happened.append("close")

    @resource(scope="run")
    def session(warehouse):
        happened.append("begin")
        yield [warehouse["dsn"]]
        happened.append("end")

    @asset
    def orders(warehouse):
        return warehouse["dsn"]

    @asset(deps={"s": session})
    async def totals(s, orders):
        return [*s, orders]

    return Pipeline("shop", [orders, totals], resources=[warehouse, session]), happened


def test_resources_are_opened_by_the_attempt_that_needs_them(flow, shop, monkeypatch):
    """A resource opens once, in the first attempt: its prints are that attempt's, its secret is masked, and it closes late."""
    pipeline, happened = shop
    monkeypatch.setenv("PW", "correct-horse")
    made = flow(pipeline, config={"dsn": "remote"})
    result = made.run()
    assert made.get("totals") == ["remote", "remote"]
    assert [(line.asset, line.message) for line in made.logs(result.run_id)] == [("orders", "opening [redacted]")]
    assert happened == ["open", "begin", "end"]
    assert made.run().ok
    assert happened == ["open", "begin", "end"]
    made.close()
    assert happened == ["open", "begin", "end", "close"]


def test_a_resource_that_does_not_open_fails_those_who_need_it_alone(flow):
    """Assets that need it fail as ``resource_unavailable``, under their own retries; others run."""
    tries = []

    @resource
    def down():
        tries.append(1)
        raise ConnectionError("refused")

    @asset(retries=Retry(attempts=2, delay=0, on=(ConnectionError,)))
    def needy(down):
        return down

    @asset
    def free():
        return 1

    made = flow(Pipeline("p", [needy, free], resources=[down]))
    result = made.run()
    assert reason_of(result) == (
        "resource_unavailable", "resource 'down' could not be opened: ConnectionError: refused",
    )  # fmt: skip
    assert ([step.asset for step in result.materialized], len(tries)) == (["free"], 2)
    assert made.errors()[0].retryable


def test_resources_of_a_run_close_when_it_fails(flow):
    """A run that ends badly, or is interrupted, closes what was opened for it."""
    happened, raised = [], [ValueError("bad"), KeyboardInterrupt()]

    @resource(scope="run")
    def session():
        yield happened.append("begin")
        happened.append("end")

    @asset
    def broken(session):
        raise raised.pop(0)

    made = flow(Pipeline("p", [broken], resources=[session]))
    assert not made.run().ok
    assert happened == ["begin", "end"]
    with pytest.raises(KeyboardInterrupt):
        made.run()
    assert happened == ["begin", "end"] * 2


def test_reuse_and_previews_open_nothing(flow, shop, monkeypatch):
    """Deciding what to do, and reusing what is up to date, needs no resource."""
    pipeline, happened = shop
    made = flow(pipeline, resources={"warehouse": {"dsn": "fake"}})
    made.preview()
    assert happened == []
    made.run()
    del happened[:]
    assert [step.status for step in made.run().reused] == ["reused", "reused"]
    assert happened == []


def test_tests_give_their_own_resources(flow, shop):
    """A value given for a resource is used by assets and by other resources; an unknown name is refused."""
    pipeline, happened = shop
    made = flow(pipeline, resources={"warehouse": {"dsn": "fake"}})
    assert made.run().ok
    assert (made.get("totals"), happened) == (["fake", "fake"], ["begin", "end"])
    with pytest.raises(UsageError, match="no such resource"):
        flow(pipeline, resources={"warehose": 1})


def test_a_generator_cleans_up_before_its_resources_close(flow):
    """A stream that fails has let go of its resource before the resource is closed."""
    happened = []

    @resource(scope="run")
    def feed():
        yield "feed"
        happened.append("feed closed")

    @asset
    def pieces(feed):
        try:
            yield 1
        finally:
            happened.append(f"{feed} let go")

    flow(Pipeline("p", [pieces], resources=[feed])).run()
    assert happened == ["feed let go", "feed closed"]


# -- outputs that users' code writes itself ----------------------------------------------------------------------------


def test_an_output_the_function_wrote_itself_is_recorded(flow, tmp_path):
    """``ctx.written`` makes a file the asset's output: consumers get its path, it is reused, and made again when it is gone."""
    path = tmp_path / "ours.txt"

    @asset
    def report(ctx):
        path.write_text(f"written in {ctx.run_id}", encoding="utf-8")
        return ctx.written(path, rows=1)

    @asset
    def length(report: Path):
        return len(report.read_bytes())

    made = flow(Pipeline("p", [report, length]), home=tmp_path / ".flowstone")
    first = made.run()
    output = made.explain("report").output
    assert (output.manager, output.location, output.rows) == ("external", "ours.txt", 1)
    assert (made.get("report"), made.get("length")) == (path, len(f"written in {first.run_id}"))
    assert [step.status for step in made.run().reused] == ["reused", "reused"]
    path.unlink()
    assert [step.asset for step in made.run().materialized] == ["report", "length"]
